// SPDX-License-Identifier: MIT
#include "guests/bench/protect.h"
#include "guests/bench/bench.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <unistd.h>

#define CHECKS 8

// Sets the protection, and has the kernel itself write to the page: that tells whether it is
// writable, without a signal.
static void protect_and_check(char *page, bool writable, int zeroes)
{
    int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
    bench_require(mprotect(page, 4096, protection) == 0, "mprotect");
    errno = 0;
    ssize_t got = read(zeroes, page, 1);
    bench_require(writable ? got == 1 : got < 0 && errno == EFAULT,
        writable ? "page is writable" : "page is read-only");
}

void protect_page(char *page, unsigned count)
{
    int zeroes = open("/dev/zero", O_RDONLY);
    unsigned done = 0;

    for (unsigned i = 0; i < CHECKS; i++) {
        protect_and_check(page, false, zeroes);
        protect_and_check(page, true, zeroes);
    }
    bench_start();
    for (unsigned i = 0; i < count; i++) {
        done += mprotect(page, 4096, PROT_READ) == 0;
        done += mprotect(page, 4096, PROT_READ | PROT_WRITE) == 0;
        page[1] = (char)i;
    }
    bench_stop();
    bench_require(done == 2 * count && page[1] == (char)(count - 1), "mprotect");
    protect_and_check(page, false, zeroes);
    close(zeroes);
}
