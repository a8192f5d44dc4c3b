// SPDX-License-Identifier: MIT
//
// Memory read by the program itself, for the bandwidth that the machine leaves to it.
#include "guests/bench/bench.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define SIZE_BYTES ((size_t)32 << 20)

static void run(unsigned count)
{
    size_t words = SIZE_BYTES / sizeof(uint64_t);
    uint64_t *memory = malloc(SIZE_BYTES), sum = 0;

    bench_require(memory != NULL, "memory");
    for (size_t i = 0; i < words; i++) {
        memory[i] = i;
    }
    uint64_t start_ns = bench_now_ns();
    for (unsigned round = 0; round < count; round++) {
        const volatile uint64_t *word = memory;
        for (size_t i = 0; i < words; i += 8) {
            sum += word[i] + word[i + 1] + word[i + 2] + word[i + 3] + word[i + 4] + word[i + 5] +
                   word[i + 6] + word[i + 7];
        }
    }
    uint64_t duration_ns = bench_now_ns() - start_ns;
    bench_require(sum == (uint64_t)words * (words - 1) / 2 * count, "sum of what was read");
    bench_require(duration_ns > 0, "passing time");
    bench_value((double)SIZE_BYTES * count * 1000.0 / (double)duration_ns);
    free(memory);
}

BENCHMARK = {
    .name = "memory-read",
    .group = "memory",
    .what = "32 MiB of memory that is mapped already, read word by word: page size, TLB misses and "
            "nested paging show.",
    .omits = "The kernel has no part in it but the mapping.",
    .unit = "MB/s",
    .more_is_better = true,
    .count = 2,
    .no_counts = true,
    .run = run,
};
