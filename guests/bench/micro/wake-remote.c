// SPDX-License-Identifier: MIT
//
// From FUTEX_WAKE on one CPU until the woken thread runs on another, which was idle: an IPI, where
// the kernel sends one.
#include "guests/bench/bench.h"
#include "guests/bench/workers.h"

#include <linux/futex.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static uint32_t turn;      // of the sleeper, that many times
static uint32_t sleeping;  // times that it is about to sleep
static uint64_t woken_ns;  // when it ran
static uint32_t confirmed; // turns that it has seen

static void *sleeper_main(void *argument)
{
    unsigned count = *(unsigned *)argument;

    workers_pin(1);
    for (uint32_t next = 1; next <= count; next++) {
        __atomic_store_n(&sleeping, next, __ATOMIC_RELEASE);
        while (__atomic_load_n(&turn, __ATOMIC_ACQUIRE) != next) {
            syscall(SYS_futex, &turn, FUTEX_WAIT_PRIVATE, next - 1, NULL, NULL, 0);
        }
        woken_ns = bench_now_ns();
        __atomic_store_n(&confirmed, next, __ATOMIC_RELEASE);
    }
    return argument;
}

static void run(unsigned count)
{
    const struct timespec settle = {.tv_nsec = 200000};
    uint64_t total_ns = 0;
    unsigned woken = 0;
    pthread_t sleeper;

    turn = sleeping = confirmed = 0;
    (void)workers_cpus();
    bench_require(pthread_create(&sleeper, NULL, sleeper_main, &count) == 0, "thread");
    workers_pin(0);
    for (uint32_t next = 1; next <= count; next++) {
        while (__atomic_load_n(&sleeping, __ATOMIC_ACQUIRE) != next) {
            __builtin_ia32_pause();
        }
        nanosleep(&settle, NULL); // until it sleeps, and its CPU is idle
        uint64_t start_ns = bench_now_ns();
        __atomic_store_n(&turn, next, __ATOMIC_RELEASE);
        woken += syscall(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0) == 1;
        while (__atomic_load_n(&confirmed, __ATOMIC_ACQUIRE) != next) {
            __builtin_ia32_pause();
        }
        uint64_t duration_ns = woken_ns > start_ns ? woken_ns - start_ns : 0;
        total_ns += duration_ns;
        bench_latency(duration_ns);
    }
    void *result;
    bench_require(pthread_join(sleeper, &result) == 0 && result == &count, "sleeper");
    bench_require(woken > count / 2, "the sleeper was asleep and woken by futex");
    bench_value((double)total_ns / count);
}

BENCHMARK = {
    .name = "wake-remote",
    .group = "scheduling",
    .what = "From FUTEX_WAKE until the woken thread runs on another CPU, which was idle.",
    .omits = "Busy CPUs. It relies on clocks that agree between CPUs.",
    .unit = "ns",
    .count = 50,
    .cpus = 2,
    .no_counts = true,
    .latency = true,
    .run = run,
};
