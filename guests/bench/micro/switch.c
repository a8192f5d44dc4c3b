// SPDX-License-Identifier: MIT
//
// Two threads on one CPU that yield to each other: a context switch without a change of address
// space.
#include "guests/bench/bench.h"
#include "guests/bench/workers.h"

#include <pthread.h>
#include <sched.h>
#include <stdint.h>

static volatile uint32_t other_ran, stop;

static void *other_main(void *argument)
{
    workers_pin(0);
    while (!stop) {
        other_ran++;
        sched_yield();
    }
    return argument;
}

static void run(unsigned count)
{
    unsigned switches = 0;
    pthread_t other;

    stop = 0;
    workers_pin(0);
    bench_require(pthread_create(&other, NULL, other_main, &count) == 0, "thread");
    while (other_ran == 0) {
        sched_yield();
    }
    bench_start();
    for (unsigned calls = 0; switches < count; calls++) {
        uint32_t before = other_ran;
        if (sched_yield() != 0 || calls > 4 * count + 1000) {
            bench_fail("yielding to the other thread");
        }
        switches += 2 * (other_ran != before); // there and back
    }
    bench_stop();
    stop = 1;
    void *result;
    bench_require(pthread_join(other, &result) == 0 && result == &count, "end of the other thread");
}

BENCHMARK = {
    .name = "switch",
    .group = "scheduling",
    .what = "sched_yield that switches to another thread of the process, on the same CPU.",
    .omits = "Floating-point state (neither uses it), cold caches.",
    .count = 5000,
    .run = run,
};
