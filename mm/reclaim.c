// SPDX-License-Identifier: MIT
// Reclaim ahead of need.
//
// Theory. A request that finds no memory reclaims for itself (page.c), and waits meanwhile. So that
// this is rare, a thread keeps some memory free: it is woken when the free pages of all zones
// together fall below the low watermark, and drops page cache that nobody uses until they reach the
// high one. Watermarks are multiples of what is kept for atomic requests (the reserve): programs
// are stopped at 1.5 of it, so the thread begins at 2.5 and ends at 3.5.
//
// Who takes memory looks at a zone's count anyway when it fills a CPU's list; only there, and only
// when that zone is low, are the others looked at. While the thread is at work, or rests because it
// found nothing, it is not woken: `woken` says so, and costs one load.
//
// Pages that are dropped are free after a grace period, so each batch is waited for before it is
// seen how much is missing still.

#include "mm/reclaim.h"

#include "kernel/arch/x86/arch.h"
#include "kernel/base/assert.h"
#include "kernel/core/counter.h"
#include "kernel/core/rcu.h"
#include "kernel/core/thread.h"
#include "kernel/core/time.h"
#include "kernel/core/wait.h"
#include "kernel/core/work.h"
#include "mm/memory.h"
#include "mm/page_internal.h"
#include "mm/slab.h"

COUNTER(reclaim, background_runs);
COUNTER(reclaim, background_pages);
COUNTER(reclaim, background_failures);

#define BATCH_PAGES 256
#define PASSES      4 // the first ones may only unmap what is not used, or have it written
#define REST_NS     (NS_PER_SECOND / 4)

static uint32_t woken;   // atomic
static uint32_t started; // there is a thread; atomic, written in thread_start()
static struct wait_queue waiting = WAIT_QUEUE_INIT(waiting, "mm/reclaim.c: waiting");

// Free pages, and the sum of the zones' watermarks.
static uint64_t free_pages_of_all(uint64_t *low, uint64_t *high)
{
    uint64_t free = 0, reserve = 0;
    for (uint32_t i = 0; i < zone_count; i++) {
        free += zone_free_pages(&zones[i]);
        reserve += zones[i].reserve_pages;
    }
    *low = reserve * 5 / 2;
    *high = reserve * 7 / 2;
    return free;
}

static void thread_start(struct work *work);
static struct work start_work = {.function = thread_start};

void reclaim_wake(void)
{
    uint64_t low, high;
    if (__atomic_load_n(&woken, __ATOMIC_RELAXED) != 0 || free_pages_of_all(&low, &high) >= low)
        return;
    if (__atomic_exchange_n(&woken, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    if (likely(__atomic_load_n(&started, __ATOMIC_ACQUIRE) != 0))
        wait_wake_all(&waiting);
    else
        (void)work_queue(&start_work); // machines whose memory is never short do without
}

// Drops page cache up to the high watermark. False: there is not enough to drop.
static bool reclaim_to_high(void)
{
    uint64_t low, high, free;
    unsigned fruitless = 0;
    while ((free = free_pages_of_all(&low, &high)) < high && fruitless < PASSES) {
        uint64_t pages = page_cache_reclaim(MIN(high - free, (uint64_t)BATCH_PAGES));
        counter_add(reclaim, background_pages, pages);
        fruitless = pages == 0 ? fruitless + 1 : 0;
        if (pages != 0)
            rcu_barrier();
    }
    return free >= high;
}

static void reclaim_thread(void *argument)
{
    (void)argument;
    for (;;) {
        wait_event(&waiting, __atomic_load_n(&woken, __ATOMIC_ACQUIRE) != 0);
        counter_add(reclaim, background_runs, 1);
        if (!reclaim_to_high()) {
            // Memory is full of what can't be dropped: requests help themselves for a while.
            counter_add(reclaim, background_failures, 1);
            thread_prepare_sleep(THREAD_UNINTERRUPTIBLE);
            (void)sched_block(time_monotonic_ns() + REST_NS);
        }
        __atomic_store_n(&woken, 0, __ATOMIC_RELEASE);
    }
}

static void thread_start(struct work *work)
{
    (void)work;
    if (__atomic_load_n(&started, __ATOMIC_RELAXED) != 0) { // it was, just now
        wait_wake_all(&waiting);
        return;
    }
    if (kthread_create(NULL, "reclaim", reclaim_thread, NULL) == 0)
        __atomic_store_n(&started, 1, __ATOMIC_RELEASE);
    else
        __atomic_store_n(&woken, 0, __ATOMIC_RELEASE); // the next one who finds it low tries again
}
