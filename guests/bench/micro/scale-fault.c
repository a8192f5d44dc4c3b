// SPDX-License-Identifier: MIT
//
// First writes to anonymous pages by threads of one process, each in an area of its own.
#include "guests/bench/bench.h"
#include "guests/bench/workers.h"

#include <stdlib.h>
#include <sys/mman.h>

struct state {
    char *memory;
    unsigned long zeroed;
    char rest[112]; // no shared cache lines
};

static void prepare(unsigned worker, unsigned count, void *opaque)
{
    struct state *state = opaque;
    (void)worker;
    state->memory = workers_small_pages((size_t)count * 4096);
}

static void work(unsigned worker, unsigned count, void *opaque)
{
    struct state *state = opaque;
    (void)worker;
    for (unsigned i = 0; i < count; i++) {
        volatile char *byte = state->memory + (size_t)i * 4096;
        *byte = 1;
        state->zeroed += byte[1] == 0;
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
        bench_require(states[i].zeroed == each, "zeroed pages");
        for (unsigned page = 0; page < each; page++) {
            bench_require(states[i].memory[(size_t)page * 4096] == 1, "what was written");
        }
        munmap(states[i].memory, (size_t)each * 4096);
    }
    free(states);
}

BENCHMARK = {
    .name = "scale-fault",
    .group = "scaling",
    .what = "First write to an anonymous page, on each CPU by a thread of one process in an area "
            "of its own.",
    .omits = "Huge pages.",
    .count = 8192,
    .scales = true,
    .run = run,
};
