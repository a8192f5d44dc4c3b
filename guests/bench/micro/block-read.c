// SPDX-License-Identifier: MIT
//
// One direct read of a 4 KiB block of a disk, at depth 1: the latency of a request.
#include "guests/bench/bench.h"
#include "guests/bench/disk.h"

#include <stdlib.h>
#include <unistd.h>

static void run(unsigned count)
{
    struct disk disk;
    unsigned right = 0;

    disk_open(&disk);
    char *block = disk_buffer(1);
    for (unsigned i = 0; i < count; i++) {
        uint32_t number = disk_next(&disk);
        uint64_t start_ns = bench_now_ns();
        bench_start();
        ssize_t got = pread(disk.file, block, DISK_BLOCK_BYTES, (off_t)number * DISK_BLOCK_BYTES);
        bench_stop();
        bench_latency(bench_now_ns() - start_ns);
        right += got == DISK_BLOCK_BYTES && disk_holds(block, number, 0);
    }
    bench_require(right == count, "what was read");
    free(block);
    disk_close(&disk);
}

BENCHMARK = {
    .name = "block-read",
    .group = "block",
    .what = "A random block of 4 KiB read from a disk with O_DIRECT, one request at a time.",
    .omits = "Caches of this kernel; those of the host are warm.",
    .disk = DISK_SIZE,
    .count = 500,
    .latency = true,
    .run = run,
};
