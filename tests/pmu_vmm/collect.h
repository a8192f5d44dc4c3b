// SPDX-License-Identifier: MIT
// A collector of the guest's samples (perf/export.h), as `lodger perf` is one, in the VMM itself:
// the memory is its own. One event, one CPU.
#pragma once

#include "perf/export.h"
#include "tests/pmu_vmm/machine.h"

struct collect {
    struct perf_export_descriptor *descriptor; // NULL: not found yet
    uint64_t samples, periods, user_samples;   // how many, what they stand for, those in programs
    uint64_t wrong;                            // records that were not well-formed, or lost
};

// Asks the kernel for samples of an event, or with NULL for no more. False: it has no descriptor.
[[nodiscard]] bool collect_ask(
    struct collect *collect, struct machine *machine, const struct perf_export_event *event);
// Has the kernel done what was asked for last? Then *error and *source say how (the event's).
bool collect_is_answered(const struct collect *collect, int32_t *error, uint32_t *source);
// Takes what lies in the ring.
void collect_drain(struct collect *collect, struct machine *machine);
