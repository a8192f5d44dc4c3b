// SPDX-License-Identifier: MIT
//
// One open with O_CREAT, its close, and the unlink, in a directory that holds 1000 other files.
#include "guests/bench/bench.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static void run(unsigned count)
{
    char name[32];

    bench_require(mkdir("many", 0755) == 0, "mkdir");
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(name, sizeof(name), "many/file%u", i);
        int file = open(name, O_CREAT | O_EXCL | O_RDWR, 0644);
        bench_require(file >= 0, "creation");
        close(file);
    }
    bench_start();
    for (unsigned i = 0; i < count; i++) {
        int file = open("many/one-more", O_CREAT | O_EXCL | O_RDWR, 0644);
        if (file < 0 || close(file) != 0 || unlink("many/one-more") != 0) {
            bench_fail("create and unlink");
        }
    }
    bench_stop();
    struct stat about;
    bench_require(stat("many/one-more", &about) < 0 && errno == ENOENT, "unlink");
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(name, sizeof(name), "many/file%u", i);
        bench_require(unlink(name) == 0, "unlink");
    }
    rmdir("many");
}

BENCHMARK = {
    .name = "create",
    .group = "files",
    .what = "Create and unlink a file in a directory of 1000.",
    .omits = "Disks.",
    .count = 2000,
    .run = run,
};
