// SPDX-License-Identifier: MIT
//
// One munmap of 64 touched anonymous pages.
#include "guests/bench/bench.h"
#include "guests/bench/workers.h"

#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>

#define PAGES        64u
#define LENGTH_BYTES ((size_t)PAGES * 4096)

static void run(unsigned count)
{
    unsigned char present[PAGES];

    for (unsigned i = 0; i < count; i++) {
        char *memory = workers_small_pages(LENGTH_BYTES);
        for (unsigned page = 0; page < PAGES; page++) {
            memory[(size_t)page * 4096] = 1;
        }
        bench_start();
        int error = munmap(memory, LENGTH_BYTES);
        bench_stop();
        bench_require(error == 0, "munmap");
        errno = 0;
        bench_require(mincore(memory, LENGTH_BYTES, present) != 0 && errno == ENOMEM,
            "nothing is mapped after munmap");
    }
}

BENCHMARK = {
    .name = "munmap",
    .group = "memory",
    .what = "munmap of 64 touched anonymous pages.",
    .omits = "Other CPUs. Two clock reads are in it.",
    .count = 500,
    .run = run,
};
