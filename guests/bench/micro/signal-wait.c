// SPDX-License-Identifier: MIT
//
// Two processes send each other a signal and wait for it with sigwaitinfo.
#include "guests/bench/bench.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void run(unsigned count)
{
    sigset_t set;
    siginfo_t about;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    bench_require(sigprocmask(SIG_BLOCK, &set, NULL) == 0, "sigprocmask");
    pid_t parent = getpid(), child = fork();
    if (child == 0) {
        for (unsigned i = 0; i < count; i++) {
            if (sigwaitinfo(&set, &about) != SIGUSR1 || about.si_pid != parent ||
                kill(parent, SIGUSR1) != 0) {
                _exit(1);
            }
        }
        _exit(0);
    }
    bench_require(child > 0, "fork");
    bench_start();
    for (unsigned i = 0; i < count; i++) {
        if (kill(child, SIGUSR1) != 0 || sigwaitinfo(&set, &about) != SIGUSR1 ||
            about.si_pid != child) {
            bench_fail("round trip");
        }
    }
    bench_stop();
    int status;
    bench_require(waitpid(child, &status, 0) == child && status == 0, "end of the other process");
}

BENCHMARK = {
    .name = "signal-wait",
    .group = "signals",
    .what = "A signal to another process and one back, both awaited with sigwaitinfo: four calls, "
            "two switches.",
    .omits = "Handlers.",
    .count = 2000,
    .run = run,
};
