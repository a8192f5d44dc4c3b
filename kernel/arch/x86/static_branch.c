// SPDX-License-Identifier: MIT
// Changing code that may be running; static_branch.h has the theory.
//
// Text is mapped without the right to write. It is written through the direct map, where the same
// memory is data.
#include "kernel/arch/x86/static_branch.h"

#include "kernel/arch/x86/arch.h"
#include "kernel/arch/x86/cpu.h"
#include "kernel/arch/x86/paging.h"
#include "kernel/arch/x86/phys.h"
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/cpumask.h"
#include "kernel/core/irq.h"
#include "kernel/core/mutex.h"
#include "kernel/core/preempt.h"

#define BREAKPOINT 0xcc

extern const struct static_branch_site static_branches_start[], static_branches_end[]; // kernel.lds

static struct mutex patch_lock = MUTEX_INIT(patch_lock, "static branches");

// One instruction after another: what `from` holds is written to the code at `to`.
static void code_write(uint8_t *to, const uint8_t *from, size_t len)
{
    volatile uint8_t *alias = (volatile uint8_t *)(PHYS_DIRECT_BASE + kernel_image_to_phys(to));
    for (size_t i = 0; i < len; i++)
        alias[i] = from[i];
}

static void serialise(void *argument)
{
    (void)cpuid_read(0, 0);
}

// Every CPU has run a serialising instruction since.
static void serialise_all(void)
{
    preempt_disable();
    smp_call_mask(&cpu_online, serialise, NULL, true);
    serialise(NULL);
    preempt_enable();
}

// Writes bytes [first, first + len) of the new code of all places of the key; `breakpoint`: a
// breakpoint in their stead.
static void sites_write(
    const struct static_key *key, bool on, size_t first, size_t len, bool breakpoint)
{
    const struct static_branch_site *site = static_branches_start;
    for (; site < static_branches_end; site++) {
        uint8_t code[STATIC_BRANCH_BYTES];
        if (site->key != key)
            continue;
        arch_static_branch_code(site, on, code);
        if (breakpoint)
            code[first] = BREAKPOINT;
        code_write(site->code + first, code + first, len);
    }
}

static void key_set(const struct static_key *key, bool on)
{
    sites_write(key, on, 0, 1, true);
    serialise_all();
    sites_write(key, on, 1, STATIC_BRANCH_BYTES - 1, false);
    serialise_all();
    sites_write(key, on, 0, 1, false);
    serialise_all();
}

void static_key_on(struct static_key *key)
{
    mutex_lock(&patch_lock);
    if (key->users++ == 0)
        key_set(key, true);
    mutex_unlock(&patch_lock);
}

void static_key_off(struct static_key *key)
{
    mutex_lock(&patch_lock);
    assert(key->users != 0);
    if (--key->users == 0)
        key_set(key, false);
    mutex_unlock(&patch_lock);
}

uintptr_t arch_static_branch_trap(uintptr_t rip)
{
    const struct static_branch_site *site = static_branches_start;
    for (; site < static_branches_end; site++) {
        if ((uintptr_t)site->code + 1 == rip)
            return (uintptr_t)site->code + STATIC_BRANCH_BYTES;
    }
    return 0;
}
