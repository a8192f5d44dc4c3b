// SPDX-License-Identifier: MIT
//
// Memory copied by the program itself, for the bandwidth that the machine leaves to it.
#include "guests/bench/bench.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define SIZE_BYTES ((size_t)16 << 20)

static void run(unsigned count)
{
    size_t words = SIZE_BYTES / sizeof(uint64_t);
    uint64_t *from = malloc(SIZE_BYTES), *to = malloc(SIZE_BYTES), duration_ns = 0;

    bench_require(from != NULL && to != NULL, "memory");
    memset(to, 1, SIZE_BYTES);
    for (unsigned round = 0; round < count; round++) {
        for (size_t i = 0; i < words; i++) {
            from[i] = i * 3 + round;
        }
        uint64_t start_ns = bench_now_ns();
        memcpy(to, from, SIZE_BYTES);
        duration_ns += bench_now_ns() - start_ns;
        size_t right = 0;
        for (size_t i = 0; i < words; i++) {
            right += to[i] == i * 3 + round;
        }
        bench_require(right == words, "what was copied");
    }
    bench_require(duration_ns > 0, "passing time");
    bench_value((double)SIZE_BYTES * count * 1000.0 / (double)duration_ns);
    free(from);
    free(to);
}

BENCHMARK = {
    .name = "memory-copy",
    .group = "memory",
    .what = "16 MiB of memory that is mapped already, copied with memcpy.",
    .omits = "The kernel has no part in it but the mapping.",
    .unit = "MB/s",
    .more_is_better = true,
    .count = 4,
    .no_counts = true,
    .run = run,
};
