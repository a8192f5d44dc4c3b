// SPDX-License-Identifier: MIT
//
// Claim: that somebody has looked at processes in /proc does not keep them in memory after their
// death.
// Method: many children whose files in /proc are read while they live; the number of tasks that
// /proc/slabinfo knows, before and after.
// Lodger only.
#include "tests/guest/check.h"

#define CHILDREN 600
// What may stay: the names in /proc that were used last (kernel/fs/proc_init.c keeps 64), those
// that wait for a grace period, and what the allocator's lists hold.
#define MAY_STAY 200

static long tasks(void)
{
    FILE *file = fopen("/proc/slabinfo", "r");
    char line[256];
    long active = -1;

    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        sscanf(line, "task %ld", &active);
    }
    if (file != NULL) {
        fclose(file);
    }
    return active;
}

static void read_all(int pid, const char *name)
{
    char path[64], text[4096];
    snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
    int file = open(path, O_RDONLY);
    CHECK(file >= 0);
    CHECK(read(file, text, sizeof(text)) > 0);
    OK(close(file));
}

int main(void)
{
    scratch();
    long before = tasks();
    CHECK(before > 0);
    for (int i = 0; i < CHILDREN; i++) {
        int status, pid = fork();
        if (pid == 0) {
            pause();
        }
        CHECK(pid > 0);
        read_all(pid, "stat");
        read_all(pid, "status");
        OK(kill(pid, SIGKILL));
        CHECK_EQ(waitpid(pid, &status, 0), pid);
    }
    usleep(100000);
    long after = tasks();
    CHECK(after - before < MAY_STAY);
    if (after - before >= MAY_STAY) {
        printf("%ld tasks before, %ld after\n", before, after);
    }
    return check_done();
}
