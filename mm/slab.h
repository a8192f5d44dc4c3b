// SPDX-License-Identifier: MIT
// Kernel memory in sizes smaller than pages: typed caches with per-CPU magazines, and kmalloc on
// top of them.
#pragma once

#include "kernel/base/types.h"
#include "kernel/arch/x86/thread.h" // KERNEL_STACK_BYTES
#include "mm/page.h"

struct slab_cache;

// Fixed-size objects. `align` 0: natural (at least 16; cache line when size >= 64). The returned
// cache lives for ever. NULL: no memory.
struct slab_cache *slab_cache_create(const char *name, size_t size, size_t align);
// Object with undefined content (poisoned in debug builds), or NULL. flags: PAGE_ALLOC_ZERO |
// PAGE_ALLOC_ATOMIC. Contexts as page_alloc.
void *slab_alloc(struct slab_cache *cache, uint32_t flags);
void slab_free(struct slab_cache *cache, void *object); // NULL is fine. Any context but NMI.

// Any size (above 8 KiB: whole pages; above the largest block: vmap). NULL: no memory.
void *kmalloc(size_t size, uint32_t flags);
void *kzalloc(size_t size);     // zeroed, may sleep
void kfree(const void *object); // NULL is fine
size_t kmalloc_usable(const void *object);
char *kstrdup(const char *string); // may sleep; NULL: no memory
struct rcu_head;
void kfree_rcu(
    void *object, struct rcu_head *head); // after a grace period; head lies inside the object

void slab_init(void);
void slab_statistics_visit(void (*visit)(const char *name, uint64_t active, uint64_t total,
                               size_t object_size, void *context),
    void *context);
void slab_cpu_leave(void); // the running CPU's magazines go back to the slabs; interrupts off
size_t slab_shrink(void);  // gives empty slabs back; returns pages

// Virtually contiguous memory and mappings in the vmap area.
void *vmap_alloc(size_t size); // zeroed pages; guard page behind; NULL
void vmap_free(void *address);
void *vmap_device(
    uint64_t phys, size_t size, bool write_combining); // uncached; NULL; unmapped by vmap_free
void *vmap_shared(
    uint64_t phys, size_t size); // the same, cached: memory outside ours that others share with us
void *vmap_stack_alloc(
    void); // a kernel stack of KERNEL_STACK_BYTES with a guard page below; cached per CPU
void vmap_stack_free(void *stack);
