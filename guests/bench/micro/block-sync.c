// SPDX-License-Identifier: MIT
//
// One direct write of a 4 KiB block of a disk, and fsync: what a data base's commit waits for.
#include "guests/bench/bench.h"
#include "guests/bench/disk.h"

#include <stdlib.h>
#include <unistd.h>

static void run(unsigned count)
{
    struct disk disk;
    uint32_t number = 0;

    disk_open(&disk);
    char *block = disk_buffer(1);
    disk_fill(block, 0, 1);
    for (unsigned i = 0; i < count; i++) {
        number = disk_next(&disk);
        disk_stamp(block, number);
        uint64_t start_ns = bench_now_ns();
        bench_start();
        ssize_t done = pwrite(disk.file, block, DISK_BLOCK_BYTES, disk_written_at(number));
        int error = fsync(disk.file);
        bench_stop();
        bench_latency(bench_now_ns() - start_ns);
        bench_require(done == DISK_BLOCK_BYTES, "pwrite");
        bench_require(error == 0, "fsync");
    }
    bench_require(disk_was_written(&disk, number, 1), "what was written");
    free(block);
    disk_close(&disk);
}

BENCHMARK = {
    .name = "block-sync",
    .group = "block",
    .what = "A random block of 4 KiB written to a disk with O_DIRECT, and fsync.",
    .omits = "What the host's disk does of it: its file lies in a temporary folder. Of what was "
             "written only the last block is checked, and not whether it would survive.",
    .disk = DISK_SIZE,
    .count = 100,
    .latency = true,
    .run = run,
};
