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
    void *owner;         // the inode
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
[[nodiscard]] int page_cache_sync(struct page_cache *cache);
// Next index at or after `from` that is present (data=true) or absent; for SEEK_DATA and SEEK_HOLE.
uint64_t page_cache_seek(struct page_cache *cache, uint64_t from, bool data);
