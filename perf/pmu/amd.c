// SPDX-License-Identifier: MIT
// AMD's core counters (APM volume 2, 13.2): four by the registers of old, six or more with the core
// extension, and with PerfMonV2 one register for all.
//
// Before PerfMonV2 there is neither a switch for all counters nor a status: counters are stopped
// one by one, and one has overflowed if its top bit is clear, because it was loaded with a
// negative number (C4 of pmu.h). Such interrupts may come late: after the counter has been
// stopped or dealt with.
#include "kernel/base/assert.h"
#include "perf/pmu/backend.h"
#include "perf/pmu/registers.h"

#include <linux/errno.h>
#include <linux/perf_event.h>

#define FAMILY_ZEN 0x17
#define AMD_MAX    16 // counters that there are registers for, before those of the north bridge

#define RAW_BITS                                                                                   \
    (PMU_SELECT_EVENT | PMU_SELECT_UMASK | PMU_SELECT_EDGE | PMU_SELECT_INVERT |                   \
        PMU_SELECT_CMASK | AMD_SELECT_EVENT_2)

// ---- detection ----------------------------------------------------------------------------------

bool pmu_vendor_is_amd(const struct pmu_access *access)
{
    uint32_t leaf[4];
    access->cpuid(0, 0, leaf);
    return (leaf[1] == 0x68747541 && leaf[3] == 0x69746e65 && leaf[2] == 0x444d4163) ||
           (leaf[1] == 0x6f677948 && leaf[3] == 0x6e65476e && leaf[2] == 0x656e6975);
}

static uint32_t family_of(const struct pmu_access *access)
{
    uint32_t leaf[4];
    access->cpuid(1, 0, leaf);
    uint32_t family = leaf[0] >> 8 & 0xf;
    return family == 0xf ? family + (leaf[0] >> 20 & 0xff) : family;
}

static bool amd_detect(struct pmu *pmu)
{
    uint32_t leaf[4];
    uint32_t count = AMD_K7_COUNTERS;
    const struct pmu_access *access = pmu->access;
    if (!pmu_vendor_is_amd(access))
        return false;
    pmu->family = family_of(access);
    pmu->version = 1;
    pmu->width_bits = AMD_WIDTH_BITS;
    pmu->select_base = MSR_K7_EVNTSEL0;
    pmu->counter_base = MSR_K7_PERFCTR0;
    pmu->register_stride = 1;
    access->cpuid(0x80000000, 0, leaf);
    uint32_t max_leaf = leaf[0];
    if (max_leaf < 0x80000001 || max_leaf >> 16 != 0x8000)
        return false;
    access->cpuid(0x80000001, 0, leaf);
    if (leaf[2] & AMD_CPUID_PERFCTR_CORE) {
        count = AMD_CORE_COUNTERS;
        pmu->select_base = MSR_F15H_PERF_CTL0;
        pmu->counter_base = MSR_F15H_PERF_CTR0;
        pmu->register_stride = 2;
        if (max_leaf >= AMD_CPUID_LEAF_V2) {
            access->cpuid(AMD_CPUID_LEAF_V2, 0, leaf);
            if (leaf[0] & 1) {
                pmu->version = 2;
                count = MIN(leaf[1] & 0xf, (uint32_t)AMD_MAX);
            }
        }
    }
    pmu->counters = (UINT64_C(1) << count) - 1;
    return count != 0;
}

// ---- events -------------------------------------------------------------------------------------

// Codes of the processor programming references: the same on all families but for the caches.
static int hardware_code(const struct pmu *pmu, uint64_t config, uint64_t *code)
{
    const bool zen = pmu->family >= FAMILY_ZEN;
    switch (config) {
    case PERF_COUNT_HW_CPU_CYCLES:
        *code = 0x76;
        return 0;
    case PERF_COUNT_HW_INSTRUCTIONS:
        *code = 0xc0;
        return 0;
    case PERF_COUNT_HW_CACHE_REFERENCES: // the second level's, from the first
        *code = zen ? 0xff60 : 0x077d;
        return 0;
    case PERF_COUNT_HW_CACHE_MISSES:
        *code = zen ? 0x0964 : 0x077e;
        return 0;
    case PERF_COUNT_HW_BRANCH_INSTRUCTIONS:
        *code = 0xc2;
        return 0;
    case PERF_COUNT_HW_BRANCH_MISSES:
        *code = 0xc3;
        return 0;
    default:
        return -ENOENT;
    }
}

// Branches alone are the same on all families: the others are asked for as raw events.
static int cache_code(uint64_t config, uint64_t *code)
{
    if (config >> 24 != 0 || (config & 0xff) >= PERF_COUNT_HW_CACHE_MAX ||
        (config >> 8 & 0xff) >= PERF_COUNT_HW_CACHE_OP_MAX ||
        (config >> 16 & 0xff) >= PERF_COUNT_HW_CACHE_RESULT_MAX)
        return -EINVAL;
    if ((config & 0xff) != PERF_COUNT_HW_CACHE_BPU ||
        (config >> 8 & 0xff) != PERF_COUNT_HW_CACHE_OP_READ)
        return -ENOENT;
    *code = config >> 16 == PERF_COUNT_HW_CACHE_RESULT_MISS ? 0xc3 : 0xc2;
    return 0;
}

static int amd_find(
    const struct pmu *pmu, uint32_t type, uint64_t config, struct pmu_selector *found)
{
    int error = -ENOENT;
    found->counters = pmu->counters;
    if (type == PERF_TYPE_HARDWARE)
        error = hardware_code(pmu, config, &found->bits);
    else if (type == PERF_TYPE_HW_CACHE)
        error = cache_code(config, &found->bits);
    else if (type == PERF_TYPE_RAW) {
        found->bits = config;
        error = config & ~RAW_BITS ? -EINVAL : 0;
    }
    return error;
}

// ---- registers ----------------------------------------------------------------------------------

static uint32_t select_register(const struct pmu *pmu, int counter)
{
    return pmu->select_base + (uint32_t)counter * pmu->register_stride;
}

static uint32_t counter_register(const struct pmu *pmu, int counter)
{
    return pmu->counter_base + (uint32_t)counter * pmu->register_stride;
}

static bool amd_reset(const struct pmu *pmu)
{
    const struct pmu_access *access = pmu->access;
    uint64_t status;
    if (pmu->version >= 2 && !access->try_write(MSR_AMD_GLOBAL_CTL, 0))
        return false;
    pmu_for_each(counter, pmu->counters)
    {
        if (!access->try_write(select_register(pmu, counter), 0) ||
            !access->try_write(counter_register(pmu, counter), 0))
            return false;
    }
    return pmu->version < 2 || (access->try_read(MSR_AMD_GLOBAL_STATUS, &status) &&
                                   access->try_write(MSR_AMD_GLOBAL_STATUS_CLR, status));
}

static void enable_all(const struct pmu *pmu, uint64_t in_use, bool enable)
{
    pmu_for_each(counter, in_use)
    {
        uint32_t number = select_register(pmu, counter);
        uint64_t select = pmu->access->read(number);
        pmu->access->write(
            number, enable ? select | PMU_SELECT_ENABLE : select & ~PMU_SELECT_ENABLE);
    }
}

static void amd_pause(const struct pmu *pmu, uint64_t in_use)
{
    if (pmu->version >= 2)
        pmu->access->write(MSR_AMD_GLOBAL_CTL, 0);
    else
        enable_all(pmu, in_use, false);
}

static void amd_resume(const struct pmu_cpu *cpu)
{
    if (cpu->pmu->version >= 2)
        cpu->pmu->access->write(MSR_AMD_GLOBAL_CTL, cpu->in_use);
    else
        enable_all(cpu->pmu, cpu->in_use, true);
}

static void amd_start(const struct pmu *pmu, int counter, const struct pmu_event *event)
{
    pmu->access->write(select_register(pmu, counter),
        event->select | PMU_SELECT_INT | (pmu->version >= 2 ? PMU_SELECT_ENABLE : 0) |
            (event->in_user ? PMU_SELECT_USER : 0) | (event->in_kernel ? PMU_SELECT_KERNEL : 0));
}

static void amd_stop(const struct pmu *pmu, int counter)
{
    pmu->access->write(select_register(pmu, counter), 0);
}

static uint64_t amd_overflowed(const struct pmu *pmu, uint64_t in_use)
{
    uint64_t result = 0;
    if (pmu->version >= 2)
        return pmu->access->read(MSR_AMD_GLOBAL_STATUS);
    pmu_for_each(counter, in_use)
    {
        if (!(pmu->access->read(counter_register(pmu, counter)) & BIT(AMD_WIDTH_BITS - 1)))
            result |= BIT(counter);
    }
    return result;
}

// Before PerfMonV2 it is over when the counter is loaded again.
static void amd_acknowledge(const struct pmu *pmu, uint64_t status)
{
    if (pmu->version >= 2)
        pmu->access->write(MSR_AMD_GLOBAL_STATUS_CLR, status);
}

static uint64_t amd_counter_read(const struct pmu *pmu, int counter)
{
    return pmu->access->read(counter_register(pmu, counter));
}

static void amd_counter_load(const struct pmu *pmu, int counter, uint64_t events)
{
    pmu->access->write(
        counter_register(pmu, counter), -events & ((UINT64_C(1) << AMD_WIDTH_BITS) - 1));
}

static uint32_t amd_rdpmc_index(int counter)
{
    return (uint32_t)counter;
}

const struct pmu_backend pmu_amd = {
    .name = "AMD",
    .detect = amd_detect,
    .find = amd_find,
    .reset = amd_reset,
    .pause = amd_pause,
    .resume = amd_resume,
    .start = amd_start,
    .stop = amd_stop,
    .overflowed = amd_overflowed,
    .acknowledge = amd_acknowledge,
    .counter_read = amd_counter_read,
    .counter_load = amd_counter_load,
    .rdpmc_index = amd_rdpmc_index,
};
