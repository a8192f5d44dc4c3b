// SPDX-License-Identifier: MIT
//
// What `lodger perf analyze` knows of one recording: shares of functions, rates of the kernel's
// counters, latencies.
#pragma once

#include "tools/lodger/util.h"

struct analyze_function {
    char *name;
    uint64_t self;  // samples in it
    uint64_t chain; // samples with it in the chain
    uint64_t last;  // the sample that counted it last
    bool kernel;
    char *caller; // that called it in most of the samples looked at
    uint64_t caller_samples;
};

struct analyze_counter {
    char *name;
    uint64_t first, last, previous;
    double peak;   // highest rate of one interval, per second
    double peak_s; // when, from the beginning
};

// A distribution in powers of two of nanoseconds.
struct analyze_latency {
    uint64_t buckets[48];
    uint64_t count, max_ns;
};

struct analyze_data {
    char *path;
    uint64_t samples, first_ns, last_ns;
    struct analyze_function *functions;
    size_t function_count;
    uint64_t lock_samples; // with waiting for a lock, or passing it on, in the chain
    char *lock_user;       // the function that most of these have taken it for, or NULL
    uint64_t lock_votes;
    uint64_t cpu_samples[256];
    unsigned cpu_count;
    // From FILE.counters; count 0: there is none.
    struct analyze_counter *counters;
    size_t counter_count;
    double counter_seconds;
    uint64_t steal_ns[256]; // of each vCPU in that time
    unsigned steal_cpus;
    struct analyze_latency run_queue, disk; // from tracepoints, if they were recorded
};

// Whether a function of the kernel waits for a lock or passes one on, by the names that this kernel
// has for it.
bool analyze_is_lock(const char *function);

// Reads a recording and the counters beside it. Dies if the recording cannot be read.
void analyze_read(struct analyze_data *data, const char *path);

// Rate of a counter per second, 0 if it is not known.
double analyze_rate(const struct analyze_data *data, const char *counter);
const struct analyze_counter *analyze_counter(const struct analyze_data *data, const char *name);
// Share of the samples in a function, 0 to 1.
double analyze_share(const struct analyze_data *data, const char *function);
// The latency below which a share of all lie (upper end of its bucket).
uint64_t analyze_quantile(const struct analyze_latency *latency, double quantile);
