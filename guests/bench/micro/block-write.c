// SPDX-License-Identifier: MIT
//
// One direct write of a 4 KiB block of a disk, at depth 1.
#include "guests/bench/bench.h"
#include "guests/bench/disk.h"

static void run(unsigned count)
{
    disk_write_requests(count, 1, false);
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
