// SPDX-License-Identifier: MIT
//
// One byte to another process through a pipe, and one byte back through a second pipe.
#include "guests/bench/bench.h"

#include <sys/wait.h>
#include <unistd.h>

static void run(unsigned count)
{
    int there[2], back[2];
    char byte = 0;

    bench_require(pipe(there) == 0 && pipe(back) == 0, "pipe");
    pid_t child = fork();
    if (child == 0) {
        close(there[1]);
        close(back[0]);
        while (read(there[0], &byte, 1) == 1) {
            byte++;
            if (write(back[1], &byte, 1) != 1) {
                _exit(1);
            }
        }
        _exit(0);
    }
    close(there[0]);
    close(back[1]);
    bench_start();
    for (unsigned i = 0; i < count; i++) {
        if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1) {
            bench_fail("round trip");
        }
    }
    bench_stop();
    bench_require(byte == (char)count, "increment by the other process");
    close(there[1]);
    close(back[0]);
    int status;
    bench_require(waitpid(child, &status, 0) == child && status == 0, "end of the other process");
}

BENCHMARK = {
    .name = "pipe",
    .group = "ipc",
    .what = "One byte to another process through a pipe and one back: four calls, two switches.",
    .omits = "Wake-ups across CPUs where there is one.",
    .count = 2000,
    .run = run,
};
