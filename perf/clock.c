// SPDX-License-Identifier: MIT
// The clock page: pairs of the host's clock and the TSC (CLOCK in export.h).
#include "kernel/arch/x86/arch.h"
#include "kernel/base/atomic.h"
#include "kernel/core/errno.h"
#include "mm/page.h"
#include "perf/state.h"

static struct perf_export_clock *clock_page; // the host's too; set once
static uint32_t clock_busy;                  // a CPU is at it; atomic

int perf_clock_prepare(void)
{
    if (clock_page != NULL)
        return 0;
    struct perf_export_clock *page = page_alloc_kernel(0, PAGE_ALLOC_ZERO);
    if (page == NULL)
        return -ENOMEM;
    clock_page = page;
    atomic_store_release(&perf_export_descriptor.status.clock_physical, virt_to_phys(page));
    return 0;
}

// What the host does meanwhile decides only how good the pairs are.
static uint32_t clock_collect(struct perf_export_clock *page)
{
    uint64_t last = atomic_load_acquire(&page->host_ns);
    uint32_t count = 0;
    for (uint32_t round = 0; round < PERF_EXPORT_CLOCK_ROUNDS; round++) {
        atomic_store_release(&page->guest_tsc, arch_tsc_ordered());
        uint64_t host_ns = atomic_load_acquire(&page->host_ns);
        uint64_t tsc = arch_tsc_ordered();
        if (host_ns == last || count == PERF_EXPORT_CLOCK_PAIRS)
            continue;
        last = host_ns;
        page->pairs[count++] = (struct perf_export_clock_pair){.host_ns = host_ns, .tsc = tsc};
    }
    return count;
}

void perf_clock_answer(void)
{
    uint32_t wanted = atomic_load_acquire(&perf_export_descriptor.request.clock);
    struct perf_export_status *status = &perf_export_descriptor.status;
    if (wanted == atomic_load_relaxed(&status->clock) || clock_page == NULL)
        return;
    if (atomic_exchange(&clock_busy, 1u) != 0)
        return;
    clock_page->cpu = cpu_current();
    uint32_t count = clock_collect(clock_page);
    atomic_store_release(&clock_page->pair_count, count);
    atomic_store_release(&status->clock, wanted);
    atomic_store_release(&clock_busy, 0u);
}
