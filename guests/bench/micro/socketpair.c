// SPDX-License-Identifier: MIT
//
// One byte to another process through a pair of AF_UNIX stream sockets, and one byte back.
#include "guests/bench/bench.h"

#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void run(unsigned count)
{
    int ends[2];
    char byte = 0;

    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) {
        bench_unsupported("socketpair(AF_UNIX)");
    }
    pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        while (read(ends[1], &byte, 1) == 1) {
            byte++;
            if (write(ends[1], &byte, 1) != 1) {
                _exit(1);
            }
        }
        _exit(0);
    }
    bench_require(child > 0, "fork");
    close(ends[1]);
    bench_start();
    for (unsigned i = 0; i < count; i++) {
        if (write(ends[0], &byte, 1) != 1 || read(ends[0], &byte, 1) != 1) {
            bench_fail("round trip");
        }
    }
    bench_stop();
    bench_require(byte == (char)count, "increment by the other process");
    close(ends[0]);
    int status;
    bench_require(waitpid(child, &status, 0) == child && status == 0, "end of the other process");
}

BENCHMARK = {
    .name = "socketpair",
    .group = "ipc",
    .what = "One byte to another process through a socket pair and one back: four calls, two "
            "switches.",
    .omits = "Wake-ups across CPUs where there is one.",
    .count = 2000,
    .run = run,
};
