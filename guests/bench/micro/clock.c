// SPDX-License-Identifier: MIT
//
// One clock_gettime(CLOCK_MONOTONIC) as libc does it, that is through the vDSO.
#include "guests/bench/bench.h"

#include <time.h>

static void run(unsigned count)
{
    struct timespec first, last = {0};

    clock_gettime(CLOCK_MONOTONIC, &first);
    bench_start();
    for (unsigned i = 0; i < count; i++) {
        clock_gettime(CLOCK_MONOTONIC, &last);
    }
    bench_stop();
    bench_require(last.tv_sec > first.tv_sec || last.tv_nsec > first.tv_nsec, "passing time");
}

BENCHMARK = {
    .name = "clock",
    .group = "time",
    .what = "One clock_gettime(CLOCK_MONOTONIC) through the C library and the vDSO.",
    .count = 20000,
    .run = run,
};
