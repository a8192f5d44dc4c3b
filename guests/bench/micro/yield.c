// SPDX-License-Identifier: MIT
//
// Two processes on one CPU that yield to each other.
#include "guests/bench/bench.h"
#include "guests/bench/workers.h"

#include <sched.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

struct shared {
    volatile uint32_t other_ran, stop;
};

static void run(unsigned count)
{
    struct shared *shared = workers_shared(sizeof(*shared));
    unsigned switches = 0;

    workers_pin(0);
    pid_t child = workers_fork();
    if (child == 0) {
        while (!shared->stop) {
            shared->other_ran++;
            sched_yield();
        }
        _exit(5);
    }
    bench_start();
    for (unsigned calls = 0; switches < count; calls++) {
        uint32_t before = shared->other_ran;
        if (sched_yield() != 0 || calls > 4 * count + 1000) {
            bench_fail("yielding to the other process");
        }
        switches += 2 * (shared->other_ran != before); // there and back
    }
    bench_stop();
    shared->stop = 1;
    int status;
    bench_require(waitpid(child, &status, 0) == child, "end of the other process");
    bench_require(WIFEXITED(status) && WEXITSTATUS(status) == 5, "end of the other process");
    munmap(shared, sizeof(*shared));
}

BENCHMARK = {
    .name = "yield",
    .group = "scheduling",
    .what = "sched_yield that switches to another process on the same CPU.",
    .omits = "Floating-point state (neither uses it), cold caches.",
    .count = 5000,
    .run = run,
};
