// SPDX-License-Identifier: MIT
// mmap, shmdt and brk: making and removing areas. munmap is in unmap.c.

#include "mm/area.h"
#include "mm/huge.h"
#include "mm/huge_pool.h"

#include "kernel/base/assert.h"
#include "kernel/core/user.h"
#include "mm/page_cache.h"
#include "mm/page_internal.h"
#include "mm/shared_memory.h"
#include <linux/errno.h>

bool space_may_grow(const struct address_space *space, size_t len_bytes, uint32_t flags)
{
    uint64_t pages = len_bytes >> PAGE_SHIFT;
    if (space->limit_as_bytes != UINT64_MAX &&
        (space->mapped_pages + pages) > space->limit_as_bytes >> PAGE_SHIFT)
        return false;
    // What could never fit is refused; beyond that memory is promised freely (overcommit as Linux'
    // mode 0).
    bool private_writable = (flags & (VM_WRITE | VM_SHARED)) == VM_WRITE;
    if (private_writable && !(flags & VM_NORESERVE) && pages > page_total())
        return false;
    return true;
}

// Pages of private writable memory, for RLIMIT_DATA. Only counted when there is a limit.
static bool data_may_grow(struct address_space *space, size_t len_bytes, uint32_t flags)
{
    if (space->limit_data_bytes == UINT64_MAX ||
        (flags & (VM_WRITE | VM_SHARED | VM_GROWSDOWN)) != VM_WRITE)
        return true;
    uint64_t bytes = len_bytes;
    for (struct vm_area *area = vm_area_first(space); area != NULL; area = vm_area_next(area))
        if ((area->flags & (VM_WRITE | VM_SHARED | VM_GROWSDOWN)) == VM_WRITE)
            bytes += area->end - area->start;
    return bytes <= space->limit_data_bytes;
}

// What addresses and lengths are multiples of.
static size_t map_unit(const struct vm_map_request *request)
{
    return request->flags & VM_POOL ? HUGE_BYTES : PAGE_SIZE;
}

// Where the mapping goes: an address or -errno. Under the lock.
static int64_t choose_address(
    struct address_space *space, const struct vm_map_request *request, size_t len)
{
    const size_t unit = map_unit(request);
    if (request->fixed || request->fixed_noreplace) {
        if (!IS_ALIGNED(request->address, unit))
            return -EINVAL;
        if (!user_range_ok(request->address, len))
            return -ENOMEM;
        if (request->address < VM_MIN && !request->low_allowed)
            return -EPERM;
        if (request->fixed_noreplace &&
            area_overlaps(space, request->address, request->address + len))
            return -EEXIST;
        return (int64_t)request->address;
    }
    if (request->address != 0) {
        uintptr_t hint = ALIGN_UP(MAX(request->address, VM_MIN), unit);
        if (user_range_ok(hint, len) && hint >= VM_MIN && !area_overlaps(space, hint, hint + len))
            return (int64_t)hint;
    }
    uintptr_t place = area_place(space, len, request->low_2g);
    return place != 0 && IS_ALIGNED(place, unit) ? (int64_t)place : -ENOMEM;
}

// Fills in an area from the request; makes the cache of shared anonymous memory.
static int area_prepare(struct vm_area *area, const struct vm_map_request *request, size_t len)
{
    area->flags = request->flags;
    area->cache = request->cache;
    area->cache_index =
        request->cache != NULL || (request->flags & VM_FIXED_PAGES) ? request->cache_index : 0;
    area->backing = request->backing;
    area->ops = request->ops;
    area->label = request->label;
    if ((request->flags & VM_POOL) && !(request->flags & VM_NORESERVE)) {
        int error = huge_pool_reserve(len / HUGE_BYTES);
        if (error != 0)
            return error;
        area->pool_reserved = (uint32_t)(len / HUGE_BYTES);
    }
    if (request->cache == NULL && (request->flags & VM_SHARED) &&
        !(request->flags & VM_FIXED_PAGES))
        return shared_memory_attach(area, len);
    if (area->ops != NULL && area->ops->open != NULL)
        area->ops->open(area);
    return 0;
}

static void area_discard(struct vm_area *area)
{
    if (area->ops != NULL && area->ops->close != NULL)
        area->ops->close(area);
    area_dispose(area);
}

static int64_t map_locked(struct address_space *space, const struct vm_map_request *request,
    size_t len, struct vm_area *area)
{
    int64_t address = choose_address(space, request, len);
    if (address < 0)
        return address;
    if (space->area_count >= VM_AREAS_MAX || !space_may_grow(space, len, request->flags) ||
        !data_may_grow(space, len, request->flags))
        return -ENOMEM;
    area->flags |= space->default_flags;
    if ((area->flags & VM_LOCKED) && space->limit_memlock_bytes != UINT64_MAX &&
        ((space->locked_pages << PAGE_SHIFT) + len) > space->limit_memlock_bytes)
        return -EAGAIN;
    if (request->fixed) {
        int error = area_unmap_range(space, (uintptr_t)address, (uintptr_t)address + len);
        if (error != 0)
            return error;
    }
    area->start = (uintptr_t)address;
    area->end = area->start + len;
    area_insert(space, area);
    (void)area_merge(space, area);
    return address;
}

int64_t vm_map(struct address_space *space, const struct vm_map_request *request)
{
    if (request->len_bytes == 0)
        return -EINVAL;
    size_t len = ALIGN_UP(request->len_bytes, map_unit(request));
    if (len == 0 || len > USER_END)
        return -ENOMEM;
    if (request->cache != NULL && range_overflows(request->cache_index, len >> PAGE_SHIFT))
        return -EOVERFLOW;
    struct vm_area *area = area_alloc();
    if (area == NULL)
        return -ENOMEM;
    int error = area_prepare(area, request, len);
    if (error != 0) {
        area_dispose(area);
        return error;
    }
    rwlock_write_lock(&space->lock);
    if (request->fixed && user_range_ok(request->address, len))
        (void)unmap_wait(space, request->address, request->address + len);
    int64_t address = map_locked(space, request, len, area);
    expensive_assert(address_space_is_valid_sampled(space));
    bool locked = ((request->flags | space->default_flags) & VM_LOCKED) != 0;
    space_write_unlock(space);
    if (address < 0) {
        area_discard(area);
        return address;
    }
    // Bringing pages in is a favour: errors show up when they are touched.
    if (request->populate || locked)
        (void)fault_in_range(space, (uintptr_t)address, (uintptr_t)address + len, false, false);
    return address;
}

// Does the area lie where it would in a mapping that began at `address`?
static bool belongs_to_mapping(
    const struct vm_area *area, uintptr_t address, const struct vm_area_ops *ops)
{
    return area->ops == ops && area->start >= address &&
           (area->start - address) >> PAGE_SHIFT == area->cache_index;
}

int vm_unmap_backing(struct address_space *space, uintptr_t address, const struct vm_area_ops *ops)
{
    int error = -EINVAL;
    rwlock_write_lock(&space->lock);
    struct vm_area *area = vm_area_find(space, address);
    while (area != NULL && !belongs_to_mapping(area, address, ops))
        area = vm_area_next(area);
    if (area != NULL) {
        void *backing = area->backing; // kept by the area until it goes; only compared afterwards
        uintptr_t end = address + ALIGN_UP(area->cache->size_bytes, PAGE_SIZE);
        do {
            uintptr_t area_end = area->end;
            if (area->backing == backing && belongs_to_mapping(area, address, ops)) {
                error = area_unmap_range(space, area->start, area_end);
                if (error != 0)
                    break;
            }
            area = vm_area_find(space, area_end);
        } while (area != NULL && area->end <= end);
    }
    expensive_assert(address_space_is_valid_sampled(space));
    space_write_unlock(space);
    return error;
}

// ---- brk ----

static bool brk_grow(struct address_space *space, uintptr_t old_end, uintptr_t end)
{
    // The page behind the break stays free: the next area would not notice an overrun.
    if (area_overlaps(space, old_end, end + PAGE_SIZE) ||
        !space_may_grow(space, end - old_end, VM_WRITE))
        return false;
    struct vm_area *area = area_alloc();
    if (area == NULL)
        return false;
    area->start = old_end;
    area->end = end;
    area->flags = VM_READ | VM_WRITE | VM_MAYWRITE | space->default_flags;
    area->label = "[heap]";
    area_insert(space, area);
    (void)area_merge(space, area);
    return true;
}

uintptr_t vm_brk(struct address_space *space, uintptr_t new_end)
{
    rwlock_write_lock(&space->lock);
    uintptr_t old_page, new_page = ALIGN_UP(new_end, PAGE_SIZE);
    do {
        old_page = ALIGN_UP(space->brk_end, PAGE_SIZE);
    } while (new_page >= space->brk_start && new_page < old_page &&
             unmap_wait(space, new_page, old_page));
    uintptr_t result = space->brk_end;
    bool valid = new_end >= space->brk_start && new_end < USER_END - PAGE_SIZE;
    uint64_t data_bytes = (space->data_end - space->data_start) + (new_end - space->brk_start);
    if (valid && space->limit_data_bytes != UINT64_MAX && data_bytes > space->limit_data_bytes)
        valid = false;
    if (valid) {
        bool done = true;
        if (new_page > old_page)
            done = brk_grow(space, old_page, new_page);
        else if (new_page < old_page)
            done = area_unmap_range(space, new_page, old_page) == 0;
        if (done)
            result = space->brk_end = new_end;
    }
    expensive_assert(address_space_is_valid_sampled(space));
    space_write_unlock(space);
    return result;
}
