// SPDX-License-Identifier: MIT
//
// Claim: the balloon follows the host's wish in both directions, the host's questions about memory
// are answered, free memory is reported to it, and a program that needs memory gets the balloon's
// before anybody is killed. Method: through the machine's monitor the balloon is told another size,
// and asked what it is; /proc/meminfo and the counters must agree.
#include "tests/guest/monitor.h"

#include <sys/mman.h>
#include <sys/wait.h>

#define MIB        (1024ul * 1024)
#define WAIT_TRIES 400
#define SMALL_MIB  96

static unsigned long number_in(const char *path, const char *name)
{
    char line[256];
    unsigned long value = 0;
    size_t len = strlen(name);
    FILE *file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, name, len) == 0 && (line[len] == ' ' || line[len] == ':')) {
            value = strtoul(line + len + 1, NULL, 10);
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return value;
}

static unsigned long free_mib(void)
{
    return number_in("/proc/meminfo", "MemFree") / 1024;
}

static unsigned long actual_mib(void)
{
    const char *at = NULL;
    if (monitor_execute("{\"execute\":\"query-balloon\"}")) {
        at = strstr(monitor_line, "\"actual\": ");
    }
    return at != NULL ? strtoul(at + 10, NULL, 10) / MIB : 0;
}

static void set(unsigned long mib)
{
    char command[128];
    snprintf(command, sizeof(command), "{\"execute\":\"balloon\",\"arguments\":{\"value\":%lu}}",
        mib * MIB);
    CHECK(monitor_execute(command));
}

static bool reaches(unsigned long mib)
{
    for (int i = 0; i < WAIT_TRIES; i++) {
        if (actual_mib() == mib) {
            return true;
        }
        usleep(20000);
    }
    return false;
}

static void up_and_down(unsigned long whole)
{
    unsigned long before = free_mib();
    set(whole - 64);
    CHECK(reaches(whole - 64));
    CHECK(free_mib() + 60 < before);
    set(whole);
    CHECK(reaches(whole));
    // Blocks that the host is being told of are nobody's meanwhile.
    for (int i = 0; i < WAIT_TRIES && free_mib() + 8 <= before; i++) {
        usleep(20000);
    }
    CHECK(free_mib() + 8 > before);
    CHECK(number_in("/proc/lodger/counters", "virtio.balloon_inflated_pages") >= 64 * 256);
}

static void statistics(void)
{
    const char *at = NULL;
    CHECK(monitor_execute("{\"execute\":\"qom-set\",\"arguments\":{\"path\":\"/machine/peripheral/"
                          "balloon\",\"property\":\"guest-stats-polling-interval\",\"value\":1}}"));
    for (int i = 0; i < WAIT_TRIES; i++) {
        if (!monitor_execute(
                "{\"execute\":\"qom-get\",\"arguments\":{\"path\":\"/machine/peripheral/balloon\","
                "\"property\":\"guest-stats\"}}")) {
            break;
        }
        at = strstr(monitor_line, "\"stat-total-memory\": ");
        if (at != NULL && at[21] != '1' && strstr(monitor_line, "\"last-update\": 0") == NULL) {
            break;
        }
        usleep(20000);
    }
    CHECK(at != NULL);
    CHECK(
        at != NULL && strtoul(at + 21, NULL, 10) / 1024 == number_in("/proc/meminfo", "MemTotal"));
}

// More than what the balloon has left over.
static void need(unsigned long whole)
{
    int status = -1;
    set(whole - SMALL_MIB);
    CHECK(reaches(whole - SMALL_MIB));
    unsigned long len = (free_mib() + SMALL_MIB / 2) * MIB;
    pid_t child = fork();
    if (child == 0) {
        char *memory = mmap(
            NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
        _exit(memory != MAP_FAILED ? 0 : 1);
    }
    MUST(waitpid(child, &status, 0));
    CHECK_EQ(status, 0);
    CHECK(actual_mib() > whole - SMALL_MIB);
    set(whole);
    CHECK(reaches(whole));
}

int main(void)
{
    monitor_open();
    unsigned long whole = actual_mib();
    up_and_down(whole);
    statistics();
    need(whole);
    CHECK(number_in("/proc/lodger/counters", "virtio.balloon_reported_pages") != 0);
    return check_done();
}
