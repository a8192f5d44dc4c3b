// SPDX-License-Identifier: MIT
// Pages of a page cache from and to a volume: what file systems' read_pages and write_pages do.
#pragma once

#include "kernel/block/block.h"

struct page;
struct page_cache;

// Reads or writes `count` pages of consecutive sectors (page_cache.h: read_pages, write_pages) in
// as few requests as the device allows, added to the plug; each page gets page_cache_read_done() or
// page_cache_write_done(). What lies behind `end_sector` is zeroed or left out.
void block_pages_submit(struct block_plug *plug, struct block_volume *volume,
    enum block_operation operation, uint64_t sector, uint64_t end_sector, struct page_cache *cache,
    struct page **pages, size_t count);
