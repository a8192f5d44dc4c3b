// SPDX-License-Identifier: MIT
// Memory that goes back to the host: free blocks that the host is told of ("free page reporting",
// virtio 1.2, 5.5.6.7), and the balloon, which is asked for memory before a process is killed.
//
// A driver registers, and is notified when blocks have become free. It then takes blocks with
// page_report_isolate(), tells the host, and gives them back with page_report_return(). Meanwhile
// nobody else has them; afterwards they may be given out at any time, with whatever content.
#pragma once

#include "mm/page.h"

// Registers who tells the host of free blocks of at least `order` pages (1 to PAGE_ORDER_MAX).
// `notify` is called when there is something to isolate that was not there before: in any context
// but NMI, perhaps with interrupts off, so it only queues work; not again before a call of
// page_report_isolate() has found less than it was asked for. Called once at once, if memory is
// free already. Task context. -EBUSY: somebody else has registered; -EINVAL.
[[nodiscard]] int page_report_register(unsigned order, void (*notify)(void));
// No notification comes any more once this returns. All isolated blocks must be back.
void page_report_unregister(void (*notify)(void));
// Takes up to `max` free blocks that the host does not know of, the greatest first; page->order is
// their size. Leaves enough free memory for everybody else. How many. Task context.
size_t page_report_isolate(struct page **blocks, size_t max);
// Gives isolated blocks back. `reported`: the host has been told of them, and may have taken their
// memory; their content is unknown. Task context.
void page_report_return(struct page **blocks, size_t count, bool reported);

// The balloon. `release` gives at least `pages` pages back to the allocator, if it can, and returns
// how many; it is called when memory is short and nothing can be reclaimed, in task context, may
// sleep, must not allocate memory that may sleep, and must not take a lock under which memory is
// allocated. For good: a balloon whose device has gone returns 0. One balloon at most: -EBUSY.
[[nodiscard]] int page_balloon_register(uint64_t (*release)(uint64_t pages));

// ---- for page.c ----

void page_report_due(void); // a zone's report_due is set. Any context but NMI; no zone lock held.
bool page_balloon_release(unsigned order); // may sleep; true if something came back
