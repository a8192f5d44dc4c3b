// SPDX-License-Identifier: MIT
//
// The first write to a fresh anonymous page of 4 KiB. Mapping and unmapping are not measured.
#include "guests/bench/bench.h"

#include <stddef.h>
#include <sys/mman.h>

static void run(unsigned count)
{
    enum { BATCH = 512 };

    for (unsigned done = 0; done < count;) {
        unsigned batch = count - done < BATCH ? count - done : BATCH;
        size_t length = (size_t)BATCH * 4096;
        char *memory =
            mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        bench_require(memory != MAP_FAILED, "mmap");
        madvise(memory, length, MADV_NOHUGEPAGE);
        bench_start();
        for (unsigned i = 0; i < batch; i++) {
            ((volatile char *)memory)[(size_t)i * 4096] = 1;
        }
        bench_stop();
        for (unsigned i = 0; i < batch; i++) {
            char *page = memory + (size_t)i * 4096;
            bench_require(page[0] == 1 && page[1] == 0 && page[4095] == 0, "zeroing");
            page[4095] = 7;
        }
        munmap(memory, length);
        done += batch;
    }
}

BENCHMARK = {
    .name = "fault",
    .group = "memory",
    .what = "First write to an anonymous page: fault, zeroed page, mapping.",
    .omits = "Huge pages. QEMU counts each repetition of a REP string instruction; the CPU model "
             "of the counted runs has no ERMS, so that kernels copy and clear by wider steps.",
    .count = 4096,
    .run = run,
};
