// SPDX-License-Identifier: MIT
// Physical memory at start-up.
//
// Theory. Start-up may cost neither instructions nor pages in proportion to the machine, so nothing
// is made for memory that nobody uses yet:
//
//   - The boot loader's map becomes a short sorted array of runs of free frames. Early allocations
//     (page tables, one bitmap) are cut from the beginning of a run.
//   - Struct pages lie in one virtual array indexed by frame number. It is backed a section (128
//     MiB) at a time, when the first block of the section is needed, by memory of that section
//     itself: one
//     2 MiB page, or for a section that is mostly absent as many 4 KiB pages as its blocks need.
//     So no section can lack the memory for its own struct pages.
//   - A section may belong to several nodes. Then its struct pages lie with the node that needed
//     them first: that node's zone is the one whose lock is held (M2).
//   - The struct pages of a block (4 MiB) are cleared when the buddy runs dry and asks for the
//     block (memory_grow). Cleared means "not free, nobody's"; then the block's free frames are
//     freed.
//
// Invariants:
//   M1  The struct page of a frame may be read exactly if the frame's block has its bit in
//   block_touched. M2  Bits of block_touched are only ever set, by the holder of the block's zone
//   lock (or by the boot CPU alone). M3  A free frame of an untouched block lies in exactly one run
//   and is counted in its zone's promised_pages. M4  A block lies in one node (N3 of numa.h). M5
//   The tables of struct pages change under section_lock, within a zone's lock.
//
// The direct map covers the first 4 GiB from boot on (kernel/arch/x86/paging.h); here the RAM above
// is added with the largest pages that hold nothing but RAM.

#include "mm/memory.h"

#include "kernel/arch/x86/arch.h"
#include "kernel/arch/x86/paging.h"
#include "kernel/base/assert.h"
#include "kernel/base/bitmap.h"
#include "kernel/base/memmap.h"
#include "kernel/base/string.h"
#include "kernel/core/init.h"
#include "kernel/core/log.h"
#include "kernel/core/panic.h"
#include "mm/kasan.h"
#include "mm/vmap.h"
#include <linux/errno.h>

#define RUNS_MAX 128
// More would make the bitmap of blocks longer than 128 KiB.
#define MEMORY_END_PFN (UINT64_C(4) << (40 - PAGE_SHIFT))

#define KERNEL_DATA  (PTE_PRESENT | PTE_WRITE | PTE_ACCESSED | PTE_DIRTY | PTE_GLOBAL | PTE_NX)
#define KERNEL_TABLE (PTE_PRESENT | PTE_WRITE | PTE_ACCESSED)

struct run {
    uint64_t start_pfn, end_pfn;
};

// Those of a machine with one node; others are allocated.
static struct zone first_zones[ZONE_KINDS];
static const uint8_t first_order[1];
struct zone *zones = first_zones;
uint32_t zone_count = ZONE_KINDS;
const uint8_t *node_orders = first_order;
uint16_t kernel_slots[16];
unsigned kernel_slot_count;

static struct run runs[RUNS_MAX]; // sorted, disjoint; written during start-up only
static unsigned run_count;
static uint64_t block_count;    // blocks up to the last RAM
static uint64_t *block_touched; // M1, M2

// ---- runs and early allocations ----

static void run_add(uint64_t start_pfn, uint64_t end_pfn)
{
    // Frame 0 stays unused: a physical address of 0 is always a mistake.
    if (start_pfn == 0)
        start_pfn = 1;
    end_pfn = MIN(end_pfn, MEMORY_END_PFN);
    if (start_pfn >= end_pfn)
        return;
    if (run_count == RUNS_MAX) {
        log_warning("memory: map too fragmented, [%lx, %lx) not used", start_pfn, end_pfn);
        return;
    }
    runs[run_count++] = (struct run){start_pfn, end_pfn};
}

// Cuts [start, end) out of the last run, which was just added and may overlap it.
static void run_exclude(uint64_t start_pfn, uint64_t end_pfn)
{
    for (unsigned i = 0; i < run_count; i++) {
        struct run run = runs[i];
        if (end_pfn <= run.start_pfn || start_pfn >= run.end_pfn)
            continue;
        if (start_pfn > run.start_pfn && end_pfn < run.end_pfn) {
            runs[i].end_pfn = start_pfn;
            if (run_count == RUNS_MAX)
                continue; // what lies behind the hole is given up
            for (unsigned j = run_count++; j > i + 1; j--)
                runs[j] = runs[j - 1];
            runs[i + 1] = (struct run){end_pfn, run.end_pfn};
        } else if (start_pfn > run.start_pfn) {
            runs[i].end_pfn = start_pfn;
        } else if (end_pfn < run.end_pfn) {
            runs[i].start_pfn = end_pfn;
        } else {
            runs[i].end_pfn = runs[i].start_pfn; // empty; skipped by everybody
        }
    }
}

static void runs_collect(void)
{
    // The loader's information has been read, so what firmware used at boot time is ours.
    memmap_reclaim(&boot_info.memory);
    uint64_t cursor = 0, start, end;
    while (memmap_next_usable(&boot_info.memory, &cursor, &start, &end))
        run_add(start >> PAGE_SHIFT, end >> PAGE_SHIFT);
    // Boot paths should have marked these as in use; giving one away would be fatal, so it is not
    // left to them.
    run_exclude(boot_info.kernel_phys_start >> PAGE_SHIFT,
        ALIGN_UP(boot_info.kernel_phys_end, PAGE_SIZE) >> PAGE_SHIFT);
    if (boot_info.initrd_len_bytes != 0)
        run_exclude(boot_info.initrd_phys >> PAGE_SHIFT,
            ALIGN_UP(boot_info.initrd_phys + boot_info.initrd_len_bytes, PAGE_SIZE) >> PAGE_SHIFT);
}

// Zeroed pages below 4 GiB, for good. Panics if there is none: then there is no machine to run on.
static void *early_alloc(uint64_t pages)
{
    // Preferably from 1 MiB on: the memory below is scarce and wanted by the start of other CPUs.
    for (int low = 0; low < 2; low++) {
        for (unsigned i = 0; i < run_count; i++) {
            struct run *run = &runs[i];
            if ((run->start_pfn < 256) != (low != 0) || run->end_pfn < run->start_pfn + pages)
                continue;
            if (run->start_pfn + pages > DMA32_END_PFN)
                continue;
            void *memory = phys_to_virt(run->start_pfn << PAGE_SHIFT);
            run->start_pfn += pages;
            arch_clear_pages(memory, pages);
            return memory;
        }
    }
    panic("memory: no %lu free pages below 4 GiB to start with", pages);
}

// ---- the kernel's page tables ----

static uint64_t *table_of(uint64_t entry)
{
    return phys_to_virt(entry & PTE_ADDRESS);
}

// The table that *entry points to, made by early_alloc if there is none.
static uint64_t *table_early(uint64_t *entry)
{
    if (!(*entry & PTE_PRESENT))
        *entry = virt_to_phys(early_alloc(1)) | KERNEL_TABLE;
    return table_of(*entry);
}

static void direct_map_2m(uint64_t *directory, uint64_t start, uint64_t end)
{
    for (uint64_t phys = ALIGN_DOWN(start, PAGE_SIZE_2M); phys < end; phys += PAGE_SIZE_2M) {
        uint64_t *entry = &directory[PAGE_LEVEL_INDEX(phys, 2)];
        *entry = phys | PTE_LARGE | KERNEL_DATA;
    }
}

// Maps RAM [start, end), which lies above 4 GiB.
static void direct_map_add(uint64_t start, uint64_t end)
{
    while (start < end) {
        uintptr_t virtual = PHYS_MAP_BASE + start;
        uint64_t chunk_end = MIN(ALIGN_DOWN(start, PAGE_SIZE_1G) + PAGE_SIZE_1G, end);
        uint64_t *pdpt = table_early(&kernel_page_table[PAGE_LEVEL_INDEX(virtual, 4)]);
        uint64_t *entry = &pdpt[PAGE_LEVEL_INDEX(virtual, 3)];
        if (chunk_end - start == PAGE_SIZE_1G && arch_cpu_has(ARCH_1G_PAGES) &&
            !(*entry & PTE_PRESENT))
            *entry = start | PTE_LARGE | KERNEL_DATA;
        else if (!(*entry & PTE_LARGE))
            direct_map_2m(table_early(entry), start, chunk_end);
        start = chunk_end;
    }
}

static void direct_map_complete(void)
{
    for (size_t i = 0; i < boot_info.memory.count; i++) {
        const struct memmap_range *range = &boot_info.memory.ranges[i];
        if (range->type > MEMMAP_ACPI_NVS || range->end <= (DMA32_END_PFN << PAGE_SHIFT))
            continue;
        direct_map_add(MAX(range->start, DMA32_END_PFN << PAGE_SHIFT),
            MIN(range->end, MEMORY_END_PFN << PAGE_SHIFT));
    }
}

// Flags of the kernel image's page at `address`: W^X.
static uint64_t image_flags(uintptr_t address)
{
    if (address < (uintptr_t)kernel_text_end)
        return PTE_PRESENT | PTE_ACCESSED | PTE_GLOBAL;
    if (address < (uintptr_t)kernel_rodata_end)
        return PTE_PRESENT | PTE_ACCESSED | PTE_GLOBAL | PTE_NX;
    return KERNEL_DATA;
}

// Replaces the boot mapping of the image (2 MiB pages, everything allowed) by 4 KiB pages with the
// right to write or to execute, never both.
static void image_protect(void)
{
    uintptr_t start = (uintptr_t)kernel_image_start, end = (uintptr_t)kernel_image_end;
    uint64_t *pdpt = table_of(kernel_page_table[PAGE_LEVEL_INDEX(start, 4)]);
    uint64_t *directory = table_of(pdpt[PAGE_LEVEL_INDEX(start, 3)]);
    for (unsigned i = 0; i < PAGE_TABLE_ENTRIES; i++) {
        uintptr_t base = KERNEL_IMAGE_BASE + ((uintptr_t)i << PAGE_LEVEL_SHIFT(2));
        if (base + PAGE_SIZE_2M <= start || base >= end) {
            directory[i] = 0;
            continue;
        }
        uint64_t *table = early_alloc(1);
        for (uintptr_t page = MAX(base, ALIGN_DOWN(start, PAGE_SIZE));
             page < MIN(base + PAGE_SIZE_2M, end); page += PAGE_SIZE)
            table[PAGE_LEVEL_INDEX(page, 1)] =
                (page - KERNEL_IMAGE_BASE + kernel_phys_base) | image_flags(page);
        directory[i] = virt_to_phys(table) | KERNEL_TABLE;
    }
}

static void kernel_tables_complete(void)
{
    direct_map_complete();
    image_protect();
    // Top-level entries are made now and never again: every address space copies them.
    table_early(&kernel_page_table[PAGE_LEVEL_INDEX(VMEMMAP_BASE, 4)]);
    table_early(&kernel_page_table[PAGE_LEVEL_INDEX(VMAP_BASE, 4)]);
    kernel_page_table[0] = 0;
    for (unsigned i = PAGE_TABLE_ENTRIES / 2; i < PAGE_TABLE_ENTRIES; i++) {
        if (!(kernel_page_table[i] & PTE_PRESENT))
            continue;
        assert(kernel_slot_count < ARRAY_SIZE(kernel_slots));
        kernel_slots[kernel_slot_count++] = (uint16_t)i;
    }
    arch_tlb_flush_all();
}

// ---- sections and blocks ----

bool pfn_is_ram(uint64_t pfn)
{
    uint64_t block = pfn / MEMORY_BLOCK_PAGES;
    return block < block_count && bitmap_test(block_touched, block);
}

static_assert(MEMORY_BLOCK_PAGES * PAGE_SIZE == NUMA_SPAN_ALIGN); // M4

static struct zone *zone_of_block(uint64_t block)
{
    const uint64_t pfn = block * MEMORY_BLOCK_PAGES;
    return zone_of_node(
        numa_node_of(&numa, pfn << PAGE_SHIFT), pfn < DMA32_END_PFN ? ZONE_DMA32 : ZONE_NORMAL);
}

// Clears the struct pages of a block, whose section is mapped, and frees its free frames except
// [hole_start, hole_end).
static void block_touch(uint64_t block, uint64_t hole_start, uint64_t hole_end)
{
    struct zone *zone = zone_of_block(block);
    uint64_t start = block * MEMORY_BLOCK_PAGES, end = start + MEMORY_BLOCK_PAGES;
    arch_clear_pages(pfn_to_page(start), MEMORY_BLOCK_PAGES * sizeof(struct page) / PAGE_SIZE);
    const uint8_t node = (uint8_t)zone_node(zone);
    for (uint64_t pfn = start; node != 0 && pfn < end; pfn++)
        pfn_to_page(pfn)->node = node;
    bitmap_set_atomic(block_touched, block);
    for (unsigned i = 0; i < run_count; i++) {
        uint64_t from = MAX(runs[i].start_pfn, start), to = MIN(runs[i].end_pfn, end);
        if (from >= to)
            continue;
        zone->buddy.promised_pages -= to - from;
        uint64_t hole_from = CLAMP(hole_start, from, to), hole_to = CLAMP(hole_end, from, to);
        if (hole_from < hole_to) {
            buddy_free_range(&zone->buddy, from, hole_from);
            buddy_free_range(&zone->buddy, hole_to, to);
            continue;
        }
        from += kasan_block_shadow(block, from, to);
        buddy_free_range(&zone->buddy, from, to);
    }
}

// First and one-past-last block of the section that hold RAM of any use.
static bool section_span(uint64_t section, uint64_t *first_block, uint64_t *end_block)
{
    uint64_t start = section * MEMORY_SECTION_PAGES << PAGE_SHIFT;
    uint64_t end = start + (MEMORY_SECTION_PAGES << PAGE_SHIFT);
    uint64_t low = UINT64_MAX, high = 0;
    for (size_t i = 0; i < boot_info.memory.count; i++) {
        const struct memmap_range *range = &boot_info.memory.ranges[i];
        if (range->type > MEMMAP_IN_USE || range->end <= start || range->start >= end)
            continue;
        low = MIN(low, MAX(range->start, start));
        high = MAX(high, MIN(range->end, end));
    }
    const uint64_t block_bytes = MEMORY_BLOCK_PAGES << PAGE_SHIFT;
    *first_block = low / block_bytes;
    *end_block = DIV_ROUND_UP(high, block_bytes);
    return low < high;
}

// `count` free frames, aligned, inside one block of the zone in [first_block, end_block) (none
// touched). 0: not found.
static uint64_t section_carve(const struct zone *zone, uint64_t first_block, uint64_t end_block,
    uint64_t count, uint64_t alignment)
{
    for (unsigned i = 0; i < run_count; i++) {
        uint64_t from = MAX(runs[i].start_pfn, first_block * MEMORY_BLOCK_PAGES);
        uint64_t to = MIN(runs[i].end_pfn, end_block * MEMORY_BLOCK_PAGES);
        while (from < to) {
            uint64_t block_end = MIN(ALIGN_DOWN(from, MEMORY_BLOCK_PAGES) + MEMORY_BLOCK_PAGES, to);
            uint64_t start = ALIGN_UP(from, alignment);
            if (start + count <= block_end && zone_of_block(from / MEMORY_BLOCK_PAGES) == zone)
                return start;
            from = block_end;
        }
    }
    return 0;
}

// Next table on the way to a section's struct pages; a missing one is made from frame *spare_pfn.
static uint64_t *section_table(uint64_t *entry, uint64_t *spare_pfn)
{
    if (!(*entry & PTE_PRESENT)) {
        arch_clear_page(phys_to_virt(*spare_pfn << PAGE_SHIFT));
        *entry = (*spare_pfn)++ << PAGE_SHIFT | KERNEL_TABLE;
    }
    return table_of(*entry);
}

#define SECTION_SPARE_TABLES 2

// Backs the struct pages of a section with memory of its own, of the zone whose lock is held.
// Under section_lock. False: it has no room for them.
static bool section_map(const struct zone *zone, uint64_t section)
{
    uint64_t first_block, end_block;
    if (!section_span(section, &first_block, &end_block))
        return false;
    const uint64_t block_map_pages = MEMORY_BLOCK_PAGES * sizeof(struct page) / PAGE_SIZE;
    uintptr_t address = (uintptr_t)pfn_to_page(section * MEMORY_SECTION_PAGES);
    uint64_t count = (end_block - first_block) * block_map_pages;
    uint64_t large = PAGE_SIZE_2M >> PAGE_SHIFT;
    uint64_t carve = 0;
    if (count > large / 2) {
        // The tables for it lie behind the 2 MiB page.
        carve = section_carve(zone, first_block, end_block, large + SECTION_SPARE_TABLES, large);
        if (carve != 0)
            count = large;
    }
    if (carve == 0)
        carve = section_carve(zone, first_block, end_block, count + SECTION_SPARE_TABLES, 1);
    if (carve == 0)
        return false;
    uint64_t spare = carve + count;
    uint64_t *pdpt = table_of(kernel_page_table[PAGE_LEVEL_INDEX(address, 4)]);
    uint64_t *directory = section_table(&pdpt[PAGE_LEVEL_INDEX(address, 3)], &spare);
    uint64_t *entry = &directory[PAGE_LEVEL_INDEX(address, 2)];
    if (count == large && IS_ALIGNED(carve, large)) {
        *entry = carve << PAGE_SHIFT | PTE_LARGE | KERNEL_DATA;
    } else {
        uint64_t *table = section_table(entry, &spare);
        uint64_t index = first_block % MEMORY_SECTION_BLOCKS * block_map_pages;
        for (uint64_t i = 0; i < count; i++)
            table[index + i] = (carve + i) << PAGE_SHIFT | KERNEL_DATA;
    }
    assert(spare <= carve + count + SECTION_SPARE_TABLES);
    block_touch(carve / MEMORY_BLOCK_PAGES, carve, spare);
    return true;
}

static bool section_is_mapped(uint64_t section)
{
    uintptr_t address = (uintptr_t)pfn_to_page(section * MEMORY_SECTION_PAGES);
    const uint64_t *pdpt = table_of(kernel_page_table[PAGE_LEVEL_INDEX(address, 4)]);
    uint64_t entry = pdpt[PAGE_LEVEL_INDEX(address, 3)];
    return (entry & PTE_PRESENT) &&
           (table_of(entry)[PAGE_LEVEL_INDEX(address, 2)] & PTE_PRESENT) != 0;
}

// M5.
static struct spinlock section_lock = SPINLOCK_INIT("mm/memory.c: section_lock");

// Makes the struct pages of a block and frees what is free in it; under its zone's lock. False: not
// possible.
static bool block_ensure(uint64_t block)
{
    if (bitmap_test(block_touched, block))
        return true;
    uint64_t section = block / MEMORY_SECTION_BLOCKS;
    spin_lock(&section_lock);
    bool mapped = section_is_mapped(section) || section_map(zone_of_block(block), section);
    spin_unlock(&section_lock);
    if (!mapped)
        return false;
    if (!bitmap_test(block_touched, block)) // section_map may have done it
        block_touch(block, 0, 0);
    return true;
}

// The next block at or after `block` that has free frames; UINT64_MAX: none.
static uint64_t block_next_free(uint64_t block)
{
    for (unsigned i = 0; i < run_count; i++) {
        if (runs[i].start_pfn >= runs[i].end_pfn)
            continue;
        uint64_t last = (runs[i].end_pfn - 1) / MEMORY_BLOCK_PAGES;
        if (last >= block)
            return MAX(block, runs[i].start_pfn / MEMORY_BLOCK_PAGES);
    }
    return UINT64_MAX;
}

bool memory_grow(struct buddy_zone *buddy)
{
    struct zone *zone = container_of(buddy, struct zone, buddy);
    uint64_t end_block = DIV_ROUND_UP(zone->end_pfn, MEMORY_BLOCK_PAGES);
    for (;;) {
        uint64_t block = block_next_free(zone->next_block);
        if (block >= end_block) {
            buddy->promised_pages = 0; // sections that had no room for their struct pages
            return false;
        }
        zone->next_block = block + 1;
        if (zone_of_block(block) != zone)
            continue; // another node's memory between ours
        uint64_t free_before = buddy->free_pages;
        if (!bitmap_test(block_touched, block) && block_ensure(block) &&
            buddy->free_pages != free_before)
            return true;
    }
}

static void zone_init(struct zone *zone, unsigned kind)
{
    spin_lock_init(&zone->lock);
    buddy_init(&zone->buddy, memory_grow);
    zone->first_pfn = kind == ZONE_DMA32 ? 0 : DMA32_END_PFN;
    zone->end_pfn = kind == ZONE_DMA32 ? DMA32_END_PFN : MEMORY_END_PFN;
}

// The zone has the free frames of a span, as far as they are of its kind.
static void zone_add_span(struct zone *zone, const struct numa_span *span)
{
    const uint64_t first_pfn = MAX(zone->first_pfn, span->start >> PAGE_SHIFT);
    const uint64_t end_pfn = MIN(zone->end_pfn, span->end >> PAGE_SHIFT);
    for (unsigned i = 0; i < run_count; i++) {
        uint64_t from = MAX(runs[i].start_pfn, first_pfn), to = MIN(runs[i].end_pfn, end_pfn);
        if (from < to)
            zone->total_pages += to - from;
    }
}

static void node_orders_make(void)
{
    const size_t bytes = (size_t)numa.node_count * numa.node_count;
    uint8_t *orders = early_alloc(DIV_ROUND_UP(bytes, PAGE_SIZE));
    for (uint32_t node = 0; node < numa.node_count; node++) {
        uint8_t order[NUMA_NODES_MAX];
        numa_order(&numa, node, order);
        memcpy(orders + (size_t)node * numa.node_count, order, numa.node_count);
    }
    node_orders = orders;
}

static void zones_fill(void)
{
    zone_count = numa.node_count * ZONE_KINDS;
    if (numa.node_count > 1) {
        zones = early_alloc(DIV_ROUND_UP(zone_count * sizeof(struct zone), PAGE_SIZE));
        node_orders_make();
    }
    for (uint32_t i = 0; i < zone_count; i++)
        zone_init(&zones[i], i % ZONE_KINDS);
    for (uint32_t i = 0; i < numa.span_count; i++) {
        for (unsigned kind = 0; kind < ZONE_KINDS; kind++)
            zone_add_span(zone_of_node(numa.spans[i].node, kind), &numa.spans[i]);
    }
    for (uint32_t i = 0; i < zone_count; i++) {
        struct zone *zone = &zones[i];
        zone->next_block = zone->first_pfn / MEMORY_BLOCK_PAGES;
        zone->buddy.promised_pages = zone->total_pages;
        zone->reserve_pages = MIN(zone->total_pages / 64, 2048ul);
    }
}

void memory_init_early(void)
{
    runs_collect();
    uint64_t end_pfn = 0;
    for (size_t i = 0; i < boot_info.memory.count; i++)
        if (boot_info.memory.ranges[i].type <= MEMMAP_IN_USE)
            end_pfn = MAX(end_pfn, boot_info.memory.ranges[i].end >> PAGE_SHIFT);
    end_pfn = MIN(end_pfn, MEMORY_END_PFN);
    kernel_tables_complete();
    block_count = DIV_ROUND_UP(end_pfn, MEMORY_BLOCK_PAGES);
    size_t bytes = BITMAP_WORDS(block_count) * sizeof(uint64_t);
    block_touched = early_alloc(DIV_ROUND_UP(bytes, PAGE_SIZE));
    kasan_init_early(block_count, early_alloc);
    zones_fill();
    uint64_t total_pages = 0;
    for (uint32_t i = 0; i < zone_count; i++)
        total_pages += zones[i].total_pages;
    log_debug("memory: %lu MiB free, %u nodes", total_pages >> (20 - PAGE_SHIFT), numa.node_count);
}

// ---- mappings of single pages outside the direct map ----

// Protects the kernel's middle tables and entries of the vmap area.
static struct spinlock kernel_table_lock = SPINLOCK_INIT("mm/memory.c: kernel_table_lock");

static uint64_t *kernel_table_get(uint64_t *entry)
{
    if (!(*entry & PTE_PRESENT)) {
        void *table = page_alloc_kernel(0, PAGE_ALLOC_ZERO | PAGE_ALLOC_ATOMIC);
        if (table == NULL)
            return NULL;
        __atomic_store_n(entry, virt_to_phys(table) | KERNEL_TABLE, __ATOMIC_RELEASE);
    }
    return table_of(*entry);
}

int kernel_map(uintptr_t address, uint64_t phys, uint64_t flags)
{
    int result = -ENOMEM;
    spin_lock(&kernel_table_lock);
    uint64_t *table = table_of(kernel_page_table[PAGE_LEVEL_INDEX(address, 4)]);
    for (unsigned level = 3; level > 1 && table != NULL; level--)
        table = kernel_table_get(&table[PAGE_LEVEL_INDEX(address, level)]);
    if (table != NULL) {
        uint64_t *entry = &table[PAGE_LEVEL_INDEX(address, 1)];
        assert(*entry == 0);
        *entry = phys | flags | PTE_PRESENT;
        result = 0;
    }
    spin_unlock(&kernel_table_lock);
    return result;
}

uint64_t kernel_unmap(uintptr_t address)
{
    uint64_t *table = table_of(kernel_page_table[PAGE_LEVEL_INDEX(address, 4)]);
    for (unsigned level = 3; level > 1; level--) {
        uint64_t entry = table[PAGE_LEVEL_INDEX(address, level)];
        if (!(entry & PTE_PRESENT))
            return UINT64_MAX;
        table = table_of(entry);
    }
    uint64_t *entry = &table[PAGE_LEVEL_INDEX(address, 1)];
    uint64_t old = *entry;
    *entry = 0;
    return old & PTE_PRESENT ? old & PTE_ADDRESS : UINT64_MAX;
}
