// SPDX-License-Identifier: MIT
//
// One fork, the child's _exit, and the wait for it.
#include "guests/bench/bench.h"

#include <sys/wait.h>
#include <unistd.h>

static void run(unsigned count)
{
    bench_start();
    for (unsigned i = 0; i < count; i++) {
        pid_t child = fork();
        int status = -1;

        if (child == 0) {
            _exit(5);
        }
        if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 5) {
            bench_fail("fork, exit and wait");
        }
    }
    bench_stop();
}

BENCHMARK = {
    .name = "fork",
    .group = "processes",
    .what = "fork, exit of the child at once, wait.",
    .count = 200,
    .run = run,
};
