// SPDX-License-Identifier: MIT
// Page allocation: zones with a lock each, and a list of single pages for each CPU in front of
// them.
//
// Theory. Nearly all requests are for one page. Each CPU keeps a stack of free pages, used with
// interrupts off and nothing else: no lock, no atomic instruction. It is filled from and emptied
// into the zones a batch at a time. Everything else (larger blocks, DMA32) takes the zone's lock.
//
// Nodes. A CPU's list is filled from its own node as long as that has memory, then from the others
// in the order of numa_order(). Pages of other nodes that a CPU frees do not go into its list,
// where they would be given out as if they were near, but into a second one, which goes back to the
// zones when it is full; machines with one node do not have the test for it (page_nodes_key). Who
// wants memory of certain nodes (page_alloc_from()) takes the zone's lock.
//
// A thread keeps memory free by dropping page cache ahead of need (reclaim.c). When memory is short
// nevertheless there are three levels. Programs (PAGE_ALLOC_USER) stop first, at one and a half
// times the reserve; the kernel stops at the reserve; atomic requests may use it up. Who may sleep
// first reclaims (clean page cache, empty slabs, this CPU's list), then asks the balloon, and
// has unused names dropped by another thread; a program's request then asks for a victim
// (mm_out_of_memory) and waits for the memory that its end gives back. A request that fails returns
// NULL; nothing here panics for lack of memory.
//
// Invariants:
//   P1  A page on a per-CPU list has PAGE_PERCPU, refcount 0, order 0; pages in use have neither
//   PAGE_PERCPU nor PAGE_FREE. P2  The head of an allocated block has page->order of the block,
//   until it is freed with that order.

#include "mm/page.h"

#include "kernel/arch/x86/arch.h"
#include "kernel/arch/x86/static_branch.h"
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/counter.h"
#include "kernel/core/log.h"
#include "kernel/core/rcu.h"
#include "kernel/core/thread.h"
#include "kernel/core/time.h"
#include "pv/pv.h"
#include "kernel/core/upcall.h"
#include "kernel/core/work.h"
#include "mm/fail_alloc.h"
#include "mm/huge_pool.h"
#include "mm/kasan.h"
#include "mm/memory.h"
#include "mm/page_internal.h"
#include "mm/page_report.h"
#include "mm/reclaim.h"
#include "mm/slab.h"

#define PERCPU_PAGES_MAX 64
#define POISON_BYTE      0xa5

struct page_list {
    uint32_t count;
    struct page *pages[PERCPU_PAGES_MAX];
};

static PERCPU(struct page_list, page_list);
static PERCPU(struct page_list, remote_list); // pages of other nodes, to go back; interrupts off
struct static_key page_nodes_key;
PERCPU(struct page_usage, page_usage);
bool (*mm_out_of_memory)(const struct page_shortage *shortage);
size_t (*mm_shrink_caches)(size_t count);

// Length of a per-CPU list at which half of it goes back; scaled to the machine, so that lists of
// many CPUs do not hold a small machine's memory.
static uint32_t percpu_pages_limit = 8;

COUNTER(page, refills);
COUNTER(page, drains);
COUNTER(page, slow_allocations);
COUNTER(page, failures);
COUNTER(page, reclaimed);
COUNTER(page, names_shrunk);

// ---- debug builds: content of free pages is checked ----

#ifdef LODGER_DEBUG
static void poison(struct page *page, unsigned order)
{
    for (uint64_t i = 0; i < 1ul << order; i++)
        memset(page_to_virt(page + i), POISON_BYTE, 64);
}

static void poison_check(struct page *page, unsigned order)
{
    for (uint64_t i = 0; i < 1ul << order; i++) {
        const uint8_t *bytes = page_to_virt(page + i);
        // Memory that was never allocated has whatever the firmware left.
        if (page[i].private_data != POISON_BYTE)
            continue;
        page[i].private_data = 0;
        for (unsigned j = 0; j < 64; j++)
            assert(bytes[j] == POISON_BYTE); // written to after it was freed
    }
}

static void poison_mark(struct page *page, unsigned order)
{
    poison(page, order);
    for (uint64_t i = 0; i < 1ul << order; i++)
        page[i].private_data = POISON_BYTE;
}

void page_content_unknown(struct page *page, unsigned order)
{
    for (uint64_t i = 0; i < 1ul << order; i++)
        page[i].private_data = 0;
}
#else
void page_content_unknown(struct page *page, unsigned order)
{
    (void)page;
    (void)order;
}
static void poison_check(struct page *page, unsigned order)
{
    (void)page;
    (void)order;
}
static void poison_mark(struct page *page, unsigned order)
{
    (void)page;
    (void)order;
}
#endif

// ---- zones ----

// How many pages a request must leave.
static uint64_t zone_floor(const struct zone *zone, uint32_t flags)
{
    if (flags & PAGE_ALLOC_ATOMIC)
        return 0;
    if (flags & PAGE_ALLOC_SPARE)
        return zone->reserve_pages * 2 + zone->total_pages / 32;
    return flags & PAGE_ALLOC_USER ? zone->reserve_pages * 3 / 2 : zone->reserve_pages;
}

static bool zone_may_give(const struct zone *zone, uint64_t pages, uint32_t flags)
{
    return zone_free_pages(zone) >= pages + zone_floor(zone, flags);
}

// Where a block shall lie: as near to `wanted` as possible, on a node of the mask `allowed`.
struct placement {
    uint32_t wanted;
    uint64_t allowed;
    bool interleaved; // for the counts
};

static struct placement placement_here(void)
{
    return (struct placement){.wanted = cpu_nodes[cpu_current()], .allowed = UINT64_MAX};
}

// Under the zone's lock: `pages` of it are given out.
static void zone_count_given(struct zone *zone, const struct placement *place, uint64_t pages)
{
    const uint32_t node = zone_node(zone);
    struct zone_counts *counts = &zone->counts;
    *(node == cpu_nodes[cpu_current()] ? &counts->local : &counts->other) += pages;
    if (node == place->wanted) {
        counts->hit += pages;
        counts->interleaved += place->interleaved ? pages : 0;
        return;
    }
    counts->miss += pages;
    struct zone_counts *wanted = &zone_of_node(place->wanted, ZONE_NORMAL)->counts;
    __atomic_fetch_add(&wanted->foreign, pages, __ATOMIC_RELAXED);
}

static struct page *zone_alloc_one(
    struct zone *zone, unsigned order, uint32_t flags, const struct placement *place)
{
    struct page *page = NULL;
    if (zone->total_pages == 0)
        return NULL;
    uint64_t irq_flags = spin_lock_irqsave(&zone->lock);
    if (zone_may_give(zone, 1ul << order, flags))
        page = buddy_alloc(&zone->buddy, order);
    if (page != NULL)
        zone_count_given(zone, place, 1ul << order);
    spin_unlock_irqrestore(&zone->lock, irq_flags);
    return page;
}

static const uint8_t *node_order_of(uint32_t node)
{
    return node_orders + (size_t)node * numa.node_count;
}

static struct page *zone_alloc(unsigned order, uint32_t flags, const struct placement *place)
{
    const uint8_t *nodes = node_order_of(place->wanted);
    for (uint32_t i = 0; i < numa.node_count; i++) {
        if (!(place->allowed >> nodes[i] & 1))
            continue;
        for (int kind = flags & PAGE_ALLOC_DMA32 ? ZONE_DMA32 : ZONE_NORMAL; kind >= 0; kind--) {
            struct page *page =
                zone_alloc_one(zone_of_node(nodes[i], (unsigned)kind), order, flags, place);
            if (page != NULL)
                return page;
        }
    }
    return NULL;
}

static void zone_free(struct page *page, unsigned order)
{
    struct zone *zone = zone_of(page);
    uint64_t irq_flags = spin_lock_irqsave(&zone->lock);
    page->flags = 0;
    buddy_free(&zone->buddy, page, order);
    bool report_due = zone->buddy.report_due;
    spin_unlock_irqrestore(&zone->lock, irq_flags);
    if (unlikely(report_due))
        page_report_due();
}

// ---- per-CPU lists ----

static void list_push(struct page_list *list, struct page *page)
{
    page->flags = PAGE_PERCPU;
    page->order = 0;
    list->pages[list->count++] = page;
}

// Moves up to `want` pages from a zone to this CPU's empty list, whole small blocks if there are
// any. Interrupts off.
static void list_refill_from(struct page_list *list, struct zone *zone, uint32_t want,
    uint32_t flags, const struct placement *place)
{
    if (zone->total_pages == 0)
        return;
    spin_lock(&zone->lock);
    while (list->count < want && zone_may_give(zone, want, flags)) {
        unsigned order = bit_highest(want - list->count);
        while (order > 0 && (zone->buddy.nonempty >> order) == 0)
            order--;
        struct page *page = buddy_alloc(&zone->buddy, order);
        if (page == NULL)
            break;
        for (uint32_t n = 1u << order; n-- > 0;)
            list_push(list, page + n);
    }
    zone_count_given(zone, place, list->count);
    spin_unlock(&zone->lock);
    if (unlikely(zone_is_low(zone)))
        reclaim_wake();
}

// Fills this CPU's empty list with a batch, from the nearest node that has something. Interrupts
// off.
static void list_refill(struct page_list *list, uint32_t flags)
{
    const uint32_t want = MAX(percpu_pages_limit / 2, 1u);
    const struct placement place = placement_here();
    const uint8_t *nodes = node_order_of(place.wanted);
    counter_add(page, refills, 1);
    for (uint32_t i = 0; i < numa.node_count && list->count == 0; i++) {
        for (int kind = ZONE_NORMAL; kind >= 0 && list->count == 0; kind--)
            list_refill_from(list, zone_of_node(nodes[i], (unsigned)kind), want, flags, &place);
    }
}

// Gives the older half back, or with `all` everything. Interrupts off.
static void list_drain(struct page_list *list, bool all)
{
    uint32_t count = all ? list->count : MAX(percpu_pages_limit / 2, 1u);
    counter_add(page, drains, 1);
    struct zone *locked = NULL;
    bool report_due = false;
    for (uint32_t i = 0; i < count; i++) {
        struct page *page = list->pages[i];
        struct zone *zone = zone_of(page);
        if (zone != locked) {
            if (locked != NULL)
                spin_unlock(&locked->lock);
            spin_lock(&zone->lock);
            locked = zone;
        }
        page->flags = 0;
        buddy_free(&zone->buddy, page, 0);
        report_due |= zone->buddy.report_due;
    }
    if (locked != NULL)
        spin_unlock(&locked->lock);
    list->count -= count;
    memmove(list->pages, list->pages + count, list->count * sizeof(list->pages[0]));
    if (unlikely(report_due))
        page_report_due();
}

// This CPU's list is empty: fills it.
static struct page *list_alloc_refill(uint32_t flags)
{
    uint64_t irq_flags = arch_irq_save();
    struct page_list *list = this_cpu_ptr(page_list);
    if (list->count == 0)
        list_refill(list, flags);
    struct page *page = list->count != 0 ? list->pages[--list->count] : NULL;
    arch_irq_restore(irq_flags);
    return page;
}

// A page of another node than this CPU's. Interrupts off.
static void list_free_remote(struct page *page)
{
    struct page_list *list = this_cpu_ptr(remote_list);
    if (list->count >= percpu_pages_limit)
        list_drain(list, true);
    list_push(list, page);
}

static bool page_is_remote(const struct page *page)
{
    return page->node != cpu_nodes[cpu_current()];
}

// This CPU's list is full. Interrupts off; switches them on if `irq_flags` says so.
[[gnu::noinline]] static void list_free_drain(struct page *page, uint64_t irq_flags)
{
    struct page_list *list = this_cpu_ptr(page_list);
    list_drain(list, false);
    list_push(list, page);
    arch_irq_restore(irq_flags);
}

static inline void list_free(struct page *page)
{
    uint64_t irq_flags = arch_irq_save();
    if (static_branch(&page_nodes_key) && page_is_remote(page)) {
        list_free_remote(page);
        arch_irq_restore(irq_flags);
        return;
    }
    uint32_t count = this_cpu(page_list).count;
    if (unlikely(count >= percpu_pages_limit)) {
        list_free_drain(page, irq_flags);
        return;
    }
    page->flags = PAGE_PERCPU;
    page->order = 0;
    this_cpu(page_list).pages[count] = page;
    this_cpu(page_list).count = count + 1;
    arch_irq_restore(irq_flags);
}

void page_cpu_leave(void)
{
    list_drain(this_cpu_ptr(page_list), true);
    if (this_cpu(remote_list).count != 0)
        list_drain(this_cpu_ptr(remote_list), true);
}

static void list_drain_own(void)
{
    uint64_t irq_flags = arch_irq_save();
    page_cpu_leave();
    arch_irq_restore(irq_flags);
}

// ---- when memory is short ----

static bool may_sleep(uint32_t flags)
{
    return !(flags & PAGE_ALLOC_ATOMIC) && this_cpu(preempt_count) == 0 && arch_irqs_enabled();
}

// Frees what nobody needs; true if that was anything.
static bool reclaim(unsigned order)
{
    uint64_t pages = page_cache_reclaim(MAX(64ul, 2ul << order)) + slab_shrink();
    list_drain_own();
    counter_add(page, reclaimed, pages);
    if (pages == 0)
        return false;
    rcu_barrier(); // pages of the page cache are freed after a grace period
    list_drain_own();
    return true;
}

#define OOM_WAIT_NS     UINT64_C(2000000)
#define OOM_WAIT_ROUNDS 2000

#define NAMES_AT_ONCE 512

static void names_shrink_run(struct work *work)
{
    (void)work;
    counter_add(page, names_shrunk, mm_shrink_caches(NAMES_AT_ONCE));
}

static struct work names_shrink_work = {.function = names_shrink_run};

// Has unused names dropped, and gives that a moment. False: there is nobody who does it.
static bool names_shrink(void)
{
    if (mm_shrink_caches == NULL)
        return false;
    (void)work_queue(&names_shrink_work);
    thread_prepare_sleep(THREAD_KILLABLE);
    (void)sched_block(pv_clock_ns() + OOM_WAIT_NS);
    return true;
}

static struct page *page_alloc_slow(unsigned order, uint32_t flags, const struct placement *place)
{
    counter_add(page, slow_allocations, 1);
    if (!may_sleep(flags))
        return zone_alloc(order, flags | PAGE_ALLOC_ATOMIC, place);
    struct page *page;
    for (unsigned round = 0; round < OOM_WAIT_ROUNDS; round++) {
        while (reclaim(order)) {
            page = zone_alloc(order, flags, place);
            if (page != NULL)
                return page;
        }
        page = zone_alloc(order, flags, place);
        if (page != NULL)
            return page;
        if (page_balloon_release(order) || (round == 0 && names_shrink()))
            continue;
        // Who is being killed may use the reserve, so that it can come to its end.
        if (thread_kill_pending(thread_current())) {
            page = zone_alloc(order, flags & ~PAGE_ALLOC_USER, place);
            break;
        }
        const struct page_shortage shortage = {order, flags};
        if (!(flags & PAGE_ALLOC_USER) || mm_out_of_memory == NULL || !mm_out_of_memory(&shortage))
            break;
        thread_prepare_sleep(THREAD_KILLABLE);
        (void)sched_block(pv_clock_ns() + OOM_WAIT_NS);
    }
    if (page == NULL)
        counter_add(page, failures, 1);
    return page;
}

// ---- the interface ----

// What every page has when it is given out.
static inline void page_given(struct page *page, unsigned order)
{
    debug_assert(page->refcount == 0);
    debug_assert((page->flags & ~PAGE_PERCPU) == 0);
    page->flags = 0;
    page->refcount = 1;
    kasan_unpoison(page_to_virt(page), PAGE_SIZE << order);
    poison_check(page, order);
}

[[gnu::noinline]] static struct page *page_cleared(struct page *page)
{
    arch_clear_page(page_to_virt(page));
    return page;
}

// What comes after the first attempt, which had `page` or NULL.
static struct page *page_alloc_finish(
    struct page *page, unsigned order, uint32_t flags, const struct placement *place)
{
    if (page == NULL && !(flags & PAGE_ALLOC_SPARE))
        page = page_alloc_slow(order, flags, place);
    if (page == NULL)
        return NULL;
    page_given(page, order);
    if (flags & PAGE_ALLOC_ZERO)
        arch_clear_pages(page_to_virt(page), 1ul << order);
    return page;
}

// All but a single page from this CPU's list.
[[gnu::noinline]] static struct page *page_alloc_general(unsigned order, uint32_t flags)
{
    assert(order <= PAGE_ORDER_MAX);
    const struct placement place = placement_here();
    bool single = order == 0 && !(flags & PAGE_ALLOC_DMA32);
    struct page *page = single ? list_alloc_refill(flags) : zone_alloc(order, flags, &place);
    return page_alloc_finish(page, order, flags, &place);
}

struct page *page_alloc_from(
    unsigned order, uint32_t flags, uint32_t node, uint64_t allowed, bool interleaved)
{
    const struct placement place = {node, allowed, interleaved};
    assert(order <= PAGE_ORDER_MAX);
    assert(node < numa.node_count);
    if (fail_alloc_due())
        return NULL;
    return page_alloc_finish(zone_alloc(order, flags, &place), order, flags, &place);
}

// The common case of this and page_free() is a few gs-relative accesses and calls nobody.
struct page *page_alloc(unsigned order, uint32_t flags)
{
    if (fail_alloc_due())
        return NULL;
    if (unlikely(order != 0 || (flags & PAGE_ALLOC_DMA32)))
        return page_alloc_general(order, flags);
    uint64_t irq_flags = arch_irq_save();
    uint32_t count = this_cpu(page_list).count;
    if (unlikely(count == 0)) {
        arch_irq_restore(irq_flags);
        return page_alloc_general(order, flags);
    }
    this_cpu(page_list).count = count - 1;
    struct page *page = this_cpu(page_list).pages[count - 1];
    arch_irq_restore(irq_flags);
    page_given(page, 0);
    return flags & PAGE_ALLOC_ZERO ? page_cleared(page) : page;
}

void page_free(struct page *page, unsigned order)
{
    assert(!(page->flags & (PAGE_FREE | PAGE_PERCPU | PAGE_RESERVED))); // freed twice
    debug_assert(page->refcount <= 1);
    debug_assert(page->order == order);
    page->refcount = 0;
    poison_mark(page, order);
    kasan_poison(page_to_virt(page), PAGE_SIZE << order);
    if (likely(order == 0))
        list_free(page);
    else
        zone_free(page, order);
}

void page_put_last(struct page *page)
{
    if (unlikely(page->order == PAGE_ORDER_PART)) {
        page_put(huge_head(page)); // U2 of huge.c
        return;
    }
    if (unlikely(page->flags & PAGE_POOL)) {
        huge_pool_return(page);
        return;
    }
    page_free(page, page->order);
}

#if defined(LODGER_DEBUG)
void page_put_many(struct page **pages, size_t count)
{
    for (size_t i = 0; i < count; i++)
        page_put(pages[i]);
}
#else
void page_put_many(struct page **pages, size_t count)
{
    // Interrupts stay off for a chunk at most.
    for (size_t done = 0; done < count;) {
        size_t chunk_end = MIN(done + PERCPU_PAGES_MAX, count);
        uint64_t irq_flags = arch_irq_save();
        struct page_list *list = this_cpu_ptr(page_list);
        for (; done < chunk_end; done++) {
            struct page *page = pages[done];
            if (__atomic_sub_fetch(&page->refcount, 1, __ATOMIC_ACQ_REL) != 0)
                continue;
            if (unlikely(page->order != 0)) {
                page_put_last(page);
                continue;
            }
            if (static_branch(&page_nodes_key) && page_is_remote(page)) {
                list_free_remote(page);
                continue;
            }
            if (unlikely(list->count >= percpu_pages_limit))
                list_drain(list, false);
            list_push(list, page);
        }
        arch_irq_restore(irq_flags);
    }
}
#endif

// ---- statistics and start-up ----

uint64_t page_total(void)
{
    uint64_t pages = 0;
    for (uint32_t i = 0; i < zone_count; i++)
        pages += zones[i].total_pages;
    return pages;
}

uint64_t page_nodes_with_memory(void)
{
    uint64_t nodes = 0;
    for (uint32_t i = 0; i < zone_count; i++)
        nodes |= zones[i].total_pages != 0 ? UINT64_C(1) << zone_node(&zones[i]) : 0;
    return nodes;
}

// Pages on per-CPU lists count as in use: they belong to no node's figure.
void page_node_statistics_read(uint32_t node, struct page_node_statistics *statistics)
{
    assert(node < numa.node_count);
    *statistics = (struct page_node_statistics){};
    for (unsigned kind = 0; kind < ZONE_KINDS; kind++) {
        const struct zone *zone = zone_of_node(node, kind);
        statistics->total_pages += zone->total_pages;
        statistics->free_pages += zone_free_pages(zone);
        statistics->hit += zone->counts.hit;
        statistics->miss += zone->counts.miss;
        statistics->foreign += zone->counts.foreign;
        statistics->local += zone->counts.local;
        statistics->other += zone->counts.other;
        statistics->interleaved += zone->counts.interleaved;
    }
}

void page_statistics_read(struct page_statistics *statistics)
{
    struct page_usage sum = {0};
    uint64_t free = 0, reserve = 0;
    for_each_percpu(cpu)
    {
        const struct page_usage *usage = percpu_of(page_usage, cpu);
        sum.cache += usage->cache;
        sum.anonymous += usage->anonymous;
        sum.slab += usage->slab;
        sum.table += usage->table;
        sum.stack += usage->stack;
        sum.shared += usage->shared;
        sum.dirty += usage->dirty;
        sum.mapped += usage->mapped;
        sum.huge += usage->huge;
        free += percpu_of(page_list, cpu)->count + percpu_of(remote_list, cpu)->count;
    }
    for (uint32_t i = 0; i < zone_count; i++) {
        free += zone_free_pages(&zones[i]);
        reserve += zones[i].reserve_pages;
    }
    *statistics = (struct page_statistics){
        .total_pages = page_total(),
        .free_pages = free,
        .cache_pages = (uint64_t)MAX(sum.cache, (int64_t)0),
        .anonymous_pages = (uint64_t)MAX(sum.anonymous, (int64_t)0),
        .slab_pages = (uint64_t)MAX(sum.slab, (int64_t)0),
        .page_table_pages = (uint64_t)MAX(sum.table, (int64_t)0),
        .kernel_stack_pages = (uint64_t)MAX(sum.stack, (int64_t)0),
        .shared_pages = (uint64_t)MAX(sum.shared, (int64_t)0),
        .dirty_pages = (uint64_t)MAX(sum.dirty, (int64_t)0),
        .mapped_pages = (uint64_t)MAX(sum.mapped, (int64_t)0),
        .huge_pages = (uint64_t)MAX(sum.huge, (int64_t)0),
        .reserve_pages = reserve,
    };
}

void page_init(void)
{
    // All lists together hold at most 1/32 of memory.
    uint64_t limit = page_total() / 32 / MAX(cpu_count_possible, 1u);
    percpu_pages_limit = (uint32_t)CLAMP(limit, 8ul, (uint64_t)PERCPU_PAGES_MAX);
}

void page_start(void)
{
    if (numa.node_count > 1)
        static_key_on(&page_nodes_key);
}
