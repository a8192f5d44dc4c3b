// SPDX-License-Identifier: MIT
//
// One fork of a process with 64 MiB of dirtied pages of 4 KiB, the child's exit, and the wait.
#include "guests/bench/bench.h"
#include "guests/bench/workers.h"

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGES 16384u

// Does the child see what the parent wrote, in pages of which each child looks at others?
static bool is_copy(const volatile unsigned *memory, unsigned round)
{
    for (unsigned i = 0; i < 4; i++) {
        unsigned page = (round * 4 + i) * 7919 % PAGES;
        if (memory[(size_t)page * 1024] != page + 1) {
            return false;
        }
    }
    return true;
}

static void run(unsigned count)
{
    size_t size_bytes = (size_t)PAGES * 4096;
    unsigned *memory = workers_small_pages(size_bytes);

    for (unsigned i = 0; i < PAGES; i++) {
        memory[(size_t)i * 1024] = i + 1;
    }
    bench_start();
    for (unsigned i = 0; i < count; i++) {
        pid_t child = fork();
        int status = -1;

        if (child == 0) {
            _exit(is_copy(memory, i) ? 5 : 1);
        }
        if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 5) {
            bench_fail("fork, reading 4 pages, exit and wait");
        }
    }
    bench_stop();
    munmap(memory, size_bytes);
}

BENCHMARK = {
    .name = "fork-dirty",
    .group = "processes",
    .what = "fork of a process with 64 MiB of dirtied 4 KiB pages, the child's look at four of "
            "them, its exit, and the wait.",
    .omits = "Copying the pages on writes.",
    .count = 5,
    .run = run,
};
