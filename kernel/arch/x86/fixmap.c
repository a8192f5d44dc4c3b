// SPDX-License-Identifier: MIT
// Device pages of the processor itself. Own small tables in the image: the processor code stands
// below memory management and can't ask it for mappings.

#include "kernel/arch/x86/fixmap.h"

#include "kernel/arch/x86/paging.h"
#include "kernel/arch/x86/phys.h"
#include "kernel/base/assert.h"

#define FIXMAP_SLOTS 16

static uint64_t fixmap_directory[PAGE_TABLE_ENTRIES] __aligned(4096);
static uint64_t fixmap_table[PAGE_TABLE_ENTRIES] __aligned(4096);
static uint32_t fixmap_used;

void fixmap_init(void)
{
    uint64_t top = kernel_page_table[PAGE_LEVEL_INDEX(FIXMAP_BASE, 4)];
    assert(top & PTE_PRESENT);
    uint64_t *pointers = (uint64_t *)(PHYS_DIRECT_BASE + (top & PTE_ADDRESS));
    uint32_t index = PAGE_LEVEL_INDEX(FIXMAP_BASE, 3);
    assert(pointers[index] == 0);
    fixmap_directory[PAGE_LEVEL_INDEX(FIXMAP_BASE, 2)] =
        kernel_image_to_phys(fixmap_table) | PTE_PRESENT | PTE_WRITE;
    pointers[index] = kernel_image_to_phys(fixmap_directory) | PTE_PRESENT | PTE_WRITE;
}

volatile void *fixmap_device(uint64_t phys)
{
    if (fixmap_used == FIXMAP_SLOTS || phys >> 52 != 0)
        return NULL;
    uint32_t slot = fixmap_used++;
    fixmap_table[slot] = (phys & PAGE_MASK) | PTE_PRESENT | PTE_WRITE | PTE_UNCACHED | PTE_NX |
                         PTE_GLOBAL | PTE_ACCESSED | PTE_DIRTY;
    return (volatile void *)(FIXMAP_BASE + slot * PAGE_SIZE + (phys & ~PAGE_MASK));
}
