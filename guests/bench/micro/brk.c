// SPDX-License-Identifier: MIT
//
// Growing the heap by 64 pages, touching them, and shrinking it: the kernel's page allocator as
// programs meet it.
#include "guests/bench/bench.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGES 64u

static void run(unsigned count)
{
    uintptr_t start = ((uintptr_t)syscall(SYS_brk, 0) + 4095) & ~(uintptr_t)4095;
    uintptr_t end = start + (uintptr_t)PAGES * 4096;
    unsigned zeroed = 0;

    bench_require((uintptr_t)syscall(SYS_brk, start) == start, "brk");
    bench_start();
    for (unsigned i = 0; i < count; i++) {
        if ((uintptr_t)syscall(SYS_brk, end) != end) {
            bench_fail("brk");
        }
        for (unsigned page = 0; page < PAGES; page++) {
            volatile char *byte = (char *)start + (size_t)page * 4096 + i % 4096;
            zeroed += *byte == 0;
            *byte = 1;
        }
        if ((uintptr_t)syscall(SYS_brk, start) != start) {
            bench_fail("brk");
        }
    }
    bench_stop();
    bench_require(zeroed == PAGES * count, "zeroed memory");
}

BENCHMARK = {
    .name = "brk",
    .group = "memory",
    .what = "brk that grows the heap by 64 pages, a read and a write of each, brk that shrinks it.",
    .omits = "QEMU counts each repetition of a REP string instruction.",
    .count = 100,
    .run = run,
};
