// SPDX-License-Identifier: MIT
// Buddy allocator over struct pages: the pure part, without locks, CPUs or hardware. Private to
// mm/.
//
// A zone is a set of blocks: aligned runs of 2^order pages. A free block has its first page on the
// free list of its order, with PAGE_FREE set and page->order; the other pages of the block carry
// nothing. Freeing merges with the buddy (the block whose address differs in bit `order`) as long
// as that is free and of the same order.
//
// Memory is handed to a zone lazily. The zone is told how many pages it will have (`promised`), but
// their struct pages come into being block by block: when no free block is left, `grow` is asked
// for more, and it calls buddy_free() for what it made. So start-up cost does not depend on the
// size of the machine.
//
// Invariants:
//   B1  A block on list n has PAGE_FREE, order n, refcount 0, is aligned to 2^n, and nothing inside
//   it is on a list. B2  Two free buddies of the same order below PAGE_ORDER_MAX do not exist (they
//   would have merged). B3  free_pages is the sum of the blocks on the lists; bit n of `nonempty`
//   is set exactly when list n has an element.
#pragma once

#include "kernel/base/list.h"
#include "mm/page.h"

struct buddy_zone {
    struct list_node free[PAGE_ORDER_MAX + 1];
    uint32_t nonempty;
    uint64_t free_pages;     // on the lists
    uint64_t promised_pages; // free, but without struct pages as yet
    // Makes more memory of the zone available (calls buddy_free). False: there is no more.
    bool (*grow)(struct buddy_zone *zone);
};

void buddy_init(struct buddy_zone *zone, bool (*grow)(struct buddy_zone *zone));
// A block of 2^order pages, refcount 0, flags 0, page->order = order; NULL if there is none.
struct page *buddy_alloc(struct buddy_zone *zone, unsigned order);
// Gives a block back; it must not be free.
void buddy_free(struct buddy_zone *zone, struct page *page, unsigned order);
// Gives back the pages [start, end), none of which is free, in the greatest blocks that alignment
// allows.
void buddy_free_range(struct buddy_zone *zone, uint64_t start_pfn, uint64_t end_pfn);
// B1 to B3. O(free blocks).
bool buddy_is_valid(const struct buddy_zone *zone);
