// SPDX-License-Identifier: MIT
// Areas of an address space: the tree, splitting, merging, free addresses; and what happens to
// pages of a range. Private to mm/.
#pragma once

#include "kernel/base/assert.h"
#include "mm/address_space.h"
#include "mm/tlb.h"

void area_init(void); // slab cache

// A zeroed area, or NULL; not in the tree. area_dispose frees one without calling close(), after a
// grace period if others may have found it without the lock.
struct vm_area *area_alloc(void);
void area_dispose(struct vm_area *area);

// ---- space->lock held for writing ----

// Before something about the area or what is mapped in it changes, or is read that faults without
// the lock change: from then on, and until the lock is given up, they leave the area alone (V1 of
// fault_view.h). Entries that one was about to add may still appear until the lock of their table
// has been taken once.
static inline void area_change(struct vm_area *area)
{
    debug_assert(!(area->flags & VM_LEAVING)); // A4 of area.c
    // With a full barrier: what is read next is not older (V4).
    __atomic_exchange_n(&area->changed_in, area->space->write_hold, __ATOMIC_SEQ_CST);
}
// The same for one that leaves: no fault without the lock finds it any more.
#define AREA_LEAVES UINT64_MAX
static inline void area_leave(struct vm_area *area)
{
    __atomic_exchange_n(&area->changed_in, AREA_LEAVES, __ATOMIC_SEQ_CST);
}
// This hold's changes are over.
static inline void space_changes_end(struct address_space *space)
{
    __atomic_store_n(&space->write_hold, space->write_hold + 1, __ATOMIC_RELEASE);
}
// Gives space->lock, held for writing, up, or up but for reading.
static inline void space_write_unlock(struct address_space *space)
{
    space_changes_end(space);
    rwlock_write_unlock(&space->lock);
}
static inline void space_write_downgrade(struct address_space *space)
{
    space_changes_end(space);
    rwlock_write_downgrade(&space->lock);
}
// Can nobody else be in a fault of this space? For one of its users, or with none.
static inline bool space_is_alone(const struct address_space *space)
{
    return __atomic_load_n(&space->users, __ATOMIC_ACQUIRE) <= 1;
}

// Links a complete area into the tree and its cache's list; counts it. Nothing may overlap.
void area_insert(struct address_space *space, struct vm_area *area);
// Takes it out again. The area keeps its members.
void area_remove(struct address_space *space, struct vm_area *area);
// New bounds; cache_index follows a changed start. Order in the tree must not change. The start of
// an area with a cache stays (V3 of fault_view.h).
void area_resize(struct vm_area *area, uintptr_t start, uintptr_t end);
// Cuts in two at `address` (inside); the upper part is a new area, opened. -ENOMEM.
[[nodiscard]] int area_split(struct address_space *space, struct vm_area *area, uintptr_t address);
// Merges with neighbours that continue it. Returns the area that covers it then.
struct vm_area *area_merge(struct address_space *space, struct vm_area *area);
// Splits so that no area crosses start or end. -ENOMEM (some splits may have been made: harmless).
[[nodiscard]] int area_split_range(struct address_space *space, uintptr_t start, uintptr_t end);
// Free addresses for len bytes, from mmap_base downwards, else above it, and with low_2g below 2
// GiB; 0: none.
uintptr_t area_place(struct address_space *space, size_t len_bytes, bool low_2g);
// Does any area overlap [start, end), leaving ones among them?
bool area_overlaps(struct address_space *space, uintptr_t start, uintptr_t end);
// vm_area_find() and vm_area_next() that see leaving areas too.
struct vm_area *area_find_any(struct address_space *space, uintptr_t address);
struct vm_area *area_next_any(struct vm_area *area);

// ---- unmap.c; space->lock held for writing ----

// Nothing that overlaps [start, end) is being unmapped by another thread when it returns. True: it
// had to wait, and gave the lock up meanwhile.
bool unmap_wait(struct address_space *space, uintptr_t start, uintptr_t end);
// Removes everything in [start, end), where nothing is being unmapped (unmap_wait()), all under the
// one hold of the lock. -ENOMEM: nothing was removed.
[[nodiscard]] int area_unmap_range(struct address_space *space, uintptr_t start, uintptr_t end);
// Does an unmapping without the lock reach into [start, end)? Then page tables that cover the range
// have to stay; it frees them when it ends, if they are still empty.
[[nodiscard]] bool unmap_reaches_into(
    struct address_space *space, uintptr_t start, uintptr_t end);
[[nodiscard]] static inline bool unmap_keeps_tables(
    struct address_space *space, uintptr_t start, uintptr_t end)
{
    return unlikely(!list_is_empty(&space->unmappings)) && unmap_reaches_into(space, start, end);
}

// ---- pages; zap.c ----

enum zap_kind {
    ZAP_UNMAP,     // all; tables that are shared with other spaces go whole, so those at the edges
                   // were made own before (shared_table_own_edges())
    ZAP_TRUNCATE,  // all of areas with a cache, whose pages are in no shared table (H6)
    ZAP_FILE_ONLY, // the same, but private copies stay
};
// Removes the pages of [start, end), which lies in one area or not. L2 of page_table.h. Returns
// where it stopped: before `end` if a huge page there reaches beyond the range (it appeared after
// huge_split_at(); only where space->lock is held for reading).
uintptr_t zap_range(struct tlb_gather *gather, uintptr_t start, uintptr_t end, enum zap_kind kind);

// ---- space.c ----

[[nodiscard]] bool space_init(void); // slab cache; false: no memory

// ---- fault.c ----

#define FAULT_AGAIN 1 // internal: look again
// Brings in the page at `address` of an area that allows the access; space->lock held for reading
// at least. 0 or -errno as mm_page_fault.
[[nodiscard]] int fault_in_page(
    struct address_space *space, struct vm_area *area, uintptr_t address, bool write);
// Brings in all pages of [start, end) that areas allow; takes space->lock itself. 0, -ENOMEM
// (hole), -EFAULT, -EIO...
[[nodiscard]] int fault_in_range(
    struct address_space *space, uintptr_t start, uintptr_t end, bool write, bool need_access);

// Enough room under RLIMIT_AS and the machine's memory for `len` more bytes with these flags?
[[nodiscard]] bool space_may_grow(
    const struct address_space *space, size_t len_bytes, uint32_t flags);

// Everything about the areas and tables adds up (O(n)); under space->lock.
bool address_space_is_valid(struct address_space *space);
// The same after a change. It goes over all areas, so in a space with many it is done now and then
// only: a program that maps page by page would need hours otherwise.
#define AREAS_CHECKED_ALWAYS 128
#define AREAS_CHECKED_EVERY  1024
static inline bool address_space_is_valid_sampled(struct address_space *space)
{
    bool due =
        space->area_count <= AREAS_CHECKED_ALWAYS || space->area_count % AREAS_CHECKED_EVERY == 0;
    return !due || address_space_is_valid(space);
}
