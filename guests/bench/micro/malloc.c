// SPDX-License-Identifier: MIT
//
// malloc and free of mixed sizes, as a program with 1000 live objects does them.
#include "guests/bench/bench.h"

#include <stdint.h>
#include <stdlib.h>

#define OBJECTS 1000u

static void run(unsigned count)
{
    static uint32_t *objects[OBJECTS];
    uint32_t random = 12345;
    unsigned wrong = 0;

    bench_start();
    for (unsigned i = 0; i < count; i++) {
        random = random * 1664525 + 1013904223;
        unsigned index = (random >> 8) % OBJECTS;
        if (objects[index] != NULL) {
            wrong += *objects[index] != index;
            free(objects[index]);
        }
        objects[index] = malloc(16u << (random >> 28) % 10);
        if (objects[index] == NULL) {
            bench_fail("malloc");
        }
        *objects[index] = index;
    }
    bench_stop();
    for (unsigned i = 0; i < OBJECTS; i++) {
        wrong += objects[i] != NULL && *objects[i] != i;
        free(objects[i]);
        objects[i] = NULL;
    }
    bench_require(wrong == 0, "objects do not overlap");
}

BENCHMARK = {
    .name = "malloc",
    .group = "memory",
    .what = "free and malloc of an object of 16 bytes to 8 KiB, at random among 1000: musl's, and "
            "what it asks the kernel for.",
    .omits = "The kernel's share is small.",
    .count = 20000,
    .run = run,
};
