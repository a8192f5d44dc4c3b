// SPDX-License-Identifier: MIT
// Which of the backends fits, and the checks that all of them need. What CPUID says comes from the
// hypervisor and is believed only as far as the rest of this folder can bear it.
#include "kernel/base/assert.h"
#include "perf/pmu/backend.h"

#define WIDTH_MIN_BITS 32 // Intel's general counters are loaded with 32 bits
#define PERIOD_MAX     (UINT64_C(1) << 60)

static const struct pmu_backend *const backends[] = {&pmu_intel, &pmu_amd};

static bool width_is_usable(uint32_t width_bits)
{
    return width_bits >= WIDTH_MIN_BITS && width_bits <= 64;
}

static bool is_usable(const struct pmu *pmu)
{
    const uint64_t fixed = pmu->counters >> PMU_FIXED_FIRST;
    const uint64_t general = pmu->counters & (uint32_t)-1;
    return pmu->counters != 0 && pmu->counters >> PMU_COUNTERS_MAX == 0 &&
           (general == 0 || width_is_usable(pmu->width_bits)) &&
           (fixed == 0 || width_is_usable(pmu->fixed_width_bits));
}

// Half of what a counter can hold, so that an overflow is seen before the next one.
static uint64_t half_range(uint32_t width_bits)
{
    return (UINT64_C(1) << (width_bits - 1)) - 1;
}

bool pmu_detect(struct pmu *pmu, const struct pmu_access *access)
{
    for (size_t i = 0; i < ARRAY_SIZE(backends); i++) {
        *pmu = (struct pmu){.backend = backends[i], .access = access};
        if (!backends[i]->detect(pmu) || !is_usable(pmu))
            continue;
        uint64_t most = pmu->period_max != 0 ? pmu->period_max : PERIOD_MAX;
        if (pmu->counters & (uint32_t)-1)
            most = MIN(most, half_range(pmu->width_bits));
        if (pmu->counters >> PMU_FIXED_FIRST)
            most = MIN(most, half_range(pmu->fixed_width_bits));
        pmu->period_max = MIN(most, PERIOD_MAX);
        return true;
    }
    return false;
}

int pmu_find(const struct pmu *pmu, uint32_t type, uint64_t config, struct pmu_selector *selector)
{
    int error = pmu->backend->find(pmu, type, config, selector);
    debug_assert(error != 0 || (selector->counters & ~pmu->counters) == 0);
    return error;
}

const char *pmu_name(const struct pmu *pmu)
{
    return pmu->backend->name;
}

uint32_t pmu_rdpmc_index(const struct pmu *pmu, int counter)
{
    return pmu->backend->rdpmc_index(counter);
}

uint32_t pmu_counter_width(const struct pmu *pmu, int counter)
{
    return pmu_counter_is_fixed(counter) ? pmu->fixed_width_bits : pmu->width_bits;
}
