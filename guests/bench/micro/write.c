// SPDX-License-Identifier: MIT
//
// One pwrite of 4 KiB over a file that is in the page cache.
#include "guests/bench/bench.h"

#include <fcntl.h>
#include <stdint.h>
#include <unistd.h>

#define PAGES 64u

static void run(unsigned count)
{
    static uint64_t page[512];
    unsigned done = 0;
    int file = open("data", O_CREAT | O_RDWR, 0644);

    for (unsigned i = 0; i < PAGES; i++) {
        bench_require(write(file, page, sizeof(page)) == sizeof(page), "write");
    }
    bench_start();
    for (unsigned i = 0; i < count; i++) {
        page[0] = page[511] = i + 1;
        done += pwrite(file, page, sizeof(page), i % PAGES * 4096) == sizeof(page);
    }
    bench_stop();
    bench_require(done == count, "pwrite");
    for (unsigned i = 0; i < PAGES && i < count; i++) {
        unsigned last = (count - 1 - i) / PAGES * PAGES + i;
        bench_require(pread(file, page, sizeof(page), i * 4096) == sizeof(page), "pread");
        bench_require(page[0] == last + 1 && page[511] == last + 1 && page[1] == 0, "contents");
    }
    close(file);
}

BENCHMARK = {
    .name = "write",
    .group = "files",
    .what = "pwrite of 4 KiB over a file on tmpfs.",
    .omits = "Disks; growing files. QEMU counts each repetition of a REP string instruction.",
    .count = 5000,
    .run = run,
};
