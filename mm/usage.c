// SPDX-License-Identifier: MIT
// What is resident of an area: for /proc.

#include "mm/area.h"

#include "kernel/base/string.h"
#include "mm/huge.h"
#include "mm/page_table.h"

typedef void visit_function(void *context, uint64_t value, uint64_t pages);

static void usage_add(void *context, uint64_t value, uint64_t pages)
{
    struct vm_area_usage *usage = context;
    if (value & PTE_ANONYMOUS)
        usage->anonymous += pages;
    else
        usage->file += pages;
    usage->exclusive += anonymous_is_exclusive(value) ? pages : 0;
    usage->huge += pages == HUGE_PAGES ? pages : 0;
}

static void node_add(void *context, uint64_t value, uint64_t pages)
{
    uint64_t *nodes = context;
    nodes[pte_page(value)->node] += pages;
}

// One table or huge page at or after `address`. Returns where to go on. Under table_lock, so that
// shared tables may be read (H5 of shared_table.c).
static uintptr_t visit_step(
    struct vm_area *area, uintptr_t address, visit_function *visit, void *context)
{
    struct page_table_place place = {0};
    address = page_table_next(area->space, address, area->end, &place);
    if (address >= area->end)
        return area->end;
    if (place.huge) {
        uint64_t value = *place.upper;
        if (pte_is_page(value))
            visit(context, value, HUGE_PAGES);
        return place.next;
    }
    uintptr_t end = MIN(place.next, area->end);
    uint32_t left = virt_to_page(place.entry)->used_entries;
    for (const uint64_t *entry = place.entry; address < end && left != 0; address += PAGE_SIZE) {
        uint64_t value = __atomic_load_n(entry++, __ATOMIC_RELAXED);
        left -= value != 0;
        if (pte_is_page(value) && !(value & PTE_BORROWED))
            visit(context, value, 1);
    }
    return end;
}

static void visit_area(struct vm_area *area, visit_function *visit, void *context)
{
    for (uintptr_t address = area->start; address < area->end;) {
        spin_lock(&area->space->table_lock);
        address = visit_step(area, address, visit, context);
        spin_unlock(&area->space->table_lock);
    }
}

void vm_area_usage_read(struct vm_area *area, struct vm_area_usage *usage)
{
    *usage = (struct vm_area_usage){0};
    visit_area(area, usage_add, usage);
}

void vm_area_nodes_read(struct vm_area *area, uint64_t pages[NUMA_NODES_MAX])
{
    memset(pages, 0, NUMA_NODES_MAX * sizeof(pages[0]));
    visit_area(area, node_add, pages);
}
