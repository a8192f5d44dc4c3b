// SPDX-License-Identifier: MIT
// madvise, msync, mlock and mincore.

#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/user.h"
#include "mm/area.h"
#include "mm/collapse.h"
#include "mm/huge.h"
#include "mm/page_cache.h"
#include "mm/page_internal.h"
#include "mm/page_table.h"
#include "mm/shared_table.h"
#include "mm/slab.h"
#include <linux/errno.h>
#include <linux/mman.h>

// Start aligned, length rounded up; an empty range is fine. 0, -EINVAL, or -ENOMEM beyond user
// space.
static int range_check(uintptr_t address, size_t len_bytes, uintptr_t *end)
{
    size_t len = ALIGN_UP(len_bytes, PAGE_SIZE);
    if (!IS_ALIGNED(address, PAGE_SIZE) || (len_bytes != 0 && len == 0))
        return -EINVAL;
    if (range_overflows(address, len))
        return -EINVAL;
    *end = address + len;
    return user_range_ok(address, len) ? 0 : -ENOMEM;
}

// ---- madvise ----

// What the advice does to one area's part. Under the lock that advice_writes() says.
static int discard_pages(struct vm_area *area, uintptr_t start, uintptr_t end)
{
    if (area->flags & (VM_LOCKED | VM_FIXED_PAGES))
        return -EINVAL;
    if ((area->flags & VM_POOL) && !IS_ALIGNED(start | end, HUGE_BYTES))
        return -EINVAL;
    int error = shared_table_own_edges(area->space, start, end);
    while (error == 0 && start < end) {
        error = huge_split_at(area->space, start);
        if (error == 0)
            error = huge_split_at(area->space, end);
        if (error != 0)
            break;
        TLB_GATHER(gather);
        tlb_gather_begin(&gather, area->space);
        start = zap_range(&gather, start, end, ZAP_UNMAP); // not all: a huge page has come
        tlb_gather_finish(&gather);
    }
    return error;
}

// MADV_REMOVE: the pages leave the object itself.
static int remove_pages(struct vm_area *area, uintptr_t start, uintptr_t end)
{
    if (area->cache == NULL ||
        (area->flags & (VM_SHARED | VM_MAYWRITE)) != (VM_SHARED | VM_MAYWRITE))
        return area->cache == NULL ? -EINVAL : -EACCES;
    if (area->flags & VM_LOCKED)
        return -EINVAL;
    uint64_t first = area->cache_index + ((start - area->start) >> PAGE_SHIFT);
    uint64_t bytes = end - start;
    page_cache_punch(area->cache, first << PAGE_SHIFT, (first << PAGE_SHIFT) + bytes);
    return 0;
}

// Advice that changes the area's flags: the new flags, or -EINVAL.
static int64_t advised_flags(const struct vm_area *area, int advice)
{
    switch (advice) {
    case MADV_DONTFORK:
        return area->flags | VM_DONTFORK;
    case MADV_DOFORK:
        return area->flags & ~VM_DONTFORK;
    case MADV_WIPEONFORK:
        if (area->cache != NULL || (area->flags & VM_SHARED))
            return -EINVAL;
        return area->flags | VM_WIPEFORK;
    case MADV_KEEPONFORK:
        return area->flags & ~VM_WIPEFORK;
    case MADV_DONTDUMP:
        return area->flags | VM_DONTDUMP;
    case MADV_DODUMP:
        return area->flags & ~VM_DONTDUMP;
    case MADV_HUGEPAGE:
        return (area->flags & ~VM_NOHUGE) | VM_HUGE;
    case MADV_NOHUGEPAGE:
        return (area->flags & ~VM_HUGE) | VM_NOHUGE;
    default:
        return area->flags;
    }
}

static bool advice_changes_flags(int advice)
{
    return advice == MADV_DONTFORK || advice == MADV_DOFORK || advice == MADV_WIPEONFORK ||
           advice == MADV_KEEPONFORK || advice == MADV_DONTDUMP || advice == MADV_DODUMP ||
           advice == MADV_HUGEPAGE || advice == MADV_NOHUGEPAGE;
}

static bool advice_is_known(int advice)
{
    switch (advice) {
    case MADV_NORMAL:
    case MADV_RANDOM:
    case MADV_SEQUENTIAL:
    case MADV_WILLNEED:
    case MADV_DONTNEED:
    case MADV_FREE:
    case MADV_REMOVE:
    case MADV_COLD:
    case MADV_PAGEOUT:
    case MADV_MERGEABLE:
    case MADV_UNMERGEABLE:
    case MADV_COLLAPSE:
        return true;
    default:
        return advice_changes_flags(advice);
    }
}

static int advise_pages(struct vm_area *area, uintptr_t start, uintptr_t end, int advice)
{
    switch (advice) {
    case MADV_FREE:
        if (area->cache != NULL || (area->flags & VM_SHARED))
            return -EINVAL;
        return discard_pages(area, start, end); // freeing at once is allowed
    case MADV_DONTNEED:
        return discard_pages(area, start, end);
    case MADV_REMOVE:
        return remove_pages(area, start, end);
    default:
        return 0; // hints about access patterns: nothing to do for memory without a disk below it
    }
}

// Runs through the areas of [start, end). A hole is skipped, but -ENOMEM in the end.
static int advise_locked(struct address_space *space, uintptr_t start, uintptr_t end, int advice)
{
    int hole = 0;
    uintptr_t at = start;
    while (at < end) {
        struct vm_area *area = vm_area_find(space, at);
        if (area == NULL || area->start >= end)
            return -ENOMEM;
        if (area->start > at) {
            hole = -ENOMEM;
            at = area->start;
        }
        uintptr_t stop = MIN(area->end, end);
        int error = 0;
        if (advice_changes_flags(advice)) {
            int64_t flags = advised_flags(area, advice);
            if (flags < 0)
                return (int)flags;
            error = area_split_range(space, at, stop);
            if (error != 0)
                return error;
            area = vm_area_find(space, at);
            area->flags = (uint32_t)flags;
            (void)area_merge(space, area);
        } else {
            error = advise_pages(area, at, stop, advice);
        }
        if (error != 0)
            return error;
        at = stop;
    }
    return hole;
}

int vm_advise(struct address_space *space, uintptr_t address, size_t len_bytes, int advice)
{
    uintptr_t end;
    bool populate = advice == MADV_POPULATE_READ || advice == MADV_POPULATE_WRITE;
    if (!populate && !advice_is_known(advice))
        return -EINVAL;
    int error = range_check(address, len_bytes, &end);
    if (error != 0)
        return error;
    if (address == end)
        return 0;
    if (populate) {
        error = fault_in_range(space, address, end, advice == MADV_POPULATE_WRITE, true);
        return error == -ENXIO || error == -EIO ? -EFAULT : error;
    }
    if (advice == MADV_COLLAPSE)
        return collapse_range(space, address, end);
    if (advice_changes_flags(advice)) {
        rwlock_write_lock(&space->lock);
        error = advise_locked(space, address, end, advice);
        space_write_unlock(space);
    } else {
        rwlock_read_lock(&space->lock);
        error = advise_locked(space, address, end, advice);
        rwlock_read_unlock(&space->lock);
    }
    return error;
}

// ---- msync ----

int vm_sync(struct address_space *space, uintptr_t address, size_t len_bytes, int flags)
{
    uintptr_t end;
    if (flags & ~(MS_ASYNC | MS_INVALIDATE | MS_SYNC))
        return -EINVAL;
    if ((flags & MS_ASYNC) && (flags & MS_SYNC))
        return -EINVAL;
    int error = range_check(address, len_bytes, &end);
    if (error != 0)
        return error;
    int hole = 0;
    rwlock_read_lock(&space->lock);
    for (uintptr_t at = address; at < end && error == 0;) {
        struct vm_area *area = vm_area_find(space, at);
        if (area == NULL || area->start >= end) {
            hole = -ENOMEM;
            break;
        }
        if (area->start > at)
            hole = -ENOMEM;
        if ((flags & MS_INVALIDATE) && (area->flags & VM_LOCKED))
            error = -EBUSY;
        else if ((flags & MS_SYNC) && area->cache != NULL && (area->flags & VM_SHARED))
            error = page_cache_sync(area->cache);
        at = area->end;
    }
    rwlock_read_unlock(&space->lock);
    return error != 0 ? error : hole;
}

// ---- mlock ----

static int lock_locked(struct address_space *space, uintptr_t start, uintptr_t end, bool lock)
{
    int error = area_split_range(space, start, end);
    if (error != 0)
        return error;
    int64_t pages = 0;
    uintptr_t at = start;
    for (struct vm_area *area = vm_area_find(space, start); area != NULL && area->start < end;
        area = vm_area_next(area)) {
        if (area->start > at)
            break;
        at = area->end;
        if (((area->flags & VM_LOCKED) != 0) == lock)
            continue;
        area->flags ^= VM_LOCKED;
        pages += (int64_t)((area->end - area->start) >> PAGE_SHIFT);
        space->locked_pages += lock ? (uint64_t)pages : -(uint64_t)pages;
        pages = 0;
        area = area_merge(space, area);
        at = MAX(at, MIN(area->end, end));
    }
    return at < end ? -ENOMEM : 0;
}

int vm_lock(
    struct address_space *space, uintptr_t address, size_t len_bytes, bool lock, bool on_fault)
{
    // Unlike the others, mlock accepts any address and covers all pages that the range touches.
    uintptr_t start = ALIGN_DOWN(address, PAGE_SIZE), end;
    if (range_overflows(address, len_bytes))
        return -EINVAL;
    int error = range_check(start, len_bytes + (address - start), &end);
    if (error != 0)
        return error;
    if (start == end)
        return 0;
    rwlock_write_lock(&space->lock);
    uint64_t pages = (end - start) >> PAGE_SHIFT;
    if (lock && space->limit_memlock_bytes != UINT64_MAX &&
        space->locked_pages + pages > space->limit_memlock_bytes >> PAGE_SHIFT)
        error = space->limit_memlock_bytes == 0 ? -EPERM : -ENOMEM;
    else
        error = lock_locked(space, start, end, lock);
    space_write_unlock(space);
    if (error == 0 && lock && !on_fault) {
        error = fault_in_range(space, start, end, false, false);
        if (error == -ENXIO || error == -EIO || error == -EFAULT)
            error = -ENOMEM;
    }
    return error;
}

int vm_lock_all(struct address_space *space, int flags)
{
    rwlock_write_lock(&space->lock);
    int error = 0;
    if ((flags & MCL_CURRENT) && space->limit_memlock_bytes != UINT64_MAX &&
        space->mapped_pages > space->limit_memlock_bytes >> PAGE_SHIFT)
        error = -ENOMEM;
    bool lock = (flags & MCL_CURRENT) != 0;
    if (error == 0)
        space->default_flags = flags & MCL_FUTURE ? VM_LOCKED : 0;
    // flags == 0 is munlockall.
    for (struct vm_area *area = vm_area_first(space);
        area != NULL && error == 0 && (lock || flags == 0); area = vm_area_next(area)) {
        if (((area->flags & VM_LOCKED) != 0) == lock || (area->flags & VM_FIXED_PAGES))
            continue;
        area->flags ^= VM_LOCKED;
        uint64_t pages = (area->end - area->start) >> PAGE_SHIFT;
        space->locked_pages += lock ? pages : -pages;
    }
    space_write_unlock(space);
    if (error != 0 || !lock || (flags & MCL_ONFAULT))
        return error;
    for (uintptr_t at = 0; at < USER_END;) {
        rwlock_read_lock(&space->lock);
        struct vm_area *area = vm_area_find(space, at);
        uintptr_t start = area != NULL ? area->start : USER_END,
                  end = area != NULL ? area->end : USER_END;
        rwlock_read_unlock(&space->lock);
        if (start < USER_END)
            (void)fault_in_range(space, start, end, false, false);
        at = end;
    }
    return 0;
}

// ---- mincore ----

// One byte for each page of [start, start + count). False: a hole.
static bool incore_fill(struct address_space *space, uintptr_t start, size_t count, uint8_t *bytes)
{
    for (size_t i = 0; i < count; i++) {
        uintptr_t address = start + i * PAGE_SIZE;
        struct vm_area *area = vm_area_find(space, address);
        if (area == NULL || area->start > address)
            return false;
        spin_lock(&space->table_lock);
        const uint64_t *entry = page_table_find(space, address);
        bool present = (entry != NULL && pte_is_page(*entry)) || huge_is_mapped(space, address);
        spin_unlock(&space->table_lock);
        if (!present && area->cache != NULL) {
            struct page *page = page_cache_lookup(
                area->cache, area->cache_index + ((address - area->start) >> PAGE_SHIFT));
            present = page != NULL;
            if (page != NULL)
                page_put(page);
        }
        bytes[i] = present;
    }
    return true;
}

int vm_incore(
    struct address_space *space, uintptr_t address, size_t len_bytes, uintptr_t user_vector)
{
    uintptr_t end;
    int error = range_check(address, len_bytes, &end);
    if (error != 0)
        return error;
    size_t pages = (end - address) >> PAGE_SHIFT;
    if (!user_range_ok(user_vector, pages))
        return -EFAULT;
    uint8_t bytes[256];
    while (pages != 0) {
        size_t count = MIN(pages, sizeof(bytes));
        rwlock_read_lock(&space->lock);
        bool mapped = incore_fill(space, address, count, bytes);
        rwlock_read_unlock(&space->lock);
        if (!mapped)
            return -ENOMEM;
        if (copy_to_user(user_vector, bytes, count) != 0)
            return -EFAULT;
        address += count * PAGE_SIZE;
        user_vector += count;
        pages -= count;
    }
    return 0;
}
