// SPDX-License-Identifier: MIT
// Intel's architectural performance monitoring, versions 2 to 5 (SDM 3B, 20.2), later ones as 5.
//
// General counters count any event, each fixed counter its own. All obey one register,
// GLOBAL_CTRL; GLOBAL_STATUS says which have overflowed until that is acknowledged. With freezing
// the processor itself stops all counters at an overflow's interrupt: before version 4 by clearing
// GLOBAL_CTRL, from then on by a bit of the status (20.2.4), which has to be acknowledged with the
// rest. Both are undone by what resume() and overflowed() do anyway.
#include "kernel/base/assert.h"
#include "perf/pmu/backend.h"
#include "perf/pmu/registers.h"

#include <linux/errno.h>
#include <linux/perf_event.h>

// Architectural events: their bit in CPUID 0AH EBX and their code (SDM 3B, table 20-1).
struct architectural {
    uint32_t bit;
    uint64_t code;
    int fixed; // the fixed counter that counts it too, or -1
};
enum { CYCLES, INSTRUCTIONS, REFERENCE, CACHE_READS, CACHE_MISSES, BRANCHES, BRANCH_MISSES };
static const struct architectural architectural_events[] = {
    [CYCLES] = {0, 0x003c, 1},
    [INSTRUCTIONS] = {1, 0x00c0, 0},
    [REFERENCE] = {2, 0x013c, -1}, // bus cycles; the fixed counter 2 has another rate
    [CACHE_READS] = {3, 0x4f2e, -1},
    [CACHE_MISSES] = {4, 0x412e, -1},
    [BRANCHES] = {5, 0x00c4, -1},
    [BRANCH_MISSES] = {6, 0x00c5, -1},
};
#define FIXED_REFERENCE 2 // cycles at the rate of the TSC: no general counter has them
// The fixed counter's mark in a selector: no event has this code.
#define CODE_FIXED_REFERENCE UINT64_C(0x0300)

#define RAW_BITS                                                                                   \
    (PMU_SELECT_EVENT | PMU_SELECT_UMASK | PMU_SELECT_EDGE | PMU_SELECT_INVERT | PMU_SELECT_CMASK)

// ---- detection ----------------------------------------------------------------------------------

static uint64_t fixed_counters(uint32_t version, uint32_t ecx, uint32_t edx)
{
    uint32_t count = MIN(edx & 0x1f, (uint32_t)INTEL_FIXED_MAX);
    uint64_t mask = (UINT64_C(1) << count) - 1;
    if (version >= 5) // any of them, not only the first
        mask |= ecx & ((UINT64_C(1) << INTEL_FIXED_MAX) - 1);
    return mask;
}

static bool intel_detect(struct pmu *pmu)
{
    uint32_t leaf[4];
    pmu->access->cpuid(0, 0, leaf);
    if (leaf[0] < INTEL_CPUID_LEAF || pmu_vendor_is_amd(pmu->access))
        return false;
    pmu->access->cpuid(INTEL_CPUID_LEAF, 0, leaf);
    pmu->version = MIN(leaf[0] & 0xff, 5u);
    if (pmu->version < 2)
        return false;
    uint32_t general = MIN(leaf[0] >> 8 & 0xff, (uint32_t)INTEL_GENERAL_MAX);
    uint32_t events = MIN(leaf[0] >> 24, 32u);
    uint32_t known = events == 32 ? UINT32_MAX : (UINT32_C(1) << events) - 1;
    pmu->counters = (UINT64_C(1) << general) - 1;
    pmu->width_bits = leaf[0] >> 16 & 0xff;
    pmu->counters |= fixed_counters(pmu->version, leaf[2], leaf[3]) << PMU_FIXED_FIRST;
    pmu->fixed_width_bits = leaf[3] >> 5 & 0xff;
    pmu->absent_events = leaf[1] | ~known;
    uint32_t features[4];
    uint64_t capabilities = 0;
    pmu->access->cpuid(1, 0, features);
    if ((features[2] & INTEL_CPUID_PDCM) &&
        pmu->access->try_read(MSR_PERF_CAPABILITIES, &capabilities))
        pmu->full_width = (capabilities & INTEL_CAP_FULL_WIDTH) != 0;
    // Else bit 31 of what is written fills the bits above.
    pmu->period_max = pmu->full_width || general == 0 ? 0 : INT32_MAX;
    uint64_t debug;
    pmu->freezes = pmu->access->try_read(MSR_DEBUGCTL, &debug) &&
                   pmu->access->try_write(MSR_DEBUGCTL, debug | INTEL_DEBUGCTL_FREEZE) &&
                   pmu->access->try_read(MSR_DEBUGCTL, &debug) && (debug & INTEL_DEBUGCTL_FREEZE);
    return true;
}

// ---- events -------------------------------------------------------------------------------------

static int architectural_find(const struct pmu *pmu, int index, struct pmu_selector *found)
{
    const struct architectural *event = &architectural_events[index];
    found->bits = event->code;
    found->counters = 0;
    if (!(pmu->absent_events & BIT(event->bit)))
        found->counters = pmu->counters & (uint32_t)-1;
    // A fixed counter that CPUID names counts, whatever the list of events says.
    if (event->fixed >= 0)
        found->counters |= pmu->counters & BIT(PMU_FIXED_FIRST + event->fixed);
    return found->counters != 0 ? 0 : -ENOENT;
}

static int hardware_find(const struct pmu *pmu, uint64_t config, struct pmu_selector *found)
{
    static const int8_t events[] = {
        [PERF_COUNT_HW_CPU_CYCLES] = CYCLES,
        [PERF_COUNT_HW_INSTRUCTIONS] = INSTRUCTIONS,
        [PERF_COUNT_HW_CACHE_REFERENCES] = CACHE_READS,
        [PERF_COUNT_HW_CACHE_MISSES] = CACHE_MISSES,
        [PERF_COUNT_HW_BRANCH_INSTRUCTIONS] = BRANCHES,
        [PERF_COUNT_HW_BRANCH_MISSES] = BRANCH_MISSES,
        [PERF_COUNT_HW_BUS_CYCLES] = REFERENCE,
    };
    if (config == PERF_COUNT_HW_REF_CPU_CYCLES) {
        found->bits = CODE_FIXED_REFERENCE;
        found->counters = pmu->counters & BIT(PMU_FIXED_FIRST + FIXED_REFERENCE);
        return found->counters != 0 ? 0 : -ENOENT;
    }
    if (config >= ARRAY_SIZE(events))
        return -ENOENT; // stalls are no architectural events
    return architectural_find(pmu, events[config], found);
}

// The last level and branches are all that is architectural: cache | operation << 8 | result << 16.
static int cache_find(const struct pmu *pmu, uint64_t config, struct pmu_selector *found)
{
    uint64_t cache = config & 0xff;
    uint64_t operation = config >> 8 & 0xff;
    uint64_t result = config >> 16 & 0xff;
    if (config >> 24 != 0 || cache >= PERF_COUNT_HW_CACHE_MAX ||
        operation >= PERF_COUNT_HW_CACHE_OP_MAX || result >= PERF_COUNT_HW_CACHE_RESULT_MAX)
        return -EINVAL;
    if (operation != PERF_COUNT_HW_CACHE_OP_READ)
        return -ENOENT;
    bool miss = result == PERF_COUNT_HW_CACHE_RESULT_MISS;
    if (cache == PERF_COUNT_HW_CACHE_LL)
        return architectural_find(pmu, miss ? CACHE_MISSES : CACHE_READS, found);
    if (cache == PERF_COUNT_HW_CACHE_BPU)
        return architectural_find(pmu, miss ? BRANCH_MISSES : BRANCHES, found);
    return -ENOENT;
}

static int raw_find(const struct pmu *pmu, uint64_t config, struct pmu_selector *found)
{
    if (config & ~RAW_BITS)
        return -EINVAL;
    found->bits = config;
    found->counters = pmu->counters & (uint32_t)-1;
    for (size_t i = 0; i < ARRAY_SIZE(architectural_events); i++) {
        const struct architectural *event = &architectural_events[i];
        if (event->code == config && event->fixed >= 0)
            found->counters |= pmu->counters & BIT(PMU_FIXED_FIRST + event->fixed);
    }
    return found->counters != 0 ? 0 : -ENOENT;
}

static int intel_find(
    const struct pmu *pmu, uint32_t type, uint64_t config, struct pmu_selector *found)
{
    switch (type) {
    case PERF_TYPE_HARDWARE:
        return hardware_find(pmu, config, found);
    case PERF_TYPE_HW_CACHE:
        return cache_find(pmu, config, found);
    case PERF_TYPE_RAW:
        return raw_find(pmu, config, found);
    default:
        return -ENOENT;
    }
}

// ---- registers ----------------------------------------------------------------------------------

static uint32_t load_register(const struct pmu *pmu, int counter)
{
    if (pmu_counter_is_fixed(counter))
        return MSR_FIXED_CTR0 + (uint32_t)(counter - PMU_FIXED_FIRST);
    return (pmu->full_width ? MSR_PMC0_FULL_WIDTH : MSR_PMC0) + (uint32_t)counter;
}

static bool intel_reset(const struct pmu *pmu)
{
    const struct pmu_access *access = pmu->access;
    uint64_t debug;
    if (!access->try_write(MSR_GLOBAL_CTRL, 0))
        return false;
    if (pmu->counters >> PMU_FIXED_FIRST && !access->try_write(MSR_FIXED_CTR_CTRL, 0))
        return false;
    pmu_for_each(counter, pmu->counters)
    {
        if (!access->try_write(load_register(pmu, counter), 0))
            return false;
        if (!pmu_counter_is_fixed(counter) &&
            !access->try_write(MSR_PERFEVTSEL0 + (uint32_t)counter, 0))
            return false;
    }
    if (pmu->freezes && !(access->try_read(MSR_DEBUGCTL, &debug) &&
                            access->try_write(MSR_DEBUGCTL, debug | INTEL_DEBUGCTL_FREEZE)))
        return false;
    uint64_t status;
    if (!access->try_read(MSR_GLOBAL_STATUS, &status))
        return false;
    return access->try_write(MSR_GLOBAL_STATUS_RESET, status);
}

static void intel_pause(const struct pmu *pmu, uint64_t in_use)
{
    (void)in_use;
    pmu->access->write(MSR_GLOBAL_CTRL, 0);
}

static void intel_resume(const struct pmu_cpu *cpu)
{
    cpu->pmu->access->write(MSR_GLOBAL_CTRL, cpu->in_use);
}

static void fixed_control(const struct pmu *pmu, int counter, uint64_t bits)
{
    uint32_t shift = (uint32_t)(counter - PMU_FIXED_FIRST) * 4;
    uint64_t control = pmu->access->read(MSR_FIXED_CTR_CTRL);
    pmu->access->write(
        MSR_FIXED_CTR_CTRL, (control & ~(INTEL_FIXED_MASK << shift)) | bits << shift);
}

static void intel_start(const struct pmu *pmu, int counter, const struct pmu_event *event)
{
    if (pmu_counter_is_fixed(counter)) {
        fixed_control(pmu, counter,
            INTEL_FIXED_INT | (event->in_user ? INTEL_FIXED_USER : 0) |
                (event->in_kernel ? INTEL_FIXED_KERNEL : 0));
        return;
    }
    pmu->access->write(MSR_PERFEVTSEL0 + (uint32_t)counter,
        event->select | PMU_SELECT_INT | PMU_SELECT_ENABLE |
            (event->in_user ? PMU_SELECT_USER : 0) | (event->in_kernel ? PMU_SELECT_KERNEL : 0));
}

static void intel_stop(const struct pmu *pmu, int counter)
{
    if (pmu_counter_is_fixed(counter))
        fixed_control(pmu, counter, 0);
    else
        pmu->access->write(MSR_PERFEVTSEL0 + (uint32_t)counter, 0);
}

static uint64_t intel_overflowed(const struct pmu *pmu, uint64_t in_use)
{
    (void)in_use;
    return pmu->access->read(MSR_GLOBAL_STATUS);
}

static void intel_acknowledge(const struct pmu *pmu, uint64_t status)
{
    pmu->access->write(MSR_GLOBAL_STATUS_RESET, status);
}

static uint64_t intel_counter_read(const struct pmu *pmu, int counter)
{
    if (pmu_counter_is_fixed(counter))
        return pmu->access->read(load_register(pmu, counter));
    return pmu->access->read(MSR_PMC0 + (uint32_t)counter);
}

static void intel_counter_load(const struct pmu *pmu, int counter, uint64_t events)
{
    uint32_t width_bits = pmu_counter_width(pmu, counter);
    uint64_t value = -events;
    if (width_bits < 64)
        value &= (UINT64_C(1) << width_bits) - 1;
    pmu->access->write(load_register(pmu, counter), value);
}

static uint32_t intel_rdpmc_index(int counter)
{
    return pmu_counter_is_fixed(counter) ? UINT32_C(1) << 30 | (uint32_t)(counter - PMU_FIXED_FIRST)
                                         : (uint32_t)counter;
}

const struct pmu_backend pmu_intel = {
    .name = "Intel",
    .detect = intel_detect,
    .find = intel_find,
    .reset = intel_reset,
    .pause = intel_pause,
    .resume = intel_resume,
    .start = intel_start,
    .stop = intel_stop,
    .overflowed = intel_overflowed,
    .acknowledge = intel_acknowledge,
    .counter_read = intel_counter_read,
    .counter_load = intel_counter_load,
    .rdpmc_index = intel_rdpmc_index,
};
