// SPDX-License-Identifier: MIT
// Ram disks: /dev/ram0 and so on. Sectors in memory, for tests, for installers, and as the device
// that shows what the block layer itself costs.
//
// Pages are made when they are first written; one that is missing reads as zeroes, and discarding
// frees pages. A page is replaced by nobody, only added and removed, so that a copy needs the
// page's reference and no lock.
#include "kernel/block/ram_disk.h"
#include "kernel/base/assert.h"
#include "kernel/base/fmt.h"
#include "kernel/base/string.h"
#include "kernel/base/xarray.h"
#include "kernel/block/block.h"
#include "kernel/core/errno.h"
#include "kernel/core/log.h"
#include "kernel/core/option.h"
#include "kernel/core/rcu.h"
#include "mm/slab.h"
#include <linux/major.h>

#define RAM_DISK_QUEUE_DEPTH 128
#define RAM_DISK_MINORS      16
#define SECTORS_PER_PAGE     (PAGE_SIZE / BLOCK_SECTOR_BYTES)

static uint64_t ram_disk_count;
BOOT_OPTION_U64(ram_disk_count, "block.ram_disks", "How many ram disks (/dev/ram0...) there are.");
static uint64_t ram_disk_mib = 64;
BOOT_OPTION_U64(ram_disk_mib, "block.ram_disk_mib", "Size of each ram disk in MiB (default 64).");

struct ram_disk {
    struct spinlock lock; // writers of pages; taken with interrupts off
    struct xarray pages;  // page number → struct page; readers under RCU
};

// The page with a reference; NULL: none. Interrupts are off: an RCU reader.
static struct page *ram_disk_find(struct ram_disk *disk, uint64_t index)
{
    struct page *page = xarray_load(&disk->pages, index);
    if (page != NULL)
        page_get(page);
    return page;
}

static struct page *ram_disk_make(struct ram_disk *disk, uint64_t index)
{
    struct page *page = page_alloc(0, PAGE_ALLOC_ZERO | PAGE_ALLOC_ATOMIC);
    if (page == NULL)
        return NULL;
    spin_lock(&disk->lock);
    int error = xarray_insert(&disk->pages, index, page);
    spin_unlock(&disk->lock);
    if (error != 0)
        page_put(page);
    if (error != 0 && error != -EEXIST)
        return NULL;
    return ram_disk_find(disk, index);
}

static int ram_disk_copy(struct ram_disk *disk, bool write, uint64_t at, char *memory, size_t len)
{
    while (len != 0) {
        const size_t piece = MIN(len, PAGE_SIZE - at % PAGE_SIZE);
        const uint64_t index = at / PAGE_SIZE;
        struct page *page = ram_disk_find(disk, index);
        if (page == NULL && write) {
            page = ram_disk_make(disk, index);
            if (page == NULL)
                return -ENOSPC;
        }
        char *content = page != NULL ? (char *)page_to_virt(page) + at % PAGE_SIZE : NULL;
        if (write)
            memcpy(content, memory, piece);
        else if (content != NULL)
            memcpy(memory, content, piece);
        else
            memset(memory, 0, piece);
        if (page != NULL)
            page_put(page);
        at += piece;
        memory += piece;
        len -= piece;
    }
    return 0;
}

static void ram_disk_page_free(struct rcu_head *head)
{
    page_put(container_of((struct list_node *)head, struct page, list));
}

// Whole pages go, the rest is zeroed.
static void ram_disk_clear(struct ram_disk *disk, uint64_t at, uint64_t len)
{
    while (len != 0) {
        const size_t piece = MIN(len, PAGE_SIZE - at % PAGE_SIZE);
        const uint64_t index = at / PAGE_SIZE;
        if (piece == PAGE_SIZE) {
            spin_lock(&disk->lock);
            struct page *page = xarray_erase(&disk->pages, index);
            spin_unlock(&disk->lock);
            if (page != NULL)
                rcu_call((struct rcu_head *)&page->list, ram_disk_page_free);
        } else {
            struct page *page = ram_disk_find(disk, index);
            if (page != NULL) {
                memset((char *)page_to_virt(page) + at % PAGE_SIZE, 0, piece);
                page_put(page);
            }
        }
        at += piece;
        len -= piece;
    }
}

static int ram_disk_do(struct ram_disk *disk, const struct block_request *request)
{
    uint64_t at = request->sector << BLOCK_SECTOR_SHIFT;
    if (request->operation == BLOCK_FLUSH)
        return 0;
    if (request->operation > BLOCK_FLUSH) {
        ram_disk_clear(disk, at, (uint64_t)request->sector_count << BLOCK_SECTOR_SHIFT);
        return 0;
    }
    struct block_cursor cursor = block_cursor_begin(request);
    const struct block_segment *segment;
    int error = 0;
    while (error == 0 && (segment = block_cursor_next(&cursor)) != NULL) {
        error = ram_disk_copy(disk, request->operation == BLOCK_WRITE, at,
            phys_to_virt(segment->phys), segment->len_bytes);
        at += segment->len_bytes;
    }
    return error;
}

static uint32_t ram_disk_queue(
    struct block_queue *queue, struct block_request **requests, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        block_request_complete(requests[i], ram_disk_do(queue->device->driver_data, requests[i]));
    return count;
}

static void ram_disk_release(struct block_device *device)
{
    struct ram_disk *disk = device->driver_data;
    uint64_t index;
    struct page *page;
    xarray_for_each(&disk->pages, index, page) page_put(page);
    xarray_destroy(&disk->pages);
    kfree(disk);
}

static const struct block_device_ops ram_disk_ops = {
    .queue = ram_disk_queue,
    .release = ram_disk_release,
};

int ram_disk_create(uint32_t number, uint64_t sector_count)
{
    struct ram_disk *disk = kzalloc(sizeof(*disk));
    if (disk == NULL)
        return -ENOMEM;
    spin_lock_init(&disk->lock);
    xarray_init(&disk->pages);
    struct block_device *device = block_device_create(&ram_disk_ops, 0);
    if (device == NULL) {
        kfree(disk);
        return -ENOMEM;
    }
    (void)fmt_snprintf(device->name, sizeof(device->name), "ram%u", number);
    device->limits = (struct block_limits){
        .physical_block_bytes = PAGE_SIZE,
        .max_sectors = 1024, // what is copied with interrupts off at a time
        .max_segments = 128,
        .max_discard_sectors = 1 << 15,
        .discard_granularity_bytes = PAGE_SIZE,
        .max_write_zeroes_sectors = 1 << 15,
        .synchronous = true,
    };
    device->sector_count = sector_count;
    device->major = RAMDISK_MAJOR;
    device->minor = number * RAM_DISK_MINORS;
    device->minors = RAM_DISK_MINORS;
    device->queue_depth = RAM_DISK_QUEUE_DEPTH;
    device->driver_data = disk;
    int error = block_device_register(device);
    if (error != 0)
        block_device_put(device);
    return error;
}

void ram_disk_init(void)
{
    for (uint32_t i = 0; i < ram_disk_count; i++) {
        int error = ram_disk_create(i, ram_disk_mib * (1 << (20 - BLOCK_SECTOR_SHIFT)));
        if (error != 0) {
            log_error("block: ram%u can't be made (error %d)", i, -error);
            return;
        }
    }
}
