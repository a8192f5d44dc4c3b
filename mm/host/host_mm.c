// SPDX-License-Identifier: MIT
// Surroundings of the allocators on the host.

#include "mm/host/host_mm.h"

#include "kernel/arch/x86/arch.h"
#include "kernel/core/percpu.h"
#include "kernel/core/preempt.h"
#include "kernel/core/spinlock.h"
#include "mm/page_internal.h"

#include <stdlib.h>
#include <string.h>

#define ARENA_PAGES ((uint64_t)HOST_ARENA_BLOCKS << PAGE_ORDER_MAX)
#define ARENA_BYTES (ARENA_PAGES << PAGE_SHIFT)
#define BLOCK_BYTES (PAGE_SIZE << PAGE_ORDER_MAX)

uint64_t page_host_phys_map, page_host_vmemmap;
struct buddy_zone host_zone;
PERCPU(struct page_usage, page_usage);

static unsigned next_block;
static uint64_t failing_from = UINT64_MAX;

// ---- core and arch ----

_Thread_local uint64_t arch_host_flags = ARCH_RFLAGS_IF;
_Thread_local uint32_t host_cpu;
uintptr_t percpu_offset[CPU_MAX];
uint32_t cpu_count_possible = 1;
PERCPU(uint32_t, cpu_index);
PERCPU(uint32_t, preempt_count);
PERCPU(uint32_t, need_resched);

void preempt_enable_slow(void)
{
}

void spin_lock_contended(struct spinlock *lock)
{
    (void)lock;
    abort(); // one thread: a lock that is taken is never given back
}

void spin_unlock_contended(struct spinlock *lock)
{
    (void)lock;
}

void spin_debug_acquire(struct spinlock *lock, uint32_t subclass, bool try)
{
    (void)lock;
    (void)subclass;
    (void)try;
}

void spin_debug_acquired(struct spinlock *lock)
{
    (void)lock;
}

void spin_debug_release(struct spinlock *lock)
{
    (void)lock;
}

// ---- pages ----

static bool grow(struct buddy_zone *zone)
{
    if (next_block == HOST_ARENA_BLOCKS)
        return false;
    uint64_t first = (uint64_t)next_block++ << PAGE_ORDER_MAX;
    memset(pfn_to_page(first), 0, sizeof(struct page) << PAGE_ORDER_MAX);
    zone->promised_pages -= 1ul << PAGE_ORDER_MAX;
    buddy_free_range(zone, first, first + (1ul << PAGE_ORDER_MAX));
    return true;
}

void host_arena_create(void)
{
    void *arena = NULL;
    if (posix_memalign(&arena, BLOCK_BYTES, ARENA_BYTES) != 0)
        abort();
    page_host_phys_map = (uint64_t)(uintptr_t)arena;
    page_host_vmemmap = (uint64_t)(uintptr_t)malloc(ARENA_PAGES * sizeof(struct page));
    if (page_host_vmemmap == 0)
        abort();
    memset((void *)(uintptr_t)page_host_vmemmap, 0xee, ARENA_PAGES * sizeof(struct page));
    next_block = 0;
    buddy_init(&host_zone, grow);
    host_zone.promised_pages = ARENA_PAGES;
}

void host_arena_destroy(void)
{
    free((void *)(uintptr_t)page_host_phys_map);
    free((void *)(uintptr_t)page_host_vmemmap);
}

void host_page_alloc_fail(uint64_t countdown)
{
    failing_from = countdown;
}

struct page *page_alloc(unsigned order, uint32_t flags)
{
    if (failing_from != UINT64_MAX && (failing_from == 0 || failing_from-- == 0))
        return NULL;
    struct page *page = buddy_alloc(&host_zone, order);
    if (page == NULL)
        return NULL;
    page->refcount = 1;
    if (flags & PAGE_ALLOC_ZERO)
        memset(page_to_virt(page), 0, PAGE_SIZE << order);
    return page;
}

void page_free(struct page *page, unsigned order)
{
    page->refcount = 0;
    page->flags = 0;
    buddy_free(&host_zone, page, order);
}
