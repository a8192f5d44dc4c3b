// SPDX-License-Identifier: MIT
// Slab allocator: typed caches with a magazine for each CPU.
//
// Theory. A slab is a naturally aligned block of 2^order pages, cut into objects of one cache. Free
// objects of a slab are chained through their first word (page->slab_freelist); page->private_data
// counts those in use. In front of the slabs every CPU has a magazine: a small stack of free
// objects. Allocation and release push and pop there with interrupts off, without lock or atomic
// instruction; half a magazine at a time is filled from, or emptied into, the slabs under the
// cache's lock. An object goes into the magazine of the CPU that frees it, whoever allocated it:
// two CPUs that pass objects from one to the other meet at the lock once per half magazine, not
// once per object.
//
// Magazines of all caches are one per-CPU array indexed by cache number: reaching one takes a
// multiplication, no pointer.
//
// Invariants:
//   S1  An object is in exactly one of: its user's hands, one magazine, its slab's free list.
//   S2  page->private_data of a slab's head = objects - length of its free list. A slab with a
//   non-empty free list is
//       on cache->partial; a full one is on no list.
//   S3  All pages of a slab have PAGE_SLAB and slab_cache; the head is the page aligned to the
//   cache's order.
//
// Debug builds add a red zone word behind each object below 2 KiB that also says whether the object
// is free, and fill free objects with a pattern that is checked when they are handed out again.

#include "mm/slab.h"

#include "kernel/arch/x86/arch.h"
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/percpu.h"
#include "kernel/core/spinlock.h"
#include "mm/fail_alloc.h"
#include "mm/kasan.h"
#include "mm/page_internal.h"
#include "mm/slab_internal.h"

#define MAGAZINE_OBJECTS 31
#define EMPTY_SLABS_KEPT 1

struct magazine {
    uint32_t count;
    uint32_t capacity; // 0 until this CPU first uses the cache: then set from the cache
    void *objects[MAGAZINE_OBJECTS];
};
static_assert(IS_POWER_OF_TWO(sizeof(struct magazine)), "an index is a shift");

struct magazines {
    struct magazine of[SLAB_CACHES_MAX]; // by cache number
};
static PERCPU(struct magazines, magazines);
static struct slab_cache caches[SLAB_CACHES_MAX];
static uint32_t cache_count; // atomic; a cache is complete before it is counted
static struct spinlock caches_lock = SPINLOCK_INIT("mm/slab.c: caches_lock");

// ---- debug builds: red zones and patterns ----

#ifdef LODGER_DEBUG
#define RED_ZONE_BYTES      sizeof(uint64_t)
#define RED_ZONE_USED       UINT64_C(0xbb11bb22bb33bb44)
#define RED_ZONE_FREE       UINT64_C(0xcc55cc66cc77cc88)
#define PATTERN_FREE        0x6b
#define PATTERN_NEW         0x5a
#define RED_ZONE_SIZE_LIMIT 2048

static uint64_t *red_zone(const struct slab_cache *cache, void *object)
{
    return cache->has_red_zone
               ? (uint64_t *)((char *)object + ALIGN_UP(cache->object_size, sizeof(uint64_t)))
               : NULL;
}

static void object_mark_free(const struct slab_cache *cache, void *object)
{
    memset(object, PATTERN_FREE, cache->object_size);
    uint64_t *zone = red_zone(cache, object);
    if (zone != NULL)
        *zone = RED_ZONE_FREE;
}

static void object_check_and_mark_used(const struct slab_cache *cache, void *object)
{
    const uint8_t *bytes = object;
    // The first word was the link of the free list.
    for (size_t i = sizeof(void *); i < cache->object_size; i++)
        assert(bytes[i] == PATTERN_FREE); // written to after it was freed
    memset(object, PATTERN_NEW, cache->object_size);
    uint64_t *zone = red_zone(cache, object);
    if (zone != NULL) {
        assert(*zone == RED_ZONE_FREE);
        *zone = RED_ZONE_USED;
    }
}

static void object_check_and_mark_free(const struct slab_cache *cache, void *object)
{
    uint64_t *zone = red_zone(cache, object);
    if (zone != NULL)
        assert(*zone == RED_ZONE_USED); // freed twice, or written beyond its end
    object_mark_free(cache, object);
}
#else
static void object_mark_free(const struct slab_cache *cache, void *object)
{
    (void)cache;
    (void)object;
}
static void object_check_and_mark_used(const struct slab_cache *cache, void *object)
{
    (void)cache;
    (void)object;
}
static void object_check_and_mark_free(const struct slab_cache *cache, void *object)
{
    (void)cache;
    (void)object;
}
#endif

// ---- slabs; under the cache's lock ----

static struct page *slab_of(const struct slab_cache *cache, const void *object)
{
    uint64_t pfn = page_to_pfn(virt_to_page(object));
    return pfn_to_page(pfn & ~((1ul << cache->order) - 1));
}

static void slab_build(struct slab_cache *cache, struct page *head)
{
    for (unsigned i = 0; i < 1u << cache->order; i++) {
        head[i].flags = PAGE_SLAB;
        head[i].slab_cache = cache;
    }
    char *memory = page_to_virt(head);
    void *next = NULL;
    for (uint32_t i = cache->objects; i-- > 0;) {
        void *object = memory + (size_t)i * cache->stride;
        object_mark_free(cache, object);
        *(void **)object = next;
        next = object;
    }
    head->slab_freelist = next;
    head->private_data = 0;
    kasan_poison(memory, PAGE_SIZE << cache->order);
    page_usage_add(slab, 1l << cache->order);
}

static void slab_destroy(struct slab_cache *cache, struct page *head)
{
    assert(head->private_data == 0);
    for (unsigned i = 0; i < 1u << cache->order; i++) {
        head[i].flags = 0;
        head[i].slab_cache = NULL;
    }
    kasan_unpoison(page_to_virt(head), PAGE_SIZE << cache->order);
    page_usage_add(slab, -(1l << cache->order));
    page_free(head, cache->order);
}

// Takes up to `count` objects from partial slabs; returns how many.
static uint32_t slabs_take(struct slab_cache *cache, void **objects, uint32_t count)
{
    uint32_t taken = 0;
    while (taken < count && !list_is_empty(&cache->partial)) {
        struct page *slab = list_first_entry(&cache->partial, struct page, list);
        void *object = slab->slab_freelist;
        uint32_t before = taken;
        if (slab->private_data == 0)
            cache->empty_slabs--;
        while (object != NULL && taken < count) {
            objects[taken++] = object;
            object = *(void **)object;
        }
        slab->slab_freelist = object;
        slab->private_data += taken - before;
        if (object == NULL)
            list_remove(&slab->list);
    }
    cache->used += taken;
    return taken;
}

// Gives objects back. Slabs that become empty and are not wanted go to `surplus`.
static void slabs_give(
    struct slab_cache *cache, void **objects, uint32_t count, struct list_node *surplus)
{
    for (uint32_t i = 0; i < count; i++) {
        void *object = objects[i];
        struct page *slab = slab_of(cache, object);
        debug_assert(slab->private_data > 0);
        if (slab->slab_freelist == NULL)
            list_add_head(&cache->partial, &slab->list);
        *(void **)object = slab->slab_freelist;
        slab->slab_freelist = object;
        if (--slab->private_data != 0)
            continue;
        if (cache->empty_slabs < EMPTY_SLABS_KEPT) {
            // At the end: slabs with objects in use are filled up first.
            cache->empty_slabs++;
            list_move_tail(&cache->partial, &slab->list);
        } else {
            list_move_tail(surplus, &slab->list);
            cache->slabs--;
        }
    }
    cache->used -= count;
}

static uint64_t surplus_free(struct slab_cache *cache, struct list_node *surplus)
{
    uint64_t pages = 0;
    struct page *slab;
    while ((slab = list_pop_head_entry_or_null(surplus, struct page, list)) != NULL) {
        slab_destroy(cache, slab);
        pages += 1ul << cache->order;
    }
    return pages;
}

// ---- slow paths ----

// One object, and half a magazine for this CPU on the way.
static void *magazine_refill(struct slab_cache *cache, uint32_t flags)
{
    for (;;) {
        uint64_t irq_flags = spin_lock_irqsave(&cache->lock);
        struct magazine *magazine = &this_cpu_ptr(magazines)->of[cache->id];
        magazine->capacity = cache->magazine_capacity;
        if (magazine->count < magazine->capacity / 2 || magazine->count == 0)
            magazine->count += slabs_take(cache, &magazine->objects[magazine->count],
                MAX(magazine->capacity / 2, 1u) - magazine->count);
        void *object = magazine->count != 0 ? magazine->objects[--magazine->count] : NULL;
        spin_unlock_irqrestore(&cache->lock, irq_flags);
        if (object != NULL)
            return object;

        struct page *page = page_alloc(cache->order, flags & PAGE_ALLOC_ATOMIC);
        if (page == NULL)
            return NULL;
        slab_build(cache, page);
        irq_flags = spin_lock_irqsave(&cache->lock);
        list_add_head(&cache->partial, &page->list);
        cache->slabs++;
        cache->empty_slabs++;
        spin_unlock_irqrestore(&cache->lock, irq_flags);
    }
}

// The magazine is full, or not set up: the older half goes back. Interrupts off.
[[gnu::noinline]] static void magazine_drain(struct slab_cache *cache, struct magazine *magazine)
{
    struct list_node surplus = LIST_INIT(surplus);
    magazine->capacity = cache->magazine_capacity;
    if (magazine->count < magazine->capacity)
        return;
    uint32_t count = MAX(magazine->count / 2, 1u);
    spin_lock(&cache->lock);
    slabs_give(cache, magazine->objects, count, &surplus);
    spin_unlock(&cache->lock);
    magazine->count -= count;
    memmove(magazine->objects, magazine->objects + count, magazine->count * sizeof(void *));
    (void)surplus_free(cache, &surplus);
}

// ---- the interface ----

// This CPU's magazine at `offset` as an lvalue: gs-relative accesses, no pointer to
// compute. Interrupts off.
#ifdef LODGER_HOST
#define own_magazine(offset) (*(struct magazine *)((char *)this_cpu_ptr(magazines) + (offset)))
#else
#define own_magazine(offset) (*(__seg_gs struct magazine *)((uintptr_t)&magazines + (offset)))
#endif

// The magazine is full. Interrupts off; switches them on if `irq_flags` says so.
[[gnu::noinline]] static void slab_free_drain(
    struct slab_cache *cache, void *object, uint64_t irq_flags)
{
    struct magazine *magazine = &this_cpu_ptr(magazines)->of[cache->id];
    magazine_drain(cache, magazine);
    magazine->objects[magazine->count++] = object;
    arch_irq_restore(irq_flags);
}

static inline void *object_given(struct slab_cache *cache, void *object, uint32_t flags)
{
    kasan_unpoison(object, cache->object_size);
    object_check_and_mark_used(cache, object);
    return flags & PAGE_ALLOC_ZERO ? memset(object, 0, cache->object_size) : object;
}

// The magazine is empty.
[[gnu::noinline]] static void *slab_alloc_refill(struct slab_cache *cache, uint32_t flags)
{
    void *object = magazine_refill(cache, flags);
    return object != NULL ? object_given(cache, object, flags) : NULL;
}

void *slab_alloc(struct slab_cache *cache, uint32_t flags)
{
    if (fail_alloc_due())
        return NULL;
    uint64_t irq_flags = arch_irq_save();
    uint64_t offset = cache->magazine_offset;
    uint32_t count = own_magazine(offset).count;
    if (unlikely(count == 0)) {
        arch_irq_restore(irq_flags);
        return slab_alloc_refill(cache, flags);
    }
    own_magazine(offset).count = count - 1;
    void *object = own_magazine(offset).objects[count - 1];
    arch_irq_restore(irq_flags);
    return object_given(cache, object, flags);
}

void slab_free(struct slab_cache *cache, void *object)
{
    if (object == NULL)
        return;
    debug_assert(virt_to_page(object)->slab_cache == cache);
    object_check_and_mark_free(cache, object);
    kasan_poison(object, cache->object_size);
    uint64_t irq_flags = arch_irq_save();
    uint64_t offset = cache->magazine_offset;
    uint32_t count = own_magazine(offset).count;
    if (unlikely(count >= own_magazine(offset).capacity)) {
        slab_free_drain(cache, object, irq_flags);
        return;
    }
    own_magazine(offset).objects[count] = object;
    own_magazine(offset).count = count + 1;
    arch_irq_restore(irq_flags);
}

// Smallest order that holds a few objects and wastes at most an eighth.
static unsigned order_for(size_t stride)
{
    unsigned order = 0;
    for (; order < 3; order++) {
        size_t bytes = PAGE_SIZE << order;
        size_t objects = bytes / stride;
        if (objects >= (stride >= 2048 ? 2 : 4) && bytes - objects * stride <= bytes / 8)
            break;
    }
    return order;
}

struct slab_cache *slab_cache_create(const char *name, size_t size, size_t align)
{
    assert(size > 0);
    assert(size <= SLAB_SIZE_MAX);
    if (align == 0)
        align = size >= CACHE_LINE_SIZE ? CACHE_LINE_SIZE : 16;
    assert(IS_POWER_OF_TWO(align));
    uint64_t irq_flags = spin_lock_irqsave(&caches_lock);
    struct slab_cache *cache = cache_count < SLAB_CACHES_MAX ? &caches[cache_count] : NULL;
    if (cache != NULL) {
        cache->name = name;
        cache->object_size = MAX(size, sizeof(void *));
        cache->stride = ALIGN_UP(cache->object_size, align);
#ifdef LODGER_DEBUG
        if (size < RED_ZONE_SIZE_LIMIT) {
            cache->has_red_zone = true;
            cache->stride =
                ALIGN_UP(ALIGN_UP(cache->object_size, sizeof(uint64_t)) + RED_ZONE_BYTES, align);
        }
#endif
        cache->order = order_for(cache->stride);
        cache->objects = (uint32_t)((PAGE_SIZE << cache->order) / cache->stride);
        cache->magazine_capacity =
            (uint32_t)CLAMP(2 * PAGE_SIZE / cache->stride, 2ul, (size_t)MAGAZINE_OBJECTS);
        cache->id = cache_count;
        cache->magazine_offset = cache_count * (uint32_t)sizeof(struct magazine);
        spin_lock_init(&cache->lock);
        list_init(&cache->partial);
        __atomic_store_n(&cache_count, cache_count + 1, __ATOMIC_RELEASE);
    }
    spin_unlock_irqrestore(&caches_lock, irq_flags);
    return cache;
}

size_t slab_shrink(void)
{
    uint64_t pages = 0;
    for (uint32_t i = 0; i < __atomic_load_n(&cache_count, __ATOMIC_ACQUIRE); i++) {
        struct slab_cache *cache = &caches[i];
        struct list_node surplus = LIST_INIT(surplus);
        uint64_t irq_flags = spin_lock_irqsave(&cache->lock);
        struct magazine *magazine = &this_cpu_ptr(magazines)->of[i];
        slabs_give(cache, magazine->objects, magazine->count, &surplus);
        magazine->count = 0;
        struct page *slab, *next;
        list_for_each_entry_safe (slab, next, &cache->partial, list) {
            if (slab->private_data != 0)
                continue;
            list_move_tail(&surplus, &slab->list);
            cache->slabs--;
            cache->empty_slabs--;
        }
        spin_unlock_irqrestore(&cache->lock, irq_flags);
        pages += surplus_free(cache, &surplus);
    }
    return pages;
}

void slab_cpu_leave(void)
{
    assert_irqs_off();
    for (uint32_t i = 0; i < __atomic_load_n(&cache_count, __ATOMIC_ACQUIRE); i++) {
        struct slab_cache *cache = &caches[i];
        struct list_node surplus = LIST_INIT(surplus);
        spin_lock(&cache->lock);
        struct magazine *magazine = &this_cpu_ptr(magazines)->of[i];
        slabs_give(cache, magazine->objects, magazine->count, &surplus);
        magazine->count = 0;
        spin_unlock_no_resched(&cache->lock);
        (void)surplus_free(cache, &surplus);
    }
}

void slab_statistics_visit(void (*visit)(const char *name, uint64_t active, uint64_t total,
                               size_t object_size, void *context),
    void *context)
{
    for (uint32_t i = 0; i < __atomic_load_n(&cache_count, __ATOMIC_ACQUIRE); i++) {
        struct slab_cache *cache = &caches[i];
        uint64_t active = cache->used;
        for_each_percpu(cpu)
        {
            uint64_t cached = percpu_of(magazines, cpu)->of[i].count;
            active -= MIN(cached, active);
        }
        visit(cache->name, active, cache->slabs * cache->objects, cache->object_size, context);
    }
}

bool slab_cache_is_valid(struct slab_cache *cache)
{
    uint64_t empty = 0;
    struct page *slab;
    list_for_each_entry (slab, &cache->partial, list) {
        uint64_t free = 0;
        for (void *object = slab->slab_freelist; object != NULL; object = *(void **)object) {
            if (slab_of(cache, object) != slab || ++free > cache->objects)
                return false;
        }
        if (free == 0 || slab->private_data != cache->objects - free)
            return false;
        empty += free == cache->objects;
    }
    return empty == cache->empty_slabs;
}
