// SPDX-License-Identifier: MIT
// Pages of a page cache from and to a volume.
#include "kernel/block/file/page_io.h"
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/process/task.h"
#include "mm/page_cache.h"

#define SECTORS_PER_PAGE (PAGE_SIZE / BLOCK_SECTOR_BYTES)
// Memory for a request is small and comes back: write-back, which is what frees memory, tries
// again.
#define ALLOCATION_TRIES 1000

static void page_done(
    struct page_cache *cache, struct page *page, enum block_operation operation, int error)
{
    if (operation == BLOCK_READ)
        page_cache_read_done(page, error);
    else
        page_cache_write_done(cache, page, error);
}

// Every segment begins at the beginning of a page and consists of whole pages, but for the last.
static void pages_done(struct block_request *request)
{
    struct page_cache *cache = request->context;
    const int error = request->error;
    for (uint32_t i = 0; i < request->segment_count; i++) {
        const struct block_segment *segment = &request->segments[i];
        struct page *page = pfn_to_page(segment->phys >> PAGE_SHIFT);
        const uint64_t pages = DIV_ROUND_UP(segment->len_bytes, PAGE_SIZE);
        for (uint64_t j = 0; j < pages; j++)
            page_done(cache, page + j, request->operation, error);
    }
    block_request_free(request);
}

static struct block_request *new_request(struct block_volume *volume,
    enum block_operation operation, uint64_t sector, size_t pages, struct page_cache *cache)
{
    const uint32_t segments = (uint32_t)MIN(pages, (size_t)volume->device->limits.max_segments);
    struct block_request *request = NULL;
    for (unsigned tries = 0; request == NULL && tries < ALLOCATION_TRIES; tries++) {
        request = block_request_create(volume, operation, sector, segments, 0, PAGE_ALLOC_ATOMIC);
        if (request == NULL)
            sched_yield();
    }
    if (request == NULL)
        return NULL;
    request->end = pages_done;
    request->context = cache;
    if (operation == BLOCK_READ && !(thread_current()->flags & THREAD_FLAG_KERNEL)) {
        request->priority = task_current()->io_priority;
        request->owner = (uint32_t)task_current()->tid;
    }
    return request;
}

void block_pages_submit(struct block_plug *plug, struct block_volume *volume,
    enum block_operation operation, uint64_t sector, uint64_t end_sector, struct page_cache *cache,
    struct page **pages, size_t count)
{
    struct block_request *request = NULL;
    for (size_t i = 0; i < count; i++, sector += SECTORS_PER_PAGE) {
        uint32_t len = PAGE_SIZE;
        if (sector + SECTORS_PER_PAGE > end_sector) {
            len = sector < end_sector ? (uint32_t)(end_sector - sector) * BLOCK_SECTOR_BYTES : 0;
            if (operation == BLOCK_READ)
                memset((char *)page_to_virt(pages[i]) + len, 0, PAGE_SIZE - len);
        }
        if (len == 0) {
            page_done(cache, pages[i], operation, 0);
            continue;
        }
        const uint64_t phys = page_to_phys(pages[i]);
        if (request != NULL && !block_request_add(request, phys, len)) {
            block_plug_add(plug, request);
            request = NULL;
        }
        if (request == NULL) {
            request = new_request(volume, operation, sector, count - i, cache);
            if (request == NULL) {
                page_done(cache, pages[i], operation, -ENOMEM);
                continue;
            }
            const bool fits = block_request_add(request, phys, len);
            assert(fits); // a page always does: block_limits_complete()
        }
    }
    if (request != NULL)
        block_plug_add(plug, request);
}
