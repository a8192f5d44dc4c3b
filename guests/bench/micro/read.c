// SPDX-License-Identifier: MIT
//
// One pread of 4 KiB of a file that is in the page cache.
#include "guests/bench/bench.h"

#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#define PAGES 64u

static void run(unsigned count)
{
    static uint64_t page[512];
    uint64_t sum = 0, expected = 0;
    int file = open("data", O_CREAT | O_RDWR, 0644);

    for (unsigned i = 0; i < PAGES; i++) {
        for (unsigned word = 0; word < 512; word++) {
            page[word] = i * 512 + word;
        }
        bench_require(write(file, page, sizeof(page)) == sizeof(page), "write");
    }
    memset(page, 0, sizeof(page));
    bench_start();
    for (unsigned i = 0; i < count; i++) {
        if (pread(file, page, sizeof(page), i % PAGES * 4096) != sizeof(page)) {
            bench_fail("pread");
        }
        sum += page[0] + page[511];
    }
    bench_stop();
    for (unsigned i = 0; i < count; i++) {
        expected += 2 * (i % PAGES * 512) + 511;
    }
    bench_require(sum == expected, "what was read");
    close(file);
}

BENCHMARK = {
    .name = "read",
    .group = "files",
    .what = "pread of 4 KiB of a file on tmpfs.",
    .omits = "Disks and read-ahead. QEMU counts each repetition of a REP string instruction.",
    .count = 5000,
    .run = run,
};
