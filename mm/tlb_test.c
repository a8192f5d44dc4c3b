// SPDX-License-Identifier: MIT
// Claim: no CPU ever uses a translation that was removed, with and without PCIDs, lazy or not,
// whether the others are interrupted or flushed by the hypervisor; and spaces stay alive as long as
// a CPU uses them lazily. Method: fake CPUs with a TLB each that keeps what it is not told to drop;
// random switches, accesses and unmappings; each access compares what the TLB has with the page
// table.
#include "mm/tlb.h"

#include "kernel/arch/x86/arch.h"
#include "kernel/arch/x86/paging.h"
#include "kernel/base/host/host_base.h"
#include "kernel/base/host/host_cmocka.h"
#include "kernel/core/thread.h"
#include "mm/address_space.h"
#include "mm/host/host_mm.h"
#include "mm/huge.h"
#include "mm/page_internal.h"
#include "mm/shared_table.h"
#include "mm/page_table.h"
#include "pv/pv.h"

#include <string.h>

enum { CPUS = 4, SPACES = 9, PAGES = 40, PCIDS = 16 };

static struct prng prng;
static bool with_pcid;

// ---- the machine ----

static struct cpu {
    uint64_t cr3;
    uint32_t entries[PCIDS][PAGES]; // 0: not cached
} cpus[CPUS];

static struct space {
    struct address_space space;
    uint32_t table[PAGES]; // what each page shows; 0: nothing
    bool freed;
} spaces[SPACES];
static struct thread user_threads[SPACES], kernel_thread;
static uint32_t next_value = 1;

uint64_t kernel_page_table[PAGE_TABLE_ENTRIES];
struct cpumask cpu_online;
struct pv_ops pv_ops;
PERCPU(struct thread *, current_thread);

bool arch_cpu_has(enum arch_feature feature)
{
    return feature == ARCH_PCID && with_pcid;
}

uint64_t kernel_image_to_phys(const void *address)
{
    (void)address;
    return 0;
}

uint64_t arch_cr3_read(void)
{
    return cpus[host_cpu].cr3 & ~CR3_NO_FLUSH;
}

static uint64_t pcid_of(uint64_t cr3)
{
    return cr3 & CR3_PCID_MASK;
}

void arch_cr3_write(uint64_t value)
{
    struct cpu *cpu = &cpus[host_cpu];
    if (!with_pcid)
        memset(cpu->entries, 0, sizeof(cpu->entries));
    else if (!(value & CR3_NO_FLUSH))
        memset(cpu->entries[pcid_of(value)], 0, sizeof(cpu->entries[0]));
    cpu->cr3 = value & ~CR3_NO_FLUSH;
}

void arch_tlb_flush_page(uintptr_t address)
{
    if (address >> PAGE_SHIFT < PAGES)
        cpus[host_cpu].entries[pcid_of(cpus[host_cpu].cr3)][address >> PAGE_SHIFT] = 0;
}

void arch_tlb_flush_current(void)
{
    arch_cr3_write(arch_cr3_read());
}

void arch_tlb_flush_all(void)
{
    memset(cpus[host_cpu].entries, 0, sizeof(cpus[host_cpu].entries));
}

// Either an interrupt, or (a vCPU that does not run) the hypervisor drops everything at its next
// entry.
static void flush_others(const struct cpumask *mask, uintptr_t start, uintptr_t end)
{
    uint32_t self = host_cpu;
    cpumask_for_each(cpu, mask)
    {
        host_cpu = cpu;
        arch_irq_disable();
        if (prng_below(&prng, 3) == 0)
            arch_tlb_flush_all();
        else
            mm_flush_local(start, end);
        arch_irq_enable();
    }
    host_cpu = self;
}

void page_put_many(struct page **pages, size_t count)
{
    (void)pages;
    (void)count;
}

void shared_table_put(struct page *table)
{
    assert_non_null(table);
}

void huge_page_unmap(struct page *head)
{
    assert_non_null(head);
}

void page_table_free_later(struct address_space *space, struct page *table)
{
    (void)space;
    (void)table;
}

static uint64_t next_id = 1;

static void space_reset(struct space *space)
{
    memset(space, 0, sizeof(*space));
    space->space.id = next_id++;
    space->space.users = space->space.refcount = 1;
    // Its place is all that the fake processor knows of a table; low bits are the PCID's.
    space->space.page_table = phys_to_virt((uint64_t)(space - spaces + 1) << PAGE_SHIFT);
}

void address_space_release(struct address_space *space)
{
    assert_true(space->refcount > 0);
    if (--space->refcount == 0) {
        // Nobody may have it loaded any more.
        assert_true(cpumask_is_empty(&space->cpus));
        container_of(space, struct space, space)->freed = true;
    }
}

// ---- what happens ----

static void switch_to(uint32_t cpu, struct thread *thread)
{
    host_cpu = cpu;
    arch_irq_disable();
    mm_switch(current_thread[cpu], thread);
    arch_irq_enable();
    current_thread[cpu] = thread;
}

// A program's thread touches a page.
static void touch(uint32_t cpu)
{
    struct thread *thread = current_thread[cpu];
    if (thread->space == NULL)
        return;
    struct space *space = container_of(thread->space, struct space, space);
    assert_int_equal(cpus[cpu].cr3 & PTE_ADDRESS, virt_to_phys(space->space.page_table));
    uint64_t page = prng_below(&prng, PAGES);
    uint32_t *entry = &cpus[cpu].entries[pcid_of(cpus[cpu].cr3)][page];
    if (*entry != 0)
        assert_int_equal(*entry, space->table[page]);
    else
        *entry = space->table[page];
}

static void unmap(uint32_t cpu, struct space *space)
{
    uint64_t first = prng_below(&prng, PAGES), count = 1 + prng_below(&prng, PAGES - first);
    for (uint64_t page = first; page < first + count; page++)
        space->table[page] = prng_below(&prng, 2) ? next_value++ : 0;
    host_cpu = cpu;
    tlb_flush_space(&space->space, first << PAGE_SHIFT, (first + count) << PAGE_SHIFT,
        prng_below(&prng, 4) == 0);
}

// The last task of the space ends; CPUs that use it lazily may go on doing so.
static void end_space(struct space *space)
{
    for (uint32_t cpu = 0; cpu < CPUS; cpu++)
        if (current_thread[cpu] == &user_threads[space - spaces])
            switch_to(cpu, &kernel_thread);
    host_cpu = (uint32_t)prng_below(&prng, CPUS);
    memset(space->table, 0, sizeof(space->table));
    tlb_flush_space(&space->space, 0, PAGES << PAGE_SHIFT, true);
    address_space_release(&space->space);
}

static void run(const char *name)
{
    prng = host_seed(name);
    memset(cpus, 0, sizeof(cpus));
    pv_ops.flush_tlb_others = flush_others;
    for (uint32_t cpu = 0; cpu < CPUS; cpu++) {
        switch_to(cpu, &kernel_thread);
        host_cpu = cpu;
        address_space_activate(NULL); // forgets what an earlier run has left
    }
    for (unsigned i = 0; i < SPACES; i++) {
        space_reset(&spaces[i]);
        user_threads[i].space = &spaces[i].space;
    }
    for (int round = 0; round < 300000; round++) {
        uint32_t cpu = (uint32_t)prng_below(&prng, CPUS);
        struct space *space = &spaces[prng_below(&prng, SPACES)];
        uint64_t choice = prng_below(&prng, 100);
        if (space->freed) {
            space_reset(space);
            user_threads[space - spaces].space = &space->space;
        }
        bool alive = space->space.users != 0;
        if (choice < 60)
            touch(cpu);
        else if (choice < 72 && alive)
            switch_to(cpu, &user_threads[space - spaces]);
        else if (choice < 80)
            switch_to(cpu, &kernel_thread);
        else if (choice < 98 && alive)
            unmap(cpu, space);
        else if (choice == 99 && alive) {
            space->space.users = 0;
            end_space(space);
        }
    }
    for (uint32_t cpu = 0; cpu < CPUS; cpu++) {
        switch_to(cpu, &kernel_thread);
        address_space_activate(NULL);
    }
    for (unsigned i = 0; i < SPACES; i++)
        assert_true(cpumask_is_empty(&spaces[i].space.cpus));
}

static void stale_entries_without_pcid(void **state)
{
    (void)state;
    with_pcid = false;
    run(__func__);
}

static void stale_entries_with_pcid(void **state)
{
    (void)state;
    with_pcid = true;
    run(__func__);
}

int main(void)
{
    host_arena_create();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stale_entries_without_pcid),
        cmocka_unit_test(stale_entries_with_pcid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
