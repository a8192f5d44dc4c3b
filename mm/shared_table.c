// SPDX-License-Identifier: MIT
// Page tables that several address spaces share after fork.
//
// Theory. What fork costs should not grow with what a program has in memory. So where a table of
// level 1 serves one area of private anonymous memory, fork does not look at its 512 entries: the
// child's level 2 entry points to the same table, and both level 2 entries lose PTE_WRITE and gain
// PTE_TABLE_SHARED. The processor refuses a write if any level does, so everything that the table
// maps is read-only at once. (Zhao, Gong, Fonseca: On-demand-fork, EuroSys 2021, showed what this
// brings.) Who first needs to change something makes the table its own: it copies it, and the pages
// in it become shared in the ordinary way, read-only and with a reference for each table; or, if
// the others have gone meanwhile (the usual end of fork and exec), it takes PTE_WRITE back.
//
// Invariants:
//   H1  refcount of a table is the number of level 2 entries that point to it. While it is above 1
//   they all have PTE_TABLE_SHARED; a table without the flag belongs to one space.
//   H2  Entries of a table with more than one user do not change, but for losing PTE_WRITE (under
//   the table's lock) and for the processor's accessed bits. So its pages hold one reference from
//   it, and counts of entries stay.
//   H3  An entry with PTE_WRITE belongs to a page that only this table refers to: who copies the
//   table takes PTE_WRITE from the original's entries before it gives up its share.
//   H4  A space gives up its share only after its TLBs can't find the table any more. The last to
//   do so frees it, with the references to its pages.
//   H5  The level 2 entry changes from or to shared under space->table_lock. It becomes shared
//   only with space->lock held for writing and the area being changed, after those faults have left
//   it that had begun before (page_table_settle()). So a fault that finds its view good (V1 of
//   fault_view.h) may write to a table that it has seen as not shared. Who holds space->lock for
//   reading and has seen a table that is not shared may keep the pointer; a pointer into a shared
//   one is good only as long as table_lock is held (or the lock for writing).
//   H6  A table is shared only if one area alone of private anonymous memory has pages in it; and
//   pages that come in later make it own first. So it holds no pages of files.
//
// Lock order: space->table_lock, then the lock of a table.

#include "mm/shared_table.h"

#include "kernel/base/assert.h"
#include "kernel/core/counter.h"
#include "mm/area.h"
#include "mm/fault.h"
#include "mm/page_internal.h"
#include "mm/tlb.h"
#include <linux/errno.h>

COUNTER(fork, tables_shared);
COUNTER(fork, tables_copied);
COUNTER(fork, tables_taken_back);

// With fewer entries copying is as cheap, and saves the later fault.
#define ENTRIES_WORTH_SHARING 16

static struct page *table_of(uint64_t upper_value)
{
    return pte_page(upper_value);
}

bool shared_table_is_worth(
    struct vm_area *area, uintptr_t address, const struct page_table_place *place)
{
    if (area->cache != NULL || (area->flags & (VM_SHARED | VM_FIXED_PAGES)))
        return false;
    if (virt_to_page(place->entry)->used_entries < ENTRIES_WORTH_SHARING)
        return false;
    // H6: no other area reaches into it, nor one that is leaving (R4 of unmap.c).
    uintptr_t start = ALIGN_DOWN(address, PAGE_TABLE_BYTES);
    if (area->start - area->gap > start && area->start > start)
        return false;
    const struct vm_area *next = area->end < start + PAGE_TABLE_BYTES ? area_next_any(area) : NULL;
    return next == NULL || next->start >= start + PAGE_TABLE_BYTES;
}

int shared_table_join(struct address_space *parent, struct address_space *child, uintptr_t address,
    const struct page_table_place *place, bool *restricted)
{
    debug_assert(rwlock_is_write_held(&parent->lock));
    uint64_t *to = page_table_make_upper(child, address);
    if (to == NULL)
        return -ENOMEM;
    debug_assert(*to == 0);
    struct page *table = virt_to_page(place->entry);
    page_get(table);
    parent->may_share_tables = child->may_share_tables = true;
    if (!place->shared) {
        uint64_t value = (*place->upper & ~PTE_WRITE) | PTE_TABLE_SHARED;
        __atomic_store_n(place->upper, value, __ATOMIC_RELEASE);
        *restricted = true;
    }
    __atomic_store_n(to, *place->upper, __ATOMIC_RELEASE);
    virt_to_page(to)->used_entries++;
    child->table_pages++;
    fault_count_anonymous(child, table->anonymous_entries);
    counter_add(fork, tables_shared, 1);
    return 0;
}

// The entries of `from` go to `to`, which is new, too; pages get their references. H3.
static void copy_entries(struct page *from, struct page *to)
{
    uint64_t *old = page_to_virt(from), *new = page_to_virt(to);
    spin_lock(&from->table_lock);
    uint32_t left = from->used_entries;
    for (unsigned i = 0; left != 0; i++) {
        uint64_t value = old[i];
        if (value == 0)
            continue;
        left--;
        // Atomically: processors of the other spaces set the accessed bit.
        if (value & PTE_WRITE)
            value = __atomic_fetch_and(&old[i], ~PTE_WRITE, __ATOMIC_RELAXED) & ~PTE_WRITE;
        if (!(value & PTE_BORROWED))
            page_get(pte_page(value));
        new[i] = value;
    }
    to->used_entries = from->used_entries;
    to->anonymous_entries = from->anonymous_entries;
    spin_unlock(&from->table_lock);
}

bool shared_table_own(struct address_space *space, uint64_t *upper, uintptr_t address)
{
    struct page *copy = NULL, *left = NULL;
    uint64_t value = __atomic_load_n(upper, __ATOMIC_ACQUIRE);
    if (!(value & PTE_TABLE_SHARED))
        return true;
    if (__atomic_load_n(&table_of(value)->refcount, __ATOMIC_RELAXED) != 1) {
        copy = page_table_alloc();
        if (copy == NULL)
            return false;
    }
    spin_lock(&space->table_lock);
    value = *upper;
    if (!(value & PTE_TABLE_SHARED)) {
        // Another thread was faster.
    } else if (__atomic_load_n(&table_of(value)->refcount, __ATOMIC_ACQUIRE) == 1) {
        __atomic_store_n(upper, (value & ~PTE_TABLE_SHARED) | PTE_WRITE, __ATOMIC_RELEASE);
        counter_add(fork, tables_taken_back, 1);
    } else {
        // The count does not grow while ours is the only one, so there is a copy by now.
        assert(copy != NULL);
        left = table_of(value);
        copy_entries(left, copy);
        __atomic_store_n(upper, page_table_upper_entry(copy), __ATOMIC_RELEASE);
        copy = NULL;
        counter_add(fork, tables_copied, 1);
    }
    spin_unlock(&space->table_lock);
    if (copy != NULL)
        page_table_free(copy);
    if (left != NULL) {
        // What processors remember of the level 2 entry leads to the old table, which can be
        // changed by others, and freed, once we are out of it (H4).
        tlb_flush_space(space, address, address + PAGE_SIZE, true);
        shared_table_put(left);
    }
    return true;
}

int shared_table_own_range(struct address_space *space, uintptr_t start, uintptr_t end)
{
    if (!space->may_share_tables)
        return 0;
    struct page_table_place place = {0};
    for (uintptr_t address = start; (address = page_table_next(space, address, end, &place)) < end;
        address = place.next) {
        if (place.shared && !shared_table_own(space, place.upper, address))
            return -ENOMEM;
    }
    return 0;
}

int shared_table_own_edges(struct address_space *space, uintptr_t start, uintptr_t end)
{
    int error = 0;
    if (!space->may_share_tables)
        return 0;
    if (!IS_ALIGNED(start, PAGE_TABLE_BYTES))
        error = shared_table_own_range(space, start, start + 1);
    if (error == 0 && !IS_ALIGNED(end, PAGE_TABLE_BYTES))
        error = shared_table_own_range(space, end - 1, end);
    return error;
}

int64_t shared_table_drop(
    struct tlb_gather *gather, uintptr_t address, const struct page_table_place *place)
{
    struct address_space *space = gather->space;
    spin_lock(&space->table_lock);
    uint64_t value = *place->upper;
    if (!(value & PTE_TABLE_SHARED)) {
        spin_unlock(&space->table_lock);
        return -1;
    }
    __atomic_store_n(place->upper, 0, __ATOMIC_RELEASE);
    virt_to_page(place->upper)->used_entries--;
    space->table_pages--;
    spin_unlock(&space->table_lock);
    struct page *table = table_of(value);
    uintptr_t start = ALIGN_DOWN(address, PAGE_TABLE_BYTES);
    tlb_gather_address(gather, start);
    tlb_gather_address(gather, start + PAGE_TABLE_BYTES - PAGE_SIZE);
    gather->tables_freed = true;
    int64_t anonymous = table->anonymous_entries; // H2: stays while we have a share
    gather->shared_tables[gather->shared_count++] = table;
    return anonymous;
}

// The table had its last user: gives its pages up and becomes a free table.
static void table_empty(struct page *table)
{
    uint64_t *entries = page_to_virt(table);
    struct page *batch[32];
    size_t count = 0;
    uint32_t left = table->used_entries;
    for (unsigned i = 0; left != 0; i++) {
        uint64_t value = entries[i];
        if (value == 0)
            continue;
        left--;
        entries[i] = 0;
        if (value & PTE_BORROWED)
            continue;
        batch[count++] = pte_page(value);
        if (count == ARRAY_SIZE(batch)) {
            page_put_many(batch, count);
            count = 0;
        }
    }
    page_put_many(batch, count);
    table->used_entries = 0;
    table->anonymous_entries = 0;
}

void shared_table_put(struct page *table)
{
    if (__atomic_sub_fetch(&table->refcount, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    table_empty(table);
    // Faults of another space may have found it while it was that one's alone.
    page_table_free_later(NULL, table);
}
