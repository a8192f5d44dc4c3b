// SPDX-License-Identifier: MIT
//
// A signal to a thread that computes on another CPU, until its handler has run there: what
// interrupts the other CPU is an IPI.
#include "guests/bench/bench.h"
#include "guests/bench/workers.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

static uint32_t handled, elsewhere, ready;
static int target_cpu;
static volatile bool stop;
static long target;

static void on_signal(int number)
{
    (void)number;
    elsewhere += sched_getcpu() != target_cpu;
    __atomic_fetch_add(&handled, 1, __ATOMIC_RELEASE);
}

static void *computer_main(void *argument)
{
    workers_pin(1);
    target_cpu = sched_getcpu();
    target = syscall(SYS_gettid);
    __atomic_store_n(&ready, 1, __ATOMIC_RELEASE);
    while (!stop) { // no call, no pause: only an interrupt stops it
    }
    return argument;
}

static void run(unsigned count)
{
    struct sigaction action = {.sa_handler = on_signal}, old;
    long process = getpid();
    pthread_t computer;

    handled = elsewhere = ready = 0;
    stop = false;
    (void)workers_cpus();
    bench_require(sigaction(SIGUSR1, &action, &old) == 0, "sigaction");
    bench_require(pthread_create(&computer, NULL, computer_main, &count) == 0, "thread");
    workers_pin(0);
    while (!__atomic_load_n(&ready, __ATOMIC_ACQUIRE)) {
        __builtin_ia32_pause();
    }
    for (uint32_t i = 1; i <= count; i++) {
        uint64_t start_ns = bench_now_ns();
        bench_start();
        if (syscall(SYS_tgkill, process, target, SIGUSR1) != 0) {
            bench_fail("tgkill");
        }
        while (__atomic_load_n(&handled, __ATOMIC_ACQUIRE) != i) {
            __builtin_ia32_pause();
        }
        bench_stop();
        bench_latency(bench_now_ns() - start_ns);
    }
    stop = true;
    void *result;
    bench_require(pthread_join(computer, &result) == 0 && result == &count, "thread");
    bench_require(elsewhere == 0, "the handler ran on the other CPU");
    sigaction(SIGUSR1, &old, NULL);
}

BENCHMARK = {
    .name = "ipi",
    .group = "scheduling",
    .what = "A signal to a thread that computes on another CPU, until its handler has run there.",
    .omits = "It is an IPI, its interrupt, and the delivery of a signal.",
    .count = 100,
    .cpus = 2,
    .no_counts = true,
    .latency = true,
    .run = run,
};
