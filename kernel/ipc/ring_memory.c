// SPDX-License-Identifier: MIT
// Memory that the kernel and a program share as rings.
#include "kernel/ipc/ring_memory.h"
#include "kernel/base/assert.h"
#include "kernel/core/errno.h"
#include "kernel/core/thread.h"
#include "mm/slab.h"

static struct ring_memory *memory_of(const struct vm_area *area)
{
    return container_of(area->backing, struct ring_memory, frames);
}

static void area_open(struct vm_area *area)
{
    __atomic_fetch_add(&memory_of(area)->refcount, 1, __ATOMIC_RELAXED);
}

static void area_close(struct vm_area *area)
{
    struct ring_memory *memory = memory_of(area);
    if (memory->unmapped != NULL)
        memory->unmapped(memory);
    ring_memory_put(memory);
}

static void area_name(struct vm_area *area, char *buffer, size_t size)
{
    static const char name[] = "/[ring]";
    for (size_t i = 0; i < size && i < sizeof(name); i++)
        buffer[i] = name[i];
}

const struct vm_area_ops ring_memory_area_ops = {
    .open = area_open, .close = area_close, .name = area_name};

struct ring_memory *ring_memory_create(size_t len_bytes)
{
    unsigned order = 0;
    while ((PAGE_SIZE << order) < len_bytes)
        if (++order > PAGE_ORDER_MAX)
            return NULL;
    const size_t pages = (size_t)1 << order;
    struct ring_memory *memory = kzalloc(sizeof(*memory) + pages * sizeof(memory->frames[0]));
    if (memory == NULL)
        return NULL;
    memory->base = page_alloc_kernel(order, PAGE_ALLOC_ZERO);
    if (memory->base == NULL) {
        kfree(memory);
        return NULL;
    }
    memory->refcount = 1;
    memory->order = order;
    for (size_t i = 0; i < pages; i++)
        memory->frames[i] = virt_to_phys(memory->base) + i * PAGE_SIZE;
    return memory;
}

void ring_memory_put(struct ring_memory *memory)
{
    if (__atomic_sub_fetch(&memory->refcount, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    page_free_kernel(memory->base, memory->order);
    kfree(memory);
}

int ring_memory_map(struct ring_memory *memory, struct vm_map_request *request)
{
    if (request->len_bytes > ring_memory_bytes(memory) || !(request->flags & VM_SHARED))
        return -EINVAL;
    request->flags |= VM_FIXED_PAGES | VM_DONTFORK | VM_DONTDUMP;
    request->cache = NULL;
    request->cache_index = 0;
    request->backing = memory->frames;
    request->ops = &ring_memory_area_ops;
    return 0;
}

struct ring_memory *ring_memory_find(uintptr_t address)
{
    struct address_space *space = thread_current()->space;
    struct ring_memory *memory = NULL;
    rwlock_read_lock(&space->lock);
    const struct vm_area *area = vm_area_find(space, address);
    if (area != NULL && area->start == address && area->ops == &ring_memory_area_ops) {
        memory = memory_of(area);
        __atomic_fetch_add(&memory->refcount, 1, __ATOMIC_RELAXED);
    }
    rwlock_read_unlock(&space->lock);
    return memory;
}
