// SPDX-License-Identifier: MIT
// Pages of an object that has an offset: a file, a tmpfs file, shared anonymous memory.
#pragma once

#include "kernel/base/list.h"
#include "kernel/base/xarray.h"
#include "kernel/core/mutex.h"
#include "kernel/core/spinlock.h"
#include "mm/page.h"

struct page_cache;

struct page_cache_ops {
    // Fills a new page (kernel address `to`) for `index`. NULL: pages start as zeroes (tmpfs,
    // shared memory). 0 or -errno. May sleep.
    int (*read_page)(struct page_cache *cache, uint64_t index, void *to);
    // Writes a dirty page back. NULL: memory only, never written, never reclaimed.
    int (*write_page)(struct page_cache *cache, uint64_t index, const void *from);
    // The same for many, without waiting: `count` pages of consecutive indices, for which the
    // caller has PAGE_LOCKED and hands over a reference each. Each gets page_cache_read_done(), at
    // once or later. Instead of read_page. Must not sleep for the device; may for memory.
    void (*read_pages)(struct page_cache *cache, struct page **pages, size_t count);
    // Dirty pages of consecutive indices, with PAGE_WRITEBACK and a reference each: each gets
    // page_cache_write_done(). Instead of write_page.
    void (*write_pages)(struct page_cache *cache, struct page **pages, size_t count);
    // May a new page be charged (tmpfs size limit)? NULL: yes. 0 or -ENOSPC; and its undoing for
    // `pages` pages.
    int (*charge)(struct page_cache *cache, uint64_t pages);
    void (*uncharge)(struct page_cache *cache, uint64_t pages);
};

struct page_cache {
    struct xarray pages;    // index → struct page *; readers under RCU, writers under lock
    struct spinlock lock;   // pages, count, areas
    uint64_t count;         // pages present
    struct list_node areas; // vm_area.cache_node of all areas that map it: for truncation
    // Held for reading while pages are added by faults and I/O, for writing by truncation; never
    // across a copy to or from user memory (the fault may need it). Order: space->lock, truncate.
    struct rwlock truncate;
    const struct page_cache_ops *ops;
    void *owner; // the inode
    // For caches with write_pages (page_cache_io.c):
    struct list_node dirty_node; // list of caches that may have dirty pages; under its lock
    uint64_t dirty_since_ns;     // since when it is on that list
    uint64_t writing;            // pages with PAGE_WRITEBACK; atomic
    int32_t write_error;         // of a write-back that nobody has been told of; atomic
    uint32_t writers;            // background writers that look at it; under the list's lock
    uint64_t size_bytes; // end of the object: faults beyond it are SIGBUS; written under `truncate`
};

void page_cache_init(struct page_cache *cache, const struct page_cache_ops *ops, void *owner);
void page_cache_destroy(struct page_cache *cache); // drops all pages; nobody maps it any more
// The page at index with a reference: from the cache, or new. *result NULL with create=false: a
// hole. -ENOMEM, -ENOSPC, -EIO. May sleep.
[[nodiscard]] int page_cache_get(
    struct page_cache *cache, uint64_t index, bool create, struct page **result);
// Without sleeping: a present, up-to-date page with a reference, or NULL.
struct page *page_cache_lookup(struct page_cache *cache, uint64_t index);
void page_cache_mark_dirty(struct page_cache *cache, struct page *page);
// Sets the size; unmaps and drops whole pages beyond it, zeroes the rest of the last page. May
// sleep.
void page_cache_truncate(struct page_cache *cache, uint64_t size_bytes);
void page_cache_punch(
    struct page_cache *cache, uint64_t start_bytes, uint64_t end_bytes); // zeroes and drops a range
// Writes all dirty pages and waits until they are written; the error of any write since the last
// call.
[[nodiscard]] int page_cache_sync(struct page_cache *cache);

static inline bool page_cache_reads(const struct page_cache *cache)
{
    return cache->ops->read_page != NULL || cache->ops->read_pages != NULL;
}
static inline bool page_cache_writes(const struct page_cache *cache)
{
    return cache->ops->write_page != NULL || cache->ops->write_pages != NULL;
}

// ---- page_cache_io.c: caches with read_pages and write_pages ----
// A page of read_pages or write_pages is done; takes the reference. Any context but NMI.
void page_cache_read_done(struct page *page, int error);
void page_cache_write_done(struct page_cache *cache, struct page *page, int error);
// Begins to read those of the pages [index, index + count) that are missing; does not wait.
void page_cache_read_ahead(struct page_cache *cache, uint64_t index, size_t count);
// The page, with a reference and PAGE_LOCKED, without reading it, for somebody who is going to
// overwrite all of it; NULL: it is there already, or somebody reads it. Then either
// page_cache_overwritten() (its content is valid) or page_cache_read_instead(). -ENOMEM...
[[nodiscard]] int page_cache_get_overwrite(
    struct page_cache *cache, uint64_t index, struct page **result);
void page_cache_overwritten(struct page *page);
[[nodiscard]] int page_cache_read_instead(struct page_cache *cache, struct page *page);
// Begins to write the dirty pages of [first, last]; at most `limit`. How many.
uint64_t page_cache_write_back(
    struct page_cache *cache, uint64_t first, uint64_t last, uint64_t limit);
// Writes and waits, but tells nothing about errors of earlier writes.
void page_cache_write_wait(struct page_cache *cache, uint64_t first, uint64_t last);
// Drops pages of [first, last] that are clean and that nobody uses otherwise; mapped ones are
// unmapped. Returns whether any had to stay.
bool page_cache_invalidate(struct page_cache *cache, uint64_t first, uint64_t last);
// After dirtying pages: waits while more are dirty than memory can bear.
void page_cache_balance(struct page_cache *cache);
void page_cache_write_all(void); // sync(2): writes everything and waits
// Next index at or after `from` that is present (data=true) or absent; for SEEK_DATA and SEEK_HOLE.
uint64_t page_cache_seek(struct page_cache *cache, uint64_t from, bool data);
