// SPDX-License-Identifier: MIT
//
// open and close of one file a thread, in one directory and one descriptor table.
#include "guests/bench/bench.h"
#include "guests/bench/workers.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct state {
    char name[32];
    unsigned long done;
    char rest[88]; // no shared cache lines
};

static void prepare(unsigned worker, unsigned count, void *opaque)
{
    struct state *state = opaque;
    (void)count;
    snprintf(state->name, sizeof(state->name), "of-%u", worker);
    int file = open(state->name, O_CREAT | O_RDWR, 0644);
    bench_require(ftruncate(file, (off_t)worker + 100) == 0, "creation");
    close(file);
}

static void work(unsigned worker, unsigned count, void *opaque)
{
    struct state *state = opaque;
    for (unsigned i = 0; i < count; i++) {
        int file = open(state->name, O_RDONLY);
        if (i % 64 == 0) {
            struct stat about;
            if (fstat(file, &about) != 0 || about.st_size != (off_t)worker + 100) {
                return;
            }
        }
        state->done += file >= 0 && close(file) == 0;
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
        bench_require(states[i].done == each, "open of the right file, close");
    }
    free(states);
}

BENCHMARK = {
    .name = "scale-open",
    .group = "scaling",
    .what = "open and close, on each CPU by a thread of one process, of a file of its own in one "
            "directory.",
    .count = 8000,
    .scales = true,
    .run = run,
};
