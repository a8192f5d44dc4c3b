// SPDX-License-Identifier: MIT
// Memory of any size: slab caches in steps of half a power of two up to 8 KiB, then pages, then the
// vmap area.
//
// kfree() tells them apart by the address: in the vmap area, on a page with PAGE_SLAB, or a block's
// first page.

#include "mm/slab.h"

#include "kernel/base/alloc.h"
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/rcu.h"
#include "mm/kasan.h"
#include "mm/slab_internal.h"
#include "mm/vmap.h"

// Sizes: 16, 32, then 1.5 * 2^n and 2^n alternately up to 8192.
#define CLASS_COUNT 18

static struct slab_cache *classes[CLASS_COUNT];

static const struct {
    uint16_t size;
    const char *name;
} class_table[CLASS_COUNT] = {{16, "kmalloc-16"}, {32, "kmalloc-32"}, {48, "kmalloc-48"},
    {64, "kmalloc-64"}, {96, "kmalloc-96"}, {128, "kmalloc-128"}, {192, "kmalloc-192"},
    {256, "kmalloc-256"}, {384, "kmalloc-384"}, {512, "kmalloc-512"}, {768, "kmalloc-768"},
    {1024, "kmalloc-1024"}, {1536, "kmalloc-1536"}, {2048, "kmalloc-2048"}, {3072, "kmalloc-3072"},
    {4096, "kmalloc-4096"}, {6144, "kmalloc-6144"}, {8192, "kmalloc-8192"}};

static unsigned class_of(size_t size)
{
    if (size <= 32)
        return size > 16;
    unsigned k = bit_highest(size - 1);
    return 2 + (k - 5) * 2 + ((size - 1) >> (k - 1) & 1);
}

void slab_init(void)
{
    for (unsigned i = 0; i < CLASS_COUNT; i++) {
        size_t size = class_table[i].size;
        // Powers of two are aligned to themselves, up to a page.
        size_t align = MIN(size & -size, PAGE_SIZE);
        debug_assert(class_of(size) == i);
        classes[i] = slab_cache_create(class_table[i].name, size, align);
        assert(classes[i] != NULL);
    }
}

static void *large_alloc(size_t size, uint32_t flags)
{
    if (size > PAGE_SIZE << PAGE_ORDER_MAX)
        return flags & PAGE_ALLOC_ATOMIC ? NULL : vmap_alloc(size);
    unsigned order = size <= PAGE_SIZE ? 0 : bit_highest((size - 1) >> PAGE_SHIFT) + 1;
    return page_alloc_kernel(order, flags);
}

void *kmalloc(size_t size, uint32_t flags)
{
    if (unlikely(size > SLAB_SIZE_MAX))
        return large_alloc(size, flags);
    void *object = slab_alloc(classes[class_of(size)], flags);
#ifdef LODGER_KASAN
    if (object != NULL) {
        kasan_poison(object, class_table[class_of(size)].size);
        kasan_unpoison(object, size);
    }
#endif
    return object;
}

void *kzalloc(size_t size)
{
    return kmalloc(size, PAGE_ALLOC_ZERO);
}

void kfree(const void *object)
{
    if (object == NULL)
        return;
#ifndef LODGER_HOST
    if ((uintptr_t)object >= VMAP_BASE && (uintptr_t)object < VMAP_END) {
        vmap_free((void *)object);
        return;
    }
#endif
    struct page *page = virt_to_page(object);
    if (likely(page->flags & PAGE_SLAB)) {
        struct slab_cache *cache = page->slab_cache;
        kasan_unpoison(object, cache->object_size);
        slab_free(cache, (void *)object);
        return;
    }
    assert(IS_ALIGNED((uintptr_t)object, PAGE_SIZE));
    page_free(page, page->order);
}

size_t kmalloc_usable(const void *object)
{
    struct page *page = virt_to_page(object);
    if (page->flags & PAGE_SLAB)
        return ((struct slab_cache *)page->slab_cache)->object_size;
    return PAGE_SIZE << page->order;
}

char *kstrdup(const char *string)
{
    size_t size = strlen(string) + 1;
    char *copy = kmalloc(size, 0);
    if (copy != NULL)
        memcpy(copy, string, size);
    return copy;
}

// ---- objects freed after a grace period ----

// The head knows only itself; the object begins somewhere before it, in the same slab object.
static void free_after_grace_period(struct rcu_head *head)
{
    struct page *page = virt_to_page(head);
    if (!(page->flags & PAGE_SLAB)) {
        // Whole pages: the head must lie in the first one.
        kfree((void *)ALIGN_DOWN((uintptr_t)head, PAGE_SIZE));
        return;
    }
    struct slab_cache *cache = page->slab_cache;
    uint64_t first = page_to_pfn(page) & ~((1ul << cache->order) - 1);
    char *base = page_to_virt(pfn_to_page(first));
    kfree(base + ((uintptr_t)head - (uintptr_t)base) / cache->stride * cache->stride);
}

void kfree_rcu(void *object, struct rcu_head *head)
{
    debug_assert((uintptr_t)head >= (uintptr_t)object);
    (void)object;
    rcu_call(head, free_after_grace_period);
}

// ---- what kernel/base asks for ----

void *base_alloc(size_t size)
{
    return kmalloc(size, PAGE_ALLOC_ZERO | PAGE_ALLOC_ATOMIC);
}

void base_free(void *memory)
{
    kfree(memory);
}

void base_call_rcu(struct rcu_head *head, void (*callback)(struct rcu_head *head))
{
    rcu_call(head, callback);
}
