// SPDX-License-Identifier: MIT
//
// Direct reads of 128 KiB, one behind the other.
#include "guests/bench/bench.h"
#include "guests/bench/disk.h"

#include <stdlib.h>
#include <unistd.h>

#define BLOCKS 32u // a request

static_assert(DISK_BLOCKS % BLOCKS == 0);

static void run(unsigned count)
{
    struct disk disk;
    unsigned right = 0;

    disk_open(&disk);
    char *blocks = disk_buffer(BLOCKS);
    for (unsigned i = 0; i < count; i++) {
        uint32_t number = i * BLOCKS % DISK_BLOCKS;
        bench_start();
        ssize_t got = pread(
            disk.file, blocks, BLOCKS * DISK_BLOCK_BYTES, (off_t)number * DISK_BLOCK_BYTES);
        bench_stop();
        uint32_t last = BLOCKS - 1;
        right += got == BLOCKS * DISK_BLOCK_BYTES && disk_holds(blocks, number, 0) &&
                 disk_holds(blocks + (size_t)last * DISK_BLOCK_BYTES, number + last, 0);
    }
    bench_require(right == count, "what was read");
    free(blocks);
    disk_close(&disk);
}

BENCHMARK = {
    .name = "block-read-large",
    .group = "block",
    .what = "128 KiB read from a disk with O_DIRECT, one request at a time, one behind the other.",
    .omits = "Caches of this kernel; those of the host are warm. The first and the last block of "
             "each are checked.",
    .disk = DISK_SIZE,
    .count = 200,
    .run = run,
};
