// SPDX-License-Identifier: MIT
// Faults without space->lock: what one has seen of its area, and whether that still holds. Private
// to mm/.
//
// Theory. Most faults add one entry to a page table that exists, or copy a page in one, and need
// nothing from space->lock but that the area and the table stay while they do. Taking the lock for
// reading would write to one cache line in every fault of all threads, and wait for whoever maps,
// unmaps, protects or forks anything anywhere in the space. So a fault looks first and checks
// afterwards: under RCU it finds the area, notes when that was changed last (a view), finds the
// table, prepares the page, and takes the table's lock, as all do who change entries. Under it, it
// looks whether the table is still in use and the view still holds. If so the entry is written,
// else everything is given back and the fault is served again, with the lock. So is whatever does
// not fit this: no table yet, a huge page, a page to be read in, memory that is short.
//
// Who changes an area says so first (area_change()), and then takes the lock of each table of it
// that it relies on: to zap, to protect, or only to let those out that were in it
// (page_table_settle()). A fault that had the table's lock before has written its entry, which the
// change then finds; one that has it afterwards sees that its view does not hold any more.
//
// Holds of space->lock for writing have numbers (space->write_hold). A changed area carries that of
// the hold that changes it, so it needs no second visit when the change is over: giving the lock up
// raises the number, and whoever looks at the area then has a view of it as it is now.
//
// Invariants:
//   V1  An area is changed, in a way that faults could see, only in a hold whose number it carries
//       in changed_in. A view is taken by reading changed_in, then write_hold: if the latter is
//       greater, that hold is over, and while changed_in stays the same there is no other. One that
//       leaves the space has the greatest number for ever, so it does not matter how a fault has
//       come by it, nor whether the links of the tree that it has followed were being changed.
//   V2  Areas and page tables that left the space are freed after a grace period, unless nobody
//       else can be in a fault (space_is_alone()). A table of level 1 that leaves has refcount 0
//       from then on, set under its lock, with no entries. One that is shared by fork, or that
//       becomes a huge page, belongs to one area, which is changed before.
//   V3  Under the lock of a table in use, with a view that holds, area->cache and what it needs is
//       there: who unmaps the area takes that lock before it closes the backing, and who merges it
//       has the same backing in the other part. Its start does not change if it has a cache; flags
//       and end may be new already, and then their changer comes to this table later.
//   V4  has_anonymous is set before the view is checked, and read after area_change(): full
//       barriers on both sides, so one sees the other.
//
// mm/model/fault.pml checks V1 and V2 as a Spin model.
#pragma once

#include "kernel/core/rcu.h"
#include "mm/area.h"
#include "mm/page_table.h"

// Of an area that was found without space->lock. Good as long as the RCU section lasts.
struct fault_view {
    uint64_t changed_in; // as the area had it
    uint32_t flags;      // the area's then
};

// A fault's result: it has to be served again, under space->lock.
#define FAULT_NEEDS_LOCK 2

// The area at `address`, with a view of it. NULL: there is none, or it is being changed. Under RCU.
struct vm_area *area_view(struct address_space *space, uintptr_t address, struct fault_view *view);

// Takes the lock of the entry's table, to change the entry. False: it is not held, because `view`
// does not hold any more. Without a view (NULL) space->lock is held, and nothing has to be checked.
[[nodiscard]] static inline bool fault_table_lock(
    const struct vm_area *area, uint64_t *entry, const struct fault_view *view)
{
    struct page *table = virt_to_page(entry);
    spin_lock(&table->table_lock);
    if (view == NULL) {
        debug_assert(table->refcount == 1); // V2
        return true;
    }
    if (likely(table->refcount != 0 &&
               __atomic_load_n(&area->changed_in, __ATOMIC_ACQUIRE) == view->changed_in))
        return true;
    spin_unlock(&table->table_lock);
    return false;
}
