// SPDX-License-Identifier: MIT
//
// A mapping of one touched page made read-only, and writable again: no area is cut.
#include "guests/bench/bench.h"
#include "guests/bench/workers.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

// The kernel's own write to the page tells whether it is writable, without a signal.
static void check(char *page, bool writable, int zeroes)
{
    errno = 0;
    ssize_t got = read(zeroes, page, 1);
    bench_require(writable ? got == 1 : got < 0 && errno == EFAULT,
        writable ? "page is writable" : "page is read-only");
}

static void run(unsigned count)
{
    // Neighbours of other kinds, so that nothing is merged.
    char *area = mmap(NULL, 3 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bench_require(area != MAP_FAILED, "mmap");
    char *page = area + 4096;
    bench_require(mprotect(page, 4096, PROT_READ | PROT_WRITE) == 0, "mprotect");
    int zeroes = open("/dev/zero", O_RDONLY);
    unsigned done = 0;

    page[0] = 1;
    for (unsigned i = 0; i < 8; i++) {
        bench_require(mprotect(page, 4096, PROT_READ) == 0, "mprotect");
        check(page, false, zeroes);
        bench_require(mprotect(page, 4096, PROT_READ | PROT_WRITE) == 0, "mprotect");
        check(page, true, zeroes);
    }
    bench_start();
    for (unsigned i = 0; i < count; i++) {
        done += mprotect(page, 4096, PROT_READ) == 0;
        done += mprotect(page, 4096, PROT_READ | PROT_WRITE) == 0;
        page[1] = (char)i;
    }
    bench_stop();
    bench_require(done == 2 * count && page[1] == (char)(count - 1), "mprotect");
    bench_require(mprotect(page, 4096, PROT_READ) == 0, "mprotect");
    check(page, false, zeroes);
    close(zeroes);
    munmap(area, 3 * 4096);
}

BENCHMARK = {
    .name = "mprotect-area",
    .group = "memory",
    .what = "mprotect of a mapping of one touched page to read-only, and back to writable, and a "
            "write to it: two calls.",
    .omits = "Cutting and merging areas (mprotect has them). Other CPUs.",
    .count = 2000,
    .run = run,
};
