// SPDX-License-Identifier: MIT
// What the files of the page cache share.
#pragma once

#include "kernel/core/wait.h"
#include "mm/page_cache.h"

#define DIRTY_MARK XARRAY_MARK_0 // C3

// Who waits for any page that is being read; rare enough to share.
extern struct wait_queue page_cache_read_queue;

static inline void page_flag_set(struct page *page, uint32_t flags)
{
    __atomic_fetch_or(&page->flags, flags, __ATOMIC_RELEASE);
}
static inline void page_flag_clear(struct page *page, uint32_t flags)
{
    __atomic_fetch_and(&page->flags, ~flags, __ATOMIC_RELEASE);
}
static inline uint32_t page_flags(const struct page *page)
{
    return __atomic_load_n(&page->flags, __ATOMIC_ACQUIRE);
}

// A page with the caller's reference and the cache's, not up to date, PAGE_LOCKED if the cache
// reads; -EEXIST if somebody was faster.
[[nodiscard]] int page_cache_add(struct page_cache *cache, uint64_t index, struct page **result);
// Waits until somebody has read the page. 0, -EIO (and it is gone), -EINTR.
[[nodiscard]] int page_cache_wait_read(struct page_cache *cache, struct page *page);
void page_cache_dirty_count(const struct page_cache *cache, int64_t pages);
// From here on writes through mappings of these pages are noticed. Under cache->lock.
void page_cache_protect(struct page_cache *cache, uint64_t first, uint64_t last);

// page_cache_io.c
void page_cache_note_dirty(struct page_cache *cache);   // it has its first dirty page
void page_cache_forget_dirty(struct page_cache *cache); // it goes away: waits for writers
void page_cache_write_soon(void);                       // memory is short
