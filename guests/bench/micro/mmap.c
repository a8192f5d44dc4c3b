// SPDX-License-Identifier: MIT
//
// One mmap of 64 KiB of anonymous memory and its munmap, untouched.
#include "guests/bench/bench.h"

#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>

#define LENGTH_BYTES ((size_t)65536)

// Is the area there, and zeroed? Taken away afterwards, it must be gone.
static void check(void)
{
    unsigned char present[LENGTH_BYTES / 4096];
    char *memory =
        mmap(NULL, LENGTH_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bench_require(memory != MAP_FAILED, "mmap");
    bench_require(memory[0] == 0 && memory[LENGTH_BYTES - 1] == 0, "zeroed memory");
    memory[LENGTH_BYTES - 1] = 1;
    bench_require(mincore(memory, LENGTH_BYTES, present) == 0, "mincore");
    bench_require(munmap(memory, LENGTH_BYTES) == 0, "munmap");
    errno = 0;
    bench_require(mincore(memory, LENGTH_BYTES, present) != 0 && errno == ENOMEM,
        "nothing is mapped after munmap");
}

static void run(unsigned count)
{
    unsigned done = 0;

    check();
    bench_start();
    for (unsigned i = 0; i < count; i++) {
        char *memory =
            mmap(NULL, LENGTH_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        done += memory != MAP_FAILED && munmap(memory, LENGTH_BYTES) == 0;
    }
    bench_stop();
    bench_require(done == count, "mmap and munmap");
    check();
}

BENCHMARK = {
    .name = "mmap",
    .group = "memory",
    .what = "mmap of 64 KiB of anonymous memory and munmap of it, untouched.",
    .omits = "Page tables: nothing is touched.",
    .count = 2000,
    .run = run,
};
