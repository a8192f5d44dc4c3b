// SPDX-License-Identifier: MIT
//
// The first write to a page that a fork made common with a child: fault, copy, mapping.
#include "guests/bench/bench.h"
#include "guests/bench/workers.h"

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGES 512u

// The child: waits until the parent has written, and checks that it does not see that.
[[noreturn]] static void keep(const volatile unsigned *memory, int go)
{
    char byte;
    bool same = read(go, &byte, 1) == 1;
    for (unsigned i = 0; i < PAGES; i++) {
        same = same && memory[(size_t)i * 1024] == i && memory[(size_t)i * 1024 + 1023] == i;
    }
    _exit(same ? 5 : 1);
}

static void run(unsigned count)
{
    unsigned *memory = workers_small_pages((size_t)PAGES * 4096);

    for (unsigned done = 0; done < count; done += PAGES) {
        unsigned batch = count - done < PAGES ? count - done : PAGES;
        int go[2], status = -1;
        for (unsigned i = 0; i < PAGES; i++) {
            memory[(size_t)i * 1024] = memory[(size_t)i * 1024 + 1023] = i;
        }
        bench_require(pipe(go) == 0, "pipe");
        pid_t child = fork();
        if (child == 0) {
            keep(memory, go[0]);
        }
        bench_require(child > 0, "fork");
        bench_start();
        for (unsigned i = 0; i < batch; i++) {
            ((volatile unsigned *)memory)[(size_t)i * 1024] = i + 1000;
        }
        bench_stop();
        bench_require(write(go[1], "", 1) == 1 && waitpid(child, &status, 0) == child, "child");
        bench_require(WIFEXITED(status) && WEXITSTATUS(status) == 5, "child's own pages");
        for (unsigned i = 0; i < batch; i++) {
            bench_require(memory[(size_t)i * 1024] == i + 1000, "what was written");
            bench_require(memory[(size_t)i * 1024 + 1023] == i, "what was copied");
        }
        close(go[0]);
        close(go[1]);
    }
    munmap(memory, (size_t)PAGES * 4096);
}

BENCHMARK = {
    .name = "fault-cow",
    .group = "memory",
    .what = "First write to a page that is common with a forked child: fault, copied page, "
            "mapping.",
    .omits = "Huge pages. QEMU counts each repetition of a REP string instruction; the CPU model "
             "of the counted runs has no ERMS, so that kernels copy and clear by wider steps.",
    .count = 4096,
    .run = run,
};
