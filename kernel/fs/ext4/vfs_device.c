// SPDX-License-Identifier: MIT
// The core's device: a block volume.
#include "kernel/base/assert.h"
#include "kernel/block/file/file.h"
#include "kernel/core/errno.h"
#include "kernel/core/time.h"
#include "kernel/fs/ext4/vfs.h"
#include "mm/slab.h"

#define ALLOCATION_TRIES 1000 // memory for requests is small and comes back

// Writes that are waited for together.
struct batch {
    uint32_t pending; // requests under way, and one for the submitter; atomic
    int32_t error;    // of any; atomic
    struct completion done;
};

static void batch_put(struct batch *batch)
{
    if (__atomic_sub_fetch(&batch->pending, 1, __ATOMIC_ACQ_REL) == 0)
        completion_complete(&batch->done);
}

static void batch_end(struct block_request *request)
{
    struct batch *batch = request->context;
    if (request->error != 0)
        __atomic_store_n(&batch->error, request->error, __ATOMIC_RELAXED);
    block_request_free(request);
    batch_put(batch);
}

static struct block_request *new_request(
    struct ext4_mount *mount, uint64_t sector, size_t segments, struct batch *batch)
{
    struct block_request *request = NULL;
    segments = MIN(segments, (size_t)block_volume_limits(mount->volume)->max_segments);
    for (unsigned tries = 0; request == NULL && tries < ALLOCATION_TRIES; tries++) {
        request = block_request_create(
            mount->volume, BLOCK_WRITE, sector, (uint32_t)segments, BLOCK_SYNC, PAGE_ALLOC_ATOMIC);
        if (request == NULL)
            sched_yield();
    }
    if (request == NULL)
        return NULL;
    request->end = batch_end;
    request->context = batch;
    __atomic_fetch_add(&batch->pending, 1, __ATOMIC_RELAXED);
    return request;
}

static int device_read(void *context, uint64_t block, uint32_t block_bytes, void *data)
{
    struct ext4_mount *mount = context;
    const uint64_t sectors = block_bytes / BLOCK_SECTOR_BYTES;
    return block_transfer(mount->volume, BLOCK_READ, block * sectors, data, sectors, BLOCK_SYNC);
}

// Neighbours become one request.
static int write_batch(
    struct ext4_mount *mount, const struct ext4_write *writes, size_t count, uint32_t block_bytes)
{
    const uint64_t sectors = block_bytes / BLOCK_SECTOR_BYTES;
    struct batch batch = {.pending = 1};
    struct block_plug plug;
    struct block_request *request = NULL;
    completion_init(&batch.done);
    block_plug_begin(&plug);
    for (size_t i = 0; i < count; i++) {
        const uint64_t phys = virt_to_phys(writes[i].data);
        const bool follows = request != NULL && writes[i].block == writes[i - 1].block + 1;
        if (follows && block_request_add(request, phys, block_bytes))
            continue;
        if (request != NULL)
            block_plug_add(&plug, request);
        request = new_request(mount, writes[i].block * sectors, count - i, &batch);
        if (request == NULL) {
            __atomic_store_n(&batch.error, -ENOMEM, __ATOMIC_RELAXED);
            break;
        }
        const bool fits = block_request_add(request, phys, block_bytes);
        assert(fits); // a block is at most a page
    }
    if (request != NULL)
        block_plug_add(&plug, request);
    block_plug_end(&plug);
    batch_put(&batch);
    completion_wait(&batch.done);
    return batch.error;
}

static int device_write(
    void *context, const struct ext4_write *writes, size_t count, uint32_t block_bytes, bool fua)
{
    struct ext4_mount *mount = context;
    const uint64_t sectors = block_bytes / BLOCK_SECTOR_BYTES;
    if (count != 1)
        return write_batch(mount, writes, count, block_bytes);
    return block_transfer(mount->volume, BLOCK_WRITE, writes->block * sectors, writes->data,
        sectors, BLOCK_SYNC | (fua ? BLOCK_FUA : 0));
}

static int device_flush(void *context)
{
    struct ext4_mount *mount = context;
    return block_transfer(mount->volume, BLOCK_FLUSH, 0, NULL, 0, 0);
}

static struct slab_cache *block_caches[2]; // blocks of 1 and 2 KiB; made by the first mount, one at
                                           // a time

// Blocks of metadata: pages, or parts of pages that do not cross one.
static void *device_memory_alloc(void *context, uint32_t block_bytes)
{
    if (block_bytes == PAGE_SIZE) {
        struct page *page = page_alloc(0, 0);
        return page != NULL ? page_to_virt(page) : NULL;
    }
    struct slab_cache **cache = &block_caches[block_bytes == 2048];
    if (*cache == NULL)
        *cache = slab_cache_create(
            block_bytes == 2048 ? "ext4-block-2k" : "ext4-block-1k", block_bytes, block_bytes);
    return *cache != NULL ? slab_alloc(*cache, 0) : NULL;
}

static void device_memory_free(void *context, void *memory, uint32_t block_bytes)
{
    if (block_bytes == PAGE_SIZE)
        page_free(virt_to_page(memory), 0);
    else
        slab_free(block_caches[block_bytes == 2048], memory);
}

static int64_t device_now(void *context)
{
    return time_realtime_ns();
}

static const struct ext4_device_ops device_ops = {
    .read = device_read,
    .write = device_write,
    .flush = device_flush,
    .memory_alloc = device_memory_alloc,
    .memory_free = device_memory_free,
    .now_ns = device_now,
};

void ext4_device_init(struct ext4_mount *mount)
{
    mount->device.ops = &device_ops;
    mount->device.context = mount;
    mount->device.size_bytes = block_volume_bytes(mount->volume);
    mount->device.read_only = block_volume_is_read_only(mount->volume);
    for (size_t i = 0; i + 1 < sizeof(mount->device.name); i++)
        mount->device.name[i] = mount->volume->name[i];
}
