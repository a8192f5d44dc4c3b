// SPDX-License-Identifier: MIT
//
// One unlink of an empty file.
#include "guests/bench/bench.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static void run(unsigned count)
{
    char name[32];
    unsigned removed = 0;

    for (unsigned i = 0; i < count; i++) {
        snprintf(name, sizeof(name), "%u", i);
        int file = open(name, O_CREAT | O_EXCL | O_RDWR, 0644);
        bench_require(file >= 0, "creation");
        close(file);
    }
    bench_start();
    for (unsigned i = 0; i < count; i++) {
        snprintf(name, sizeof(name), "%u", i);
        removed += unlink(name) == 0;
    }
    bench_stop();
    bench_require(removed == count, "unlink");
    for (unsigned i = 0; i < count; i++) {
        struct stat about;
        snprintf(name, sizeof(name), "%u", i);
        bench_require(stat(name, &about) != 0 && errno == ENOENT, "the file is gone");
    }
}

BENCHMARK = {
    .name = "unlink",
    .group = "files",
    .what = "Unlink of an empty file on tmpfs, which is freed with it.",
    .omits = "Disks. Printing the name (some 150 instructions) is in it.",
    .count = 1000,
    .run = run,
};
