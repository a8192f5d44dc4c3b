// SPDX-License-Identifier: MIT
// Physical memory at start-up: which frames exist, the kernel's own mappings, and where struct
// pages come from. Private to mm/.
#pragma once

#include "kernel/arch/x86/arch.h"
#include "kernel/arch/x86/paging.h"
#include "kernel/base/types.h"
#include "mm/buddy.h"

// A block is a naturally aligned buddy block of the largest order (4 MiB); a section is the
// memory whose struct pages fill one 2 MiB page (128 MiB).
#define PAGE_SIZE_2M (1ul << PAGE_LEVEL_SHIFT(2))
#define PAGE_SIZE_1G (1ul << PAGE_LEVEL_SHIFT(3))

#define MEMORY_BLOCK_PAGES    (1ul << PAGE_ORDER_MAX)
#define MEMORY_SECTION_PAGES  (PAGE_SIZE_2M / sizeof(struct page))
#define MEMORY_SECTION_BLOCKS (MEMORY_SECTION_PAGES / MEMORY_BLOCK_PAGES)

#define DMA32_END_PFN (UINT64_C(1) << (32 - PAGE_SHIFT))

// Each node has a zone of each kind, which may be empty.
enum { ZONE_DMA32, ZONE_NORMAL, ZONE_KINDS };

// What /sys/devices/system/node/nodeN/numastat shows, in pages; a per-CPU list counts when it is
// filled.
struct zone_counts {
    uint64_t hit;         // from the node that was wanted
    uint64_t miss;        // from this node, though another was wanted
    uint64_t foreign;     // wanted from this node, got from another; atomic
    uint64_t local;       // taken by a CPU of this node
    uint64_t other;       // taken by a CPU of another
    uint64_t interleaved; // hit, by a policy that spreads pages
};

struct zone {
    struct spinlock lock; // everything below; taken with interrupts off
    struct buddy_zone buddy;
    uint64_t first_pfn, end_pfn;
    uint64_t next_block;  // blocks below it have been handed out, those above (but single ones) not
    uint64_t total_pages; // fixed after start-up
    uint64_t reserve_pages; // left for atomic allocations
    struct zone_counts counts;
};
// Zone `kind` of node n is zones[n * ZONE_KINDS + kind]. Both fixed after start-up.
extern struct zone *zones;
extern uint32_t zone_count;

// For each node the order in which the others stand in for it, itself first; numa.node_count rows
// of as many. Fixed after start-up.
extern const uint8_t *node_orders;

static inline struct zone *zone_of_node(uint32_t node, unsigned kind)
{
    return &zones[node * ZONE_KINDS + kind];
}

static inline struct zone *zone_of(const struct page *page)
{
    return zone_of_node(page->node, page_to_pfn(page) < DMA32_END_PFN ? ZONE_DMA32 : ZONE_NORMAL);
}

// Without a lock: a snapshot.
static inline uint64_t zone_free_pages(const struct zone *zone)
{
    return zone->buddy.free_pages + zone->buddy.promised_pages;
}

static inline uint32_t zone_node(const struct zone *zone)
{
    return (uint32_t)(zone - zones) / ZONE_KINDS;
}

// Reads boot_info.memory; completes the kernel's page tables; fills in `zones` without touching a
// struct page.
void memory_init_early(void);
bool memory_grow(struct buddy_zone *buddy);

// Kernel page tables outside the direct map. Maps `count` pages at `address` (top-level entry
// exists). flags: PTE_* without PRESENT. 0 or -ENOMEM (nothing mapped). The caller owns the address
// range.
[[nodiscard]] int kernel_map(uintptr_t address, uint64_t phys, uint64_t flags);
// Takes the mapping of one page out; returns its physical address or UINT64_MAX. The TLB is the
// caller's affair.
uint64_t kernel_unmap(uintptr_t address);

// Top-level entries of the kernel's half that are in use: what a new address space copies.
extern uint16_t kernel_slots[16];
extern unsigned kernel_slot_count;
