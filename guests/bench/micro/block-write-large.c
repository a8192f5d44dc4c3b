// SPDX-License-Identifier: MIT
//
// Direct writes of 128 KiB, one behind the other.
#include "guests/bench/bench.h"
#include "guests/bench/disk.h"

#include <stdlib.h>
#include <unistd.h>

#define BLOCKS 32u // a request

static_assert(DISK_BLOCKS % BLOCKS == 0);

static void run(unsigned count)
{
    struct disk disk;
    uint32_t number = 0;

    disk_open(&disk);
    char *blocks = disk_buffer(BLOCKS);
    for (uint32_t i = 0; i < BLOCKS; i++) {
        disk_fill(blocks + (size_t)i * DISK_BLOCK_BYTES, 0, 1);
    }
    for (unsigned i = 0; i < count; i++) {
        number = i * BLOCKS % DISK_BLOCKS;
        for (uint32_t k = 0; k < BLOCKS; k++) {
            disk_stamp(blocks + (size_t)k * DISK_BLOCK_BYTES, number + k);
        }
        bench_start();
        ssize_t done =
            pwrite(disk.file, blocks, BLOCKS * DISK_BLOCK_BYTES, disk_written_at(number));
        bench_stop();
        bench_require(done == BLOCKS * DISK_BLOCK_BYTES, "pwrite");
    }
    bench_require(disk_was_written(&disk, number, BLOCKS), "what was written");
    free(blocks);
    disk_close(&disk);
}

BENCHMARK = {
    .name = "block-write-large",
    .group = "block",
    .what = "128 KiB written to a disk with O_DIRECT, one request at a time, one behind the other.",
    .omits = "Flushing the host's caches. The last request is checked.",
    .disk = DISK_SIZE,
    .count = 200,
    .run = run,
};
