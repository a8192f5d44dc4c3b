// SPDX-License-Identifier: MIT
// Faults in areas with pages of the pool (MAP_HUGETLB). As those of huge.c, but a page that has to
// be copied is copied whole, nothing is ever split, and nothing counts as resident: as on Linux,
// what the pool has is the administrator's affair.

#include "mm/huge_pool.h"

#include "kernel/arch/x86/arch.h"
#include "kernel/base/assert.h"
#include "kernel/core/counter.h"
#include "mm/area.h"
#include "mm/huge.h"
#include "mm/tlb.h"
#include <linux/errno.h>

COUNTER(huge_pool, faults);
COUNTER(huge_pool, copied);
COUNTER(huge_pool, refused);

// Uses one of the area's promises up; false: it has none.
static bool promise_use(struct vm_area *area)
{
    uint32_t left = __atomic_load_n(&area->pool_reserved, __ATOMIC_RELAXED);
    do {
        if (left == 0)
            return false;
    } while (!__atomic_compare_exchange_n(
        &area->pool_reserved, &left, left - 1, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return true;
}

static int fault_new(struct address_space *space, struct vm_area *area, uint64_t *upper)
{
    const bool reserved = promise_use(area);
    struct page *head = huge_pool_take(reserved);
    if (head == NULL) {
        counter_add(huge_pool, refused, 1);
        return -ENXIO; // SIGBUS
    }
    arch_clear_pages(page_to_virt(head), HUGE_PAGES);
    area->has_anonymous = true;
    const uint64_t value =
        page_to_phys(head) | PTE_LARGE | PTE_ANONYMOUS | pte_flags_of(area->flags, true);
    spin_lock(&space->table_lock);
    const bool added = *upper == 0;
    if (added) {
        __atomic_store_n(upper, value, __ATOMIC_RELEASE);
        virt_to_page(upper)->used_entries++;
    }
    spin_unlock(&space->table_lock);
    if (!added) { // another thread was faster
        huge_page_unmap(head);
        if (reserved && huge_pool_reserve(1) == 0)
            __atomic_fetch_add(&area->pool_reserved, 1, __ATOMIC_RELAXED);
        return 0;
    }
    counter_add(huge_pool, faults, 1);
    return 0;
}

// A write to a page that another space has, too.
static int fault_copy(
    struct address_space *space, struct vm_area *area, uintptr_t address, uint64_t *upper)
{
    const uintptr_t start = ALIGN_DOWN(address, HUGE_BYTES);
    const uint64_t shared = __atomic_load_n(upper, __ATOMIC_RELAXED);
    struct page *head = huge_pool_take(false);
    if (head == NULL) {
        counter_add(huge_pool, refused, 1);
        return -ENXIO;
    }
    // Nobody writes to the old page while it has several mappings (U5 of huge.c), and ours stays.
    struct page *old = pte_page(shared);
    for (uint64_t i = 0; i < HUGE_PAGES; i++)
        arch_copy_page(page_to_virt(head + i), page_to_virt(old + i));
    const uint64_t value =
        page_to_phys(head) | PTE_LARGE | PTE_ANONYMOUS | pte_flags_of(area->flags, true);
    spin_lock(&space->table_lock);
    const bool still = pte_is_huge(*upper) && !(*upper & PTE_WRITE) && pte_page(*upper) == old &&
                       !anonymous_is_exclusive(*upper);
    if (still)
        __atomic_store_n(upper, value, __ATOMIC_RELEASE);
    spin_unlock(&space->table_lock);
    if (still) {
        tlb_flush_space(space, start, start + HUGE_BYTES, false);
        counter_add(huge_pool, copied, 1);
    }
    huge_page_unmap(still ? old : head);
    return 0;
}

int huge_pool_fault(
    struct address_space *space, struct vm_area *area, uintptr_t address, bool write)
{
    uint64_t *upper = page_table_make_upper(space, address);
    if (upper == NULL)
        return -ENOMEM;
    if (__atomic_load_n(upper, __ATOMIC_ACQUIRE) == 0)
        return fault_new(space, area, upper);
    if (huge_fault_present(space, upper, write))
        return 0;
    return fault_copy(space, area, address, upper);
}

// ---- areas that change; space->lock held for writing ----

void huge_pool_divide(struct vm_area *lower, struct vm_area *upper)
{
    uint32_t missing = 0;
    for (uintptr_t at = upper->start; at < upper->end; at += HUGE_BYTES)
        missing += !huge_is_mapped(lower->space, at);
    upper->pool_reserved = MIN(missing, lower->pool_reserved);
    lower->pool_reserved -= upper->pool_reserved;
}
