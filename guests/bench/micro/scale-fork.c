// SPDX-License-Identifier: MIT
//
// fork, exit and wait by threads of one process, on all CPUs at once.
#include "guests/bench/bench.h"
#include "guests/bench/workers.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

struct state {
    unsigned long done;
    char rest[120]; // no shared cache lines
};

static void work(unsigned worker, unsigned count, void *opaque)
{
    struct state *state = opaque;
    (void)worker;
    for (unsigned i = 0; i < count; i++) {
        pid_t child = fork();
        int status;
        if (child == 0) {
            _exit(7);
        }
        state->done += child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) &&
                       WEXITSTATUS(status) == 7;
    }
}

static void run(unsigned count)
{
    struct state *states = calloc(bench_workers(), sizeof(*states));
    const struct workers_job job = {.work = work, .states = states, .state_bytes = sizeof(*states)};
    bench_require(states != NULL, "memory");
    unsigned each = workers_run(&job, count);
    for (unsigned i = 0; i < bench_workers(); i++) {
        bench_require(states[i].done == each, "fork, exit and wait");
    }
    free(states);
}

BENCHMARK = {
    .name = "scale-fork",
    .group = "scaling",
    .what = "fork, exit of the child, wait, on each CPU by a thread of one process: they share the "
            "address space that is copied.",
    .count = 200,
    .scales = true,
    .run = run,
};
