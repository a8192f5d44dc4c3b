// SPDX-License-Identifier: MIT
// The areas of an address space.
//
// Theory. Areas lie in a red-black tree by start address. Each node knows the unmapped gap before
// it and the greatest gap in its subtree, so free addresses are found in O(log n). Neighbours that
// continue each other are merged after each change, so programs that map piece by piece do not
// collect areas.
//
// An area that is being unmapped while others go on stays in the tree, marked VM_LEAVING, until its
// addresses may be used again (unmap.c). Only who looks for free addresses sees it there: the
// public functions pass over it.
//
// Invariants (space->lock for writing to change, for reading to read):
//   A1  Areas do not overlap, are not empty, page-aligned, and lie in [VM_MIN, USER_END) unless
//   mapped
//       with a fixed address.
//   A2  area->gap is start minus the end of the area before (or 0); subtree_gap is the greatest gap
//   below
//       and including the node.
//   A3  An area with a cache is on cache->areas from area_insert() to area_remove(); start, end and
//       cache_index change under cache->lock as well, because truncation reads them there.
//   A4  Nothing of an area changes while it is VM_LEAVING, but its place in the tree and its gaps.
//       space->last_area never is one.

#include "mm/area.h"
#include "mm/fault_view.h"
#include "mm/huge.h"
#include "mm/huge_pool.h"

#include "kernel/base/assert.h"
#include "kernel/core/user.h"
#include "mm/page_cache.h"
#include "mm/page_internal.h"
#include "mm/page_table.h"
#include "mm/policy.h"
#include "mm/slab.h"
#include <linux/errno.h>

// More levels than a red-black tree of VM_AREAS_MAX nodes can have.
#define AREA_TREE_DEPTH 40

static struct slab_cache *area_cache;

void area_init(void)
{
    area_cache = slab_cache_create("vm_area", sizeof(struct vm_area), 0);
}

struct vm_area *area_alloc(void)
{
    return slab_alloc(area_cache, PAGE_ALLOC_ZERO);
}

void area_dispose(struct vm_area *area)
{
    memory_policy_put(area->policy);
    huge_pool_unreserve(area->pool_reserved);
    if (area->space == NULL || space_is_alone(area->space))
        slab_free(area_cache, area);
    else
        kfree_rcu(area, &area->rcu); // V2 of fault_view.h
}

// ---- the tree ----

static struct vm_area *area_of(struct rbtree_node *node)
{
    return rbtree_entry_or_null(node, struct vm_area, node);
}

static bool gap_update(struct rbtree_node *node)
{
    struct vm_area *area = rbtree_entry(node, struct vm_area, node);
    uintptr_t greatest = area->gap;
    if (node->left != NULL)
        greatest = MAX(greatest, area_of(node->left)->subtree_gap);
    if (node->right != NULL)
        greatest = MAX(greatest, area_of(node->right)->subtree_gap);
    bool changed = greatest != area->subtree_gap;
    area->subtree_gap = greatest;
    return changed;
}

static bool area_less(const struct rbtree_node *a, const struct rbtree_node *b)
{
    return rbtree_entry(a, struct vm_area, node)->start <
           rbtree_entry(b, struct vm_area, node)->start;
}

struct vm_area *area_next_any(struct vm_area *area)
{
    return area_of(rbtree_next(&area->node));
}

// The area itself, or the first one behind it that stays.
static struct vm_area *area_staying(struct vm_area *area)
{
    while (area != NULL && unlikely(area->flags & VM_LEAVING))
        area = area_next_any(area);
    return area;
}

struct vm_area *vm_area_first(struct address_space *space)
{
    return area_staying(area_of(rbtree_first(&space->areas)));
}

struct vm_area *vm_area_next(struct vm_area *area)
{
    return area_staying(area_next_any(area));
}

static struct vm_area *area_previous(struct vm_area *area)
{
    return area_of(rbtree_prev(&area->node));
}

static inline struct vm_area *find_in_tree(struct address_space *space, uintptr_t address)
{
    struct vm_area *found = NULL;
    for (struct rbtree_node *node = space->areas.root; node != NULL;) {
        struct vm_area *area = rbtree_entry(node, struct vm_area, node);
        if (area->end > address) {
            found = area;
            if (area->start <= address)
                break;
            node = node->left;
        } else {
            node = node->right;
        }
    }
    return found;
}

struct vm_area *area_find_any(struct address_space *space, uintptr_t address)
{
    return find_in_tree(space, address);
}

struct vm_area *vm_area_find(struct address_space *space, uintptr_t address)
{
    struct vm_area *hint = __atomic_load_n(&space->last_area, __ATOMIC_RELAXED);
    if (hint != NULL && hint->start <= address && address < hint->end)
        return hint;
    struct vm_area *found = area_staying(find_in_tree(space, address));
    if (found != NULL)
        __atomic_store_n(&space->last_area, found, __ATOMIC_RELAXED);
    return found;
}

// Takes a view of an area that was found without the lock. False: it is not to be had, or not at
// the address. Under RCU.
static inline bool view_take(struct address_space *space, const struct vm_area *area,
    uintptr_t address, struct fault_view *view)
{
    // V1
    view->changed_in = __atomic_load_n(&area->changed_in, __ATOMIC_ACQUIRE);
    if (unlikely(view->changed_in >= __atomic_load_n(&space->write_hold, __ATOMIC_ACQUIRE)))
        return false;
    view->flags = area->flags;
    return area->start <= address && address < area->end;
}

// Looks through a tree that may change meanwhile: so it may miss an area, or find one that has
// gone, which a view shows.
static struct vm_area *view_search(
    struct address_space *space, uintptr_t address, struct fault_view *view)
{
    struct rbtree_node *node = __atomic_load_n(&space->areas.root, __ATOMIC_ACQUIRE);
    // Links that are being turned round could lead in a circle.
    for (unsigned depth = 0; node != NULL && depth < AREA_TREE_DEPTH; depth++) {
        struct vm_area *area = rbtree_entry(node, struct vm_area, node);
        if (address < area->start)
            node = __atomic_load_n(&node->left, __ATOMIC_ACQUIRE);
        else if (address >= area->end)
            node = __atomic_load_n(&node->right, __ATOMIC_ACQUIRE);
        else
            return view_take(space, area, address, view) ? area : NULL;
    }
    return NULL;
}

struct vm_area *area_view(struct address_space *space, uintptr_t address, struct fault_view *view)
{
    struct vm_area *hint = __atomic_load_n(&space->last_area, __ATOMIC_ACQUIRE);
    if (likely(hint != NULL && view_take(space, hint, address, view)))
        return hint;
    return view_search(space, address, view);
}

bool area_overlaps(struct address_space *space, uintptr_t start, uintptr_t end)
{
    struct vm_area *area = area_find_any(space, start);
    return area != NULL && area->start < end;
}

static void gap_set(struct vm_area *area, const struct vm_area *previous)
{
    uintptr_t gap = area->start - (previous != NULL ? previous->end : 0);
    if (gap == area->gap)
        return;
    area->gap = gap;
    rbtree_propagate(&area->node, gap_update);
}

void area_insert(struct address_space *space, struct vm_area *area)
{
    debug_assert(area->start < area->end);
    debug_assert(!area_overlaps(space, area->start, area->end));
    area->space = space;
    area->gap = area->subtree_gap = 0;
    __atomic_store_n(&area->changed_in, space->write_hold, __ATOMIC_RELEASE);
    (void)rbtree_insert_augmented(&space->areas, &area->node, area_less, gap_update);
    gap_set(area, area_previous(area));
    struct vm_area *next = area_next_any(area);
    if (next != NULL)
        gap_set(next, area);
    space->area_count++;
    space->mapped_pages += (area->end - area->start) >> PAGE_SHIFT;
    if (area->flags & VM_LOCKED)
        space->locked_pages += (area->end - area->start) >> PAGE_SHIFT;
    if (area->cache != NULL) {
        spin_lock(&area->cache->lock);
        list_add_tail(&area->cache->areas, &area->cache_node);
        spin_unlock(&area->cache->lock);
    }
}

void area_remove(struct address_space *space, struct vm_area *area)
{
    struct vm_area *previous = area_previous(area), *next = area_next_any(area);
    area_leave(area);
    rbtree_remove(&space->areas, &area->node, gap_update);
    __atomic_store_n(&space->last_area, NULL, __ATOMIC_RELAXED);
    if (next != NULL)
        gap_set(next, previous);
    space->area_count--;
    space->mapped_pages -= (area->end - area->start) >> PAGE_SHIFT;
    if (area->flags & VM_LOCKED)
        space->locked_pages -= (area->end - area->start) >> PAGE_SHIFT;
    if (area->cache != NULL) {
        spin_lock(&area->cache->lock);
        list_remove(&area->cache_node);
        spin_unlock(&area->cache->lock);
    }
}

void area_resize(struct vm_area *area, uintptr_t start, uintptr_t end)
{
    struct address_space *space = area->space;
    debug_assert(start < end);
    debug_assert(area->cache == NULL || start == area->start); // V3 of fault_view.h
    area_change(area);
    uint64_t old_pages = (area->end - area->start) >> PAGE_SHIFT,
             pages = (end - start) >> PAGE_SHIFT;
    if (area->cache != NULL)
        spin_lock(&area->cache->lock);
    area->cache_index += (uint64_t)((int64_t)(start - area->start) >> PAGE_SHIFT);
    area->start = start;
    area->end = end;
    if (area->cache != NULL)
        spin_unlock(&area->cache->lock);
    space->mapped_pages += pages - old_pages;
    if (area->flags & VM_LOCKED)
        space->locked_pages += pages - old_pages;
    gap_set(area, area_previous(area));
    struct vm_area *next = area_next_any(area);
    if (next != NULL)
        gap_set(next, area);
}

// ---- splitting and merging ----

int area_split(struct address_space *space, struct vm_area *area, uintptr_t address)
{
    debug_assert(area->start < address);
    debug_assert(address < area->end);
    if ((area->flags & VM_POOL) && !IS_ALIGNED(address, HUGE_BYTES))
        return -EINVAL;
    if (space->area_count >= VM_AREAS_MAX)
        return -ENOMEM;
    int error = huge_split_at(space, address);
    if (error != 0)
        return error;
    struct vm_area *upper = area_alloc();
    if (upper == NULL)
        return -ENOMEM;
    area_change(area);
    upper->start = address;
    upper->end = area->end;
    upper->flags = area->flags;
    upper->cache = area->cache;
    upper->cache_index = area->cache_index + ((address - area->start) >> PAGE_SHIFT);
    upper->backing = area->backing;
    upper->ops = area->ops;
    upper->label = area->label;
    upper->policy = memory_policy_get(area->policy);
    upper->has_anonymous = area->has_anonymous;
    area_resize(area, area->start, address);
    area_insert(space, upper);
    if (upper->flags & VM_POOL)
        huge_pool_divide(area, upper);
    if (upper->ops != NULL && upper->ops->open != NULL)
        upper->ops->open(upper);
    return 0;
}

static bool area_continues(const struct vm_area *lower, const struct vm_area *upper)
{
    if (lower->end != upper->start || lower->flags != upper->flags ||
        lower->cache != upper->cache || lower->ops != upper->ops ||
        lower->backing != upper->backing || lower->label != upper->label)
        return false;
    if ((lower->flags & VM_FIXED_PAGES) || !memory_policy_equal(lower->policy, upper->policy))
        return false;
    return lower->cache == NULL ||
           lower->cache_index + ((lower->end - lower->start) >> PAGE_SHIFT) == upper->cache_index;
}

// `lower` takes the addresses of `upper`, which goes away.
static void area_join(struct address_space *space, struct vm_area *lower, struct vm_area *upper)
{
    uintptr_t end = upper->end;
    area_change(upper);
    lower->has_anonymous |= upper->has_anonymous;
    lower->pool_reserved += upper->pool_reserved;
    upper->pool_reserved = 0;
    area_remove(space, upper);
    area_resize(lower, lower->start, end);
    if (upper->ops != NULL && upper->ops->close != NULL)
        upper->ops->close(upper);
    area_dispose(upper);
}

struct vm_area *area_merge(struct address_space *space, struct vm_area *area)
{
    // More than one behind: a range may have been split at its end just before.
    for (struct vm_area *next = vm_area_next(area); next != NULL && area_continues(area, next);
        next = vm_area_next(area))
        area_join(space, area, next);
    struct vm_area *previous = area_previous(area);
    if (previous == NULL || !area_continues(previous, area))
        return area;
    area_join(space, previous, area);
    return previous;
}

int area_split_range(struct address_space *space, uintptr_t start, uintptr_t end)
{
    struct vm_area *area = vm_area_find(space, start);
    if (area != NULL && area->start < start) {
        int error = area_split(space, area, start);
        if (error != 0)
            return error;
    }
    area = vm_area_find(space, end);
    return area != NULL && area->start < end ? area_split(space, area, end) : 0;
}

// ---- free addresses ----

// Highest place below `limit` in the gaps of the subtree; 0: none.
static uintptr_t place_in_subtree(struct rbtree_node *node, size_t len, uintptr_t limit)
{
    // Depth is that of the tree; the left branch is a loop.
    while (node != NULL) {
        struct vm_area *area = rbtree_entry(node, struct vm_area, node);
        if (area->subtree_gap < len)
            return 0;
        if (area->end < limit && node->right != NULL) {
            uintptr_t found = place_in_subtree(node->right, len, limit);
            if (found != 0)
                return found;
        }
        uintptr_t gap_start = MAX(area->start - area->gap, VM_MIN);
        uintptr_t gap_end = MIN(area->start, limit);
        if (area->flags & VM_GROWSDOWN)
            gap_end = MIN(gap_end, area->start - MIN(area->start, VM_STACK_GUARD));
        if (gap_end > gap_start && gap_end - gap_start >= len)
            return gap_end - len;
        node = node->left;
    }
    return 0;
}

static uintptr_t place_below(struct address_space *space, size_t len, uintptr_t limit)
{
    struct vm_area *last = area_of(rbtree_last(&space->areas));
    uintptr_t top = last != NULL ? MAX(last->end, VM_MIN) : VM_MIN;
    if (limit > top && limit - top >= len)
        return limit - len;
    return place_in_subtree(space->areas.root, len, limit);
}

uintptr_t area_place(struct address_space *space, size_t len_bytes, bool low_2g)
{
    if (low_2g)
        return place_below(space, len_bytes, UINT64_C(1) << 31);
    // A large one begins at a page table's first address: then fork can share its tables, and huge
    // pages fit.
    if (len_bytes >= PAGE_TABLE_BYTES && len_bytes < USER_END) {
        const size_t slack = PAGE_TABLE_BYTES - PAGE_SIZE;
        uintptr_t roomy = place_below(space, len_bytes + slack, space->mmap_base);
        if (roomy != 0)
            return ALIGN_DOWN(roomy + slack, PAGE_TABLE_BYTES);
    }
    uintptr_t found = place_below(space, len_bytes, space->mmap_base);
    if (found == 0)
        found = place_below(space, len_bytes, USER_END);
    return found;
}

bool address_space_is_valid(struct address_space *space)
{
    uint64_t pages = 0, locked = 0, count = 0, leaving = 0;
    uintptr_t previous_end = 0;
    for (struct vm_area *area = area_of(rbtree_first(&space->areas)); area != NULL;
        area = area_next_any(area)) {
        if (area->start >= area->end || area->start < previous_end || area->space != space)
            return false;
        if (!IS_ALIGNED(area->start, PAGE_SIZE) || !IS_ALIGNED(area->end, PAGE_SIZE))
            return false;
        if (area->gap != area->start - previous_end || area->subtree_gap < area->gap)
            return false;
        previous_end = area->end;
        pages += (area->end - area->start) >> PAGE_SHIFT;
        locked += area->flags & VM_LOCKED ? (area->end - area->start) >> PAGE_SHIFT : 0;
        leaving += (area->flags & VM_LEAVING) != 0;
        count++;
    }
    return count == space->area_count && leaving == space->leaving_count &&
           pages == space->mapped_pages && locked == space->locked_pages &&
           previous_end <= USER_END;
}
