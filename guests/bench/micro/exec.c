// SPDX-License-Identifier: MIT
//
// One fork, execve of this static program (which ends at once with code 9), and the wait for it.
#include "guests/bench/bench.h"

#include <sys/wait.h>
#include <unistd.h>

static void run(unsigned count)
{
    char *arguments[] = {"bench", "--nothing", NULL};
    char *environment[] = {NULL};

    bench_start();
    for (unsigned i = 0; i < count; i++) {
        pid_t child = fork();
        int status = -1;

        if (child == 0) {
            execve("/proc/self/exe", arguments, environment);
            _exit(1);
        }
        if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 9) {
            bench_fail("fork, exec and wait");
        }
    }
    bench_stop();
}

BENCHMARK = {
    .name = "exec",
    .group = "processes",
    .what = "fork, execve of a static program that ends at once, wait.",
    .omits = "The dynamic linker.",
    .count = 200,
    .run = run,
};
