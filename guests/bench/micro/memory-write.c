// SPDX-License-Identifier: MIT
//
// Memory written by the program itself, for the bandwidth that the machine leaves to it.
#include "guests/bench/bench.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define SIZE_BYTES ((size_t)32 << 20)

static void run(unsigned count)
{
    size_t words = SIZE_BYTES / sizeof(uint64_t);
    uint64_t *memory = calloc(words, sizeof(uint64_t)), sum = 0;

    bench_require(memory != NULL, "memory");
    for (size_t i = 0; i < words; i += 512) {
        ((volatile uint64_t *)memory)[i] = 1;
    }
    uint64_t start_ns = bench_now_ns();
    for (unsigned round = 0; round < count; round++) {
        volatile uint64_t *word = memory;
        for (size_t i = 0; i < words; i += 4) {
            word[i] = i + round;
            word[i + 1] = i + round;
            word[i + 2] = i + round;
            word[i + 3] = i + round;
        }
    }
    uint64_t duration_ns = bench_now_ns() - start_ns;
    for (size_t i = 0; i < words; i++) {
        sum += memory[i] == i / 4 * 4 + count - 1;
    }
    bench_require(sum == words, "what was written");
    bench_require(duration_ns > 0, "passing time");
    bench_value((double)SIZE_BYTES * count * 1000.0 / (double)duration_ns);
    free(memory);
}

BENCHMARK = {
    .name = "memory-write",
    .group = "memory",
    .what = "32 MiB of memory that is mapped already, written word by word: page size, TLB misses "
            "and nested paging show.",
    .omits = "The kernel has no part in it but the mapping.",
    .unit = "MB/s",
    .more_is_better = true,
    .count = 2,
    .no_counts = true,
    .run = run,
};
