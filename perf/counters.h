// SPDX-License-Identifier: MIT
// This machine's counters: the driver of perf/pmu on every CPU. Found at first use. Private to
// perf/.
#pragma once

#include "kernel/core/percpu.h"
#include "perf/pmu/pmu.h"

// The counters, or NULL: there are none. Looks for them the first time and prepares every CPU; task
// context, under one lock of the caller's for ever.
const struct pmu *perf_counters(void);

// The running CPU's; meaningful only after perf_counters(), and if perf_cpu_has_counters is set
// there. Interrupts off, or NMI.
PERCPU_DECLARE(struct pmu_cpu, perf_pmu_cpu);
PERCPU_DECLARE(bool, perf_cpu_has_counters);

// Who is told of overflows, in NMI: defined by perf/event, bound at link time.
void perf_event_overflow(
    struct pmu_cpu *cpu, struct pmu_event *event, uint64_t periods, void *frame);
