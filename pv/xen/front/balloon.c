// SPDX-License-Identifier: MIT
// Memory balloon: the toolstack's wish of how much memory the domain should have (memory/target in
// xenstore, in KiB) is followed by giving free pages back to Xen and taking them in again.
//
// What the domain has at the start counts as the first target; only the difference to it matters,
// because Xen's own pages (grant tables, shared info) are in Xen's count and not in ours. Pages
// that are in the balloon are linked by their struct page; Xen has nothing behind their frames.
// Only the balloon's thread touches any of this.
#include "kernel/base/list.h"
#include "kernel/core/counter.h"
#include "kernel/core/errno.h"
#include "kernel/core/log.h"
#include "kernel/core/time.h"
#include "kernel/core/wait.h"
#include "kernel/core/work.h"
#include "mm/page.h"
#include "pv/xen/front/internal.h"
#include "pv/xen/front/store.h"
#include "pv/xen/hypercall.h"
#include "pv/xen/xen.h"

#include <xen/memory.h>

COUNTER(xen, balloon_pages_given);
COUNTER(xen, balloon_pages_taken);

// Pages in one hypercall.
#define BATCH 256
// When there is nothing to give or take at the moment, another try comes after this.
#define RETRY_NS NS_PER_SECOND

static struct {
    struct xen_store_watch watch;
    struct wait_queue wait;
    bool changed;           // atomic
    uint64_t first_target;  // KiB
    struct list_node pages; // in the balloon
    uint64_t page_count;
    xen_pfn_t frames[BATCH];
} balloon = {
    .wait = WAIT_QUEUE_INIT(balloon.wait, "balloon"),
    .pages = LIST_INIT(balloon.pages),
};

// Gives up to `count` free pages to Xen. How many.
static uint64_t give(uint64_t count)
{
    uint32_t got = 0;
    while (got < MIN(count, (uint64_t)BATCH)) {
        struct page *page = page_alloc(0, PAGE_ALLOC_ATOMIC | PAGE_ALLOC_USER);
        if (page == NULL)
            break;
        list_add_tail(&balloon.pages, &page->list);
        balloon.frames[got++] = page_to_pfn(page);
    }
    if (got == 0)
        return 0;
    struct xen_memory_reservation reservation = {.nr_extents = got, .domid = DOMID_SELF};
    set_xen_guest_handle(reservation.extent_start, balloon.frames);
    long done = xen_memory_op(XENMEM_decrease_reservation, &reservation);
    uint32_t given = done < 0 ? 0 : MIN((uint32_t)done, got);
    // The list has them in the order of frames[]: those that Xen did not take are at its end.
    for (uint32_t i = given; i < got; i++) {
        struct page *page = pfn_to_page(balloon.frames[i]);
        list_remove(&page->list);
        page_put(page);
    }
    balloon.page_count += given;
    counter_add(xen, balloon_pages_given, given);
    return given;
}

// Takes up to `count` pages back from Xen. How many.
static uint64_t take(uint64_t count)
{
    uint32_t wanted = 0;
    struct page *page;
    list_for_each_entry (page, &balloon.pages, list) {
        if (wanted == MIN(count, (uint64_t)BATCH))
            break;
        balloon.frames[wanted++] = page_to_pfn(page);
    }
    if (wanted == 0)
        return 0;
    struct xen_memory_reservation reservation = {.nr_extents = wanted, .domid = DOMID_SELF};
    set_xen_guest_handle(reservation.extent_start, balloon.frames);
    long done = xen_memory_op(XENMEM_populate_physmap, &reservation);
    uint32_t taken = done < 0 ? 0 : MIN((uint32_t)done, wanted);
    for (uint32_t i = 0; i < taken; i++) {
        page = pfn_to_page(balloon.frames[i]);
        list_remove(&page->list);
        page_put(page);
    }
    balloon.page_count -= taken;
    counter_add(xen, balloon_pages_taken, taken);
    return taken;
}

// One step towards the target. False: there is nothing to do, or nothing can be done now.
static bool step(bool *satisfied)
{
    uint64_t target =
        xen_store_number_or("memory", "target", UINT64_MAX >> 10, balloon.first_target);
    uint64_t wanted =
        target < balloon.first_target ? (balloon.first_target - target) >> (PAGE_SHIFT - 10) : 0;
    *satisfied = wanted == balloon.page_count;
    if (wanted > balloon.page_count)
        return give(wanted - balloon.page_count) != 0;
    return wanted < balloon.page_count && take(balloon.page_count - wanted) != 0;
}

static void balloon_thread(void *argument)
{
    (void)argument;
    bool satisfied = true;
    for (;;) {
        (void)wait_event_state(&balloon.wait,
            __atomic_exchange_n(&balloon.changed, false, __ATOMIC_ACQ_REL), THREAD_UNINTERRUPTIBLE,
            false, satisfied ? UINT64_MAX : time_monotonic_ns() + RETRY_NS);
        while (step(&satisfied)) {
        }
    }
}

static void target_changed(struct xen_store_watch *watch, const char *path)
{
    (void)watch;
    (void)path;
    __atomic_store_n(&balloon.changed, true, __ATOMIC_RELEASE);
    wait_wake_all(&balloon.wait);
}

void xen_balloon_start(void)
{
    int error = xen_store_read_number(
        XEN_STORE_NO_TRANSACTION, "memory", "target", UINT64_MAX >> 10, &balloon.first_target);
    if (error == 0)
        error = kthread_create(NULL, "balloon", balloon_thread, NULL);
    if (error == 0)
        error = xen_store_watch(&balloon.watch, "memory/target", target_changed);
    if (error != 0)
        log_warning("xen: no memory balloon (error %d)", -error);
}
