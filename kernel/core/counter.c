// SPDX-License-Identifier: MIT
// Reading the event counters: the declarations lie one behind the other in the section .counters.
#include "kernel/core/counter.h"

#include "kernel/base/atomic.h"
#include "kernel/core/cpumask.h"

extern const struct counter_description counters_start[], counters_end[]; // kernel.lds

uint64_t counter_sum(const struct counter_description *counter)
{
    uint64_t sum = 0;
    for (uint32_t cpu = 0; cpu < cpu_count_possible; cpu++) {
        if (cpu == 0 || percpu_offset[cpu] != 0)
            sum +=
                atomic_load_relaxed((uint64_t *)((uintptr_t)counter->percpu + percpu_offset[cpu]));
    }
    return sum;
}

void counter_for_each(void (*visit)(const char *name, uint64_t value, void *context), void *context)
{
    for (const struct counter_description *counter = counters_start; counter < counters_end;
        counter++)
        visit(counter->name, counter_sum(counter), context);
}
