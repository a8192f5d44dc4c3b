// SPDX-License-Identifier: MIT
//
// The turn goes to another thread by store and FUTEX_WAKE, and comes back in the same way.
#include "guests/bench/bench.h"

#include <linux/futex.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

static uint32_t turn;

static void futex_pass_turn(uint32_t to)
{
    __atomic_store_n(&turn, to, __ATOMIC_SEQ_CST);
    syscall(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void futex_await_turn(uint32_t mine)
{
    uint32_t seen;

    while ((seen = __atomic_load_n(&turn, __ATOMIC_SEQ_CST)) != mine) {
        syscall(SYS_futex, &turn, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
    }
}

static void *futex_partner(void *argument)
{
    unsigned count = *(unsigned *)argument;

    for (unsigned i = 0; i < count; i++) {
        futex_await_turn(1);
        futex_pass_turn(0);
    }
    return argument;
}

static void run(unsigned count)
{
    pthread_t partner;

    turn = 0;
    bench_require(pthread_create(&partner, NULL, futex_partner, &count) == 0, "thread");
    bench_start();
    for (unsigned i = 0; i < count; i++) {
        futex_pass_turn(1);
        futex_await_turn(0);
    }
    bench_stop();
    void *result;
    bench_require(pthread_join(partner, &result) == 0 && result == &count, "partner's work");
}

BENCHMARK = {
    .name = "futex",
    .group = "ipc",
    .what = "Two threads hand a turn to each other and back with FUTEX_WAIT and FUTEX_WAKE.",
    .omits = "Wake-ups across CPUs where there is one.",
    .count = 2000,
    .run = run,
};
