// SPDX-License-Identifier: MIT
//
// FUTEX_WAKE without a sleeper and FUTEX_WAIT for a value that is gone, on words of each thread's
// own: the futex table.
#include "guests/bench/bench.h"
#include "guests/bench/workers.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

struct state {
    uint32_t word;
    unsigned long done;
    char rest[112]; // no shared cache lines
};

static void work(unsigned worker, unsigned count, void *opaque)
{
    struct state *state = opaque;
    (void)worker;
    for (unsigned i = 0; i < count; i++) {
        state->word = i;
        long woken = syscall(SYS_futex, &state->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
        long waited = syscall(SYS_futex, &state->word, FUTEX_WAIT_PRIVATE, i + 1, NULL, NULL, 0);
        state->done += woken == 0 && waited == -1 && errno == EAGAIN;
    }
}

static void run(unsigned count)
{
    struct state *states = calloc(bench_workers(), sizeof(*states));
    const struct workers_job job = {.work = work, .states = states, .state_bytes = sizeof(*states)};
    bench_require(states != NULL, "memory");
    unsigned each = workers_run(&job, count);
    for (unsigned i = 0; i < bench_workers(); i++) {
        bench_require(states[i].done == each, "FUTEX_WAKE of nobody, FUTEX_WAIT for another value");
    }
    free(states);
}

BENCHMARK = {
    .name = "scale-futex",
    .group = "scaling",
    .what = "FUTEX_WAKE of nobody and FUTEX_WAIT that need not wait, on each CPU by a thread of "
            "one process on a word of its own: two calls.",
    .omits = "Sleeping and waking.",
    .count = 10000,
    .scales = true,
    .run = run,
};
