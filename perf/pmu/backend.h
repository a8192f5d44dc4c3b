// SPDX-License-Identifier: MIT
// What a vendor's processor does in its own way. Private to this folder.
//
// Contract of all functions but detect and find: on the CPU whose registers they are, interrupts
// off or NMI; `counters` and `counter` are among pmu->counters.
#pragma once

#include "perf/pmu/pmu.h"

struct pmu_backend {
    const char *name;
    // Fills in what struct pmu says of the processor. False: not this vendor, or no counters.
    bool (*detect)(struct pmu *pmu);
    int (*find)(const struct pmu *pmu, uint32_t type, uint64_t config, struct pmu_selector *found);
    // All off, nothing overflowed. False: a register does not exist.
    bool (*reset)(const struct pmu *pmu);
    // Everything off; everything in use on. `pause` is idempotent.
    void (*pause)(const struct pmu *pmu, uint64_t in_use);
    void (*resume)(const struct pmu_cpu *cpu);
    // Paused: prepares a counter, which counts from resume() on; frees it.
    void (*start)(const struct pmu *pmu, int counter, const struct pmu_event *event);
    void (*stop)(const struct pmu *pmu, int counter);
    // Which have overflowed; bits that are no counters, or of counters not in use, say nothing.
    uint64_t (*overflowed)(const struct pmu *pmu, uint64_t in_use);
    // Paused: what overflowed() said is not said again, as far as `status` has it.
    void (*acknowledge)(const struct pmu *pmu, uint64_t status);
    uint64_t (*counter_read)(const struct pmu *pmu, int counter);
    // Loads it with -events; paused. At most pmu->period_max.
    void (*counter_load)(const struct pmu *pmu, int counter, uint64_t events);
    uint32_t (*rdpmc_index)(int counter);
};

extern const struct pmu_backend pmu_intel, pmu_amd;

// Calls the body for each number in the mask, lowest first.
#define pmu_for_each(counter, mask)                                                                \
    for (uint64_t counter##_rest_ = (mask); counter##_rest_ != 0;                                  \
         counter##_rest_ &= counter##_rest_ - 1)                                                   \
        for (int counter = (int)bit_lowest(counter##_rest_), counter##_once_ = 1;                  \
             counter##_once_ != 0; counter##_once_ = 0)

static inline bool pmu_counter_is_fixed(int counter)
{
    return counter >= PMU_FIXED_FIRST;
}

// A counter's bits as a signed number of 64.
static inline uint64_t pmu_sign_extend(uint64_t value, uint32_t width_bits)
{
    uint32_t shift = 64 - width_bits;
    return (uint64_t)((int64_t)(value << shift) >> shift);
}

// amd.c: AMD, or Hygon, which is the same. All others follow Intel's architecture or have none.
bool pmu_vendor_is_amd(const struct pmu_access *access);

// plan.c: which counters the groups shall have: pmu_want.planned, and who by number. True: all
// groups have some.
struct pmu_plan {
    struct pmu_want *owner[PMU_COUNTERS_MAX];
};
bool pmu_plan(const struct pmu_cpu *cpu, struct pmu_plan *plan);
