// SPDX-License-Identifier: MIT
//
// One stat of a path with four components below the root, all on tmpfs or the root file system.
#include "guests/bench/bench.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void run(unsigned count)
{
    struct stat about;

    mkdir("/tmp/bench.stat", 0755);
    mkdir("/tmp/bench.stat/three", 0755);
    int file = open("/tmp/bench.stat/three/four", O_CREAT | O_RDWR | O_TRUNC, 0644);
    bench_require(file >= 0 && write(file, "12345", 5) == 5, "creation");
    close(file);
    off_t sum = 0;
    bench_start();
    for (unsigned i = 0; i < count; i++) {
        about.st_size = 0;
        // The C library's own would go through a buffer that still holds the last answer.
        syscall(SYS_stat, "/tmp/bench.stat/three/four", &about);
        sum += about.st_size;
    }
    bench_stop();
    bench_require(sum == 5 * (off_t)count, "stat");
    unlink("/tmp/bench.stat/three/four");
    rmdir("/tmp/bench.stat/three");
    rmdir("/tmp/bench.stat");
}

BENCHMARK = {
    .name = "stat",
    .group = "files",
    .what = "stat of a path of four components on tmpfs.",
    .omits = "A cold dentry cache; disks.",
    .count = 5000,
    .run = run,
};
