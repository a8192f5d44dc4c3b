// SPDX-License-Identifier: MIT
// What the files of perf/ share about the collector's rings. Private to this folder.
//
// P1  perf_config and each CPU's rings change only while sampling is stopped on every CPU: sources
//     are stopped by cross-CPU calls, and those who write side-band records look at
//     perf_side_to_host with interrupts off, which the same calls synchronise with.
// P2  A CPU's rings are written by that CPU alone: the sample ring by the source that is chosen
//     (NMI or timer interrupt), the side ring with interrupts off, never in an NMI.
#pragma once

#include "kernel/core/timer.h"
#include "perf/encode.h"
#include "perf/perf.h"
#include "perf/ring.h"

// A CPU's part of the memory that the host sees.
struct perf_cpu_shared {
    struct perf_export_cpu entry; // first: the directory is an array of these
    struct perf_export_ring sample, side;
};

struct perf_cpu { // own CPU; P1, P2
    struct perf_ring sample, side;
    struct perf_cpu_shared *shared; // NULL: no ring yet
    struct timer timer;             // the sampling timer
    bool timer_runs;                // it is to be armed
    uint64_t busy_sources;          // for tests: samples that were left out, being in one already
};
PERCPU_DECLARE(struct perf_cpu, perf_cpu);

// What is being collected; P1.
struct perf_config {
    uint32_t frames_kernel_max, frames_user_max;
    uint16_t clock_event; // entry of the event table that the sampling timer serves
    uint32_t clock_flags; // PERF_EXPORT_EVENT_*
    uint64_t period_ns;   // of the sampling timer; 0: none
    bool has_counters;    // collected.h: samples come from NMIs, so there is no timer
    bool wants_switches;  // SWITCH records
    bool use_nmi;         // the sampling timer raises NMIs
};
extern struct perf_config perf_config;
extern bool perf_side_to_host; // side-band records go to the rings; P1

// sampling_timer.c: on this CPU, interrupts off.
void perf_timer_start(void);
void perf_timer_stop(void);
// side.c: recomputes perf_side_wanted and perf_switch_wanted.
void perf_side_update(void);
// clock.c: answers the host's request for pairs of clock readings, if there is one. Interrupts off.
void perf_clock_answer(void);
[[nodiscard]] int perf_clock_prepare(void); // -ENOMEM; task context
