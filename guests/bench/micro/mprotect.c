// SPDX-License-Identifier: MIT
//
// A page in the middle of a touched area made read-only, and writable again.
#include "guests/bench/bench.h"
#include "guests/bench/protect.h"
#include "guests/bench/workers.h"

#include <stddef.h>
#include <sys/mman.h>

#define PAGES 16u

static void run(unsigned count)
{
    char *area = workers_small_pages((size_t)PAGES * 4096);
    for (unsigned i = 0; i < PAGES; i++) {
        area[(size_t)i * 4096] = 1;
    }
    protect_page(area + (size_t)7 * 4096, count);
    munmap(area, (size_t)PAGES * 4096);
}

BENCHMARK = {
    .name = "mprotect",
    .group = "memory",
    .what = "mprotect of a touched page in the middle of an area to read-only, and back to "
            "writable, and a write to it: two calls.",
    .omits = "Other CPUs.",
    .count = 2000,
    .run = run,
};
