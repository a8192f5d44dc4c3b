// SPDX-License-Identifier: MIT
//
// Direct writes of 128 KiB, one behind the other.
#include "guests/bench/bench.h"
#include "guests/bench/disk.h"

static void run(unsigned count)
{
    disk_write_requests(count, 32, false);
}

BENCHMARK = {
    .name = "block-write-large",
    .group = "block",
    .what = "128 KiB written to a disk with O_DIRECT, one request at a time, one behind the other.",
    .omits = "Flushing the host's caches. The last request is checked.",
    .disk = DISK_SIZE,
    .count = 200,
    .latency = true,
    .run = run,
};
