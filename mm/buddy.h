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
//       it is on a list.
//   B2  Two free buddies of the same order below PAGE_ORDER_MAX do not exist (they would have
//       merged).
//   B3  free_pages is the sum of the blocks on the lists; bit n of `nonempty` is set exactly when
//       list n has an element.
//   B4  Blocks with PAGE_REPORTED, which the host has been told to take back, lie behind those
//       without on each list, and a block that merges is reported only if both halves were. So
//       memory that the host still has is given out first, and what can be reported is found at
//       the head of a list.
#pragma once

#include "kernel/base/list.h"
#include "mm/page.h"

struct buddy_zone {
    struct list_node free[PAGE_ORDER_MAX + 1];
    uint32_t nonempty;
    uint64_t free_pages;     // on the lists
    uint64_t promised_pages; // free, but without struct pages as yet
    uint64_t reported_pages; // on the lists, with PAGE_REPORTED
    unsigned report_order;   // a block of at least this order became free, and is not reported:
    bool report_due;         // then this becomes true
    // Makes more memory of the zone available (calls buddy_free). False: there is no more.
    bool (*grow)(struct buddy_zone *zone);
};

void buddy_init(struct buddy_zone *zone, bool (*grow)(struct buddy_zone *zone));
// A block of 2^order pages, refcount 0, flags 0, page->order = order; NULL if there is none.
struct page *buddy_alloc(struct buddy_zone *zone, unsigned order);
// Gives a block back; it must not be free.
void buddy_free(struct buddy_zone *zone, struct page *page, unsigned order);
// Gives back a block that buddy_take_unreported() took; `reported`: the host has been told of it.
void buddy_give_reported(struct buddy_zone *zone, struct page *page, unsigned order, bool reported);
// The greatest block of at least `order` that is not reported, taken out as by buddy_alloc(); NULL:
// none. Does not ask for more memory.
struct page *buddy_take_unreported(struct buddy_zone *zone, unsigned order);
// Gives back the pages [start, end), none of which is free, in the greatest blocks that alignment
// allows.
void buddy_free_range(struct buddy_zone *zone, uint64_t start_pfn, uint64_t end_pfn);
// B1 to B4. O(free blocks).
bool buddy_is_valid(const struct buddy_zone *zone);
