// SPDX-License-Identifier: MIT
// Events of the processor's counters that the collector on the host asks for. Private to perf/.
//
// They are events of perf_event_open(2) without a program: one for each CPU, in its context, with
// the same turns, frequencies and limits (perf/event). Only their samples go elsewhere: into the
// sample ring of their CPU, from the NMI. So the sampling timer does not run beside them (P2).
#pragma once

#include "perf/export.h"

struct trap_frame;

// Samples of it will be those of the event table's entry `index`; it does not count yet. 0 with
// *status filled in, -ENOENT (no counters, or no such event), -EINVAL, -EOPNOTSUPP, -ENOMEM.
// Worker thread, sources stopped. Defined by perf/event, bound at link time, as are those below.
[[nodiscard]] int perf_collected_add(
    const struct perf_export_event *asked, uint16_t index, struct perf_export_event_status *status);
// All of them count from now on; none does any more, and no NMI writes for them. Worker thread.
void perf_collected_start(void);
void perf_collected_remove_all(void);

// sample.c: writes what was interrupted. Interrupts off or NMI, the only source of this CPU.
void perf_sample(const struct trap_frame *frame, uint16_t event, uint32_t flags, uint64_t period);
