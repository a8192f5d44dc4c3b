// SPDX-License-Identifier: MIT
// The path that everything else is compared with: boot option block.copy. A queue has one request
// at a time, and its data goes through memory of the kernel.
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/block/internal.h"
#include "kernel/core/option.h"
#include "mm/slab.h"

bool block_copy;
BOOT_OPTION_BOOL(block_copy, "block.copy",
    "For comparison: block requests go one at a time, unmerged, and their data is copied through "
    "memory of the kernel.");

// Where the data of a request's segments belongs.
struct copy_buffer {
    uint64_t phys[1]; // segment_count elements
};

static unsigned order_of(const struct block_segment *segment)
{
    const uint64_t bytes = segment->phys % PAGE_SIZE + segment->len_bytes;
    unsigned order = 0;
    while ((PAGE_SIZE << order) < bytes)
        order++;
    return order;
}

static void release(struct block_request *request, uint32_t count)
{
    struct copy_buffer *buffer = request->copy_buffer;
    for (uint32_t i = 0; i < count; i++) {
        struct block_segment *segment = &request->segments[i];
        page_free(pfn_to_page(segment->phys >> PAGE_SHIFT), order_of(segment));
        segment->phys = buffer->phys[i];
    }
    kfree(buffer);
    request->copy_buffer = NULL;
}

static void copy(uint64_t to, uint64_t from, uint32_t len_bytes)
{
    memcpy(phys_to_virt(to), phys_to_virt(from), len_bytes);
    counter_add(io, copied_bytes, len_bytes);
}

// Each segment gets memory of its own, at the same place within a page. False: no memory.
bool block_copy_begin(struct block_request *request)
{
    const uint32_t count = request->segment_count;
    if (count == 0)
        return true;
    struct copy_buffer *buffer = kmalloc(count * sizeof(buffer->phys[0]), PAGE_ALLOC_ATOMIC);
    if (buffer == NULL)
        return false;
    request->copy_buffer = buffer;
    for (uint32_t i = 0; i < count; i++) {
        struct block_segment *segment = &request->segments[i];
        struct page *page = page_alloc(order_of(segment), PAGE_ALLOC_ATOMIC);
        if (page == NULL) {
            release(request, i);
            return false;
        }
        buffer->phys[i] = segment->phys;
        segment->phys = page_to_phys(page) + segment->phys % PAGE_SIZE;
        if (request->operation == BLOCK_WRITE)
            copy(segment->phys, buffer->phys[i], segment->len_bytes);
    }
    return true;
}

void block_copy_end(struct block_request *request)
{
    const struct copy_buffer *buffer = request->copy_buffer;
    for (uint32_t i = 0; i < request->segment_count; i++) {
        if (request->operation == BLOCK_READ && request->error == 0)
            copy(buffer->phys[i], request->segments[i].phys, request->segments[i].len_bytes);
    }
    release(request, request->segment_count);
}
