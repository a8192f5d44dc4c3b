// SPDX-License-Identifier: MIT
//
// The first read of each page of a mapped file that is in the page cache.
#include "guests/bench/bench.h"

#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGES 512u

static void run(unsigned count)
{
    static uint64_t page[512];
    uint64_t sum = 0, expected = 0;
    int file = open("mapped", O_CREAT | O_RDWR, 0644);

    for (unsigned i = 0; i < PAGES; i++) {
        page[7] = i;
        bench_require(write(file, page, sizeof(page)) == sizeof(page), "write");
    }
    for (unsigned done = 0; done < count; done += PAGES) {
        unsigned batch = count - done < PAGES ? count - done : PAGES;
        const volatile uint64_t *memory =
            mmap(NULL, sizeof(page) * PAGES, PROT_READ, MAP_PRIVATE, file, 0);
        bench_require(memory != MAP_FAILED, "mmap");
        bench_start();
        for (unsigned i = 0; i < batch; i++) {
            sum += memory[i * 512 + 7];
        }
        bench_stop();
        expected += (uint64_t)batch * (batch - 1) / 2;
        munmap((void *)memory, sizeof(page) * PAGES);
    }
    bench_require(sum == expected, "contents of the file");
    close(file);
}

BENCHMARK = {
    .name = "fault-file",
    .group = "memory",
    .what = "First read of a page of a mapped file in the page cache, page after page. Kernels map "
            "the neighbours as well.",
    .omits = "Disks.",
    .count = 4096,
    .run = run,
};
