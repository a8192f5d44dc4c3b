// SPDX-License-Identifier: MIT
//
// One open (O_RDONLY) and close of a file on tmpfs.
#include "guests/bench/bench.h"

#include <fcntl.h>
#include <unistd.h>

static void run(unsigned count)
{
    int file = open("file", O_CREAT | O_RDWR, 0644);
    bench_require(file >= 0 && write(file, "x", 1) == 1, "creation");
    close(file);
    bench_start();
    for (unsigned i = 0; i < count; i++) {
        int opened = open("file", O_RDONLY);
        if (opened != file || close(opened) != 0) {
            bench_fail("open and close");
        }
    }
    bench_stop();
    file = open("file", O_RDONLY);
    char byte = 0;
    bench_require(read(file, &byte, 1) == 1 && byte == 'x', "read");
    close(file);
}

BENCHMARK = {
    .name = "open",
    .group = "files",
    .what = "open and close of a file on tmpfs.",
    .omits = "A cold dentry cache; disks.",
    .count = 5000,
    .run = run,
};
