// SPDX-License-Identifier: MIT
//
// mmap, a touch, and munmap by threads of one process.
#include "guests/bench/bench.h"
#include "guests/bench/workers.h"

#include <stdlib.h>
#include <sys/mman.h>

struct state {
    unsigned long done;
    char rest[120]; // no shared cache lines
};

static void work(unsigned worker, unsigned count, void *opaque)
{
    struct state *state = opaque;
    for (unsigned i = 0; i < count; i++) {
        volatile char *memory =
            mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED || memory[0] != 0) {
            return;
        }
        memory[0] = (char)(worker + 1);
        state->done += memory[0] == (char)(worker + 1) && munmap((void *)memory, 16384) == 0;
    }
}

static void run(unsigned count)
{
    struct state *states = calloc(bench_workers(), sizeof(*states));
    const struct workers_job job = {.work = work, .states = states, .state_bytes = sizeof(*states)};
    bench_require(states != NULL, "memory");
    unsigned each = workers_run(&job, count);
    for (unsigned i = 0; i < bench_workers(); i++) {
        bench_require(states[i].done == each, "mmap of zeroed memory, munmap");
    }
    free(states);
}

BENCHMARK = {
    .name = "scale-mmap",
    .group = "scaling",
    .what = "mmap of 16 KiB, a write to it and munmap, on each CPU by a thread of one process: "
            "TLBs of other CPUs are in it.",
    .count = 400,
    .scales = true,
    .run = run,
};
