// SPDX-License-Identifier: MIT
//
// What `lodger perf top` shows, without a terminal: counts of samples, and pages of lines made
// from them.
#pragma once

#include "tools/lodger/perf/collector.h"
#include "tools/lodger/perf/counters.h"

enum top_page {
    TOP_FUNCTIONS,
    TOP_TASKS,
    TOP_CPUS,
    TOP_IO,
    TOP_PAGES,
};

#define TOP_ENTRIES 4096u // of functions, of tasks: more are not told apart

struct top_entry {
    char *name, *dso; // dso: of a function
    uint32_t tid;     // of a task
    bool kernel;
    double weight; // samples, older ones count less
    // Tasks: waiting for a vCPU after having been preempted.
    uint64_t preempted_ns, waits, wait_ns, wait_max_ns;
};

struct top_view {
    const char *guest;
    struct top_entry *functions, *tasks; // TOP_ENTRIES each, open addressing
    size_t function_count, task_count;
    double cpu_weights[PERF_EXPORT_CPUS];
    double cpu_busy[PERF_EXPORT_CPUS];                              // of those, not idle
    double cpu_steal[PERF_EXPORT_CPUS], cpu_idle[PERF_EXPORT_CPUS]; // percent of the last interval
    uint64_t steal_ns[PERF_EXPORT_CPUS], idle_ns[PERF_EXPORT_CPUS];
    unsigned cpu_count;
    struct counters counters; // count 0: none
    uint64_t *counters_before;
    double *counter_rates;
    uint64_t samples, samples_before, refreshed_ns;
    double samples_per_s;
    bool hide_kernel, hide_user;
    char *filter; // NULL or "": all
};

void top_view_init(struct top_view *view, struct collector *collector);

// Counts one record of the guest.
void top_view_take(struct top_view *view, struct collector *collector, unsigned cpu,
    uint64_t time_ns, const struct perf_record *record);

// Ends an interval: rates are those since the last one, and counts lose an eighth.
void top_view_refresh(struct top_view *view, struct collector *collector, uint64_t now_ns);

// Forgets all counts.
void top_view_zero(struct top_view *view);

// The lines of a page, at most `max`; the first is its heading.
void top_view_lines(
    const struct top_view *view, enum top_page page, size_t max, struct strings *lines);
