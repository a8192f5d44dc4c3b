// SPDX-License-Identifier: MIT
// What the files of mm/ share about page accounting and reclaim. Private to mm/.
#pragma once

#include "kernel/core/percpu.h"
#include "mm/page.h"

// Pages in use by kind: per-CPU sums, so a CPU's own value may be negative.
struct page_usage {
    int64_t cache, anonymous, slab, table, stack, shared, dirty, mapped, huge;
};
PERCPU_DECLARE(struct page_usage, page_usage);

#define page_usage_add(kind, pages) ((void)(this_cpu(page_usage).kind += (pages)))

// CPUs up to `possible` whose per-CPU area exists.
#define for_each_percpu(cpu)                                                                       \
    for (uint32_t cpu = 0; cpu < MAX(cpu_count_possible, 1u); cpu++)                               \
        if (cpu == 0 || percpu_offset[cpu] != 0)

// Gives at least `pages` clean unmapped page-cache pages back, if there are that many; returns how
// many. May sleep.
uint64_t page_cache_reclaim(uint64_t pages);

// A huge page is a block of this order; its first struct page is its head (huge.c).
#define HUGE_ORDER 9
#define HUGE_PAGES (UINT64_C(1) << HUGE_ORDER)
static inline struct page *huge_head(struct page *page)
{
    return pfn_to_page(page_to_pfn(page) & ~(HUGE_PAGES - 1));
}

// Pages [0, count) each lose a reference; those that lose their last are freed, in one batch.
void page_put_many(struct page **pages, size_t count);

// Nobody knows what the pages of a free block hold any more: debug builds expect nothing.
void page_content_unknown(struct page *page, unsigned order);

// True if `pages` more can reasonably be promised to programs (total memory, not free memory).
uint64_t page_total(void);

// The running CPU's list goes back to the zones. Interrupts off.
void page_cpu_leave(void);

// Fills in what page allocation needs after memory_init_early().
void page_init(void);
// What page_init() can't do yet: task context.
void page_start(void);

// A reference to a page found under RCU, unless it is just being reclaimed (C5 of page_cache.c).
static inline bool page_try_get(struct page *page)
{
    uint32_t count = __atomic_load_n(&page->refcount, __ATOMIC_RELAXED);
    while (count != 0) {
        if (__atomic_compare_exchange_n(
                &page->refcount, &count, count + 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
            return true;
    }
    return false;
}
