// SPDX-License-Identifier: MIT
// Page cache.
//
// Theory. A cache maps page numbers of an object to pages. Who wants a page looks it up under RCU,
// without a lock. A page that leaves a cache that is in use loses the cache's reference only after
// a grace period, so a page found under RCU can be referenced; whether it still belongs is seen in
// page->cache.
//
// Truncation and page faults do not exclude each other with a sleeping lock on the fast path.
// Truncation first writes the new size, then takes pages out (page->cache = NULL), then removes
// them from the page tables of all areas that map them. A fault puts a page into a table only if
// page->cache still names the cache, which it reads under the table's lock. So either truncation
// finds the entry (it takes the same lock later), or the fault finds that the page is gone and
// looks again.
//
// Locks, in order: truncate (sleeps), lock, an address space's table_lock, a page table's lock.
//
// Invariants:
//   C1  A page in `pages` has page->cache and page->index set and one reference of the cache; both
//   are
//       written under `lock`.
//   C2  PAGE_UPTODATE is set before anybody but the reader who fills the page uses its content.
//   While it
//       is filled it has PAGE_LOCKED.
//   C3  The mark XARRAY_MARK_0 is on exactly the pages with PAGE_DIRTY. A page that differs from
//   what
//       read_page would give has it: page_cache_mark_dirty before the writer gives its reference
//       back.
//   C4  Pages of caches that can read them again (ops->read_page) are on the list of reclaimable
//   pages. C5  Reclaim takes a page only if it can change its count from 1 (the cache's) to 0; a
//   lookup never
//       takes a page with count 0. So nobody writes to a page that has been reclaimed.

#include "mm/page_cache.h"

#include "kernel/arch/x86/arch.h"
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/counter.h"
#include "kernel/core/rcu.h"
#include "kernel/core/wait.h"
#include "mm/area.h"
#include "mm/page_cache_internal.h"
#include "mm/page_internal.h"
#include "mm/page_table.h"
#include "mm/policy.h"
#include <linux/errno.h>

// Pages that can be read again, oldest first (C4).
static struct spinlock reclaim_lock = SPINLOCK_INIT("mm/page_cache.c: reclaim_lock");
static struct list_node reclaim_list = LIST_INIT(reclaim_list); // page->list; under reclaim_lock
// Who waits for any page that is being read; rare enough to share.
struct wait_queue page_cache_read_queue =
    WAIT_QUEUE_INIT(page_cache_read_queue, "mm/page_cache.c: read_queue");

COUNTER(cache, pages_created);
COUNTER(cache, pages_dropped);
COUNTER(cache, reclaimed);

static_assert(sizeof(struct rcu_head) <= sizeof(struct list_node));

void page_cache_init(struct page_cache *cache, const struct page_cache_ops *ops, void *owner)
{
    memset(cache, 0, sizeof(*cache));
    xarray_init(&cache->pages);
    spin_lock_init(&cache->lock);
    list_init(&cache->areas);
    list_init(&cache->dirty_node);
    rwlock_init(&cache->truncate);
    cache->ops = ops;
    cache->owner = owner;
}

static bool is_reclaimable(const struct page_cache *cache)
{
    return page_cache_reads(cache);
}

static void usage_add(const struct page_cache *cache, int64_t pages)
{
    page_usage_add(cache, pages);
    if (!is_reclaimable(cache))
        page_usage_add(shared, pages);
}

// Only pages that will be written count as dirty.
void page_cache_dirty_count(const struct page_cache *cache, int64_t pages)
{
    if (page_cache_writes(cache))
        page_usage_add(dirty, pages);
}

// ---- pages leave ----

static void put_after_grace_period(struct rcu_head *head)
{
    struct page *page = container_of((struct list_node *)head, struct page, list);
    page_put(page);
}

static void free_after_grace_period(struct rcu_head *head)
{
    page_put_last(container_of((struct list_node *)head, struct page, list));
}

// Takes a page out; the cache's reference stays with the caller. Under cache->lock.
static void detach(struct page_cache *cache, struct page *page)
{
    assert_lock_held(&cache->lock);
    debug_assert(page->cache == cache);
    void *erased = xarray_erase(&cache->pages, page->index);
    assert(erased == page);
    cache->count--;
    page_cache_dirty_count(cache, page_flags(page) & PAGE_DIRTY ? -1 : 0);
    page_flag_clear(page, PAGE_DIRTY);
    __atomic_store_n(&page->cache, NULL, __ATOMIC_SEQ_CST);
    if (is_reclaimable(cache)) {
        spin_lock(&reclaim_lock);
        if (list_is_linked(&page->list))
            list_remove(&page->list);
        spin_unlock(&reclaim_lock);
    }
    usage_add(cache, -1);
    counter_add(cache, pages_dropped, 1);
}

static void uncharge(struct page_cache *cache, uint64_t pages)
{
    if (pages != 0 && cache->ops->uncharge != NULL)
        cache->ops->uncharge(cache, pages);
}

// Drops all pages with first <= index <= last.
static void drop_range(struct page_cache *cache, uint64_t first, uint64_t last, bool nobody_looks)
{
    uint64_t index = first;
    for (;;) {
        struct page *batch[16];
        unsigned count = 0;
        spin_lock(&cache->lock);
        while (count < ARRAY_SIZE(batch)) {
            struct page *page = xarray_find(&cache->pages, &index, last);
            if (page == NULL)
                break;
            detach(cache, page);
            batch[count++] = page;
        }
        spin_unlock(&cache->lock);
        for (unsigned i = 0; i < count; i++) {
            if (nobody_looks)
                page_put(batch[i]);
            else
                rcu_call((struct rcu_head *)&batch[i]->list, put_after_grace_period);
        }
        uncharge(cache, count);
        if (count < ARRAY_SIZE(batch))
            return;
    }
}

void page_cache_destroy(struct page_cache *cache)
{
    assert(list_is_empty(&cache->areas));
    if (cache->ops->write_pages != NULL)
        page_cache_forget_dirty(cache);
    drop_range(cache, 0, UINT64_MAX, true);
    xarray_destroy(&cache->pages);
}

// ---- page tables of those who map it ----

// Calls function for the part of each area that shows pages [first, last]. Under cache->lock.
static void areas_visit(struct page_cache *cache, uint64_t first, uint64_t last,
    void (*function)(struct vm_area *area, uintptr_t start, uintptr_t end))
{
    struct vm_area *area;
    list_for_each_entry (area, &cache->areas, cache_node) {
        uint64_t pages = (area->end - area->start) >> PAGE_SHIFT;
        uint64_t area_last = area->cache_index + pages - 1;
        if (area_last < first || area->cache_index > last)
            continue;
        uintptr_t start = area->start;
        if (first > area->cache_index)
            start += (first - area->cache_index) << PAGE_SHIFT;
        uintptr_t end = area->end;
        if (last < area_last)
            end -= (area_last - last) << PAGE_SHIFT;
        function(area, start, end);
    }
}

static void area_zap_all(struct vm_area *area, uintptr_t start, uintptr_t end)
{
    TLB_GATHER(gather);
    tlb_gather_begin(&gather, area->space);
    spin_lock(&area->space->table_lock); // L2: no table goes away
    (void)zap_range(&gather, start, end, ZAP_TRUNCATE); // no huge pages there
    tlb_gather_finish(&gather);
    spin_unlock(&area->space->table_lock);
}

static void area_zap_file(struct vm_area *area, uintptr_t start, uintptr_t end)
{
    TLB_GATHER(gather);
    tlb_gather_begin(&gather, area->space);
    spin_lock(&area->space->table_lock);
    (void)zap_range(&gather, start, end, ZAP_FILE_ONLY);
    tlb_gather_finish(&gather);
    spin_unlock(&area->space->table_lock);
}

// Entries of shared pages become read-only, so that the next write is noticed.
static void area_protect(struct vm_area *area, uintptr_t start, uintptr_t end)
{
    if (!(area->flags & VM_SHARED))
        return;
    struct address_space *space = area->space;
    spin_lock(&space->table_lock);
    for (uintptr_t address = start; address < end; address += PAGE_SIZE) {
        uint64_t *entry = page_table_find(space, address);
        if (entry == NULL)
            continue;
        spin_lock(page_table_lock_of(entry));
        if (pte_is_page(*entry))
            __atomic_fetch_and(entry, ~(PTE_WRITE | PTE_DIRTY), __ATOMIC_SEQ_CST);
        spin_unlock(page_table_lock_of(entry));
    }
    tlb_flush_space(space, start, end, false);
    spin_unlock(&space->table_lock);
}

// Under cache->lock.
void page_cache_protect(struct page_cache *cache, uint64_t first, uint64_t last)
{
    if (!list_is_empty(&cache->areas))
        areas_visit(cache, first, last, area_protect);
}

static void unmap_pages(struct page_cache *cache, uint64_t first, uint64_t last, bool private_too)
{
    spin_lock(&cache->lock);
    areas_visit(cache, first, last, private_too ? area_zap_all : area_zap_file);
    spin_unlock(&cache->lock);
}

// ---- pages arrive ----

struct page *page_cache_lookup(struct page_cache *cache, uint64_t index)
{
    rcu_read_lock();
    struct page *page = xarray_load(&cache->pages, index);
    if (page != NULL && (!(page_flags(page) & PAGE_UPTODATE) || !page_try_get(page)))
        page = NULL;
    rcu_read_unlock();
    return page;
}

// A page that could not be read: it goes. The caller's reference stays.
static void page_drop(struct page_cache *cache, struct page *page)
{
    bool mine = false;
    spin_lock(&cache->lock);
    if (page->cache == cache) {
        detach(cache, page);
        mine = true;
    }
    spin_unlock(&cache->lock);
    if (mine) {
        rcu_call((struct rcu_head *)&page->list, put_after_grace_period);
        uncharge(cache, 1);
    }
}

// Waits until somebody has read the page. 0, -EIO (and it is gone), -EINTR.
int page_cache_wait_read(struct page_cache *cache, struct page *page)
{
    int error = wait_event_killable(&page_cache_read_queue, !(page_flags(page) & PAGE_LOCKED));
    if (error == 0 && !(page_flags(page) & PAGE_UPTODATE)) {
        page_drop(cache, page);
        error = -EIO;
    }
    return error;
}

// Waits until the page at index is not being read any more (or is gone).
static int wait_for_read(struct page_cache *cache, uint64_t index)
{
    rcu_read_lock();
    struct page *page = xarray_load(&cache->pages, index);
    if (page != NULL && !page_try_get(page))
        page = NULL;
    rcu_read_unlock();
    if (page == NULL)
        return 0;
    int error = page_cache_wait_read(cache, page);
    page_put(page);
    return error;
}

// A page with the caller's reference and the cache's, not up to date; -EEXIST if somebody was
// faster.
int page_cache_add(struct page_cache *cache, uint64_t index, struct page **result)
{
    int error = cache->ops->charge != NULL ? cache->ops->charge(cache, 1) : 0;
    if (error != 0)
        return error;
    bool reads = page_cache_reads(cache);
    struct page *page =
        policy_page_alloc(NULL, 0, 0, PAGE_ALLOC_USER | (reads ? 0 : PAGE_ALLOC_ZERO));
    if (page == NULL) {
        uncharge(cache, 1);
        return -ENOMEM;
    }
    page->refcount = 2;
    page->cache = cache;
    page->index = index;
    page->list = (struct list_node){NULL, NULL};
    page->flags = reads ? PAGE_LOCKED : PAGE_UPTODATE;
    spin_lock(&cache->lock);
    error = xarray_insert(&cache->pages, index, page);
    if (error == 0) {
        cache->count++;
        usage_add(cache, 1);
    }
    if (error == 0 && reads) { // C4; reclaim leaves it alone while it has PAGE_LOCKED
        spin_lock(&reclaim_lock);
        list_add_tail(&reclaim_list, &page->list);
        spin_unlock(&reclaim_lock);
    }
    spin_unlock(&cache->lock);
    if (error != 0) {
        page->cache = NULL;
        page->flags = 0;
        page->refcount = 1;
        page_free(page, 0);
        uncharge(cache, 1);
        return error;
    }
    counter_add(cache, pages_created, 1);
    *result = page;
    return 0;
}

// Fills a page that page_cache_add() made. On error the page is gone.
static int page_fill(struct page_cache *cache, struct page *page)
{
    if (cache->ops->read_pages != NULL) {
        page_get(page);
        cache->ops->read_pages(cache, &page, 1);
        return page_cache_wait_read(cache, page);
    }
    int error = cache->ops->read_page(cache, page->index, page_to_virt(page));
    if (error == 0)
        page_flag_set(page, PAGE_UPTODATE);
    else
        page_drop(cache, page);
    page_flag_clear(page, PAGE_LOCKED);
    wait_wake_all(&page_cache_read_queue);
    return error;
}

int page_cache_get(struct page_cache *cache, uint64_t index, bool create, struct page **result)
{
    for (;;) {
        *result = page_cache_lookup(cache, index);
        if (*result != NULL)
            return 0;
        if (!create && !page_cache_reads(cache))
            return 0; // a hole
        struct page *page = NULL;
        int error = page_cache_add(cache, index, &page);
        if (error == -EEXIST)
            error = wait_for_read(cache, index);
        else if (error == 0 && page_cache_reads(cache))
            error = page_fill(cache, page);
        if (error != 0) {
            if (page != NULL)
                page_put(page);
            return error;
        }
        if (page != NULL) {
            *result = page;
            return 0;
        }
    }
}

// ---- dirty pages ----

void page_cache_mark_dirty(struct page_cache *cache, struct page *page)
{
    // Where nothing is read or written a dirty page means nothing. A cache that reads but does not
    // write keeps its changed pages for good: the flag is what keeps reclaim off them.
    if ((!page_cache_writes(cache) && !page_cache_reads(cache)) || (page_flags(page) & PAGE_DIRTY))
        return;
    bool first = false;
    spin_lock(&cache->lock);
    if (page->cache == cache && !(page_flags(page) & PAGE_DIRTY)) {
        page_flag_set(page, PAGE_DIRTY);
        (void)xarray_set_mark(&cache->pages, page->index, DIRTY_MARK);
        page_cache_dirty_count(cache, 1);
        first = cache->ops->write_pages != NULL && !list_is_linked(&cache->dirty_node);
    }
    spin_unlock(&cache->lock);
    if (first)
        page_cache_note_dirty(cache);
}

int page_cache_sync(struct page_cache *cache)
{
    int result = 0;
    if (cache->ops->write_pages != NULL) {
        page_cache_write_wait(cache, 0, UINT64_MAX);
        return __atomic_exchange_n(&cache->write_error, 0, __ATOMIC_RELAXED);
    }
    for (uint64_t index = 0; cache->ops->write_page != NULL; index++) {
        spin_lock(&cache->lock);
        struct page *page = xarray_find_marked(&cache->pages, &index, UINT64_MAX, DIRTY_MARK);
        if (page != NULL) {
            page_get(page);
            (void)xarray_clear_mark(&cache->pages, index, DIRTY_MARK);
            page_flag_clear(page, PAGE_DIRTY);
            page_cache_dirty_count(cache, -1);
            // From here on a write through a mapping marks it dirty again.
            page_cache_protect(cache, index, index);
        }
        spin_unlock(&cache->lock);
        if (page == NULL)
            break;
        int error = cache->ops->write_page(cache, index, page_to_virt(page));
        if (error != 0) {
            page_cache_mark_dirty(cache, page);
            result = error;
        }
        page_put(page);
        if (index == UINT64_MAX)
            break;
    }
    return result;
}

// ---- truncation ----

// Zeroes [from, to) within the page that holds them, if it is present.
static void zero_part(struct page_cache *cache, uint64_t from, uint64_t to)
{
    struct page *page = page_cache_lookup(cache, from >> PAGE_SHIFT);
    if (page == NULL)
        return;
    memset((char *)page_to_virt(page) + from % PAGE_SIZE, 0, to - from);
    page_cache_mark_dirty(cache, page);
    page_put(page);
}

// Drops whole pages [first, last] and removes them from page tables.
static void drop_and_unmap(struct page_cache *cache, uint64_t first, uint64_t last)
{
    drop_range(cache, first, last, false);
    unmap_pages(cache, first, last, true);
}

void page_cache_truncate(struct page_cache *cache, uint64_t size_bytes)
{
    rwlock_write_lock(&cache->truncate);
    uint64_t old_size = cache->size_bytes;
    __atomic_store_n(&cache->size_bytes, size_bytes, __ATOMIC_SEQ_CST);
    if (size_bytes < old_size) {
        drop_and_unmap(cache, DIV_ROUND_UP(size_bytes, PAGE_SIZE), UINT64_MAX);
        if (size_bytes % PAGE_SIZE != 0)
            zero_part(cache, size_bytes, ALIGN_UP(size_bytes, PAGE_SIZE));
    }
    rwlock_write_unlock(&cache->truncate);
}

void page_cache_punch(struct page_cache *cache, uint64_t start_bytes, uint64_t end_bytes)
{
    if (start_bytes >= end_bytes)
        return;
    rwlock_write_lock(&cache->truncate);
    uint64_t first_whole = DIV_ROUND_UP(start_bytes, PAGE_SIZE), end_whole = end_bytes / PAGE_SIZE;
    if (first_whole < end_whole)
        drop_and_unmap(cache, first_whole, end_whole - 1);
    if (start_bytes % PAGE_SIZE != 0)
        zero_part(cache, start_bytes, MIN(end_bytes, first_whole * PAGE_SIZE));
    if (end_bytes % PAGE_SIZE != 0 && end_whole >= first_whole)
        zero_part(cache, end_whole * PAGE_SIZE, end_bytes);
    rwlock_write_unlock(&cache->truncate);
}

uint64_t page_cache_seek(struct page_cache *cache, uint64_t from, bool data)
{
    rcu_read_lock();
    uint64_t index = from;
    if (data) {
        if (xarray_find(&cache->pages, &index, UINT64_MAX) == NULL)
            index = UINT64_MAX;
    } else {
        while (index != UINT64_MAX && xarray_load(&cache->pages, index) != NULL)
            index++;
    }
    rcu_read_unlock();
    return index;
}

bool page_cache_invalidate(struct page_cache *cache, uint64_t first, uint64_t last)
{
    bool some_stay = false;
    unmap_pages(cache, first, last, false);
    for (uint64_t index = first;; index++) {
        spin_lock(&cache->lock);
        struct page *page = xarray_find(&cache->pages, &index, last);
        uint32_t one = 1;
        bool unused = page != NULL && !(page_flags(page) & (PAGE_DIRTY | PAGE_LOCKED)) &&
                      atomic_cmpxchg(&page->refcount, &one, 0); // as C5
        if (unused) {
            detach(cache, page);
            rcu_call((struct rcu_head *)&page->list, free_after_grace_period);
            uncharge(cache, 1);
        }
        some_stay |= page != NULL && !unused;
        spin_unlock(&cache->lock);
        if (page == NULL || index == last)
            break;
    }
    return some_stay;
}

// ---- reclaim ----

// Tries to drop one page of the list's head; true if it was dropped.
static bool reclaim_one(void)
{
    spin_lock(&reclaim_lock);
    struct page *page = list_first_entry_or_null(&reclaim_list, struct page, list);
    struct page_cache *cache = NULL;
    if (page != NULL) {
        list_move_tail(&reclaim_list, &page->list);
        cache = __atomic_load_n(&page->cache, __ATOMIC_ACQUIRE);
        // The order of locks is the other way round: no waiting here. While cache->lock is held the
        // cache is not destroyed.
        if (cache != NULL && !spin_trylock(&cache->lock))
            cache = NULL;
    }
    spin_unlock(&reclaim_lock);
    if (cache == NULL)
        return false;
    uint64_t index = page->index;
    // Unused: nobody but the cache has a reference; so it is mapped nowhere, and new references
    // start from the cache.
    uint32_t one = 1;
    bool unused = page->cache == cache && !(page_flags(page) & (PAGE_DIRTY | PAGE_LOCKED)) &&
                  atomic_cmpxchg(&page->refcount, &one, 0); // C5
    if (unused) {
        detach(cache, page);
        rcu_call((struct rcu_head *)&page->list, free_after_grace_period);
    } else if (page->cache == cache && !(page_flags(page) & PAGE_DIRTY)) {
        areas_visit(cache, index, index,
            area_zap_file); // next time round it is unused, if nobody touches it
    }
    // Under the lock: it is what keeps the cache from being destroyed.
    if (unused)
        uncharge(cache, 1);
    spin_unlock(&cache->lock);
    counter_add(cache, reclaimed, unused);
    return unused;
}

uint64_t page_cache_reclaim(uint64_t pages)
{
    uint64_t dropped = 0;
    for (uint64_t tries = 0; dropped < pages && tries < 4 * pages; tries++) {
        if (list_is_empty(&reclaim_list))
            break;
        dropped += reclaim_one();
    }
    if (dropped < pages)
        page_cache_write_soon();
    return dropped;
}
