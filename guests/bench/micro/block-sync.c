// SPDX-License-Identifier: MIT
//
// One direct write of a 4 KiB block of a disk, and fsync: what a data base's commit waits for.
#include "guests/bench/bench.h"
#include "guests/bench/disk.h"

static void run(unsigned count)
{
    disk_write_requests(count, 1, true);
}

BENCHMARK = {
    .name = "block-sync",
    .group = "block",
    .what = "A random block of 4 KiB written to a disk with O_DIRECT, and fsync.",
    .omits = "What the host's disk does of it: its file lies in a temporary folder. Of what was "
             "written the last 32 blocks are checked, and not whether they would survive.",
    .disk = DISK_SIZE,
    .count = 100,
    .latency = true,
    .run = run,
};
