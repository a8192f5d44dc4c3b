// SPDX-License-Identifier: MIT
//
// Memory that the system keeps for itself: the machine's less what programs can have.
#include "guests/bench/bench.h"
#include "guests/bench/workers.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define MACHINE_BYTES ((double)((size_t)512 << 20)) // the description's `memory`

static double free_bytes(void)
{
    FILE *file = fopen("/proc/meminfo", "r");
    char line[128];
    double kb = -1;
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        (void)sscanf(line, "MemFree: %lf kB", &kb);
    }
    if (file != NULL) {
        fclose(file);
    }
    return kb * 1024;
}

static void run(unsigned count)
{
    const char *machine = getenv("BENCH_MEMORY_BYTES");
    double have_bytes = machine != NULL ? strtod(machine, NULL) : MACHINE_BYTES;
    double at_first_bytes = free_bytes();

    bench_require(at_first_bytes > 0, "/proc/meminfo");
    if (at_first_bytes >= have_bytes) {
        errno = ENODEV;
        bench_unsupported("a machine with 512 MiB");
    }
    // Nine tenths of what is said to be free must be there to be written.
    size_t pages = (size_t)(at_first_bytes * 0.9 / 4096) / (count > 0 ? count : 1);
    unsigned *memory = workers_small_pages(pages * 4096);
    for (size_t i = 0; i < pages; i++) {
        memory[i * 1024] = (unsigned)i + 1;
    }
    double used_bytes = at_first_bytes - free_bytes();
    for (size_t i = 0; i < pages; i++) {
        bench_require(memory[i * 1024] == i + 1, "what was written");
    }
    bench_require(used_bytes > (double)pages * 4096 * 0.9, "MemFree tells what is used");
    munmap(memory, pages * 4096);
    bench_value(have_bytes - at_first_bytes);
}

BENCHMARK = {
    .name = "footprint",
    .group = "machine",
    .what = "Memory of a machine with 512 MiB that is not free once it runs: kernel image, page "
            "structures, caches, the initial files and this program.",
    .omits = "How little memory a machine may have to boot at all.",
    .unit = "bytes",
    .memory = "512M",
    .count = 1,
    .no_counts = true,
    .run = run,
};
