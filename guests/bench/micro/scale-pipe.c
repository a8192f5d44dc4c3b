// SPDX-License-Identifier: MIT
//
// A byte written to a pipe and read again, on all CPUs at once.
#include "guests/bench/bench.h"
#include "guests/bench/workers.h"

#include <stdlib.h>
#include <unistd.h>

struct state {
    int ends[2];
    unsigned long sum;
    char rest[112]; // no shared cache lines
};

static void prepare(unsigned worker, unsigned count, void *opaque)
{
    struct state *state = opaque;
    (void)worker;
    (void)count;
    bench_require(pipe(state->ends) == 0, "pipe");
}

static void work(unsigned worker, unsigned count, void *opaque)
{
    struct state *state = opaque;
    for (unsigned i = 0; i < count; i++) {
        unsigned char byte = (unsigned char)(worker + 1), got = 0;
        if (write(state->ends[1], &byte, 1) == 1 && read(state->ends[0], &got, 1) == 1) {
            state->sum += got;
        }
    }
}

static void run(unsigned count)
{
    struct state *states = calloc(bench_workers(), sizeof(*states));
    const struct workers_job job = {
        .prepare = prepare, .work = work, .states = states, .state_bytes = sizeof(*states)};
    bench_require(states != NULL, "memory");
    unsigned each = workers_run(&job, count);
    for (unsigned i = 0; i < bench_workers(); i++) {
        bench_require(
            states[i].sum == (unsigned long)each * (unsigned char)(i + 1), "bytes through a pipe");
        close(states[i].ends[0]);
        close(states[i].ends[1]);
    }
    free(states);
}

BENCHMARK = {
    .name = "scale-pipe",
    .group = "scaling",
    .what = "A byte written to a pipe and read again, on each CPU by a thread with a pipe of its "
            "own: two calls.",
    .count = 10000,
    .scales = true,
    .run = run,
};
