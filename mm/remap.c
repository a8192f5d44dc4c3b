// SPDX-License-Identifier: MIT
// mremap: an area grows, shrinks or moves with its pages.

#include "mm/area.h"
#include "mm/huge.h"

#include "kernel/base/assert.h"
#include "kernel/core/user.h"
#include "mm/page_internal.h"
#include "mm/page_table.h"
#include "mm/policy.h"
#include "mm/shared_table.h"
#include <linux/errno.h>
#include <linux/mman.h>

struct remap {
    uintptr_t old;
    size_t old_len, new_len;
    int flags;
    uintptr_t new_address;
};

// Arguments alone; page-aligns the lengths.
static int remap_check(struct remap *remap)
{
    if (remap->flags & ~(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP))
        return -EINVAL;
    if ((remap->flags & MREMAP_FIXED) && !(remap->flags & MREMAP_MAYMOVE))
        return -EINVAL;
    if ((remap->flags & MREMAP_DONTUNMAP) &&
        (!(remap->flags & MREMAP_MAYMOVE) || remap->old_len != remap->new_len))
        return -EINVAL;
    if (!IS_ALIGNED(remap->old, PAGE_SIZE))
        return -EINVAL;
    remap->old_len = ALIGN_UP(remap->old_len, PAGE_SIZE);
    remap->new_len = ALIGN_UP(remap->new_len, PAGE_SIZE);
    if (remap->new_len == 0)
        return -EINVAL;
    if (!(remap->flags & MREMAP_FIXED))
        return 0;
    if (!IS_ALIGNED(remap->new_address, PAGE_SIZE) ||
        !user_range_ok(remap->new_address, remap->new_len) || remap->new_address < VM_MIN)
        return -EINVAL;
    bool overlap = remap->old < remap->new_address + remap->new_len &&
                   remap->new_address < remap->old + remap->old_len;
    return overlap ? -EINVAL : 0;
}

// Moves the pages of one source table's part. Tables for the destination exist. Entries go over one
// by one under both locks.
static void move_entry(struct tlb_gather *gather, uint64_t *from, uint64_t *to, uintptr_t address)
{
    spin_lock(page_table_lock_of(from));
    if (*from != 0) {
        bool same_table = virt_to_page(from) == virt_to_page(to);
        if (!same_table)
            spin_lock_nested(page_table_lock_of(to), 1);
        uint64_t value = pte_exchange(from, 0);
        pte_set(to, value);
        if (value & PTE_ANONYMOUS) {
            page_table_count_anonymous(from, -1);
            page_table_count_anonymous(to, 1);
        }
        if (value & PTE_PRESENT)
            tlb_gather_address(gather, address);
        if (!same_table)
            spin_unlock(page_table_lock_of(to));
    }
    spin_unlock(page_table_lock_of(from));
}

// A huge page goes over whole, if it can; else it is split, and place->upper becomes NULL: its
// pages go one by one.
static int move_huge(struct tlb_gather *gather, struct page_table_place *place, uintptr_t address,
    uintptr_t to, uintptr_t end)
{
    int error = -EEXIST;
    if (IS_ALIGNED(address, HUGE_BYTES) && IS_ALIGNED(to, HUGE_BYTES) && end >= place->next)
        error = huge_move(gather, place->upper, address, to);
    if (error != -EEXIST)
        return error;
    if (!huge_split(gather->space, place->upper, address))
        return -ENOMEM;
    place->upper = NULL;
    return 0;
}

static int move_pages(struct address_space *space, uintptr_t old, uintptr_t new, size_t len)
{
    uintptr_t end = old + len;
    int error = shared_table_own_range(space, old, end);
    if (error != 0)
        return error;
    TLB_GATHER(gather);
    tlb_gather_begin(&gather, space);
    struct page_table_place place = {0};
    const uint64_t *settled = NULL; // the level 2 entry of the table that it was done for last
    uintptr_t address = old;
    while (error == 0 && (address = page_table_next(space, address, end, &place)) < end) {
        uintptr_t target = new + (address - old);
        if (place.huge) {
            error = move_huge(&gather, &place, address, target, end);
            if (place.upper != NULL)
                address = place.next;
            continue;
        }
        if (place.upper != settled) {
            page_table_settle(place.entry);
            settled = place.upper;
        }
        if (*place.entry != 0) {
            uint64_t *to = page_table_make(space, target);
            if (to == NULL)
                error = -ENOMEM;
            else
                move_entry(&gather, place.entry, to, address);
        }
        address += PAGE_SIZE;
    }
    tlb_gather_finish(&gather);
    return error;
}

// The area that holds all of the old range.
static int find_old(struct address_space *space, const struct remap *remap, struct vm_area **area)
{
    *area = vm_area_find(space, remap->old);
    if (*area == NULL || (*area)->start > remap->old)
        return -EFAULT;
    if (remap->old_len > (*area)->end - remap->old)
        return -EFAULT;
    if (remap->old_len == 0 && !((*area)->flags & VM_SHARED))
        return -EINVAL;
    if ((*area)->flags & VM_POOL)
        return -EINVAL; // they stay where they are
    if (((*area)->flags & VM_FIXED_PAGES) && remap->new_len > remap->old_len)
        return -EFAULT;
    return 0;
}

static int check_growth(struct address_space *space, const struct remap *remap, uint32_t flags)
{
    if (remap->new_len <= remap->old_len)
        return 0;
    size_t more = remap->new_len - remap->old_len;
    if ((flags & VM_LOCKED) && space->limit_memlock_bytes != UINT64_MAX &&
        (space->locked_pages << PAGE_SHIFT) + more > space->limit_memlock_bytes)
        return -EAGAIN;
    return space_may_grow(space, more, flags) ? 0 : -ENOMEM;
}

// Moves to `address`, which is free. Result: address or -errno.
static int64_t move_area(
    struct address_space *space, const struct remap *remap, struct vm_area *area, uintptr_t address)
{
    if (space->area_count + 2 >= VM_AREAS_MAX)
        return -ENOMEM;
    struct vm_area *moved = area_alloc();
    if (moved == NULL)
        return -ENOMEM;
    area_change(area);
    *moved = (struct vm_area){
        .start = address,
        .end = address + remap->new_len,
        .flags = area->flags,
        .cache = area->cache,
        .cache_index = area->cache_index + ((remap->old - area->start) >> PAGE_SHIFT),
        .backing = area->backing,
        .ops = area->ops,
        .label = area->label,
        .policy = memory_policy_get(area->policy),
        .has_anonymous = area->has_anonymous,
    };
    area_insert(space, moved);
    if (moved->ops != NULL && moved->ops->open != NULL)
        moved->ops->open(moved);
    int error = move_pages(space, remap->old, address, MIN(remap->old_len, remap->new_len));
    if (error != 0) {
        // Back again: the source's tables are still there, so this can't fail.
        assert(move_pages(space, address, remap->old, MIN(remap->old_len, remap->new_len)) == 0);
        assert(area_unmap_range(space, moved->start, moved->end) == 0);
        return error;
    }
    if (remap->old_len != 0 && !(remap->flags & MREMAP_DONTUNMAP))
        error = area_unmap_range(space, remap->old, remap->old + remap->old_len);
    (void)area_merge(space, moved);
    return error != 0 ? error : (int64_t)address;
}

static bool can_grow_in_place(
    struct address_space *space, const struct remap *remap, const struct vm_area *area)
{
    if (remap->flags & (MREMAP_FIXED | MREMAP_DONTUNMAP))
        return false;
    if (remap->old_len == 0 || remap->old + remap->old_len != area->end)
        return false;
    uintptr_t end = remap->old + remap->new_len;
    return user_range_ok(remap->old, remap->new_len) && !area_overlaps(space, area->end, end);
}

static int64_t remap_locked(struct address_space *space, struct remap *remap)
{
    struct vm_area *area;
    int error = find_old(space, remap, &area);
    if (error != 0)
        return error;
    bool fixed = (remap->flags & MREMAP_FIXED) != 0;
    bool dont_unmap = (remap->flags & MREMAP_DONTUNMAP) != 0;
    if (dont_unmap && (area->flags & VM_FIXED_PAGES))
        return -EINVAL;
    if (remap->new_len <= remap->old_len && !fixed && !dont_unmap) {
        if (remap->new_len < remap->old_len)
            error =
                area_unmap_range(space, remap->old + remap->new_len, remap->old + remap->old_len);
        return error != 0 ? error : (int64_t)remap->old;
    }
    error = check_growth(space, remap, area->flags);
    if (error != 0)
        return error;
    if (can_grow_in_place(space, remap, area)) {
        area_resize(area, area->start, remap->old + remap->new_len);
        (void)area_merge(space, area);
        return (int64_t)remap->old;
    }
    if (!(remap->flags & MREMAP_MAYMOVE))
        return -ENOMEM;
    uintptr_t address = remap->new_address;
    if (fixed) {
        error = area_unmap_range(space, address, address + remap->new_len);
        if (error != 0)
            return error;
        if (remap->new_len < remap->old_len) {
            error =
                area_unmap_range(space, remap->old + remap->new_len, remap->old + remap->old_len);
            if (error != 0)
                return error;
            remap->old_len = remap->new_len;
        }
        error = find_old(space, remap, &area); // the areas may have changed
        if (error != 0)
            return error;
    } else {
        if (!dont_unmap || address == 0 || !IS_ALIGNED(address, PAGE_SIZE) ||
            !user_range_ok(address, remap->new_len) ||
            area_overlaps(space, address, address + remap->new_len))
            address = area_place(space, remap->new_len, false);
        if (address == 0)
            return -ENOMEM;
    }
    return move_area(space, remap, area, address);
}

int64_t vm_remap(struct address_space *space, uintptr_t old, size_t old_len, size_t new_len,
    int flags, uintptr_t new_address)
{
    struct remap remap = {old, old_len, new_len, flags, new_address};
    int error = remap_check(&remap);
    if (error != 0)
        return error;
    rwlock_write_lock(&space->lock);
    if (flags & MREMAP_FIXED)
        (void)unmap_wait(space, remap.new_address, remap.new_address + remap.new_len);
    int64_t result = remap_locked(space, &remap);
    expensive_assert(address_space_is_valid_sampled(space));
    bool populate = false;
    if (result >= 0 && remap.new_len > remap.old_len) {
        struct vm_area *area = vm_area_find(space, (uintptr_t)result);
        populate = area != NULL && (area->flags & VM_LOCKED);
    }
    space_write_unlock(space);
    if (populate)
        (void)fault_in_range(
            space, (uintptr_t)result, (uintptr_t)result + remap.new_len, false, false);
    return result;
}
