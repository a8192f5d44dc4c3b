// SPDX-License-Identifier: MIT
// Page tables of programs. Private to mm/.
//
// An entry of the lowest level is
//   0                      nothing there
//   PTE_PRESENT ...        a page, as the processor sees it
//   PTE_KEPT without PTE_PRESENT   a page that may not be touched (PROT_NONE) but keeps its content
// with two more bits of our own: PTE_ANONYMOUS, private memory of this space (counted in
// resident_anonymous; others that hold a reference are in resident_file); and PTE_BORROWED, a page
// that is not reference counted (the zero page, the vDSO).
//
// Locking:
//   L1  Entries of a level 1 table change under the spin lock in the table's struct page.
//   L2  Entries of the upper levels go from 0 to a table and back under space->table_lock. They may
//   be followed by who holds
//       space->lock (then no table goes away: only who has it for writing frees tables) or
//       space->table_lock; and by an unmapping without these, for the range that it has reserved
//       (R3 of unmap.c); and under RCU by a fault, which looks under the table's lock whether it is
//       still in use (V2 of fault_view.h).
//   L3  used_entries of a table is the number of its entries that are not 0, anonymous_entries of
//   those with PTE_ANONYMOUS; same lock as the entries. Only a table with none is freed, so a freed
//   table is all zero and serves as a new one without being cleared.
//   L4  A table of level 1 that other spaces share does not change (H1 to H5 of shared_table.c).
//   L5  An entry of level 2 can map a huge page instead (PTE_LARGE): U1 to U6 of huge.c.
#pragma once

#include "kernel/arch/x86/paging.h"
#include "mm/address_space.h"

#define PTE_BORROWED  PTE_SOFT1
#define PTE_ANONYMOUS PTE_SOFT2
#define PTE_KEPT      PTE_SOFT3

// In an entry of level 2: the table has users in other spaces; see shared_table.c.
#define PTE_TABLE_SHARED PTE_SOFT1

#define PAGE_TABLE_BYTES (UINT64_C(1) << PAGE_LEVEL_SHIFT(2)) // what a table of level 1 covers

static inline bool pte_is_page(uint64_t entry)
{
    return (entry & (PTE_PRESENT | PTE_KEPT)) != 0;
}
static inline struct page *pte_page(uint64_t entry)
{
    return pfn_to_page((entry & PTE_ADDRESS) >> PAGE_SHIFT);
}
static inline struct spinlock *page_table_lock_of(const uint64_t *entry)
{
    return &virt_to_page(entry)->table_lock;
}
// For a level 1 entry, under its table's lock.
static inline void pte_set(uint64_t *entry, uint64_t value)
{
    if ((*entry == 0) != (value == 0))
        virt_to_page(entry)->used_entries += value != 0 ? 1 : -1u;
    __atomic_store_n(entry, value, __ATOMIC_RELAXED);
}
// The processor sets bits on its own: takes the old value atomically. Only for entries that may be
// in use by other CPUs.
static inline uint64_t pte_exchange(uint64_t *entry, uint64_t value)
{
    uint64_t old = __atomic_exchange_n(entry, value, __ATOMIC_SEQ_CST);
    if ((old == 0) != (value == 0))
        virt_to_page(entry)->used_entries += value != 0 ? 1 : -1u;
    return old;
}
// Entries with PTE_ANONYMOUS were added to the table of `entry` (or, negative, removed). L3.
static inline void page_table_count_anonymous(const uint64_t *entry, int64_t entries)
{
    struct page *table = virt_to_page(entry);
    table->anonymous_entries = (uint16_t)(table->anonymous_entries + entries);
}

// An all-zero page for a table, or NULL. May sleep.
struct page *page_table_alloc(void);
void page_table_free(struct page *table); // all zero again
// The same for one that faults of `space` may still look at (V2 of fault_view.h); NULL: of any.
void page_table_free_later(struct address_space *space, struct page *table);
// Those faults that were in the entry's table before the area was changed are out of it.
static inline void page_table_settle(uint64_t *entry)
{
    spin_lock(page_table_lock_of(entry));
    spin_unlock(page_table_lock_of(entry));
}
// The free tables that the running CPU keeps are freed. Preemption off.
void page_table_cpu_leave(void);

// The level 1 entry for the address, or NULL if there is no table. L2, and H5 of shared_table.c:
// with space->table_lock held, or space->lock for writing.
uint64_t *page_table_find(struct address_space *space, uintptr_t address);
// The level 2 entry for the address, or NULL if there is no table of that level.
uint64_t *page_table_find_upper(struct address_space *space, uintptr_t address);
// The level 1 entry, if it lies in a table that no other space shares; else NULL. space->lock held.
uint64_t *page_table_find_own(struct address_space *space, uintptr_t address);
// The same, with tables made as needed, shared ones made own, and huge pages split; NULL: no
// memory. space->lock held, may sleep.
uint64_t *page_table_make(struct address_space *space, uintptr_t address);
// The level 2 entry for the address, made as needed. Otherwise as page_table_make().
uint64_t *page_table_make_upper(struct address_space *space, uintptr_t address);
// What a level 2 entry that leads to the table is.
uint64_t page_table_upper_entry(const struct page *table);

// Where a level 1 entry, or a huge page, lies.
struct page_table_place {
    uint64_t *entry; // may be followed if !shared, or under H5; NULL for a huge page
    uint64_t *upper; // level 2
    bool shared;     // what `upper` said when it was read
    bool huge;       // the same: it maps a huge page
    uintptr_t next;  // first address beyond the table or huge page
};
// First address at or after `address` and below `end` that a level 1 table or a huge page covers,
// with its place; `end` if there is none. L2. *place is that of the call before, or all zero: the
// next table is found at once if it is the neighbour.
uintptr_t page_table_next(
    struct address_space *space, uintptr_t address, uintptr_t end, struct page_table_place *place);
// The entry of a page (level 1 or 2) for new flags of its area, under the entry's lock; and does it
// allow less than `old`? In protect.c.
uint64_t pte_protected(uint64_t value, uint32_t vm_flags);
static inline bool pte_is_restricted(uint64_t old, uint64_t changed)
{
    return (old & ~changed & (PTE_PRESENT | PTE_WRITE)) || (~old & changed & PTE_NX);
}

// Takes empty tables that cover [start, end) out; they go to gather->tables. space->lock held for
// writing.
struct tlb_gather;
void page_table_trim(
    struct address_space *space, struct tlb_gather *gather, uintptr_t start, uintptr_t end);

// Entry bits of a page in an area of these VM_* flags; `writable` further restricts.
static inline uint64_t pte_flags_of(uint32_t vm_flags, bool writable)
{
    uint64_t flags = PTE_USER | PTE_ACCESSED;
    flags |= vm_flags & (VM_READ | VM_WRITE | VM_EXEC) ? PTE_PRESENT : PTE_KEPT;
    if (writable && (vm_flags & VM_WRITE))
        flags |= PTE_WRITE | PTE_DIRTY;
    if (!(vm_flags & VM_EXEC))
        flags |= PTE_NX;
    return flags;
}
