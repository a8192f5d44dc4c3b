// SPDX-License-Identifier: MIT
// The slab cache's insides, for kmalloc and the tests. Private to mm/.
#pragma once

#include "kernel/base/list.h"
#include "kernel/core/spinlock.h"

#define SLAB_CACHES_MAX 64
#define SLAB_SIZE_MAX   8192

struct slab_cache {
    const char *name;
    size_t object_size;
    size_t stride; // from one object to the next
    unsigned order;
    uint32_t objects; // in a slab
    uint32_t magazine_capacity;
    uint32_t id;              // index of its magazines
    uint32_t magazine_offset; // where they begin in each CPU's struct, in bytes
    bool has_red_zone;
    struct spinlock lock;     // what follows; taken with interrupts off
    struct list_node partial; // slabs with free objects, empty ones at the end
    uint64_t slabs;
    uint64_t empty_slabs;
    uint64_t used; // objects outside the slabs: in use or in a magazine
};

// S2, under the cache's lock or when nobody else runs.
bool slab_cache_is_valid(struct slab_cache *cache);
