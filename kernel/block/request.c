// SPDX-License-Identifier: MIT
// Requests: making them, filling them, joining neighbours. Pure: no queue, no device.
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/block/internal.h"
#include "mm/slab.h"
#include <linux/errno.h>

#define DEFAULT_MAX_SECTORS       2560 // 1280 KiB, as Linux
#define DEFAULT_SEGMENT_MAX_BYTES (1u << 20)
// How many of the requests that came last are tried as neighbours of a new one: several streams
// interleave, but few.
#define MERGE_TRIES 4

static bool is_power_of_two(uint32_t value)
{
    return value != 0 && (value & (value - 1)) == 0;
}

int block_limits_complete(struct block_limits *limits)
{
    if (limits->logical_block_bytes == 0)
        limits->logical_block_bytes = BLOCK_SECTOR_BYTES;
    if (limits->physical_block_bytes < limits->logical_block_bytes)
        limits->physical_block_bytes = limits->logical_block_bytes;
    if (limits->io_min_bytes == 0)
        limits->io_min_bytes = limits->physical_block_bytes;
    if (limits->max_sectors == 0)
        limits->max_sectors = DEFAULT_MAX_SECTORS;
    if (limits->segment_max_bytes == 0)
        limits->segment_max_bytes = DEFAULT_SEGMENT_MAX_BYTES;
    if (limits->dma_alignment == 0)
        limits->dma_alignment = BLOCK_SECTOR_BYTES;
    if (!is_power_of_two(limits->logical_block_bytes) ||
        limits->logical_block_bytes < BLOCK_SECTOR_BYTES ||
        limits->logical_block_bytes > PAGE_SIZE || !is_power_of_two(limits->dma_alignment) ||
        limits->dma_alignment > limits->logical_block_bytes || limits->max_segments == 0 ||
        limits->segment_max_bytes < PAGE_SIZE)
        return -EINVAL;
    // A request of one block in each segment's worst case must fit.
    limits->max_segments = MIN(limits->max_segments, (uint32_t)UINT16_MAX);
    uint32_t block_sectors = limits->logical_block_bytes / BLOCK_SECTOR_BYTES;
    limits->max_sectors = MAX(ALIGN_DOWN(limits->max_sectors, block_sectors), block_sectors);
    limits->segment_max_bytes = ALIGN_DOWN(limits->segment_max_bytes, limits->logical_block_bytes);
    return 0;
}

struct block_request *block_request_create(struct block_volume *volume,
    enum block_operation operation, uint64_t sector, uint32_t segments, uint16_t flags,
    uint32_t allocation)
{
    struct block_request *request;
    const uint32_t capacity = MIN(segments, volume->device->limits.max_segments);
    request = kmalloc(sizeof(*request) + capacity * sizeof(request->segments[0]), allocation);
    if (request == NULL)
        return NULL;
    memset(request, 0, sizeof(*request));
    request->volume = volume;
    request->operation = operation;
    request->sector = sector;
    request->segment_capacity = (uint16_t)capacity;
    request->flags = flags;
    request->last = request;
    return request;
}

void block_request_free(struct block_request *request)
{
    kfree(request);
}

// May memory at `phys` be the next segment after `last`?
static bool may_follow(
    const struct block_limits *limits, const struct block_segment *last, uint64_t phys)
{
    return !limits->segments_are_pages ||
           ((last->phys + last->len_bytes) % PAGE_SIZE == 0 && phys % PAGE_SIZE == 0);
}

bool block_request_add(struct block_request *request, uint64_t phys, uint32_t len_bytes)
{
    const struct block_limits *limits = &request->volume->device->limits;
    const uint32_t sectors = len_bytes >> BLOCK_SECTOR_SHIFT;
    debug_assert(len_bytes % BLOCK_SECTOR_BYTES == 0);
    debug_assert(!((phys | len_bytes) & (limits->dma_alignment - 1)));
    if (request->sector_count + sectors > limits->max_sectors)
        return false;
    uint32_t count = request->segment_count;
    struct block_segment *last = count != 0 ? &request->segments[count - 1] : NULL;
    bool joins = last != NULL && last->phys + last->len_bytes == phys &&
                 last->len_bytes + len_bytes <= limits->segment_max_bytes &&
                 !(limits->segment_in_page && phys % PAGE_SIZE == 0);
    if (joins) {
        last->len_bytes += len_bytes;
    } else {
        if (count == request->segment_capacity || len_bytes > limits->segment_max_bytes ||
            (last != NULL && !may_follow(limits, last, phys)))
            return false;
        request->segments[count] = (struct block_segment){.phys = phys, .len_bytes = len_bytes};
        request->segment_count++;
        request->total_segments++;
    }
    request->sector_count += sectors;
    request->total_sectors += sectors;
    return true;
}

// Requests of these kinds that travel together must mean the same.
static bool is_mergeable(const struct block_request *first, const struct block_request *next)
{
    const uint16_t same = (uint16_t)(BLOCK_FUA | BLOCK_POLLED);
    return first->operation == next->operation && first->operation <= BLOCK_WRITE &&
           (first->flags & same) == (next->flags & same) && first->priority == next->priority &&
           first->volume == next->volume;
}

bool block_merge(
    const struct block_limits *limits, struct block_request *first, struct block_request *next)
{
    debug_assert(first->last->merged == NULL);
    debug_assert(first != next);
    if (first->sector + first->total_sectors != next->sector || !is_mergeable(first, next) ||
        first->total_sectors + next->total_sectors > limits->max_sectors ||
        (uint32_t)first->total_segments + next->total_segments > limits->max_segments ||
        !may_follow(
            limits, &first->last->segments[first->last->segment_count - 1], next->segments[0].phys))
        return false;
    first->last->merged = next;
    first->last = next->last;
    first->total_sectors += next->total_sectors;
    first->total_segments += next->total_segments;
    first->flags |= next->flags & BLOCK_SYNC;
    return true;
}

bool block_merge_into(
    const struct block_limits *limits, struct list_node *list, struct block_request *request)
{
    struct list_node *node = list->prev;
    const uint64_t from = request->sector, to = from + request->total_sectors;
    for (unsigned tries = 0; tries < MERGE_TRIES && node != list; tries++, node = node->prev) {
        struct block_request *other = list_entry(node, struct block_request, node);
        if (likely(other->sector != to && other->sector + other->total_sectors != from))
            continue; // no neighbour
        if (block_merge(limits, other, request))
            return true;
        if (block_merge(limits, request, other)) {
            list_add_after(&other->node, &request->node);
            list_remove(&other->node);
            return true;
        }
    }
    return false;
}

bool block_add_or_merge(
    const struct block_limits *limits, struct list_node *list, struct block_request *request)
{
    if (block_merge_into(limits, list, request))
        return true;
    list_add_tail(list, &request->node);
    return false;
}
