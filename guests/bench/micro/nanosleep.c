// SPDX-License-Identifier: MIT
//
// How much longer than it asked for a program sleeps that wants to sleep 1 microsecond.
#include "guests/bench/bench.h"

#include <sys/prctl.h>
#include <time.h>

#define ASKED_NS 1000u

static void run(unsigned count)
{
    const struct timespec asked = {.tv_nsec = ASKED_NS};
    uint64_t late_ns = 0;

    bench_require(prctl(PR_SET_TIMERSLACK, 1ul) == 0, "PR_SET_TIMERSLACK");
    for (unsigned i = 0; i < count; i++) {
        uint64_t start_ns = bench_now_ns();
        int error = clock_nanosleep(CLOCK_MONOTONIC, 0, &asked, NULL);
        uint64_t slept_ns = bench_now_ns() - start_ns;
        if (error != 0 || slept_ns < ASKED_NS) {
            bench_fail("sleeping at least as long as asked");
        }
        late_ns += slept_ns - ASKED_NS;
        bench_latency(slept_ns - ASKED_NS);
    }
    bench_value((double)late_ns / count);
}

BENCHMARK = {
    .name = "nanosleep",
    .group = "time",
    .what = "How much longer than 1 us a clock_nanosleep of 1 us takes, with a timer slack of 1 "
            "ns.",
    .omits = "Load.",
    .unit = "ns",
    .count = 2000,
    .latency = true,
    .run = run,
};
