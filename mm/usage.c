// SPDX-License-Identifier: MIT
// What is resident of an area: for /proc.

#include "mm/area.h"
#include "mm/huge.h"
#include "mm/page_table.h"

static void usage_add(struct vm_area_usage *usage, uint64_t value, uint64_t pages)
{
    if (!pte_is_page(value) || (value & PTE_BORROWED))
        return;
    if (value & PTE_ANONYMOUS)
        usage->anonymous += pages;
    else
        usage->file += pages;
    usage->exclusive += anonymous_is_exclusive(value) ? pages : 0;
}

// One table or huge page at or after `address`. Returns where to go on. Under table_lock, so that
// shared tables may be read (H5 of shared_table.c).
static uintptr_t usage_step(struct vm_area *area, uintptr_t address, struct vm_area_usage *usage)
{
    struct page_table_place place = {0};
    address = page_table_next(area->space, address, area->end, &place);
    if (address >= area->end)
        return area->end;
    if (place.huge) {
        uint64_t value = *place.upper;
        usage_add(usage, value & ~PTE_LARGE, HUGE_PAGES);
        usage->huge += HUGE_PAGES;
        return place.next;
    }
    uintptr_t end = MIN(place.next, area->end);
    uint32_t left = virt_to_page(place.entry)->used_entries;
    for (const uint64_t *entry = place.entry; address < end && left != 0; address += PAGE_SIZE) {
        uint64_t value = __atomic_load_n(entry++, __ATOMIC_RELAXED);
        left -= value != 0;
        usage_add(usage, value, 1);
    }
    return end;
}

void vm_area_usage_read(struct vm_area *area, struct vm_area_usage *usage)
{
    *usage = (struct vm_area_usage){0};
    for (uintptr_t address = area->start; address < area->end;) {
        spin_lock(&area->space->table_lock);
        address = usage_step(area, address, usage);
        spin_unlock(&area->space->table_lock);
    }
}
