// SPDX-License-Identifier: MIT
// Claim: references are given out once each, up to what Xen allows, in both versions of the table;
// a grant that the other end still has mapped is not closed; and whatever Xen refuses at the start
// or while the table grows, errors come out and nothing else.
// Method: the table lies in the test's memory; hypercalls are the test's, and can be refused.
#include "pv/xen/front/grant.h"

#include "kernel/base/host/host_base.h"
#include "kernel/base/host/host_cmocka.h"
#include "kernel/base/memmap.h"
#include "kernel/core/errno.h"
#include "kernel/core/init.h"
#include "kernel/core/log.h"
#include "kernel/core/mutex.h"
#include "kernel/core/thread.h"
#include "mm/host/host_mm.h"
#include "mm/page.h"
#include "mm/slab.h"
#include "pv/xen/hypercall.h"
#include "pv/xen/xen.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <xen/memory.h>

enum { FRAMES = 16, REFERENCES_MAX = FRAMES * 512 };

PERCPU(uint64_t, counter_pv_hypercalls);
struct boot_info boot_info;

// What Xen has and what it refuses.
static struct {
    uint32_t frames_max;
    uint32_t version;
    bool version_2;             // it knows
    uint32_t refuse_mapping_at; // 1: the first XENMEM_add_to_physmap; 0: none
    bool refuse_query;
    uint32_t mapped;
    char *table[FRAMES], *status[FRAMES];
} xen;

// One thread, which never waits for a mutex.
static struct thread thread;
PERCPU(struct thread *, current_thread);

void lockdep_might_sleep(const char *file, int line)
{
}

void lockdep_acquire_sleeping(
    const void *lock, struct lock_class *class, uint32_t subclass, bool shared, bool try)
{
}

void lockdep_release_sleeping(const void *lock)
{
}

int mutex_lock_slow(struct mutex *mutex, bool killable)
{
    abort();
}

void mutex_unlock_slow(struct mutex *mutex)
{
    abort();
}

void page_put_last(struct page *page)
{
    abort(); // no page of this test has more than one user
}

void *kmalloc(size_t size, uint32_t flags)
{
    return malloc(size);
}

int xen_error(long result)
{
    return result < 0 ? (int)result : 0;
}

void log_write(enum log_level level, const char *format, ...)
{
}

long xen_page_memory_op(unsigned command, void *argument)
{
    struct xen_add_to_physmap *add = argument;
    assert_int_equal(command, XENMEM_add_to_physmap);
    if (++xen.mapped == xen.refuse_mapping_at) {
        return -ENOSPC;
    }
    char *page = page_to_virt(pfn_to_page(add->gpfn));
    uint64_t index = add->idx & ~(uint64_t)XENMAPIDX_grant_table_status;
    assert_true(index < xen.frames_max);
    char **place = (add->idx & XENMAPIDX_grant_table_status) != 0 ? xen.status : xen.table;
    assert_null(place[index]); // each frame once
    place[index] = page;
    return 0;
}

long xen_page_grant_table_op(unsigned command, void *argument, unsigned count)
{
    if (command == GNTTABOP_query_size) {
        struct gnttab_query_size *size = argument;
        size->max_nr_frames = xen.frames_max;
        size->status = GNTST_okay;
        return xen.refuse_query ? -ENOSYS : 0;
    }
    assert_int_equal(command, GNTTABOP_set_version);
    struct gnttab_set_version *version = argument;
    if (version->version == 2 && !xen.version_2) {
        return -EINVAL;
    }
    xen.version = version->version;
    return 0;
}

// Each case in a process of its own: the table is there for ever.
static void in_child(void (*body)(void))
{
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        body();
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void prepare(void)
{
    static struct memmap_range ranges[4];
    host_arena_create();
    this_cpu(current_thread) = &thread;
    memmap_init(&boot_info.memory, ranges, 4);
    assert_int_equal(memmap_add(&boot_info.memory, 0, 16u << 20, MEMMAP_USABLE), 0);
    xen.frames_max = FRAMES;
    xen.version_2 = true;
}

// Memory beyond what 32 bits of frame numbers reach has to take version 2.
static void want_version_2(void)
{
    prepare();
    uint64_t far = UINT64_C(1) << 45;
    assert_int_equal(memmap_add(&boot_info.memory, far, 4096, MEMMAP_USABLE), 0);
}

static uint16_t *flags_of(grant_ref_t reference)
{
    if (xen.version == 1) {
        return &((struct grant_entry_v1 *)xen.table[reference / 512])[reference % 512].flags;
    }
    return &((union grant_entry_v2 *)xen.table[reference / 256])[reference % 256].hdr.flags;
}

// What the other end's use of the page is written to.
static uint16_t *use_of(grant_ref_t reference)
{
    return xen.version == 1 ? flags_of(reference)
                            : &((uint16_t *)xen.status[reference / 2048])[reference % 2048];
}

static void take_all(void)
{
    static bool seen[REFERENCES_MAX];
    static grant_ref_t references[REFERENCES_MAX];
    uint32_t count = 0;
    assert_int_equal(xen_grants_start(), 0);
    while (xen_grants_take(1, &references[count]) == 0) {
        grant_ref_t reference = references[count++];
        assert_true(reference >= 8 && reference < REFERENCES_MAX && !seen[reference]);
        seen[reference] = true;
        assert_int_equal(*flags_of(reference), 0);
    }
    assert_int_equal(count, FRAMES * (xen.version == 1 ? 512 : 256) - 8);
    xen_grants_give(count, references);
    // All or none.
    assert_int_equal(xen_grants_take(count + 1, references), -ENOSPC);
    assert_int_equal(xen_grants_take(count, references), 0);
}

static void open_and_close(void)
{
    grant_ref_t reference;
    assert_int_equal(xen_grants_start(), 0);
    assert_int_equal(xen_grants_take(1, &reference), 0);
    xen_grant_open(reference, 3, 0x1234, false);
    assert_int_equal(*flags_of(reference), GTF_permit_access);
    assert_false(xen_grant_is_held(reference));
    *use_of(reference) |= GTF_reading;
    assert_true(xen_grant_is_held(reference));
    assert_false(xen_grant_close(reference));
    assert_true((*flags_of(reference) & GTF_permit_access) != 0); // as it was
    *use_of(reference) &= (uint16_t)~GTF_reading;
    assert_true(xen_grant_close(reference));
    assert_int_equal(*flags_of(reference), 0);
    xen_grant_open(reference, 3, 0x1234, true);
    assert_int_equal(*flags_of(reference), GTF_permit_access | GTF_readonly);
    // Mapped for ever: the reference does not come back.
    *use_of(reference) |= GTF_writing;
    xen_grant_end(reference, NULL);
    grant_ref_t other;
    while (xen_grants_take(1, &other) == 0) {
        assert_int_not_equal(other, reference);
    }
}

static void version_1(void)
{
    prepare();
    take_all();
    assert_int_equal(xen.version, 1);
}

static void version_1_use(void)
{
    prepare();
    open_and_close();
}

static void version_2(void)
{
    want_version_2();
    take_all();
    assert_int_equal(xen.version, 2);
}

static void version_2_use(void)
{
    want_version_2();
    open_and_close();
}

static void refusals(void)
{
    prepare();
    xen.refuse_query = true;
    assert_int_equal(xen_grants_start(), -ENODEV);
    xen.refuse_query = false;
    xen.refuse_mapping_at = 1;
    assert_int_equal(xen_grants_start(), -ENOSPC);
}

static void no_version_2(void)
{
    want_version_2();
    xen.version_2 = false;
    assert_true(xen_grants_start() < 0);
}

static void no_frames(void)
{
    prepare();
    xen.frames_max = 3;
    assert_int_equal(xen_grants_start(), -ENOSPC);
}

static void refused_while_growing(void)
{
    prepare();
    grant_ref_t reference;
    uint32_t count = 0;
    assert_int_equal(xen_grants_start(), 0);
    xen.refuse_mapping_at = xen.mapped + 1;
    while (xen_grants_take(1, &reference) == 0) {
        count++;
    }
    assert_int_equal(count, 4 * 512 - 8);
    assert_int_equal(xen_grants_take(1, &reference), 0); // Xen has more now
    host_page_alloc_fail(0);
    while (xen_grants_take(1, &reference) == 0) {
        count++;
    }
    assert_int_equal(xen_grants_take(1, &reference), -ENOMEM);
}

static void both_versions(void **state)
{
    in_child(version_1);
    in_child(version_1_use);
    in_child(version_2);
    in_child(version_2_use);
}

static void what_xen_refuses(void **state)
{
    in_child(refusals);
    in_child(no_version_2);
    in_child(no_frames);
    in_child(refused_while_growing);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_versions),
        cmocka_unit_test(what_xen_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
