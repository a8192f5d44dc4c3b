// SPDX-License-Identifier: MIT
//
// One getppid: the SYSCALL instruction itself, without libc's wrapper.
#include "guests/bench/bench.h"

#include <sys/syscall.h>
#include <unistd.h>

static void run(unsigned count)
{
    long sum = 0, expected = bench_parent();

    bench_start();
    for (unsigned i = 0; i < count; i++) {
        long result = SYS_getppid;
        __asm__ volatile("syscall" : "+a"(result) : : "rcx", "r11", "memory");
        sum += result;
    }
    bench_stop();
    bench_require(sum == expected * (long)count, "getppid");
}

BENCHMARK = {
    .name = "null",
    .group = "system calls",
    .what = "One getppid by the SYSCALL instruction itself.",
    .omits = "The C library's wrapper.",
    .count = 20000,
    .run = run,
};
