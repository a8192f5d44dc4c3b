// SPDX-License-Identifier: MIT
// Buddy allocator; theory in buddy.h.

#include "mm/buddy.h"

#include "kernel/base/assert.h"

void buddy_init(struct buddy_zone *zone, bool (*grow)(struct buddy_zone *zone))
{
    for (unsigned order = 0; order <= PAGE_ORDER_MAX; order++)
        list_init(&zone->free[order]);
    zone->nonempty = 0;
    zone->free_pages = 0;
    zone->promised_pages = 0;
    zone->reported_pages = 0;
    zone->report_order = PAGE_ORDER_MAX + 1;
    zone->report_due = false;
    zone->grow = grow;
}

static void block_insert(
    struct buddy_zone *zone, struct page *page, unsigned order, uint32_t reported)
{
    page->flags = PAGE_FREE | reported;
    page->order = (uint8_t)order;
    if (likely(reported == 0)) {
        list_add_head(&zone->free[order], &page->list);
    } else { // B4
        list_add_tail(&zone->free[order], &page->list);
        zone->reported_pages += 1ul << order;
    }
    zone->nonempty |= 1u << order;
}

// Returns PAGE_REPORTED if the block was.
static uint32_t block_remove(struct buddy_zone *zone, struct page *page, unsigned order)
{
    uint32_t reported = page->flags & PAGE_REPORTED;
    debug_assert((page->flags & ~PAGE_REPORTED) == PAGE_FREE);
    debug_assert(page->order == order);
    list_remove(&page->list);
    page->flags = 0;
    if (list_is_empty(&zone->free[order]))
        zone->nonempty &= ~(1u << order);
    if (unlikely(reported != 0))
        zone->reported_pages -= 1ul << order;
    return reported;
}

struct page *buddy_alloc(struct buddy_zone *zone, unsigned order)
{
    assert(order <= PAGE_ORDER_MAX);
    uint32_t candidates;
    while ((candidates = zone->nonempty >> order) == 0) {
        if (zone->grow == NULL || !zone->grow(zone))
            return NULL;
    }
    unsigned found = order + bit_lowest(candidates);
    struct page *page = list_first_entry(&zone->free[found], struct page, list);
    uint32_t reported = block_remove(zone, page, found);
    // The upper halves go back, the block shrinks to its lower half.
    while (found > order) {
        found--;
        block_insert(zone, page + (1ul << found), found, reported);
    }
    page->order = (uint8_t)order;
    zone->free_pages -= 1ul << order;
    debug_assert(page->refcount == 0);
    return page;
}

static void block_give(
    struct buddy_zone *zone, struct page *page, unsigned order, uint32_t reported)
{
    assert(order <= PAGE_ORDER_MAX);
    assert(!(page->flags & PAGE_FREE)); // freed twice
    uint64_t pfn = page_to_pfn(page);
    debug_assert(IS_ALIGNED(pfn, 1ul << order));
    zone->free_pages += 1ul << order;
    while (order < PAGE_ORDER_MAX) {
        struct page *buddy = pfn_to_page(pfn ^ (1ul << order));
        if (!(buddy->flags & PAGE_FREE) || buddy->order != order)
            break;
        reported &= block_remove(zone, buddy, order);
        pfn &= ~(1ul << order);
        order++;
    }
    if (unlikely(order >= zone->report_order) && reported == 0)
        zone->report_due = true;
    block_insert(zone, pfn_to_page(pfn), order, reported);
}

void buddy_free(struct buddy_zone *zone, struct page *page, unsigned order)
{
    block_give(zone, page, order, 0);
}

struct page *buddy_take_unreported(struct buddy_zone *zone, unsigned order)
{
    for (unsigned at = PAGE_ORDER_MAX + 1; at-- > order;) {
        if (!(zone->nonempty >> at & 1))
            continue;
        struct page *page = list_first_entry(&zone->free[at], struct page, list);
        if (page->flags & PAGE_REPORTED) // B4: so are all behind it
            continue;
        (void)block_remove(zone, page, at);
        zone->free_pages -= 1ul << at;
        page->order = (uint8_t)at;
        return page;
    }
    return NULL;
}

void buddy_give_reported(struct buddy_zone *zone, struct page *page, unsigned order, bool reported)
{
    block_give(zone, page, order, reported ? PAGE_REPORTED : 0);
}

void buddy_free_range(struct buddy_zone *zone, uint64_t start_pfn, uint64_t end_pfn)
{
    while (start_pfn < end_pfn) {
        unsigned order = start_pfn == 0 ? PAGE_ORDER_MAX : bit_lowest(start_pfn);
        order = MIN(order, bit_highest(end_pfn - start_pfn));
        order = MIN(order, (unsigned)PAGE_ORDER_MAX);
        buddy_free(zone, pfn_to_page(start_pfn), order);
        start_pfn += 1ul << order;
    }
}

bool buddy_is_valid(const struct buddy_zone *zone)
{
    uint64_t pages = 0, reported = 0;
    for (unsigned order = 0; order <= PAGE_ORDER_MAX; order++) {
        const struct list_node *list = &zone->free[order];
        if (list_is_empty(list) == ((zone->nonempty >> order & 1) != 0))
            return false;
        struct page *page;
        bool reported_seen = false;
        list_for_each_entry (page, list, list) {
            uint64_t pfn = page_to_pfn(page);
            bool is_reported = (page->flags & PAGE_REPORTED) != 0;
            if (reported_seen && !is_reported)
                return false;
            reported_seen = is_reported;
            reported += is_reported ? 1ul << order : 0;
            if ((page->flags & ~PAGE_REPORTED) != PAGE_FREE || page->order != order ||
                page->refcount != 0)
                return false;
            if (!IS_ALIGNED(pfn, 1ul << order))
                return false;
            const struct page *buddy = pfn_to_page(pfn ^ (1ul << order));
            if (order < PAGE_ORDER_MAX && (buddy->flags & PAGE_FREE) && buddy->order == order)
                return false;
            pages += 1ul << order;
        }
    }
    return pages == zone->free_pages && reported == zone->reported_pages;
}
