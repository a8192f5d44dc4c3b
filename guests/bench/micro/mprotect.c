// SPDX-License-Identifier: MIT
//
// A page in the middle of a touched area made read-only, and writable again.
#include "guests/bench/bench.h"
#include "guests/bench/workers.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGES 16u

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
    char *area = workers_small_pages((size_t)PAGES * 4096), *page = area + (size_t)7 * 4096;
    int zeroes = open("/dev/zero", O_RDONLY);
    unsigned done = 0;

    for (unsigned i = 0; i < PAGES; i++) {
        area[(size_t)i * 4096] = 1;
    }
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
    munmap(area, (size_t)PAGES * 4096);
}

BENCHMARK = {
    .name = "mprotect",
    .group = "memory",
    .what = "mprotect of a touched page in the middle of an area to read-only, and back to "
            "writable, and a write to it: two calls.",
    .omits = "Other CPUs.",
    .count = 2000,
    .run = run,
};
