// SPDX-License-Identifier: MIT
//
// The kernel's event counters (/proc/lodger/counters in the guest), read from its memory: no
// request, no sampling, no exit.
#pragma once

#include "tools/lodger/perf/attach.h"

#define COUNTERS_MAX     1024u
#define COUNTER_NAME_MAX 64u

struct counters {
    struct attach *attach;
    size_t count;
    char (*names)[COUNTER_NAME_MAX];
    uint64_t *addresses; // of CPU 0
    uint64_t *values;    // sums over the CPUs, as of the last counters_read()
    uint64_t offsets[PERF_EXPORT_CPUS];
    unsigned cpu_count;
};

// Reads names and places. Returns 0 or a negative errno (-EPROTO: nonsense, -ENOENT: no counters).
[[nodiscard]] int counters_open(struct counters *counters, struct attach *attach);
void counters_close(struct counters *counters);

// Brings the values up to date. Returns 0 or a negative errno.
[[nodiscard]] int counters_read(struct counters *counters);

// Index of a counter, or -1.
int counters_find(const struct counters *counters, const char *name);
