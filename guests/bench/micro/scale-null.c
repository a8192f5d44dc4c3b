// SPDX-License-Identifier: MIT
//
// getppid on all CPUs at once.
#include "guests/bench/bench.h"
#include "guests/bench/workers.h"

#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

struct state {
    unsigned long sum;
    char rest[120]; // no shared cache lines
};

static void work(unsigned worker, unsigned count, void *opaque)
{
    struct state *state = opaque;
    unsigned long sum = 0;
    (void)worker;
    for (unsigned i = 0; i < count; i++) {
        sum += (unsigned long)syscall(SYS_getppid);
    }
    state->sum = sum;
}

static void run(unsigned count)
{
    struct state *states = calloc(bench_workers(), sizeof(*states));
    const struct workers_job job = {.work = work, .states = states, .state_bytes = sizeof(*states)};
    bench_require(states != NULL, "memory");
    unsigned each = workers_run(&job, count);
    for (unsigned i = 0; i < bench_workers(); i++) {
        bench_require(states[i].sum == (unsigned long)bench_parent() * each, "getppid");
    }
    free(states);
}

BENCHMARK = {
    .name = "scale-null",
    .group = "scaling",
    .what = "getppid, on each CPU by a thread of its own.",
    .count = 40000,
    .scales = true,
    .run = run,
};
