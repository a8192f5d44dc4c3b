// SPDX-License-Identifier: MIT
// Shared anonymous memory: a page cache without a file, which lives as long as areas show it.

#include "mm/shared_memory.h"

#include "kernel/base/refcount.h"
#include "kernel/base/string.h"
#include "mm/page_cache.h"
#include "mm/slab.h"
#include <linux/errno.h>

struct shared_memory {
    struct page_cache cache;
    struct refcount refcount; // one for each area
    uint64_t id;              // inode number in /proc/PID/maps
};

static const struct page_cache_ops cache_ops = {0};
static uint64_t next_id = 1; // atomic

static void area_open(struct vm_area *area)
{
    struct shared_memory *memory = area->backing;
    refcount_get(&memory->refcount);
}

static void area_close(struct vm_area *area)
{
    struct shared_memory *memory = area->backing;
    if (!refcount_put(&memory->refcount))
        return;
    page_cache_destroy(&memory->cache);
    kfree(memory);
}

static void area_name(struct vm_area *area, char *buffer, size_t size)
{
    (void)area;
    (void)strlcpy(buffer, "/dev/zero (deleted)", size);
}

static void area_identity(
    struct vm_area *area, uint32_t *dev_major, uint32_t *dev_minor, uint64_t *inode)
{
    *dev_major = 0;
    *dev_minor = 1;
    *inode = ((struct shared_memory *)area->backing)->id;
}

static const struct vm_area_ops shared_memory_ops = {
    .open = area_open,
    .close = area_close,
    .name = area_name,
    .identity = area_identity,
};

int shared_memory_attach(struct vm_area *area, size_t len_bytes)
{
    struct shared_memory *memory = kzalloc(sizeof(*memory));
    if (memory == NULL)
        return -ENOMEM;
    page_cache_init(&memory->cache, &cache_ops, memory);
    memory->cache.size_bytes = len_bytes;
    memory->id = __atomic_fetch_add(&next_id, 1, __ATOMIC_RELAXED);
    refcount_init(&memory->refcount, 1);
    area->cache = &memory->cache;
    area->cache_index = 0;
    area->backing = memory;
    area->ops = &shared_memory_ops;
    return 0;
}
