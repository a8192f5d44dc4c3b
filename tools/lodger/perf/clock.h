// SPDX-License-Identifier: MIT
//
// The guest's TSC on the host's clock (CLOCK_MONOTONIC, which `perf record -k CLOCK_MONOTONIC`
// uses).
//
// THEORY. A handshake (perf/export.h, CLOCK) yields bounds: the host's time at a TSC value is at
// least h, or at most h. With the rate known roughly, all bounds of one handshake, which takes
// well below a millisecond, move to one TSC value: the largest lower and the smallest upper bound
// remain. Their middle is a point of the clock's line, half their distance its error.
//
//   C1  A point is taken only if its lower bound is not above its upper bound by more than the
//       rate's uncertainty explains; a guest that lies about its TSC gets no points.
//   C2  The rate is the slope between those two of the points kept between which it is known best:
//       its error is the sum of the two points' errors over their distance, so it falls with time.
//   C3  The error at any TSC value is at most that of a point plus the rate's error times the
//       distance from it. The point for which that is least is used.
#pragma once

#include "tools/lodger/perf/attach.h"

#define CLOCK_POINTS_MAX 16u

struct clock_point {
    uint64_t tsc, host_ns;
    uint64_t error_ns;
};

struct guest_clock {
    double ns_per_tick;
    double rate_error;                           // relative
    struct clock_point points[CLOCK_POINTS_MAX]; // oldest first
    unsigned count;
    uint64_t handshakes, failures;
};

// Bounds that a handshake has found.
struct clock_bound {
    uint64_t tsc, host_ns;
};
struct clock_bounds {
    struct clock_bound lower[PERF_EXPORT_CLOCK_PAIRS], upper[PERF_EXPORT_CLOCK_ROUNDS];
    unsigned lower_count, upper_count;
};

// Starts with the rate that the guest measured; 0: not known, then the first two handshakes say
// it.
void guest_clock_init(struct guest_clock *clock, uint64_t tsc_hz);

// Takes the bounds of one handshake in. False: they contradict each other (C1) or one side is
// missing.
bool guest_clock_add(struct guest_clock *clock, const struct clock_bounds *bounds);

// Performs one handshake; it gives up after `patience_ns`. False: no CPU of the guest answered, or
// without a result.
bool guest_clock_handshake(struct guest_clock *clock, struct attach *attach, uint64_t patience_ns);

// Whether there is a point.
static inline bool guest_clock_is_set(const struct guest_clock *clock)
{
    return clock->count > 0;
}

// Host time of a TSC value. Any value is allowed; times before the host's start are 0.
uint64_t guest_clock_convert(const struct guest_clock *clock, uint64_t tsc);

// Bound of the error at a TSC value near the last point.
uint64_t guest_clock_error_ns(const struct guest_clock *clock, uint64_t tsc);
