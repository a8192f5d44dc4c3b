// SPDX-License-Identifier: MIT
// Translation look-aside buffers: which CPU may have stale entries, and how they go away. Theory in
// tlb.c.
#pragma once

#include "kernel/base/list.h"
#include "kernel/base/types.h"

struct address_space;
struct page;

// On the CPU whose TLB is meant, interrupts off: drops entries of [start, end) of the address space
// that is loaded, or of the kernel if start lies in the kernel's half; end == UINT64_MAX: all of
// them. What the native pv_flush_tlb_others makes its target CPUs do; cheap if the CPU has caught
// up meanwhile.
void mm_flush_local(uintptr_t start, uintptr_t end);

// After entries of [start, end) were removed or restricted: no CPU uses an old one any more when
// this returns, save CPUs that use the space lazily; with tables_freed those neither. Preemption
// may be on or off, interrupts on.
void tlb_flush_space(
    struct address_space *space, uintptr_t start, uintptr_t end, bool tables_freed);
// Kernel addresses, all CPUs. Interrupts on.
void tlb_flush_kernel(uintptr_t start, uintptr_t end);

// Addresses whose entries were restricted: what tlb_flush_space() is told. Starts as
// TLB_RANGE_EMPTY.
struct tlb_range {
    uintptr_t start, end;
};
#define TLB_RANGE_EMPTY ((struct tlb_range){UINTPTR_MAX, 0})
static inline void tlb_range_add(struct tlb_range *range, uintptr_t address)
{
    if (address < range->start)
        range->start = address;
    if (address >= range->end)
        range->end = address + PAGE_SIZE;
}

// Pages that an unmapping takes out. They lose their reference, and page-table pages are freed,
// after the flush.
#define TLB_GATHER_INLINE 32
#define TLB_GATHER_SHARED 8
#define TLB_GATHER_HUGE   8
struct tlb_gather {
    struct address_space *space;
    uintptr_t start, end; // what has to be flushed; empty: start > end
    bool tables_freed;
    bool tables_emptied; // a table lost its last entry, and was not freed yet; stays set
    uint32_t count, capacity;
    struct page **pages;
    struct page *batch;      // page that `pages` lies in, once the inline array was not enough
    struct list_node tables; // page-table pages, all zero
    uint32_t shared_count;
    struct page *shared_tables[TLB_GATHER_SHARED]; // tables that lose a user; see shared_table.c
    uint32_t huge_count;
    struct page *huge[TLB_GATHER_HUGE]; // blocks that lose a mapping; see huge.c
    struct page *inline_pages[TLB_GATHER_INLINE];
};
// A gather on the stack, without clearing its arrays.
#define TLB_GATHER(name) struct tlb_gather name __attribute__((uninitialized))
void tlb_gather_begin(struct tlb_gather *gather, struct address_space *space);
// May another page be added? If not: tlb_gather_flush() without spin locks held.
static inline bool tlb_gather_is_full(const struct tlb_gather *gather)
{
    return gather->count == gather->capacity;
}
// The page loses a reference at the flush. The caller has checked that there is room.
static inline void tlb_gather_page(struct tlb_gather *gather, struct page *page)
{
    gather->pages[gather->count++] = page;
}
// The entry at address was removed or restricted and may be in a TLB.
static inline void tlb_gather_address(struct tlb_gather *gather, uintptr_t address)
{
    if (address < gather->start)
        gather->start = address;
    if (address >= gather->end)
        gather->end = address + PAGE_SIZE;
}
void tlb_gather_flush(struct tlb_gather *gather); // can go on gathering afterwards
void tlb_gather_finish(struct tlb_gather *gather);
