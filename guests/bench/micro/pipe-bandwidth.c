// SPDX-License-Identifier: MIT
//
// Bytes a second through a pipe in pieces of 4 KiB.
#include "guests/bench/bench.h"

#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

static void run(unsigned count)
{
    static uint64_t piece[512];
    int ends[2];

    bench_require(pipe(ends) == 0, "pipe");
    pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        for (unsigned i = 0; i < count; i++) {
            piece[0] = piece[511] = i;
            if (write(ends[1], piece, sizeof(piece)) != sizeof(piece)) {
                _exit(1);
            }
        }
        _exit(0);
    }
    bench_require(child > 0, "fork");
    close(ends[1]);
    uint64_t start_ns = bench_now_ns(), received_bytes = 0, wrong = 0;
    ssize_t got;
    while ((got = read(ends[0], (char *)piece + received_bytes % sizeof(piece),
                sizeof(piece) - received_bytes % sizeof(piece))) > 0) {
        received_bytes += (uint64_t)got;
        if (received_bytes % sizeof(piece) == 0) {
            uint64_t number = received_bytes / sizeof(piece) - 1;
            wrong += piece[0] != number || piece[511] != number;
        }
    }
    uint64_t duration_ns = bench_now_ns() - start_ns;
    close(ends[0]);
    bench_require(received_bytes == (uint64_t)count * sizeof(piece), "all bytes");
    bench_require(wrong == 0, "bytes in order");
    int status;
    bench_require(waitpid(child, &status, 0) == child && status == 0, "end of the other process");
    bench_value((double)received_bytes * 1000.0 / (double)(duration_ns > 0 ? duration_ns : 1));
}

BENCHMARK = {
    .name = "pipe-bandwidth",
    .group = "ipc",
    .what = "Bytes that go from one process to another through a pipe, written and read in pieces "
            "of 4 KiB.",
    .omits = "Splicing. Counted runs take an instruction for a nanosecond.",
    .unit = "MB/s",
    .more_is_better = true,
    .count = 4000,
    .run = run,
};
