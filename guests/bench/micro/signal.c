// SPDX-License-Identifier: MIT
//
// One signal that the thread sends to itself: tgkill, handler, sigreturn.
#include "guests/bench/bench.h"

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

static volatile unsigned delivered;

static void on_signal(int number)
{
    delivered += (unsigned)(number == SIGUSR1);
}

static void run(unsigned count)
{
    struct sigaction action = {.sa_handler = on_signal}, old;
    long process = getpid(), thread = syscall(SYS_gettid);

    delivered = 0;
    bench_require(sigaction(SIGUSR1, &action, &old) == 0, "sigaction");
    bench_start();
    for (unsigned i = 0; i < count; i++) {
        syscall(SYS_tgkill, process, thread, SIGUSR1);
    }
    bench_stop();
    bench_require(delivered == count, "delivery");
    sigaction(SIGUSR1, &old, NULL);
}

BENCHMARK = {
    .name = "signal",
    .group = "signals",
    .what = "A thread's signal to itself: tgkill, handler, sigreturn.",
    .omits = "Signals between threads.",
    .count = 5000,
    .run = run,
};
