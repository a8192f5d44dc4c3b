// SPDX-License-Identifier: MIT
//
// Names of events, as -e takes them, and the tracepoints that the kernel has.
#pragma once

#include "tools/lodger/perf/collector.h"

#include <linux/perf_event.h>

// Fills in collector->events from the settings. Names:
//   cpu-clock, task-clock                 the sampling timer
//   cycles, instructions, ... rNNN        hardware counters, if the guest has them
//   SYSTEM:NAME, SYSTEM:*                 tracepoints
//   probe:FUNCTION, probe:FUNCTION%return kernel functions
// and behind a name :u or :k for user or kernel mode only. Returns NULL or the reason.
[[nodiscard]] char *events_parse(
    struct collector *collector, const struct collector_settings *settings);

// The attribute with which a recording describes the event.
void events_make_attr(struct collector *collector, unsigned event, struct perf_event_attr *attr);

// The section "tracing data" for all tracepoints among the events; empty if there are none.
void events_add_tracing_data(struct collector *collector, struct buffer *section);

// All tracepoints of the kernel, "system:name" each.
void events_list_tracepoints(struct collector *collector, struct strings *names);
