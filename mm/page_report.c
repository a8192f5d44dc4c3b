// SPDX-License-Identifier: MIT
// Memory that goes back to the host; what it is for is said in page_report.h.
//
// Theory. The buddy keeps blocks that the host was told of behind those that it was not told of (B4
// of buddy.h), so the driver finds its next block at the head of a list and nothing is scanned. A
// block that is given out, or that merges with one that was not reported, loses the mark. Memory
// that has never been used (promised_pages) is not reported: the host has nothing behind it.
//
// Invariant R1: `pending` is set from a notification until an isolation that found less than it
// was asked for. A block that becomes free after that isolation looked at its zone sets the zone's
// report_due again (under the zone's lock), so none is forgotten.

#include "mm/page_report.h"

#include "kernel/arch/x86/arch.h"
#include "kernel/base/assert.h"
#include "kernel/core/counter.h"
#include "kernel/core/mutex.h"
#include "kernel/core/rcu.h"
#include "mm/memory.h"
#include "mm/page_internal.h"
#include <linux/errno.h>

COUNTER(page, blocks_reported);
COUNTER(page, balloon_releases);

static struct mutex registration = MUTEX_INIT(registration, "mm/page_report.c: registration");
static void (*notify_hook)(void);                // written under registration; read anywhere
static uint32_t pending;                         // R1; atomic
static uint64_t (*release_hook)(uint64_t pages); // written under registration; read anywhere

void page_report_due(void)
{
    rcu_read_lock(); // page_report_unregister() waits for us
    void (*notify)(void) = __atomic_load_n(&notify_hook, __ATOMIC_ACQUIRE);
    if (notify != NULL && __atomic_load_n(&pending, __ATOMIC_RELAXED) == 0 &&
        __atomic_exchange_n(&pending, 1, __ATOMIC_ACQ_REL) == 0)
        notify();
    rcu_read_unlock();
}

static void report_order_set(unsigned order, bool due)
{
    for (unsigned i = 0; i < zone_count; i++) {
        uint64_t irq_flags = spin_lock_irqsave(&zones[i].lock);
        zones[i].buddy.report_order = order;
        zones[i].buddy.report_due = due;
        spin_unlock_irqrestore(&zones[i].lock, irq_flags);
    }
}

int page_report_register(unsigned order, void (*notify)(void))
{
    if (order == 0 || order > PAGE_ORDER_MAX)
        return -EINVAL;
    mutex_lock(&registration);
    int error = notify_hook != NULL ? -EBUSY : 0;
    if (error == 0) {
        __atomic_store_n(&pending, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&notify_hook, notify, __ATOMIC_RELEASE);
        report_order_set(order, true);
    }
    mutex_unlock(&registration);
    if (error == 0)
        page_report_due();
    return error;
}

void page_report_unregister(void (*notify)(void))
{
    mutex_lock(&registration);
    assert(notify_hook == notify);
    report_order_set(PAGE_ORDER_MAX + 1, false);
    __atomic_store_n(&notify_hook, NULL, __ATOMIC_RELEASE);
    mutex_unlock(&registration);
    rcu_synchronize();
}

// May a block of the order leave the zone for a while? Under the zone's lock.
static bool zone_can_spare(const struct zone *zone, unsigned order)
{
    return zone->buddy.free_pages + zone->buddy.promised_pages >=
           (1ul << order) + 4 * zone->reserve_pages;
}

static size_t zone_isolate(struct zone *zone, struct page **blocks, size_t max)
{
    size_t count = 0;
    uint64_t irq_flags = spin_lock_irqsave(&zone->lock);
    unsigned order = zone->buddy.report_order;
    while (count < max && order <= PAGE_ORDER_MAX && zone_can_spare(zone, PAGE_ORDER_MAX)) {
        struct page *page = buddy_take_unreported(&zone->buddy, order);
        if (page == NULL)
            break;
        blocks[count++] = page;
    }
    if (count < max)
        zone->buddy.report_due = false;
    spin_unlock_irqrestore(&zone->lock, irq_flags);
    return count;
}

size_t page_report_isolate(struct page **blocks, size_t max)
{
    size_t count = 0;
    // Before looking: what becomes free from here on notifies again (R1).
    __atomic_store_n(&pending, 0, __ATOMIC_SEQ_CST);
    for (unsigned i = zone_count; i-- > 0 && count < max;)
        count += zone_isolate(&zones[i], blocks + count, max - count);
    if (count == max)
        __atomic_store_n(&pending, 1, __ATOMIC_RELAXED);
    return count;
}

void page_report_return(struct page **blocks, size_t count, bool reported)
{
    for (size_t i = 0; i < count; i++) {
        struct page *page = blocks[i];
        struct zone *zone = zone_of(page);
        unsigned order = page->order;
        debug_assert(page->refcount == 0);
        if (reported)
            page_content_unknown(page, order);
        uint64_t irq_flags = spin_lock_irqsave(&zone->lock);
        buddy_give_reported(&zone->buddy, page, order, reported);
        spin_unlock_irqrestore(&zone->lock, irq_flags);
        counter_add(page, blocks_reported, reported);
    }
}

// ---- the balloon ----

int page_balloon_register(uint64_t (*release)(uint64_t pages))
{
    mutex_lock(&registration);
    int error = release_hook != NULL ? -EBUSY : 0;
    if (error == 0)
        __atomic_store_n(&release_hook, release, __ATOMIC_RELEASE);
    mutex_unlock(&registration);
    return error;
}

bool page_balloon_release(unsigned order)
{
    uint64_t (*release)(uint64_t pages) = __atomic_load_n(&release_hook, __ATOMIC_ACQUIRE);
    if (release == NULL || release(MAX(256ul, 2ul << order)) == 0)
        return false;
    counter_add(page, balloon_releases, 1);
    return true;
}
