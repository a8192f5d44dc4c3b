// SPDX-License-Identifier: MIT
// Physical memory as the processor code sees it before memory management and for firmware's tables.
#pragma once

#include "kernel/base/types.h"

// The direct map; mm/page.h calls it PHYS_MAP_BASE
#define PHYS_DIRECT_BASE UINT64_C(0xffff800000000000)
#define PHYS_BOOT_END    UINT64_C(0x100000000) // end of what start.S maps

// Address in the boot direct map of [phys, phys + len), or NULL when it is not below 4 GiB. Valid
// until mm_init_early(); for ranges of usable memory for ever.
static inline void *phys_map_boot(uint64_t phys, uint64_t len_bytes)
{
    if (range_exceeds(phys, len_bytes, PHYS_BOOT_END))
        return NULL;
    return (void *)(PHYS_DIRECT_BASE + phys);
}

// Physical address of something in the kernel image.
uint64_t kernel_image_to_phys(const void *address);
