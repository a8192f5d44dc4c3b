// SPDX-License-Identifier: MIT
// Page faults of areas that show a page cache: files and shared memory.
//
// How a fault and a truncation at the same time come out right is explained in page_cache.c.

#include "mm/fault.h"
#include "mm/fault_view.h"

#include "kernel/arch/x86/arch.h"
#include "kernel/base/assert.h"
#include "kernel/core/counter.h"
#include "kernel/core/rcu.h"
#include "mm/page_cache.h"
#include "mm/page_internal.h"
#include "mm/page_table.h"
#include "mm/policy.h"
#include <linux/errno.h>

// Pages mapped around a fault: an aligned window of this many.
#define AROUND_PAGES 16

COUNTER(fault, file);
COUNTER(fault, file_around);
COUNTER(fault, file_copied);

static uint64_t index_of(const struct vm_area *area, uintptr_t address)
{
    return area->cache_index + ((address - area->start) >> PAGE_SHIFT);
}

// Does the object reach to the page?
static bool is_inside(const struct page_cache *cache, uint64_t index)
{
    uint64_t size = __atomic_load_n(&cache->size_bytes, __ATOMIC_ACQUIRE);
    return index < DIV_ROUND_UP(size, PAGE_SIZE);
}

// The page at index, with a reference; beyond the end of the object -ENXIO.
static int page_for(struct page_cache *cache, uint64_t index, struct page **page)
{
    if (!is_inside(cache, index))
        return -ENXIO;
    *page = page_cache_lookup(cache, index);
    if (likely(*page != NULL))
        return 0;
    // A new page must not appear behind a truncation.
    rwlock_read_lock(&cache->truncate);
    int error = -ENXIO;
    if (is_inside(cache, index))
        error = page_cache_get(cache, index, true, page);
    rwlock_read_unlock(&cache->truncate);
    if (error == -ENOSPC)
        return -ENXIO; // SIGBUS as well
    return error;
}

// May a shared page be mapped writable before anybody writes? Yes if nobody wants to know.
static bool writable_at_once(const struct vm_area *area)
{
    return (area->flags & VM_SHARED) && !page_cache_writes(area->cache) &&
           !page_cache_reads(area->cache) && (area->ops == NULL || area->ops->page_mkwrite == NULL);
}

// Maps those neighbours of `address` that are in the cache and not mapped yet. All in one table,
// under its lock.
static uint32_t map_around(struct vm_area *area, uintptr_t address, uint64_t *entry, uint64_t flags)
{
    const uintptr_t window = AROUND_PAGES * PAGE_SIZE;
    uintptr_t start = MAX(ALIGN_DOWN(address, window), area->start);
    uintptr_t end = MIN(ALIGN_DOWN(address, window) + window, area->end);
    uint64_t *slot = entry - ((address - start) >> PAGE_SHIFT);
    struct page *pages[AROUND_PAGES];
    uint32_t mapped = 0;
    uint64_t index = index_of(area, start);
    // Under RCU the cache's reference to a page we find lasts until we have our own.
    rcu_read_lock();
    for (uintptr_t at = start; at < end;) {
        size_t count =
            xarray_load_run(&area->cache->pages, index, (void **)pages, (end - at) >> PAGE_SHIFT);
        for (size_t i = 0; i < count; i++) {
            struct page *page = pages[i];
            if (slot[i] != 0 ||
                !(__atomic_load_n(&page->flags, __ATOMIC_ACQUIRE) & PAGE_UPTODATE) ||
                __atomic_load_n(&page->cache, __ATOMIC_ACQUIRE) != area->cache ||
                !page_try_get(page))
                continue;
            pte_set(&slot[i], page_to_phys(page) | flags);
            mapped++;
        }
        // On behind the hole that ended the run.
        count++;
        slot += count;
        index += count;
        at += count * PAGE_SIZE;
    }
    rcu_read_unlock();
    return mapped;
}

// Maps the page itself. The reference goes to the entry or is dropped.
static int map_page(struct address_space *space, struct vm_area *area, uintptr_t address,
    uint64_t *entry, struct page *page, bool write)
{
    bool writable = (area->flags & VM_SHARED) && (write || writable_at_once(area));
    uint64_t flags = pte_flags_of(area->flags, writable);
    struct spinlock *lock = page_table_lock_of(entry);
    uint32_t mapped = 0;
    int result = 0;
    spin_lock(lock);
    if (__atomic_load_n(&page->cache, __ATOMIC_SEQ_CST) != area->cache) {
        result = FAULT_AGAIN; // truncated meanwhile
    } else if (*entry == 0) {
        pte_set(entry, page_to_phys(page) | flags);
        mapped = 1;
        if (!write)
            mapped += map_around(area, address, entry, flags & ~PTE_ACCESSED);
    }
    spin_unlock(lock);
    if (mapped == 0) {
        page_put(page);
        return result;
    }
    fault_count_file(space, mapped);
    counter_add(fault, file, 1);
    counter_add(fault, file_around, mapped - 1);
    return 0;
}

// Maps the page and its neighbours, if they are in the cache. That the cache is there is only known
// under the table's lock (V3 of fault_view.h), so it is looked through there; a write needs more.
int fault_file_cached(struct address_space *space, struct vm_area *area, uintptr_t address,
    uint64_t *entry, bool write, const struct fault_view *view)
{
    if (write || !fault_table_lock(area, entry, view))
        return FAULT_NEEDS_LOCK;
    const uint64_t flags = pte_flags_of(area->flags, writable_at_once(area));
    uint32_t mapped = 0;
    bool served = *entry != 0;
    if (!served && is_inside(area->cache, index_of(area, address))) {
        mapped = map_around(area, address, entry, flags & ~PTE_ACCESSED);
        served = *entry != 0;
        if (served)
            __atomic_fetch_or(entry, PTE_ACCESSED, __ATOMIC_RELAXED);
    }
    spin_unlock(page_table_lock_of(entry));
    if (mapped != 0)
        fault_count_file(space, mapped);
    if (mapped != 0 && served) {
        counter_add(fault, file, 1);
        counter_add(fault, file_around, mapped - 1);
    }
    return served ? 0 : FAULT_NEEDS_LOCK;
}

// A write to private memory where the file's page is not mapped: a copy of it.
static int map_copy(struct address_space *space, struct vm_area *area, uintptr_t address,
    uint64_t *entry, struct page *original)
{
    struct page *page = policy_page_alloc(area, address, 0, PAGE_ALLOC_USER);
    if (page == NULL)
        return -ENOMEM;
    page->cache = NULL;
    arch_copy_page(page_to_virt(page), page_to_virt(original));
    area->has_anonymous = true; // under space->lock, so before fork reads it
    struct spinlock *lock = page_table_lock_of(entry);
    spin_lock(lock);
    bool current = __atomic_load_n(&original->cache, __ATOMIC_SEQ_CST) == area->cache;
    bool mapped = current && *entry == 0;
    if (mapped) {
        pte_set(entry, page_to_phys(page) | PTE_ANONYMOUS | pte_flags_of(area->flags, true));
        page_table_count_anonymous(entry, 1);
    }
    spin_unlock(lock);
    if (!mapped) {
        page_free(page, 0);
        return current ? 0 : FAULT_AGAIN;
    }
    fault_count_anonymous(space, 1);
    counter_add(fault, file_copied, 1);
    return 0;
}

// Tells the owner that the page is going to be written to. -ENXIO: it must not be.
static int make_writable(struct vm_area *area, struct page *page)
{
    if (area->ops == NULL || area->ops->page_mkwrite == NULL)
        return 0;
    return area->ops->page_mkwrite(area, page) == 0 ? 0 : -ENXIO;
}

int fault_file(struct address_space *space, struct vm_area *area, uintptr_t address,
    uint64_t *entry, bool write)
{
    struct page *page;
    struct memory_policy *own = policy_borrow(area);
    int error = page_for(area->cache, index_of(area, address), &page);
    policy_give_back(own);
    if (error != 0)
        return error;
    if (write && !(area->flags & VM_SHARED)) {
        error = map_copy(space, area, address, entry, page);
        page_put(page);
        return error;
    }
    if (!write)
        return map_page(space, area, address, entry, page, false);
    error = make_writable(area, page);
    if (error != 0) {
        page_put(page);
        return error;
    }
    // Marked behind the mapping: a page_cache_sync() in between would write the page and leave it
    // writable but clean.
    page_get(page);
    error = map_page(space, area, address, entry, page, true);
    page_cache_mark_dirty(area->cache, page);
    page_put(page);
    return error;
}

int fault_shared_write(struct vm_area *area, uintptr_t address, uint64_t *entry)
{
    (void)address;
    if (area->cache == NULL)
        return -EACCES;
    struct spinlock *lock = page_table_lock_of(entry);
    spin_lock(lock);
    struct page *page = NULL;
    if ((*entry & PTE_PRESENT) && !(*entry & PTE_BORROWED)) {
        page = pte_page(*entry);
        page_get(page);
    }
    spin_unlock(lock);
    if (page == NULL)
        return 0;
    int error = make_writable(area, page);
    if (error != 0) {
        page_put(page);
        return error;
    }
    spin_lock(lock);
    if ((*entry & PTE_PRESENT) && pte_page(*entry) == page)
        __atomic_fetch_or(entry, PTE_WRITE | PTE_DIRTY | PTE_ACCESSED, __ATOMIC_RELAXED);
    spin_unlock(lock);
    page_cache_mark_dirty(area->cache, page); // after it became writable, as above
    page_put(page);
    return 0;
}
