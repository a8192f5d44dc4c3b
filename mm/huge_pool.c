// SPDX-License-Identifier: MIT
// The pool of huge pages.
//
// Theory. An administrator sets a number of 2 MiB pages aside; only mappings with MAP_HUGETLB get
// them. A mapping is promised all its pages when it is made (-ENOMEM if that is not possible), so
// that touching them cannot fail; with MAP_NORESERVE, and for the copies that a forked child makes,
// nothing is promised, and who finds the pool empty gets SIGBUS.
//
// Pages of the pool carry PAGE_POOL and are otherwise blocks as those of huge.c: the last reference
// brings them back here instead of to the buddy.
//
// An area counts what it was promised and has not used (vm_area.pool_reserved). When an area is
// cut, each part keeps a promise for each of its pages that is not there, as long as there are
// some; an area that goes gives the rest back.
//
// Invariants, under pool_lock:
//   K1  reserved <= free <= total; `free` is the length of the list.
//   K2  total > wanted only while all pages that are free are promised, or during a resize.

#include "mm/huge_pool.h"

#include "kernel/base/assert.h"
#include "kernel/core/mutex.h"
#include "mm/huge.h"
#include "mm/page_internal.h"
#include <linux/errno.h>

static struct mutex resize_mutex = MUTEX_INIT(resize_mutex, "mm/huge_pool.c: resize_mutex");
// Taken with interrupts off; protects all that follows.
static struct spinlock pool_lock = SPINLOCK_INIT("mm/huge_pool.c: pool_lock");
static struct list_node free_list = LIST_INIT(free_list);
static uint64_t pool_total, pool_free, pool_reserved, pool_wanted;

// Called by assertions alone, which release builds do not evaluate.
[[maybe_unused]] static bool pool_is_valid(void)
{
    return pool_reserved <= pool_free && pool_free <= pool_total;
}

// Puts a page on the list, or hands it back to the caller if the pool has too many.
static struct page *pool_add(struct page *head, bool is_new)
{
    struct page *surplus = NULL;
    uint64_t irq_flags = spin_lock_irqsave(&pool_lock);
    pool_total += is_new;
    if (pool_total > pool_wanted) { // what is promised is there without it (K1)
        pool_total--;
        surplus = head;
    } else {
        list_add_head(&free_list, &head->list);
        pool_free++;
    }
    debug_assert(pool_is_valid());
    spin_unlock_irqrestore(&pool_lock, irq_flags);
    return surplus;
}

// Takes a page off the list that nobody was promised; NULL: there is none.
static struct page *pool_remove_unpromised(void)
{
    debug_assert(pool_is_valid());
    if (pool_free == pool_reserved)
        return NULL;
    struct page *head = list_first_entry(&free_list, struct page, list);
    list_remove(&head->list);
    pool_free--;
    return head;
}

static void block_free(struct page *head)
{
    head->flags = 0;
    head->refcount = 1;
    page_free(head, HUGE_ORDER);
}

// ---- size ----

static void pool_grow(uint64_t count)
{
    while (pool_total < count) { // only resizing changes it, but for pages that leave
        struct page *head = page_alloc(HUGE_ORDER, 0);
        if (head == NULL)
            break;
        head->flags = PAGE_POOL;
        head->refcount = 0;
        head = pool_add(head, true);
        if (head != NULL) {
            block_free(head);
            break;
        }
    }
    // What could not be had is not wanted any more.
    uint64_t irq_flags = spin_lock_irqsave(&pool_lock);
    pool_wanted = MIN(pool_wanted, pool_total);
    spin_unlock_irqrestore(&pool_lock, irq_flags);
}

static void pool_shrink(void)
{
    for (;;) {
        struct page *head = NULL;
        uint64_t irq_flags = spin_lock_irqsave(&pool_lock);
        if (pool_total > pool_wanted)
            head = pool_remove_unpromised();
        pool_total -= head != NULL;
        spin_unlock_irqrestore(&pool_lock, irq_flags);
        if (head == NULL)
            break;
        block_free(head);
    }
}

void huge_pool_resize(uint64_t count)
{
    mutex_lock(&resize_mutex);
    uint64_t irq_flags = spin_lock_irqsave(&pool_lock);
    pool_wanted = count;
    spin_unlock_irqrestore(&pool_lock, irq_flags);
    pool_shrink();
    pool_grow(count);
    mutex_unlock(&resize_mutex);
}

void huge_pool_statistics_read(struct huge_pool_statistics *statistics)
{
    uint64_t irq_flags = spin_lock_irqsave(&pool_lock);
    *statistics = (struct huge_pool_statistics){.total = pool_total,
        .free = pool_free,
        .reserved = pool_reserved,
        .surplus = pool_total > pool_wanted ? pool_total - pool_wanted : 0};
    spin_unlock_irqrestore(&pool_lock, irq_flags);
}

// ---- pages ----

int huge_pool_reserve(uint64_t count)
{
    int error = -ENOMEM;
    uint64_t irq_flags = spin_lock_irqsave(&pool_lock);
    if (count <= pool_free - pool_reserved) {
        pool_reserved += count;
        error = 0;
    }
    spin_unlock_irqrestore(&pool_lock, irq_flags);
    return error;
}

void huge_pool_unreserve(uint64_t count)
{
    if (count == 0)
        return;
    uint64_t irq_flags = spin_lock_irqsave(&pool_lock);
    assert(count <= pool_reserved);
    pool_reserved -= count;
    spin_unlock_irqrestore(&pool_lock, irq_flags);
    pool_shrink(); // pages that only the promise has kept (K2)
}

struct page *huge_pool_take(bool is_reserved)
{
    uint64_t irq_flags = spin_lock_irqsave(&pool_lock);
    if (is_reserved) {
        assert(pool_reserved != 0);
        pool_reserved--;
    }
    struct page *head = pool_remove_unpromised();
    spin_unlock_irqrestore(&pool_lock, irq_flags);
    assert(head != NULL || !is_reserved); // K1
    if (head == NULL)
        return NULL;
    head->refcount = 1;
    head->order = HUGE_ORDER;
    return huge_page_adopt(head);
}

void huge_pool_return(struct page *head)
{
    debug_assert(head->flags == PAGE_POOL);
    debug_assert(head->refcount == 0);
    head = pool_add(head, false);
    if (head != NULL)
        block_free(head);
}
