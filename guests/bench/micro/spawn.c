// SPDX-License-Identifier: MIT
//
// One posix_spawn of this static program (which ends at once with code 9), and the wait for it.
#include "guests/bench/bench.h"

#include <errno.h>
#include <spawn.h>
#include <stddef.h>
#include <sys/wait.h>

static void run(unsigned count)
{
    char *arguments[] = {"bench", "--nothing", NULL};
    char *environment[] = {NULL};

    bench_start();
    for (unsigned i = 0; i < count; i++) {
        pid_t child;
        int status = -1;

        errno = posix_spawn(&child, "/proc/self/exe", NULL, NULL, arguments, environment);
        if (errno != 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status) ||
            WEXITSTATUS(status) != 9) {
            bench_fail("posix_spawn and wait");
        }
    }
    bench_stop();
}

BENCHMARK = {
    .name = "spawn",
    .group = "processes",
    .what = "posix_spawn of a static program that ends at once, wait.",
    .omits = "The dynamic linker.",
    .count = 200,
    .run = run,
};
