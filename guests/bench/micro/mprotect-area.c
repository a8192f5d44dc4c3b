// SPDX-License-Identifier: MIT
//
// A mapping of one touched page made read-only, and writable again: no area is cut.
#include "guests/bench/bench.h"
#include "guests/bench/protect.h"

#include <stddef.h>
#include <sys/mman.h>

static void run(unsigned count)
{
    // Neighbours of other kinds, so that nothing is merged.
    char *area = mmap(NULL, 3 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bench_require(area != MAP_FAILED, "mmap");
    char *page = area + 4096;
    bench_require(mprotect(page, 4096, PROT_READ | PROT_WRITE) == 0, "mprotect");
    page[0] = 1;
    protect_page(page, count);
    munmap(area, 3 * 4096);
}

BENCHMARK = {
    .name = "mprotect-area",
    .group = "memory",
    .what = "mprotect of a mapping of one touched page to read-only, and back to writable, and a "
            "write to it: two calls.",
    .omits = "Cutting and merging areas (mprotect has them). Other CPUs.",
    .count = 2000,
    .run = run,
};
