// SPDX-License-Identifier: MIT
// Physical pages: struct page, the buddy allocator and its per-CPU lists.
#pragma once

#include "kernel/base/list.h"
#include "kernel/base/refcount.h"
#include "kernel/base/types.h"
#include "kernel/core/spinlock.h"

#define PAGE_ORDER_MAX  10   // largest block: 4 MiB
#define PAGE_ORDER_PART 0xff // a page in the middle of a huge page, with references of its own

struct page_cache;

// One for each page frame; 64 bytes. Which members are valid depends on who has the page.
struct page {
    uint32_t flags;    // PAGE_*; atomic when shared
    uint32_t refcount; // users (mappings, caches, pins); 0: free or slab-internal; atomic
    uint32_t
        used_entries; // page-table page: entries in use; under its lock (level 1) or the space's table_lock
    uint8_t order;              // of the block that starts here, or PAGE_ORDER_PART
    uint8_t node;               // NUMA node; fixed when the struct page comes into being
    uint16_t anonymous_entries; // page-table page of level 1: those of private pages; same lock
    union {
        struct {                      // page cache and anonymous pages
            struct page_cache *cache; // NULL: anonymous
            union {
                uint64_t index;         // page number within the cache
                uint64_t huge_mappings; // head of a huge page: U1 of huge.c; atomic
            };
        };
        struct { // slab
            void *slab_cache;
            void *slab_freelist;
        };
        struct spinlock table_lock; // page-table page of level 1: its entries
    };
    struct list_node list; // free list, per-CPU list, cache's or slab's list: owner decides
    uint64_t private_data; // owner's: slab counts, pipe, ...
    uint64_t reserved2;
};
static_assert(sizeof(struct page) == 64);

#define PAGE_FREE      BIT(0) // in the buddy's lists
#define PAGE_RESERVED  BIT(1) // not RAM or never given out
#define PAGE_SLAB      BIT(2)
#define PAGE_UPTODATE  BIT(3) // page cache: content is valid
#define PAGE_DIRTY     BIT(4)
#define PAGE_LOCKED    BIT(5) // page cache: being read or truncated
#define PAGE_ZEROED    BIT(6) // known to be all zero
#define PAGE_TABLE     BIT(7) // page-table page
#define PAGE_WRITEBACK BIT(9) // page cache: is being written to the device
#define PAGE_PERCPU    BIT(8) // on a per-CPU list of the allocator
#define PAGE_REPORTED                                                                              \
    BIT(10) // with PAGE_FREE: the host knows that the block is free (B4 of buddy.h)
#define PAGE_POOL BIT(11) // head of a huge page that belongs to the pool (huge_pool.c)

#ifdef LODGER_HOST
// Host tests: an arena stands for physical memory, an array for its struct pages.
extern uint64_t page_host_phys_map, page_host_vmemmap;
#define PHYS_MAP_BASE page_host_phys_map
#define VMEMMAP_BASE  page_host_vmemmap
#else
#define PHYS_MAP_BASE UINT64_C(0xffff800000000000)
#define VMEMMAP_BASE  UINT64_C(0xffffc00000000000)
#endif

static inline void *phys_to_virt(uint64_t phys)
{
    return (void *)(PHYS_MAP_BASE + phys);
}
uint64_t kernel_image_to_phys(const void *address);      // arch: for addresses in the kernel image
static inline uint64_t virt_to_phys(const void *address) // direct map only
{
    return (uint64_t)(uintptr_t)address - PHYS_MAP_BASE;
}
static inline struct page *pfn_to_page(uint64_t pfn)
{
    return (struct page *)VMEMMAP_BASE + pfn;
}
static inline uint64_t page_to_pfn(const struct page *page)
{
    return (uint64_t)(page - (struct page *)VMEMMAP_BASE);
}
static inline struct page *virt_to_page(const void *address)
{
    return pfn_to_page(virt_to_phys(address) >> PAGE_SHIFT);
}
static inline uint64_t page_to_phys(const struct page *page)
{
    return page_to_pfn(page) << PAGE_SHIFT;
}
static inline void *page_to_virt(const struct page *page)
{
    return phys_to_virt(page_to_phys(page));
}
bool pfn_is_ram(uint64_t pfn); // does the frame have an initialised struct page?

// Allocation flags.
#define PAGE_ALLOC_ZERO   BIT(0) // content all zero
#define PAGE_ALLOC_ATOMIC BIT(1) // must not sleep (no reclaim, no OOM killing); may use the reserve
#define PAGE_ALLOC_USER                                                                            \
    BIT(2) // for a program: leaves the reserve alone, may trigger the OOM killer
#define PAGE_ALLOC_DMA32 BIT(3) // below 4 GiB
#define PAGE_ALLOC_SPARE BIT(4) // only if there is plenty: nothing is reclaimed, nobody killed

// A block of 2^order pages, its head's refcount 1, content undefined without ZERO. NULL when there
// is none. Any context but NMI with ATOMIC; otherwise task context with interrupts on (may sleep
// and reclaim).
struct page *page_alloc(unsigned order, uint32_t flags);
// On when there are several nodes.
struct static_key;
extern struct static_key page_nodes_key;
// The same from the nodes of the mask `allowed`, as near to `node` as possible; `interleaved`
// counts it as a policy's that spreads. Slower than page_alloc().
struct page *page_alloc_from(
    unsigned order, uint32_t flags, uint32_t node, uint64_t allowed, bool interleaved);
void page_free(struct page *page, unsigned order); // refcount must be 1 or 0. Any context but NMI.
static inline void page_get(struct page *page)
{
    __atomic_fetch_add(&page->refcount, 1, __ATOMIC_RELAXED);
}
void page_put_last(struct page *page);
static inline void page_put(
    struct page *page) // frees (order 0 or page->order) with the last reference
{
    if (__atomic_sub_fetch(&page->refcount, 1, __ATOMIC_ACQ_REL) == 0)
        page_put_last(page);
}
static inline void *page_alloc_kernel(unsigned order, uint32_t flags) // as a direct-map address
{
    struct page *page = page_alloc(order, flags);
    return page ? page_to_virt(page) : NULL;
}
static inline void page_free_kernel(void *address, unsigned order)
{
    page_free(virt_to_page(address), order);
}

struct page_statistics {
    uint64_t total_pages, free_pages, cache_pages, anonymous_pages, slab_pages, page_table_pages,
        kernel_stack_pages, shared_pages, reserve_pages, dirty_pages, mapped_pages,
        huge_pages; // anonymous ones, in small pages
};
void page_statistics_read(struct page_statistics *statistics);

// Of one memory node. The counts are in pages; those that go through a CPU's list count when the
// list is filled, from the CPU's own node if that has some.
struct page_node_statistics {
    uint64_t total_pages, free_pages;
    uint64_t hit, miss, foreign, local, other, interleaved; // as in Linux's numastat
};
void page_node_statistics_read(uint32_t node, struct page_node_statistics *statistics);
// Mask of the nodes that have any.
uint64_t page_nodes_with_memory(void);

// Out of memory: upcall-style hook set by process/: picks and kills a victim; returns true if
// memory will be freed.
struct page_shortage {
    unsigned order; // what could not be had: 2^order pages
    uint32_t flags; // PAGE_ALLOC_*
};
extern bool (*mm_out_of_memory)(const struct page_shortage *shortage);

// Set by fs/: drops up to `count` unused entries of caches of names and inodes; how many. Called in
// a thread of its own when memory is short, because it may take locks that who allocates holds.
extern size_t (*mm_shrink_caches)(size_t count);
