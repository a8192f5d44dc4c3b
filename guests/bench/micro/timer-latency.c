// SPDX-License-Identifier: MIT
//
// How late a thread wakes that sleeps until points in time: cyclictest on an idle machine.
#include "guests/bench/bench.h"
#include "guests/bench/workers.h"

#include <sched.h>
#include <sys/prctl.h>
#include <time.h>

#define PERIOD_NS 500000u

static void run(unsigned count)
{
    uint64_t late_ns = 0, due_ns;

    workers_set_policy(SCHED_FIFO, 80);
    prctl(PR_SET_TIMERSLACK, 1ul);
    due_ns = bench_now_ns();
    for (unsigned i = 0; i < count; i++) {
        due_ns += PERIOD_NS;
        const struct timespec due = {
            .tv_sec = (time_t)(due_ns / 1000000000), .tv_nsec = (long)(due_ns % 1000000000)};
        int error = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
        uint64_t now_ns = bench_now_ns();
        if (error != 0 || now_ns < due_ns) {
            bench_fail("sleeping until then");
        }
        late_ns += now_ns - due_ns;
        bench_latency(now_ns - due_ns);
    }
    bench_value((double)late_ns / count);
}

BENCHMARK = {
    .name = "timer-latency",
    .group = "time",
    .what = "How late a real-time thread (SCHED_FIFO) wakes that sleeps until points in time, "
            "every 500 us.",
    .omits = "Load: realtime-latency has it.",
    .unit = "ns",
    .count = 100,
    .latency = true,
    .run = run,
};
