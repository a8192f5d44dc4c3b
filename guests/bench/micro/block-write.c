// SPDX-License-Identifier: MIT
//
// One direct write of a 4 KiB block of a disk, at depth 1.
#include "guests/bench/bench.h"
#include "guests/bench/disk.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static ssize_t write_block(const struct disk *disk, const char *block, uint32_t number)
{
    return pwrite(disk->file, block, DISK_BLOCK_BYTES, (off_t)number * DISK_BLOCK_BYTES);
}

// Reads the blocks that were written, and writes what they held before.
static unsigned check_and_restore(struct disk *disk, char *block, unsigned count)
{
    unsigned right = 0;

    disk_rewind(disk);
    for (unsigned i = 0; i < count; i++) {
        uint32_t number = disk_next(disk);
        memset(block, 0, DISK_BLOCK_BYTES);
        ssize_t got = pread(disk->file, block, DISK_BLOCK_BYTES, (off_t)number * DISK_BLOCK_BYTES);
        // A block that came twice has been restored already.
        right += got == DISK_BLOCK_BYTES && (disk_holds(block, number, 1) ||
                                                (i >= DISK_BLOCKS && disk_holds(block, number, 0)));
        disk_fill(block, number, 0);
        bench_require(write_block(disk, block, number) == DISK_BLOCK_BYTES, "pwrite");
    }
    return right;
}

static void run(unsigned count)
{
    struct disk disk;

    disk_open(&disk);
    char *block = disk_buffer(1);
    for (unsigned i = 0; i < count; i++) {
        uint32_t number = disk_next(&disk);
        disk_fill(block, number, 1);
        uint64_t start_ns = bench_now_ns();
        bench_start();
        ssize_t done = write_block(&disk, block, number);
        bench_stop();
        bench_latency(bench_now_ns() - start_ns);
        bench_require(done == DISK_BLOCK_BYTES, "pwrite");
    }
    bench_require(check_and_restore(&disk, block, count) == count, "what was written");
    free(block);
    disk_close(&disk);
}

BENCHMARK = {
    .name = "block-write",
    .group = "block",
    .what = "A random block of 4 KiB written to a disk with O_DIRECT, one request at a time.",
    .omits = "Flushing the host's caches.",
    .disk = DISK_SIZE,
    .count = 300,
    .no_counts = true,
    .latency = true,
    .run = run,
};
