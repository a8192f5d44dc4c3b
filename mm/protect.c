// SPDX-License-Identifier: MIT
// mprotect: changing what a range allows.
//
// Only restrictions and changes of what is executable touch page-table entries: a right to write
// that is gained is given by the next fault, which has to look whether the page must be copied
// anyway.

#include "mm/area.h"
#include "mm/huge.h"

#include "kernel/base/assert.h"
#include "kernel/core/user.h"
#include "mm/page_internal.h"
#include "mm/page_table.h"
#include "mm/shared_table.h"
#include <linux/errno.h>

// Never gains PTE_WRITE, but for private pages that had it.
uint64_t pte_protected(uint64_t value, uint32_t flags)
{
    uint64_t kept =
        value & (PTE_ADDRESS | PTE_DIRTY | PTE_ACCESSED | PTE_BORROWED | PTE_ANONYMOUS | PTE_LARGE);
    uint64_t rights = pte_flags_of(flags, false) & ~PTE_ACCESSED;
    if ((value & PTE_WRITE) && (flags & VM_WRITE))
        rights |= PTE_WRITE;
    // A private page that is only ours may be written at once: saves the fault after a toggle.
    if ((flags & (VM_WRITE | VM_SHARED)) == VM_WRITE && anonymous_is_exclusive(value))
        rights |= PTE_WRITE | PTE_DIRTY;
    return kept | rights;
}

static void protect_table(
    struct tlb_range *stale, uint64_t *entry, uintptr_t address, uintptr_t end, uint32_t flags)
{
    struct page *table = virt_to_page(entry);
    spin_lock(&table->table_lock);
    uint32_t left = table->used_entries;
    for (; address < end && left != 0; address += PAGE_SIZE, entry++) {
        uint64_t value = *entry;
        if (value == 0)
            continue;
        left--;
        uint64_t changed = pte_protected(value, flags);
        if (changed == value)
            continue;
        // Bits that the processor sets between the load and the exchange: dirty and accessed, which
        // nobody relies on for private memory; shared memory is marked dirty when it is made
        // writable.
        uint64_t old = __atomic_exchange_n(entry, changed, __ATOMIC_SEQ_CST);
        if ((old & PTE_PRESENT) && pte_is_restricted(old, changed))
            tlb_range_add(stale, address);
    }
    spin_unlock(&table->table_lock);
}

static void protect_pages(
    struct address_space *space, uintptr_t start, uintptr_t end, uint32_t flags)
{
    struct tlb_range stale = TLB_RANGE_EMPTY;
    struct page_table_place place = {0};
    for (uintptr_t address = start;
        (address = page_table_next(space, address, end, &place)) < end;) {
        uintptr_t table_end = MIN(place.next, end);
        if (place.huge)
            huge_protect(space, &stale, place.upper, address, flags);
        else
            protect_table(&stale, place.entry, address, table_end, flags);
        address = table_end;
    }
    if (stale.start < stale.end)
        tlb_flush_space(space, stale.start, stale.end, false);
}

// Is the whole range mapped? And may every part get the access? 0, -ENOMEM, -EACCES.
static int check_range(struct address_space *space, uintptr_t start, uintptr_t end,
    uint32_t vm_access, uintptr_t *good_end)
{
    uintptr_t at = start;
    *good_end = start;
    for (struct vm_area *area = vm_area_find(space, start); area != NULL && at < end;
        area = vm_area_next(area)) {
        if (area->start > at)
            return -ENOMEM;
        if ((vm_access & VM_WRITE) && !(area->flags & VM_MAYWRITE))
            return -EACCES;
        at = area->end;
        *good_end = MIN(at, end);
    }
    return at < end ? -ENOMEM : 0;
}

static int protect_locked(
    struct address_space *space, uintptr_t start, uintptr_t end, uint32_t vm_access)
{
    // As on Linux, what comes before the first obstacle is changed.
    uintptr_t good_end;
    int result = check_range(space, start, end, vm_access, &good_end);
    if (good_end == start)
        return result;
    int error = area_split_range(space, start, good_end);
    if (error != 0)
        return error;
    for (struct vm_area *area = vm_area_find(space, start); area != NULL && area->start < good_end;
        area = vm_area_next(area)) {
        uint32_t flags = (area->flags & ~VM_ACCESS) | vm_access;
        if (flags != area->flags) {
            error = shared_table_own_range(space, area->start, area->end);
            if (error != 0)
                return error;
            area_change(area);
            area->flags = flags;
            protect_pages(space, area->start, area->end, flags);
        }
        area = area_merge(space, area);
    }
    return result;
}

int vm_protect(struct address_space *space, uintptr_t address, size_t len_bytes, uint32_t vm_access)
{
    size_t len = ALIGN_UP(len_bytes, PAGE_SIZE);
    if (!IS_ALIGNED(address, PAGE_SIZE))
        return -EINVAL;
    if (len_bytes == 0)
        return 0;
    if (len == 0 || !user_range_ok(address, len))
        return -ENOMEM;
    rwlock_write_lock(&space->lock);
    int result = protect_locked(space, address, address + len, vm_access & VM_ACCESS);
    expensive_assert(address_space_is_valid_sampled(space));
    space_write_unlock(space);
    return result;
}
