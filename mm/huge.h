// SPDX-License-Identifier: MIT
// Huge pages (2 MiB) of private anonymous memory: theory in huge.c. Private to mm/ but for
// huge_policy.h.
#pragma once

#include "mm/huge_policy.h"
#include "mm/page_internal.h"
#include "mm/page_table.h"

#define HUGE_BYTES PAGE_TABLE_BYTES

struct tlb_gather;
struct tlb_range;
struct vm_area;

// Is it an entry of level 2 that maps a huge page?
static inline bool pte_is_huge(uint64_t upper)
{
    return (upper & PTE_LARGE) != 0;
}
// May the 2 MiB around `address` become a huge page, as far as area and policy go? The area is
// stable.
[[nodiscard]] bool huge_is_eligible(const struct vm_area *area, uintptr_t address);

// ---- pages ----

// A block for a huge page with one mapping, content undefined; NULL: none to be had without
// effort. May not sleep for it.
struct page *huge_page_alloc(const struct vm_area *area, uintptr_t address);
// The same of a block of HUGE_ORDER that was just allocated.
struct page *huge_page_adopt(struct page *head);
// One more or one less entry of level 2 maps the block. The last reference frees it.
void huge_page_map(struct page *head);
void huge_page_unmap(struct page *head);
// A reference to one page of a block that is mapped, and stays so meanwhile; page_put() drops it.
void huge_part_get(struct page *part);
// Does the entry (of level 1 or 2, PTE_ANONYMOUS) refer to a page that nothing else refers to?
// Under the lock of the entry.
[[nodiscard]] bool anonymous_is_exclusive(uint64_t value);

// ---- mappings; space->lock held ----

// A fault on a huge page that is there. True: served. False: it, or one page of it, has to be
// copied.
bool huge_fault_present(struct address_space *space, uint64_t *upper, bool write);
// What a fault does at level 2: *entry is where to go on, in a table that is the space's own; or
// NULL, and the result is that of the fault: 0 (a huge page serves it) or -ENOMEM.
[[nodiscard]] int huge_fault(struct address_space *space, struct vm_area *area, uintptr_t address,
    bool write, uint64_t **entry);
// The level 2 entry leads to a table of 512 small pages afterwards. May sleep. False: no memory.
[[nodiscard]] bool huge_split(struct address_space *space, uint64_t *upper, uintptr_t address);
// The same if a huge page lies on both sides of `address`, which is below USER_END.
[[nodiscard]] int huge_split_at(struct address_space *space, uintptr_t address);
// The page at `address` with a reference, if a huge page that allows the access has it; else NULL.
struct page *huge_pin(struct address_space *space, uintptr_t address, bool write);
bool huge_is_mapped(struct address_space *space, uintptr_t address);
// Takes the huge page of the entry out, if it is one still; returns how many pages that were (0 or
// HUGE_PAGES). Room in gather->huge needed.
int64_t huge_zap(struct tlb_gather *gather, uint64_t *upper, uintptr_t address);
// Flags of the area have changed.
void huge_protect(struct address_space *space, struct tlb_range *stale, uint64_t *upper,
    uintptr_t address, uint32_t vm_flags);
// fork: the child gets the huge page too, read-only on both sides. 0 or -ENOMEM.
[[nodiscard]] int huge_share(struct address_space *parent, struct address_space *child,
    uint64_t *upper, uintptr_t address, bool *restricted);
// mremap: moves the huge page to `to`, a multiple of 2 MiB. 0; -EEXIST: there is a table, split it
// instead; -ENOMEM. space->lock held for writing.
[[nodiscard]] int huge_move(
    struct tlb_gather *gather, uint64_t *upper, uintptr_t from, uintptr_t to);

// A huge page was added (or, negative, taken away).
void huge_count(struct address_space *space, int64_t huge_pages);
