// SPDX-License-Identifier: MIT
//
// One direct write of a 4 KiB block of a disk, at depth 1.
#include "guests/bench/bench.h"
#include "guests/bench/disk.h"

#include <stdlib.h>
#include <unistd.h>

// So many are looked at afterwards, in any round: whoever counts rounds against each other does not
// count that.
#define CHECKED 32u

static void run(unsigned count)
{
    struct disk disk;
    uint32_t last[CHECKED] = {};

    disk_open(&disk);
    char *block = disk_buffer(1);
    disk_fill(block, 0, 1);
    for (unsigned i = 0; i < count; i++) {
        uint32_t number = disk_next(&disk);
        disk_stamp(block, number);
        last[i % CHECKED] = number;
        uint64_t start_ns = bench_now_ns();
        bench_start();
        ssize_t done = pwrite(disk.file, block, DISK_BLOCK_BYTES, disk_written_at(number));
        bench_stop();
        bench_latency(bench_now_ns() - start_ns);
        bench_require(done == DISK_BLOCK_BYTES, "pwrite");
    }
    for (unsigned i = 0; i < CHECKED && i < count; i++) {
        bench_require(disk_was_written(&disk, last[i], 1), "what was written");
    }
    free(block);
    disk_close(&disk);
}

BENCHMARK = {
    .name = "block-write",
    .group = "block",
    .what = "A random block of 4 KiB written to a disk with O_DIRECT, one request at a time.",
    .omits = "Flushing the host's caches. Of what was written the last 32 blocks are checked.",
    .disk = DISK_SIZE,
    .count = 300,
    .latency = true,
    .run = run,
};
