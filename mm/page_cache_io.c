// SPDX-License-Identifier: MIT
// Page caches that stand for something on a device: reading ahead, writing back.
//
// Reading. A page that is being read has PAGE_LOCKED and a reference of the I/O. Who needs it waits
// for the flag. The end of a read comes in interrupt context and takes no lock: it sets
// PAGE_UPTODATE, or leaves it unset, which those who wait see as an error.
//
// Writing. Write-back takes runs of neighbouring dirty pages, so that they become few requests. A
// page loses PAGE_DIRTY when its write begins (what is written to it from then on makes it dirty
// again) and has PAGE_WRITEBACK until the write is over; it is not written twice at a time. Caches
// with dirty pages are on a list. A thread writes what has been dirty for DIRTY_AGE_NS, and all
// when a tenth of memory is dirty; those who make pages dirty wait when it is a fifth.
//
// Invariants:
//   W1  cache->writing counts the pages that have PAGE_WRITEBACK.
//   W2  A cache with dirty pages is on dirty_caches, or somebody is about to put it there.
//   W3  A cache is not destroyed while `writers` or `writing` is not 0.
#include "kernel/base/assert.h"
#include "kernel/core/counter.h"
#include "kernel/core/log.h"
#include "kernel/core/rcu.h"
#include "kernel/core/time.h"
#include "kernel/core/work.h"
#include "mm/page_cache_internal.h"
#include "mm/page_internal.h"
#include <linux/errno.h>

#define RUN_MAX           128 // pages that are handed over at a time
#define DIRTY_AGE_NS      (5 * NS_PER_SECOND)
#define BACKGROUND_FACTOR 10 // of memory: the thread writes when a tenth is dirty
#define LIMIT_FACTOR      5  // writers wait when a fifth is

COUNTER(cache, read_ahead_pages);
COUNTER(cache, written_pages);
COUNTER(cache, write_runs);
COUNTER(cache, writers_waited);

static struct spinlock dirty_lock = SPINLOCK_INIT("mm/page_cache_io.c: dirty_lock");
static struct list_node dirty_caches = LIST_INIT(dirty_caches); // oldest first; under dirty_lock
static struct wait_queue write_queue =
    WAIT_QUEUE_INIT(write_queue, "mm/page_cache_io.c: write_queue"); // ends of writes
static struct wait_queue thread_queue =
    WAIT_QUEUE_INIT(thread_queue, "mm/page_cache_io.c: thread_queue");
static struct page_cache *thread_cache; // what the thread writes; stored under dirty_lock
static bool write_now;                  // memory is short; atomic
static uint32_t thread_started;         // 1: the thread exists; atomic

// ---- reading ----

void page_cache_read_done(struct page *page, int error)
{
    debug_assert(page_flags(page) & PAGE_LOCKED);
    if (error == 0)
        page_flag_set(page, PAGE_UPTODATE);
    page_flag_clear(page, PAGE_LOCKED);
    wait_wake_all(&page_cache_read_queue);
    page_put(page);
}

void page_cache_read_ahead(struct page_cache *cache, uint64_t index, size_t count)
{
    struct page *run[64];
    size_t len = 0;
    for (size_t i = 0; i < count; i++) {
        struct page *page = NULL;
        rcu_read_lock();
        const bool present = xarray_load(&cache->pages, index + i) != NULL;
        rcu_read_unlock();
        int error = present ? -EEXIST : page_cache_add(cache, index + i, &page);
        if (error == 0) {
            run[len++] = page;
            counter_add(cache, read_ahead_pages, 1);
        }
        if (len != 0 && (error != 0 || len == ARRAY_SIZE(run) || i + 1 == count)) {
            cache->ops->read_pages(cache, run, len);
            len = 0;
        }
        if (error == -ENOMEM)
            return; // it was only a guess
    }
}

int page_cache_get_overwrite(struct page_cache *cache, uint64_t index, struct page **result)
{
    int error = page_cache_add(cache, index, result);
    if (error == -EEXIST)
        *result = NULL;
    return error == -EEXIST ? 0 : error;
}

void page_cache_overwritten(struct page *page)
{
    page_get(page);
    page_cache_read_done(page, 0);
}

int page_cache_read_instead(struct page_cache *cache, struct page *page)
{
    page_get(page);
    cache->ops->read_pages(cache, &page, 1);
    return page_cache_wait_read(cache, page);
}

// ---- writing ----

void page_cache_write_done(struct page_cache *cache, struct page *page, int error)
{
    debug_assert(page_flags(page) & PAGE_WRITEBACK);
    if (error != 0)
        __atomic_store_n(&cache->write_error, error, __ATOMIC_RELAXED);
    page_flag_clear(page, PAGE_WRITEBACK);
    page_put(page);
    if (__atomic_sub_fetch(&cache->writing, 1, __ATOMIC_SEQ_CST) == 0)
        wait_wake_all(&write_queue); // the cache may be gone now
}

// Under cache->lock: the page begins to be written.
static void begin_write(struct page_cache *cache, struct page *page)
{
    page_get(page);
    (void)xarray_clear_mark(&cache->pages, page->index, DIRTY_MARK);
    page_flag_set(page, PAGE_WRITEBACK);
    page_flag_clear(page, PAGE_DIRTY);
    page_cache_dirty_count(cache, -1);
    __atomic_fetch_add(&cache->writing, 1, __ATOMIC_SEQ_CST);
}

// A run of neighbouring dirty pages that begins at or after *index; *index ends behind it. *busy:
// a dirty page was met that is still being written.
static size_t take_run(struct page_cache *cache, uint64_t *index, uint64_t last, struct page **run,
    size_t max, bool *busy)
{
    size_t count = 0;
    spin_lock(&cache->lock);
    while (count < max) {
        uint64_t at = *index;
        struct page *page = xarray_find_marked(&cache->pages, &at, last, DIRTY_MARK);
        if (page == NULL || (count != 0 && at != *index)) {
            *index = page == NULL && count == 0 ? UINT64_MAX : *index;
            break;
        }
        *index = at + 1;
        if (page_flags(page) & PAGE_WRITEBACK) {
            *busy = true;
            if (count != 0)
                break;
            continue;
        }
        begin_write(cache, page);
        run[count++] = page;
    }
    if (count != 0)
        page_cache_protect(cache, run[0]->index, run[count - 1]->index);
    spin_unlock(&cache->lock);
    return count;
}

static uint64_t write_range(
    struct page_cache *cache, uint64_t first, uint64_t last, uint64_t limit, bool *busy)
{
    struct page *run[RUN_MAX];
    uint64_t total = 0;
    for (uint64_t index = first; index <= last && total < limit;) {
        const size_t max = MIN(limit - total, (uint64_t)ARRAY_SIZE(run));
        const size_t count = take_run(cache, &index, last, run, max, busy);
        if (count == 0)
            break;
        total += count;
        counter_add(cache, written_pages, count);
        counter_add(cache, write_runs, 1);
        cache->ops->write_pages(cache, run, count);
        if (index == 0)
            break;
    }
    return total;
}

uint64_t page_cache_write_back(
    struct page_cache *cache, uint64_t first, uint64_t last, uint64_t limit)
{
    bool busy = false;
    return write_range(cache, first, last, limit, &busy);
}

static void wait_written(struct page_cache *cache)
{
    wait_event(&write_queue, __atomic_load_n(&cache->writing, __ATOMIC_SEQ_CST) == 0);
}

void page_cache_write_wait(struct page_cache *cache, uint64_t first, uint64_t last)
{
    bool busy = false;
    (void)write_range(cache, first, last, UINT64_MAX, &busy);
    wait_written(cache);
    if (busy) { // pages that were changed while they were being written
        busy = false;
        (void)write_range(cache, first, last, UINT64_MAX, &busy);
        wait_written(cache);
    }
}

// ---- which caches ----

static void write_thread(void *unused);

void page_cache_note_dirty(struct page_cache *cache)
{
    spin_lock(&dirty_lock);
    if (!list_is_linked(&cache->dirty_node)) {
        cache->dirty_since_ns = time_monotonic_ns();
        list_add_tail(&dirty_caches, &cache->dirty_node);
    }
    spin_unlock(&dirty_lock);
    if (__atomic_exchange_n(&thread_started, 1, __ATOMIC_RELAXED) == 0) {
        if (kthread_create(NULL, "writeback", write_thread, NULL) != 0) {
            log_error("page cache: no memory for the write-back thread");
            __atomic_store_n(&thread_started, 0, __ATOMIC_RELAXED);
        }
    }
}

void page_cache_forget_dirty(struct page_cache *cache)
{
    spin_lock(&dirty_lock);
    if (list_is_linked(&cache->dirty_node))
        list_remove(&cache->dirty_node);
    spin_unlock(&dirty_lock);
    wait_event(&write_queue, __atomic_load_n(&cache->writers, __ATOMIC_SEQ_CST) == 0);
    wait_written(cache);
}

// The cache that has been dirty longest, if since before `before_ns`; it is off the list and kept
// from being destroyed until put_dirty().
static struct page_cache *take_dirty(uint64_t before_ns, bool for_thread)
{
    spin_lock(&dirty_lock);
    struct page_cache *cache =
        list_first_entry_or_null(&dirty_caches, struct page_cache, dirty_node);
    if (cache != NULL && cache->dirty_since_ns > before_ns)
        cache = NULL;
    if (cache != NULL) {
        list_remove(&cache->dirty_node);
        if (for_thread)
            __atomic_store_n(&thread_cache, cache, __ATOMIC_SEQ_CST);
        __atomic_fetch_add(&cache->writers, 1, __ATOMIC_SEQ_CST);
    }
    spin_unlock(&dirty_lock);
    return cache;
}

static void put_dirty(struct page_cache *cache)
{
    if (__atomic_sub_fetch(&cache->writers, 1, __ATOMIC_SEQ_CST) == 0)
        wait_wake_all(&write_queue);
}

static uint64_t dirty_pages(void)
{
    struct page_statistics statistics;
    page_statistics_read(&statistics);
    return statistics.dirty_pages;
}

static void write_thread(void *unused)
{
    for (;;) {
        (void)wait_event_state(&thread_queue, __atomic_load_n(&write_now, __ATOMIC_RELAXED),
            THREAD_UNINTERRUPTIBLE, false, time_monotonic_ns() + NS_PER_SECOND);
        const bool all = __atomic_exchange_n(&write_now, false, __ATOMIC_RELAXED) ||
                         dirty_pages() > page_total() / BACKGROUND_FACTOR;
        const uint64_t start = time_monotonic_ns();
        struct page_cache *cache;
        while ((cache = take_dirty(all ? start : start - MIN(start, DIRTY_AGE_NS), true)) != NULL) {
            bool busy = false;
            (void)write_range(cache, 0, UINT64_MAX - 1, UINT64_MAX, &busy);
            wait_written(cache);
            if (busy)
                page_cache_note_dirty(cache);
            __atomic_store_n(&thread_cache, NULL, __ATOMIC_SEQ_CST);
            put_dirty(cache);
        }
    }
}

void page_cache_write_soon(void)
{
    if (list_is_empty(&dirty_caches) || __atomic_load_n(&write_now, __ATOMIC_RELAXED))
        return;
    __atomic_store_n(&write_now, true, __ATOMIC_RELAXED);
    wait_wake_all(&thread_queue);
}

void page_cache_balance(struct page_cache *cache)
{
    // Looking is not for free: once in so many pages is often enough.
    static PERCPU(uint32_t, calls);
    if (++this_cpu(calls) % 64 != 0)
        return;
    const uint64_t dirty = dirty_pages(), total = page_total();
    if (dirty <= total / BACKGROUND_FACTOR)
        return;
    page_cache_write_soon();
    if (dirty <= total / LIMIT_FACTOR)
        return;
    counter_add(cache, writers_waited, 1);
    page_cache_write_wait(cache, 0, UINT64_MAX - 1);
}

void page_cache_write_all(void)
{
    const uint64_t start = time_monotonic_ns();
    struct page_cache *cache;
    while ((cache = take_dirty(start, false)) != NULL) {
        page_cache_write_wait(cache, 0, UINT64_MAX - 1);
        put_dirty(cache);
    }
    // What the thread has taken from the list before: it is done when it has given all back.
    wait_event(&write_queue, __atomic_load_n(&thread_cache, __ATOMIC_SEQ_CST) == NULL);
}
