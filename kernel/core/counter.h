// SPDX-License-Identifier: MIT
// Event counters, per CPU, named `subsystem.thing`; shown in /proc/lodger/counters.
//   COUNTER(tlb, shootdowns);      counter_add(tlb, shootdowns, 1);
#pragma once

#include "kernel/core/percpu.h"

struct counter_description {
    const char *name;
    uint64_t *percpu; // the section's copy: percpu_of(*percpu, cpu)
};

#define COUNTER(subsystem, thing)                                                                  \
    PERCPU(uint64_t, counter_##subsystem##_##thing);                                               \
    [[gnu::used, gnu::section(".counters")]] static const struct counter_description               \
        counter_description_##subsystem##_##thing = {                                              \
            #subsystem "." #thing, (uint64_t *)&counter_##subsystem##_##thing}
#define COUNTER_DECLARE(subsystem, thing) PERCPU_DECLARE(uint64_t, counter_##subsystem##_##thing)

// One instruction, no atomic: an interrupt between CPUs can't lose it (single gs-relative add).
#define counter_add(subsystem, thing, amount)                                                      \
    ((void)(this_cpu(counter_##subsystem##_##thing) += (amount)))

// Sum over all CPUs; a snapshot.
uint64_t counter_sum(const struct counter_description *counter);
void counter_for_each(
    void (*visit)(const char *name, uint64_t value, void *context), void *context);
