// SPDX-License-Identifier: MIT
//
// First writes to anonymous memory that the program wants in huge pages.
#include "guests/bench/bench.h"
#include "guests/bench/workers.h"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

#define HUGE_BYTES  ((size_t)2 << 20)
#define HUGE_PAGES  16u
#define SMALL_PAGES 512u // in a huge one

static void run(unsigned count)
{
    unsigned done = 0;

    while (done < count) {
        size_t length = HUGE_BYTES * (HUGE_PAGES + 1);
        char *area = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        bench_require(area != MAP_FAILED, "mmap");
        char *memory = (char *)(((uintptr_t)area + HUGE_BYTES - 1) & ~(HUGE_BYTES - 1));
        if (madvise(memory, HUGE_BYTES * HUGE_PAGES, MADV_HUGEPAGE) != 0) {
            bench_unsupported("madvise(MADV_HUGEPAGE)");
        }
        unsigned pages = HUGE_PAGES * SMALL_PAGES;
        pages = count - done < pages ? count - done : pages;
        bench_start();
        for (unsigned i = 0; i < pages; i++) {
            ((volatile char *)memory)[(size_t)i * 4096] = 1;
        }
        bench_stop();
        long huge_kb = workers_smaps_kb(memory, "AnonHugePages:");
        if (huge_kb < (long)(pages / SMALL_PAGES * HUGE_BYTES / 1024)) {
            errno = ENOMEM;
            bench_unsupported("huge pages (madvise succeeded, AnonHugePages is less)");
        }
        for (unsigned i = 0; i < pages; i++) {
            char *page = memory + (size_t)i * 4096;
            bench_require(page[0] == 1 && page[1] == 0 && page[4095] == 0, "zeroing");
            page[4095] = 7;
        }
        munmap(area, length);
        done += pages;
    }
}

BENCHMARK = {
    .name = "fault-huge",
    .group = "memory",
    .what = "First write to each 4 KiB of anonymous memory with MADV_HUGEPAGE: one in 512 faults "
            "and zeroes 2 MiB.",
    .omits = "QEMU counts each repetition of a REP string instruction; the CPU model of the "
             "counted runs has no ERMS, so that kernels clear by wider steps.",
    .count = 16384,
    .memory = "1G",
    .run = run,
};
