// SPDX-License-Identifier: MIT
//
// Direct reads of 128 KiB, one behind the other.
#include "guests/bench/bench.h"
#include "guests/bench/disk.h"

static void run(unsigned count)
{
    disk_read_requests(count, 32);
}

BENCHMARK = {
    .name = "block-read-large",
    .group = "block",
    .what = "128 KiB read from a disk with O_DIRECT, one request at a time, one behind the other.",
    .omits = "Caches of this kernel; those of the host are warm. The first and the last block of "
             "each are checked.",
    .disk = DISK_SIZE,
    .count = 200,
    .latency = true,
    .run = run,
};
