// SPDX-License-Identifier: MIT
//
// A number to another process through an eventfd, and one back through a second.
#include "guests/bench/bench.h"

#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

static void run(unsigned count)
{
    int there = eventfd(0, 0), back = eventfd(0, 0);
    uint64_t number = 1, total = 0;

    if (there < 0 || back < 0) {
        bench_unsupported("eventfd");
    }
    pid_t child = fork();
    if (child == 0) {
        for (unsigned i = 0; i < count; i++) {
            if (read(there, &number, sizeof(number)) != sizeof(number)) {
                _exit(1);
            }
            number++;
            if (write(back, &number, sizeof(number)) != sizeof(number)) {
                _exit(1);
            }
        }
        _exit(0);
    }
    bench_require(child > 0, "fork");
    bench_start();
    for (unsigned i = 0; i < count; i++) {
        number = i % 100 + 1;
        if (write(there, &number, sizeof(number)) != sizeof(number) ||
            read(back, &number, sizeof(number)) != sizeof(number)) {
            bench_fail("round trip");
        }
        total += number - (i % 100 + 1);
    }
    bench_stop();
    bench_require(total == count, "increment by the other process");
    int status;
    bench_require(waitpid(child, &status, 0) == child && status == 0, "end of the other process");
    close(there);
    close(back);
}

BENCHMARK = {
    .name = "eventfd",
    .group = "ipc",
    .what = "A number to another process through an eventfd and one back: four calls, two "
            "switches.",
    .omits = "Wake-ups across CPUs where there is one.",
    .count = 2000,
    .run = run,
};
