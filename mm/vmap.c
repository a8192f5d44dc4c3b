// SPDX-License-Identifier: MIT
// Virtually contiguous kernel memory: big allocations, device mappings, kernel stacks.
//
// Theory. Regions are placed one behind the other in a window at the start of the area, always with
// an unmapped page behind each. A freed region is unmapped at once but keeps its addresses
// ("stale"), because any CPU may still have them in its TLB. When the cursor comes to the end of
// the window, all CPUs flush, and only then the addresses of the regions that were stale before the
// flush become free. So freeing costs no TLB flush, a stale entry can only serve an access that is
// a bug anyway, and the page tables stay as small as the window. A round that does not find room
// doubles the window.
//   V1  An address that is in no region is in no TLB.
//
// A kernel stack keeps its mapping while it is cached by a CPU; the page below it is the one that
// ends the region before, so an overflow faults (arch has a stack of its own for that fault).

#include "mm/vmap.h"

#include "kernel/arch/x86/arch.h"
#include "kernel/arch/x86/paging.h"
#include "kernel/base/assert.h"
#include "kernel/base/list.h"
#include "kernel/base/rbtree.h"
#include "kernel/core/percpu.h"
#include "mm/memory.h"
#include "mm/page_internal.h"
#include "mm/slab.h"
#include "mm/tlb.h"

#define WINDOW_INITIAL (UINT64_C(4) << 20)
#define STACKS_CACHED  4
#define KERNEL_PAGE    (PTE_WRITE | PTE_ACCESSED | PTE_DIRTY | PTE_GLOBAL | PTE_NX)

struct region {
    struct rbtree_node node; // in regions, by start; under vmap_lock
    uintptr_t start;
    size_t pages; // mapped ones; one more is reserved behind them
    bool owns_pages;
    struct list_node stale_node; // in stale_regions once it is freed; under vmap_lock
};

static struct spinlock vmap_lock = SPINLOCK_INIT("mm/vmap.c: vmap_lock"); // everything below
static struct rbtree regions;
static struct list_node stale_regions = LIST_INIT(stale_regions);
static uintptr_t cursor = VMAP_BASE + PAGE_SIZE; // the very first page guards the first region
static uintptr_t window_end = VMAP_BASE + WINDOW_INITIAL;
static struct slab_cache *region_cache;

struct stack_cache {
    uint32_t count;
    void *stacks[STACKS_CACHED];
};
static PERCPU(struct stack_cache, stack_cache);

void vmap_init(void)
{
    region_cache = slab_cache_create("vmap_region", sizeof(struct region), 0);
}

// The first region that ends beyond `address`, or NULL.
static struct region *region_after(uintptr_t address)
{
    struct region *found = NULL;
    for (struct rbtree_node *node = regions.root; node != NULL;) {
        struct region *region = rbtree_entry(node, struct region, node);
        if (region->start + (region->pages + 1) * PAGE_SIZE > address) {
            found = region;
            node = node->left;
        } else {
            node = node->right;
        }
    }
    return found;
}

static bool region_less(const struct rbtree_node *a, const struct rbtree_node *b)
{
    return rbtree_entry(a, struct region, node)->start <
           rbtree_entry(b, struct region, node)->start;
}

// Free address range of `bytes` in [cursor, window_end); 0: none. Under vmap_lock.
static uintptr_t place_in_window(size_t bytes)
{
    uintptr_t address = cursor;
    for (struct region *next = region_after(address); next != NULL;) {
        if (next->start >= address && next->start - address >= bytes)
            break;
        address = next->start + (next->pages + 1) * PAGE_SIZE;
        next = rbtree_entry_or_null(rbtree_next(&next->node), struct region, node);
    }
    return address + bytes <= window_end ? address : 0;
}

// Flushes all TLBs and makes the addresses of the regions that were stale before free (V1). Under
// vmap_lock, which is released meanwhile; interrupts on.
static void regions_purge(void)
{
    struct list_node purged = LIST_INIT(purged);
    struct region *region;
    list_splice_tail(&purged, &stale_regions);
    spin_unlock(&vmap_lock);
    assert(arch_irqs_enabled());
    tlb_flush_kernel(VMAP_BASE, VMAP_END);
    spin_lock(&vmap_lock);
    while ((region = list_pop_head_entry_or_null(&purged, struct region, stale_node)) != NULL) {
        rbtree_remove(&regions, &region->node, NULL);
        slab_free(region_cache, region);
    }
    cursor = VMAP_BASE + PAGE_SIZE;
}

// Reserves addresses for `pages` pages and the guard. False: the area is full.
static bool region_place(struct region *region, size_t pages)
{
    size_t bytes = (pages + 1) * PAGE_SIZE;
    bool purged = false;
    spin_lock(&vmap_lock);
    uintptr_t address;
    while ((address = place_in_window(bytes)) == 0) {
        if (!purged) {
            purged = true;
            regions_purge();
        } else if (window_end < VMAP_END) {
            window_end = MIN(VMAP_BASE + (window_end - VMAP_BASE) * 2, VMAP_END);
        } else {
            break;
        }
    }
    if (address != 0) {
        region->start = address;
        region->pages = pages;
        cursor = address + bytes;
        rbtree_insert(&regions, &region->node, region_less);
    }
    spin_unlock(&vmap_lock);
    return address != 0;
}

static void region_release(struct region *region)
{
    for (size_t i = 0; i < region->pages; i++) {
        uint64_t phys = kernel_unmap(region->start + i * PAGE_SIZE);
        if (phys != UINT64_MAX && region->owns_pages)
            page_free(pfn_to_page(phys >> PAGE_SHIFT), 0);
    }
    spin_lock(&vmap_lock);
    list_add_tail(&stale_regions, &region->stale_node);
    spin_unlock(&vmap_lock);
}

static struct region *region_create(size_t pages, bool owns_pages)
{
    struct region *region = slab_alloc(region_cache, PAGE_ALLOC_ZERO);
    if (region == NULL)
        return NULL;
    region->owns_pages = owns_pages;
    if (!region_place(region, pages)) {
        slab_free(region_cache, region);
        return NULL;
    }
    return region;
}

static void *alloc_pages(size_t pages, uint32_t flags)
{
    struct region *region = region_create(pages, true);
    if (region == NULL)
        return NULL;
    for (size_t i = 0; i < pages; i++) {
        struct page *page = page_alloc(0, flags);
        if (page == NULL ||
            kernel_map(region->start + i * PAGE_SIZE, page_to_phys(page), KERNEL_PAGE) != 0) {
            if (page != NULL)
                page_free(page, 0);
            region_release(region);
            return NULL;
        }
    }
    return (void *)region->start;
}

static struct region *region_at(uintptr_t address)
{
    spin_lock(&vmap_lock);
    struct region *region = region_after(address);
    spin_unlock(&vmap_lock);
    assert(region != NULL);
    assert(region->start == ALIGN_DOWN(address, PAGE_SIZE));
    return region;
}

void *vmap_alloc(size_t size)
{
    if (size == 0 || size > (VMAP_END - VMAP_BASE) / 2)
        return NULL;
    return alloc_pages(DIV_ROUND_UP(size, PAGE_SIZE), PAGE_ALLOC_ZERO);
}

void vmap_free(void *address)
{
    if (address != NULL)
        region_release(region_at((uintptr_t)address));
}

static void *map_physical(uint64_t phys, size_t size, uint64_t type)
{
    uint64_t offset = phys % PAGE_SIZE;
    if (size == 0 || range_overflows(phys, size) || size > (VMAP_END - VMAP_BASE) / 2 ||
        phys + size > UINT64_C(1) << 52)
        return NULL;
    size_t pages = DIV_ROUND_UP(offset + size, PAGE_SIZE);
    struct region *region = region_create(pages, false);
    if (region == NULL)
        return NULL;
    for (size_t i = 0; i < pages; i++) {
        uint64_t frame = phys - offset + i * PAGE_SIZE;
        if (kernel_map(region->start + i * PAGE_SIZE, frame, KERNEL_PAGE | type) != 0) {
            region_release(region);
            return NULL;
        }
    }
    return (void *)(region->start + offset);
}

void *vmap_device(uint64_t phys, size_t size, bool write_combining)
{
    return map_physical(phys, size, write_combining ? PTE_WRITE_COMBINING : PTE_UNCACHED);
}

void *vmap_shared(uint64_t phys, size_t size)
{
    return map_physical(phys, size, 0);
}

void *vmap_stack_alloc(void)
{
    void *stack = NULL;
    uint64_t flags = arch_irq_save();
    struct stack_cache *cache = this_cpu_ptr(stack_cache);
    if (cache->count != 0)
        stack = cache->stacks[--cache->count];
    arch_irq_restore(flags);
    if (stack == NULL)
        stack = alloc_pages(KERNEL_STACK_BYTES / PAGE_SIZE, 0);
    if (stack != NULL)
        page_usage_add(stack, KERNEL_STACK_BYTES / PAGE_SIZE);
    return stack;
}

void vmap_cpu_leave(void)
{
    void *stack;
    do {
        uint64_t flags = arch_irq_save();
        struct stack_cache *cache = this_cpu_ptr(stack_cache);
        stack = cache->count != 0 ? cache->stacks[--cache->count] : NULL;
        arch_irq_restore(flags);
        if (stack != NULL)
            vmap_free(stack);
    } while (stack != NULL);
}

void vmap_stack_free(void *stack)
{
    page_usage_add(stack, -(int64_t)(KERNEL_STACK_BYTES / PAGE_SIZE));
    uint64_t flags = arch_irq_save();
    struct stack_cache *cache = this_cpu_ptr(stack_cache);
    bool cached = cache->count < STACKS_CACHED;
    if (cached)
        cache->stacks[cache->count++] = stack;
    arch_irq_restore(flags);
    if (!cached)
        vmap_free(stack);
}
