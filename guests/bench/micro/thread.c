// SPDX-License-Identifier: MIT
//
// One pthread_create, the thread's end, and pthread_join.
#include "guests/bench/bench.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>

static void *add_one(void *argument)
{
    return (char *)argument + 1;
}

static void run(unsigned count)
{
    char *sum = NULL;

    bench_start();
    for (unsigned i = 0; i < count; i++) {
        pthread_t thread;
        void *result = NULL;

        errno = pthread_create(&thread, NULL, add_one, sum);
        if (errno != 0 || pthread_join(thread, &result) != 0) {
            bench_fail("pthread_create and pthread_join");
        }
        sum = result;
    }
    bench_stop();
    bench_require((uintptr_t)sum == count, "what the threads did");
}

BENCHMARK = {
    .name = "thread",
    .group = "processes",
    .what = "pthread_create of a thread that returns at once, pthread_join. musl maps and unmaps "
            "each stack.",
    .count = 500,
    .run = run,
};
