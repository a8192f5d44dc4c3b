// SPDX-License-Identifier: MIT
// Promotion of small pages to huge ones.
//
// Theory. Where a huge page was allowed at a fault but there was none, or something was mapped in
// the 2 MiB already (a program reads first, or fills memory through a file of holes), a table of
// small pages comes into being. Its space is put on a list then. A thread looks at the spaces of
// the list a while later: tables that have come to be used enough are copied to a huge page. A
// space where nothing is found is looked at again after twice the time, and after a few times
// forgotten, until it makes another such table. So an idle machine has nothing to look at, and no
// timer.
//
// Copying needs the table for itself: space->lock is held for writing and the area is being changed
// (no fault, no pin), the level 2 entry is taken out and the TLBs are flushed, then pages are
// copied, and the huge page goes in.
// Only pages that belong to this space alone are moved; one that is pinned or shared after fork
// keeps the whole table as it is.
//
// Locks: space->lock, then list_lock or table_lock. The list holds no reference: a space leaves it
// when its last user does (collapse_forget()).

#include "mm/collapse.h"

#include "kernel/arch/x86/arch.h"
#include "kernel/base/assert.h"
#include "kernel/core/counter.h"
#include "kernel/core/thread.h"
#include "kernel/core/time.h"
#include "kernel/core/wait.h"
#include "kernel/core/work.h"
#include "mm/area.h"
#include "mm/fault.h"
#include "mm/huge.h"
#include "mm/page_internal.h"
#include <linux/errno.h>

COUNTER(huge, promoted);
COUNTER(huge, promotion_scans);

#define FIRST_LOOK_NS NS_PER_SECOND
#define LOOKS_AT_MOST 7 // after 1, 2, 4 ... 64 s
// With fewer pages in use the huge page would be mostly memory that nobody wants.
#define WORTH_ENTRIES (HUGE_PAGES / 8)
#define RANGES_A_LOOK 32 // 64 MiB; then others get their turn

static struct spinlock list_lock = SPINLOCK_INIT("mm/collapse.c: list_lock");
static struct list_node spaces = LIST_INIT(spaces); // space->collapse_node
static bool thread_started;                         // under list_lock
static uint32_t registrations;                      // how many there were; atomic
static struct wait_queue waiting = WAIT_QUEUE_INIT(waiting, "mm/collapse.c: waiting");

// ---- one table ----

// Can all entries of the table be moved, and are there `wanted` private pages at least? Under the
// table's lock. 0, -EAGAIN (a page is shared or pinned), -EINVAL.
static int table_check(const struct page *table, uint32_t wanted)
{
    if (table->anonymous_entries < wanted)
        return -EINVAL;
    const uint64_t *entries = page_to_virt(table);
    uint32_t left = table->used_entries;
    for (unsigned i = 0; left != 0; i++) {
        uint64_t value = entries[i];
        if (value == 0)
            continue;
        left--;
        if (!(value & PTE_PRESENT))
            return -EINVAL;
        if ((value & PTE_BORROWED) && pte_page(value) == fault_zero_page)
            continue;
        if (!(value & PTE_ANONYMOUS))
            return -EINVAL;
        if (!anonymous_is_exclusive(value))
            return -EAGAIN;
    }
    return 0;
}

// Moves the content of a table that no TLB knows any more; it is empty afterwards. Returns how many
// private pages there were.
static int64_t table_move(struct page *table, struct page *head)
{
    uint64_t *entries = page_to_virt(table);
    char *to = page_to_virt(head);
    int64_t moved = 0;
    for (uint64_t i = 0; i < HUGE_PAGES; i++) {
        uint64_t value = entries[i];
        entries[i] = 0;
        if (!(value & PTE_ANONYMOUS)) {
            arch_clear_page(to + i * PAGE_SIZE);
            continue;
        }
        arch_copy_page(to + i * PAGE_SIZE, page_to_virt(pte_page(value)));
        page_put(pte_page(value));
        moved++;
    }
    table->used_entries = 0;
    table->anonymous_entries = 0;
    return moved;
}

// Replaces the table of [start, start + 2 MiB) of the area by a huge page. space->lock held for
// writing. 0 (also if there is one already), -EINVAL, -EAGAIN, -ENOMEM.
static int collapse_one(struct vm_area *area, uintptr_t start, uint32_t wanted)
{
    struct address_space *space = area->space;
    debug_assert(rwlock_is_write_held(&space->lock));
    uint64_t *upper = page_table_find_upper(space, start);
    uint64_t value = upper != NULL ? *upper : 0;
    if (pte_is_huge(value))
        return 0;
    if (value == 0)
        return -EINVAL;
    if (value & PTE_TABLE_SHARED)
        return -EAGAIN;
    struct page *table = pte_page(value);
    area_change(area); // V2 of fault_view.h
    spin_lock(&table->table_lock);
    int error = table_check(table, wanted);
    spin_unlock(&table->table_lock);
    if (error != 0)
        return error;
    struct page *head = huge_page_alloc(area, start);
    if (head == NULL)
        return -ENOMEM;
    // U6: no TLB has a small page when the huge one goes in. Nobody looks at the entry meanwhile.
    spin_lock(&space->table_lock);
    __atomic_store_n(upper, 0, __ATOMIC_RELEASE);
    spin_unlock(&space->table_lock);
    tlb_flush_space(space, start, start + HUGE_BYTES, true);
    int64_t moved = table_move(table, head);
    spin_lock(&space->table_lock);
    __atomic_store_n(upper,
        page_to_phys(head) | PTE_LARGE | PTE_ANONYMOUS | pte_flags_of(area->flags, true),
        __ATOMIC_RELEASE);
    space->table_pages--;
    spin_unlock(&space->table_lock);
    page_table_free_later(space, table);
    fault_count_anonymous(space, -moved);
    huge_count(space, 1);
    area->has_anonymous = true;
    counter_add(huge, promoted, 1);
    return 0;
}

// ---- on request ----

// May the area have huge pages when it is asked for explicitly, whatever the policy says?
static bool may_collapse(const struct vm_area *area)
{
    const uint32_t never = VM_SHARED | VM_FIXED_PAGES | VM_NOHUGE | VM_POOL;
    return area->cache == NULL && !(area->flags & never) && !area->space->huge_disabled;
}

int collapse_range(struct address_space *space, uintptr_t start, uintptr_t end)
{
    int result = 0;
    bool whole = true;
    for (uintptr_t at = start; at < end;) {
        rwlock_write_lock(&space->lock);
        struct vm_area *area = vm_area_find(space, at);
        if (area == NULL ||
            area->start > at) { // a hole is skipped, as by the other kinds of advice
            whole = false;
            at = area != NULL ? MIN(area->start, end) : end;
            space_write_unlock(space);
            continue;
        }
        uintptr_t huge = ALIGN_UP(at, HUGE_BYTES), stop = MIN(area->end, end);
        int error = may_collapse(area) ? 0 : -EINVAL;
        if (error == 0 && huge < stop && stop - huge >= HUGE_BYTES) {
            error = collapse_one(area, huge, 1);
            at = huge + HUGE_BYTES;
        } else {
            at = stop;
        }
        space_write_unlock(space);
        result = error != 0 ? error : result;
        if (error == -ENOMEM || thread_kill_pending(thread_current()))
            break;
    }
    return result != 0 ? result : (whole ? 0 : -ENOMEM);
}

// ---- in the background ----

// Looks at up to RANGES_A_LOOK tables from space->collapse_cursor on. How many were promoted;
// *more: the end was not reached.
static unsigned look_at(struct address_space *space, bool *more)
{
    unsigned promoted = 0, seen = 0;
    uintptr_t at = space->collapse_cursor;
    counter_add(huge, promotion_scans, 1);
    rwlock_write_lock(&space->lock);
    struct vm_area *area = vm_area_find(space, at);
    while (area != NULL && seen < RANGES_A_LOOK) {
        at = ALIGN_UP(MAX(at, area->start), HUGE_BYTES);
        if (!area->has_anonymous || !huge_is_eligible(area, at)) {
            at = area->end;
            area = vm_area_next(area);
            continue;
        }
        seen++;
        int error = collapse_one(area, at, WORTH_ENTRIES);
        if (error == -ENOMEM)
            break;
        promoted += error == 0;
        at += HUGE_BYTES;
    }
    space_write_unlock(space);
    *more = area != NULL && seen == RANGES_A_LOOK;
    space->collapse_cursor = *more ? at : 0;
    return promoted;
}

// The space that is due, with a user's reference; NULL and *due_ns: the next one is then.
static struct address_space *next_due(uint64_t now_ns, uint64_t *due_ns)
{
    struct address_space *space, *found = NULL;
    *due_ns = UINT64_MAX;
    spin_lock(&list_lock);
    list_for_each_entry (space, &spaces, collapse_node) {
        if (space->collapse_due_ns > now_ns) {
            *due_ns = MIN(*due_ns, space->collapse_due_ns);
            continue;
        }
        // Without users it is about to leave the list.
        uint32_t users = __atomic_load_n(&space->users, __ATOMIC_RELAXED);
        while (users != 0 && !__atomic_compare_exchange_n(&space->users, &users, users + 1, false,
                                 __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
        }
        if (users != 0) {
            found = space;
            break;
        }
    }
    if (found != NULL)
        list_move_tail(&spaces, &found->collapse_node);
    spin_unlock(&list_lock);
    return found;
}

static void promote(struct address_space *space)
{
    bool more = false;
    unsigned promoted = look_at(space, &more);
    spin_lock(&list_lock);
    space->collapse_looks = promoted != 0 || more ? 0 : space->collapse_looks + 1;
    if (space->collapse_looks == LOOKS_AT_MOST) {
        list_remove(&space->collapse_node);
        list_init(&space->collapse_node);
        space->collapse_registered = false;
    }
    space->collapse_due_ns =
        time_monotonic_ns() + (more ? 0 : FIRST_LOOK_NS << space->collapse_looks);
    spin_unlock(&list_lock);
}

static void promotion_thread(void *argument)
{
    (void)argument;
    for (;;) {
        uint64_t due_ns;
        uint32_t seen = __atomic_load_n(&registrations, __ATOMIC_ACQUIRE);
        struct address_space *space = next_due(time_monotonic_ns(), &due_ns);
        if (space != NULL) {
            promote(space);
            address_space_put(space);
            continue;
        }
        // With nothing on the list until somebody registers.
        (void)wait_event_state(&waiting, __atomic_load_n(&registrations, __ATOMIC_ACQUIRE) != seen,
            THREAD_UNINTERRUPTIBLE, false, due_ns);
    }
}

static void thread_start(struct work *work)
{
    (void)work;
    if (kthread_create(NULL, "promotion", promotion_thread, NULL) == 0)
        return;
    spin_lock(&list_lock);
    thread_started = false; // the next one who registers tries again
    spin_unlock(&list_lock);
}

static struct work start_work = {.function = thread_start};

void collapse_register(struct address_space *space)
{
    if (__atomic_load_n(&space->collapse_registered, __ATOMIC_RELAXED))
        return;
    bool start = false, added = false;
    spin_lock(&list_lock);
    if (!space->collapse_registered) {
        added = true;
        space->collapse_registered = true;
        space->collapse_looks = 0;
        space->collapse_due_ns = time_monotonic_ns() + FIRST_LOOK_NS;
        list_add_tail(&spaces, &space->collapse_node);
        start = !thread_started;
        thread_started = true;
    }
    spin_unlock(&list_lock);
    if (!added)
        return;
    __atomic_fetch_add(&registrations, 1, __ATOMIC_RELEASE);
    wait_wake_all(&waiting);
    if (start)
        (void)work_queue(&start_work);
}

void collapse_forget(struct address_space *space)
{
    if (!space->collapse_registered)
        return;
    spin_lock(&list_lock);
    list_remove(&space->collapse_node);
    list_init(&space->collapse_node);
    space->collapse_registered = false;
    spin_unlock(&list_lock);
}
