// SPDX-License-Identifier: MIT
//
// One listing of a directory with 1000 files: open, getdents until the end, close.
#include "guests/bench/bench.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES 1000u

static void run(unsigned count)
{
    char name[32];
    unsigned long sum = 0, entries = 0;

    bench_require(mkdir("listed", 0755) == 0, "mkdir");
    for (unsigned i = 0; i < FILES; i++) {
        snprintf(name, sizeof(name), "listed/%u", i);
        int file = open(name, O_CREAT | O_EXCL | O_RDWR, 0644);
        bench_require(file >= 0, "creation");
        close(file);
    }
    bench_start();
    for (unsigned i = 0; i < count; i++) {
        DIR *folder = opendir("listed");
        if (folder == NULL) {
            bench_fail("opendir");
        }
        for (struct dirent *entry; (entry = readdir(folder)) != NULL; entries++) {
            sum += strtoul(entry->d_name, NULL, 10);
        }
        closedir(folder);
    }
    bench_stop();
    bench_require(entries == (FILES + 2ul) * count, "1000 names, . and ..");
    bench_require(sum == FILES * (FILES - 1ul) / 2 * count, "each name once");
    for (unsigned i = 0; i < FILES; i++) {
        snprintf(name, sizeof(name), "listed/%u", i);
        unlink(name);
    }
    rmdir("listed");
}

BENCHMARK = {
    .name = "readdir",
    .group = "files",
    .what = "A directory of 1000 files listed: open, getdents until the end, close.",
    .omits = "Disks. The C library's loop over the names is in it.",
    .count = 20,
    .run = run,
};
