// SPDX-License-Identifier: MIT
//
// One direct read of a 4 KiB block of a disk, at depth 1: the latency of a request.
#include "guests/bench/bench.h"
#include "guests/bench/disk.h"

static void run(unsigned count)
{
    disk_read_requests(count, 1);
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
