// SPDX-License-Identifier: MIT
// munmap: areas and their pages go, and other threads need not wait for that.
//
// Theory. What takes long about an unmapping is to walk page tables, to flush the TLBs of other
// CPUs and to free pages; what needs space->lock for writing is only to change the tree of areas.
// So where others may want the lock, munmap holds it three times for a moment at most:
//   1. The areas are marked VM_LEAVING. From now on nobody finds them, but they stay in the tree:
//      their addresses are not given out again. Then, without the lock, the pages are taken out.
//   2. If page tables became empty, they are taken out. Then, without the lock, TLBs are flushed
//      and pages and tables are freed.
//   3. The areas leave the tree; their addresses are free.
// A thread that is alone in its space keeps the lock all the time: nobody waits for it, and it is
// taken once.
//
// To the other threads the memory is gone after step 1, and its addresses are in use until step 3;
// all that may happen in between could have happened before or after an munmap in one piece too.
// Only who removes whatever lies in a range (munmap, MAP_FIXED, MREMAP_FIXED, brk) may not return
// while a TLB still has a page of it: those wait (unmap_wait()).
//
// Invariants:
//   R1  No two unmappings under way overlap. So a leaving area belongs to one, whose thread may
//       read it without the lock (A4 of area.c).
//   R2  No entry for an address of a leaving area is added or moved, by anybody: who does such
//       things has found an area before, and who did without the lock looks under the table's
//       whether the area has changed (V1 of fault_view.h). Entries are only removed, under their
//       table's lock.
//   R3  Until step 2 an unmapping is on space->unmappings. Page tables that cover a byte of its
//       areas stay (unmap_keeps_tables()), so it can follow them without a lock. Who would have
//       freed an empty one leaves that to the unmapping, and says so in `trim`.
//   R4  A table that serves a leaving area besides others is not shared with other spaces: it was
//       made own in step 1, and fork takes the leaving area for a neighbour (H6 of shared_table.c).
//       One that serves a leaving area alone is not seen by fork.
//   R5  An area stays on its cache's list until step 3: truncation and write-back still find its
//       pages.
//
// A table is taken out of the tree before TLBs are flushed, and another can take its place at once,
// for a neighbour. A processor that remembers the old one finds zeroes there, faults, and forgets
// it (SDM 3A, 4.10.4.1); it is freed after the flush.
//
// mm/model/unmap.pml checks R1 to R3 as a Spin model.

#include "kernel/base/assert.h"
#include "kernel/core/counter.h"
#include "kernel/core/user.h"
#include "kernel/core/wait.h"
#include "mm/area.h"
#include "mm/page_table.h"
#include "mm/shared_table.h"
#include <linux/errno.h>

COUNTER(unmap, without_lock);
COUNTER(unmap, tables_left); // to another unmapping, which was still in them
COUNTER(unmap, waits);

// Areas that lie closer together share tables above: those are looked through once.
#define TRIM_TOGETHER_BYTES (16 * PAGE_TABLE_BYTES)

// An unmapping of more areas keeps the lock: others would look through them for each empty table.
#define LEAVING_AREAS_MOST 16

struct unmapping {
    struct list_node node; // in space->unmappings; under space->lock
    struct vm_area *areas; // by address, chained by leaving_next
    bool trim;             // somebody left an empty table; under space->lock
};

// Who waits for any unmapping of any space; rare enough to share.
static struct wait_queue ended = WAIT_QUEUE_INIT(ended, "mm/unmap.c: ended");

// ---- unmappings under way ----

static bool is_in_reach(const struct unmapping *unmapping, uintptr_t start, uintptr_t end)
{
    for (const struct vm_area *area = unmapping->areas; area != NULL; area = area->leaving_next)
        if (area->start < end && start < area->end)
            return true;
    return false;
}

bool unmap_reaches_into(struct address_space *space, uintptr_t start, uintptr_t end)
{
    struct unmapping *unmapping;
    list_for_each_entry (unmapping, &space->unmappings, node) {
        if (!is_in_reach(unmapping, start, end))
            continue;
        unmapping->trim = true;
        counter_add(unmap, tables_left, 1);
        return true;
    }
    return false;
}

// The first area in [start, end) that is leaving, or NULL.
static const struct vm_area *first_leaving(
    struct address_space *space, uintptr_t start, uintptr_t end)
{
    struct vm_area *area = area_find_any(space, start);
    while (area != NULL && area->start < end && !(area->flags & VM_LEAVING))
        area = area_next_any(area);
    return area != NULL && area->start < end ? area : NULL;
}

bool unmap_wait(struct address_space *space, uintptr_t start, uintptr_t end)
{
    debug_assert(rwlock_is_write_held(&space->lock));
    bool waited = false;
    while (unlikely(space->leaving_count != 0) && first_leaving(space, start, end) != NULL) {
        uint32_t seen = space->unmappings_ended;
        space->unmap_waiters++;
        space_write_unlock(space);
        counter_add(unmap, waits, 1);
        wait_event(&ended, __atomic_load_n(&space->unmappings_ended, __ATOMIC_ACQUIRE) != seen);
        rwlock_write_lock(&space->lock);
        space->unmap_waiters--;
        waited = true;
    }
    return waited;
}

// ---- steps ----

// Cuts the areas of [start, end) out and chains them: their number, or -ENOMEM, and nothing has
// changed that is seen. Under space->lock.
static int areas_collect(
    struct address_space *space, uintptr_t start, uintptr_t end, struct vm_area **areas)
{
    debug_assert(rwlock_is_write_held(&space->lock));
    debug_assert(first_leaving(space, start, end) == NULL); // R1
    *areas = NULL;
    int count = 0;
    int error = shared_table_own_edges(space, start, end);
    if (error == 0)
        error = area_split_range(space, start, end);
    if (error != 0)
        return error;
    struct vm_area **link = areas;
    for (struct vm_area *area = vm_area_find(space, start); area != NULL && area->start < end;
        area = vm_area_next(area)) {
        *link = area;
        link = &area->leaving_next;
        count++;
    }
    *link = NULL;
    return count;
}

static void areas_zap(struct tlb_gather *gather, const struct vm_area *areas)
{
    for (const struct vm_area *area = areas; area != NULL; area = area->leaving_next) {
        uintptr_t stopped = zap_range(gather, area->start, area->end, ZAP_UNMAP);
        assert(stopped == area->end); // U3 of huge.c
    }
}

// Takes tables that are empty now out. space->lock held for writing.
static void tables_trim(struct tlb_gather *gather, const struct vm_area *areas)
{
    uintptr_t start = areas->start;
    for (const struct vm_area *area = areas; area != NULL; area = area->leaving_next) {
        const struct vm_area *next = area->leaving_next;
        if (next != NULL && next->start - area->end <= TRIM_TOGETHER_BYTES)
            continue;
        page_table_trim(gather->space, gather, start, area->end);
        start = next != NULL ? next->start : 0;
    }
}

static void areas_close(struct vm_area *areas)
{
    while (areas != NULL) {
        struct vm_area *area = areas;
        areas = area->leaving_next;
        if (area->ops != NULL && area->ops->close != NULL)
            area->ops->close(area);
        area_dispose(area);
    }
}

// ---- in one piece ----

static void unmap_in_one_piece(struct address_space *space, struct vm_area *areas)
{
    // The areas leave the tree first: from then on nobody brings pages in.
    for (struct vm_area *area = areas; area != NULL; area = area->leaving_next)
        area_remove(space, area);
    TLB_GATHER(gather);
    tlb_gather_begin(&gather, space);
    areas_zap(&gather, areas);
    tables_trim(&gather, areas);
    tlb_gather_finish(&gather);
    areas_close(areas);
}

int area_unmap_range(struct address_space *space, uintptr_t start, uintptr_t end)
{
    struct vm_area *areas;
    int count = areas_collect(space, start, end, &areas);
    if (count > 0)
        unmap_in_one_piece(space, areas);
    return MIN(count, 0);
}

// ---- while others go on ----

// Step 1. Under space->lock.
static void unmapping_begin(struct unmapping *unmapping, struct address_space *space)
{
    for (struct vm_area *area = unmapping->areas; area != NULL; area = area->leaving_next) {
        area_leave(area);
        area->flags |= VM_LEAVING;
        space->leaving_count++;
    }
    space->last_area = NULL; // A4
    unmapping->trim = false;
    list_add_tail(&space->unmappings, &unmapping->node);
}

// Step 2: it does not follow page tables any more. Under space->lock.
static void unmapping_leave_tables(struct unmapping *unmapping, struct tlb_gather *gather)
{
    list_remove(&unmapping->node);
    list_init(&unmapping->node);
    tables_trim(gather, unmapping->areas);
}

// Step 3: the addresses are free. Under space->lock.
static void unmapping_end(struct unmapping *unmapping, struct tlb_gather *gather)
{
    struct address_space *space = gather->space;
    if (!list_is_empty(&unmapping->node)) {
        list_remove(&unmapping->node);
        if (unmapping->trim)
            tables_trim(gather, unmapping->areas);
    }
    for (struct vm_area *area = unmapping->areas; area != NULL; area = area->leaving_next) {
        area_remove(space, area);
        space->leaving_count--;
    }
    __atomic_store_n(&space->unmappings_ended, space->unmappings_ended + 1, __ATOMIC_RELEASE);
    if (unlikely(space->unmap_waiters != 0))
        wait_wake_all(&ended);
}

// The rest of an unmapping after step 1. No lock held.
static void unmapping_finish(struct unmapping *unmapping, struct address_space *space)
{
    TLB_GATHER(gather);
    tlb_gather_begin(&gather, space);
    areas_zap(&gather, unmapping->areas);
    if (gather.tables_emptied) {
        rwlock_write_lock(&space->lock);
        unmapping_leave_tables(unmapping, &gather);
        space_write_unlock(space);
    }
    tlb_gather_finish(&gather);
    tlb_gather_begin(&gather, space); // for tables that somebody left meanwhile
    rwlock_write_lock(&space->lock);
    unmapping_end(unmapping, &gather);
    expensive_assert(address_space_is_valid_sampled(space));
    space_write_unlock(space);
    tlb_gather_finish(&gather);
    areas_close(unmapping->areas);
    counter_add(unmap, without_lock, 1);
}

int vm_unmap(struct address_space *space, uintptr_t address, size_t len_bytes)
{
    size_t len = ALIGN_UP(len_bytes, PAGE_SIZE);
    if (!IS_ALIGNED(address, PAGE_SIZE) || len == 0 || !user_range_ok(address, len))
        return -EINVAL;
    struct unmapping unmapping;
    rwlock_write_lock(&space->lock);
    (void)unmap_wait(space, address, address + len);
    int count = areas_collect(space, address, address + len, &unmapping.areas);
    // Another user can come into being at any time: the lock is kept because it is cheaper, not
    // because it would be wrong to give it up.
    bool in_one_piece =
        __atomic_load_n(&space->users, __ATOMIC_RELAXED) == 1 || count > LEAVING_AREAS_MOST;
    if (count > 0 && in_one_piece)
        unmap_in_one_piece(space, unmapping.areas);
    else if (count > 0)
        unmapping_begin(&unmapping, space);
    expensive_assert(address_space_is_valid_sampled(space));
    space_write_unlock(space);
    if (count > 0 && !in_one_piece)
        unmapping_finish(&unmapping, space);
    return MIN(count, 0);
}
