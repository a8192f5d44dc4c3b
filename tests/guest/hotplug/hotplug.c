// SPDX-License-Identifier: MIT
//
// Claim: CPUs go off and come back by /sys/devices/system/cpu/cpuN/online: the lists there,
// /proc/stat and affinity masks follow; threads, also those that were bound to the CPU, go on
// elsewhere, sleeps that began there end, and the CPU works as before when it is back.
// Method: on four CPUs; threads pinned to the one that goes, with its number asked of the kernel.
#include "tests/guest/hotplug/hotplug.h"
#include <pthread.h>
#include <stdatomic.h>

#define ALL 0xfu

static void show(const char *name)
{
    char path[64];
    snprintf(path, sizeof(path), CPU_FOLDER "/%s", name);
    note("  %s: %s", name, get_file(path));
}

static void show_lists(void)
{
    char *text = NULL;
    unsigned lines = 0;
    size_t len = 0;
    show("online");
    show("possible");
    show("present");
    FILE *stat = fopen("/proc/stat", "r");
    while (stat != NULL && getline(&text, &len, stat) > 0) {
        if (strncmp(text, "cpu", 3) == 0 && text[3] != ' ') {
            lines |= 1u << (text[3] - '0');
        }
    }
    fclose(stat);
    free(text);
    note("  /proc/stat: CPUs %#x", lines);
    note("  may run on %#x", hotplug_affinity());
}

static void files(void)
{
    struct stat info;
    ERR(ENOENT, stat(CPU_FOLDER "/cpu0/online", &info));
    OK(stat(CPU_FOLDER "/cpu1/online", &info));
    CHECK_EQ(info.st_mode, S_IFREG | 0644);
    ERR(EINVAL, hotplug_write(1, "2"));
    ERR(EINVAL, hotplug_write(1, "x"));
    CHECK_EQ(hotplug_write(1, "1\n"), 2); // it is on already
    show("cpu1/online");
}

static void lists(void)
{
    show_lists();
    CHECK_EQ(hotplug_write(2, "0\n"), 2);
    show("cpu2/online");
    show_lists();
    CHECK_EQ(hotplug_write(2, "0"), 1); // again
    CHECK_EQ(hotplug_write(1, "n"), 1);
    show_lists();
    CHECK_EQ(hotplug_write(2, "on"), 2);
    CHECK_EQ(hotplug_write(1, "y"), 1);
    show("cpu2/online");
    show_lists();
}

static void masks(void)
{
    OK(hotplug_pin(0x6));
    CHECK_EQ(hotplug_affinity(), 0x6);
    CHECK_EQ(hotplug_write(1, "0"), 1);
    CHECK_EQ(hotplug_affinity(), 0x4);
    CHECK_EQ(sched_getcpu(), 2);
    ERR(EINVAL, hotplug_pin(0x2));
    OK(hotplug_pin(0xa)); // of which only CPU 3 is there
    CHECK_EQ(hotplug_affinity(), 0x8);
    OK(hotplug_pin(0x6));
    CHECK_EQ(hotplug_write(2, "0"), 1); // the last one that it may use
    CHECK_EQ(hotplug_affinity(), 0x9);
    CHECK_EQ(hotplug_write(1, "1"), 1);
    CHECK_EQ(hotplug_write(2, "1"), 1);
    CHECK_EQ(hotplug_affinity(), ALL);
    OK(hotplug_pin(ALL));
}

static atomic_uint ready;
static atomic_bool stop;

// Runs, or sleeps in short pieces, on CPU 3 until told to stop.
static void *bound(void *sleeps)
{
    CHECK_QUIET(hotplug_pin(0x8) == 0);
    CHECK_QUIET(sched_getcpu() == 3);
    atomic_fetch_add(&ready, 1);
    while (!atomic_load(&stop)) {
        if (sleeps != NULL) {
            sleep_ms(1);
        }
    }
    CHECK_QUIET(sched_getcpu() != 3);
    return NULL;
}

// Sleeps through the whole on CPU 3.
static void *sleeper(void *argument)
{
    CHECK_QUIET(hotplug_pin(0x8) == 0);
    atomic_fetch_add(&ready, 1);
    uint64_t start = now_ns();
    sleep_ms(300);
    CHECK_QUIET(now_ns() - start >= 300000000u);
    return argument;
}

static void threads(void)
{
    pthread_t thread[5];
    int there[2];
    char byte = 0;
    MUST(pipe(there));
    atomic_store(&ready, 0);
    for (uintptr_t i = 0; i < 5; i++) {
        MUST(pthread_create(&thread[i], NULL, i < 4 ? bound : sleeper, (void *)(i % 2)) == 0 ? 0
                                                                                             : -1);
    }
    while (atomic_load(&ready) < 5) {
        sleep_ms(1);
    }
    CHECK_EQ(hotplug_write(3, "0"), 1);
    atomic_store(&stop, true);
    for (unsigned i = 0; i < 5; i++) {
        CHECK_EQ(pthread_join(thread[i], NULL), 0);
    }
    // Children, pipes and memory work with one CPU fewer.
    pid_t child = fork();
    if (child == 0) {
        _exit(write(there[1], "x", 1) == 1 ? 7 : 1);
    }
    int status = 0;
    CHECK_EQ(read(there[0], &byte, 1), 1);
    OK(waitpid(child, &status, 0) == child ? 0 : -1);
    CHECK_EQ(WEXITSTATUS(status), 7);
    CHECK_EQ(hotplug_write(3, "1"), 1);
}

// The one that is back runs threads, is interrupted, and its clock goes on.
static void back(void)
{
    uint64_t before = now_ns();
    OK(hotplug_pin(0x8));
    CHECK_EQ(sched_getcpu(), 3);
    CHECK(now_ns() >= before);
    uint64_t start = now_ns();
    sleep_ms(20);
    CHECK(now_ns() - start >= 20000000u);
    volatile double number = 1.5;
    for (int i = 0; i < 10; i++) {
        number = number * 1.5;
        sched_yield();
    }
    CHECK(number > 86.49 && number < 86.51);
    pid_t child = fork();
    if (child == 0) {
        for (;;) {
        }
    }
    OK(kill(child, SIGKILL));
    int status = 0;
    OK(waitpid(child, &status, 0) == child ? 0 : -1);
    CHECK_STR(status_text(status), "killed by SIGKILL");
    OK(hotplug_pin(ALL));
}

// One CPU drives its own going off.
static void own(void)
{
    OK(hotplug_pin(0x4));
    CHECK_EQ(hotplug_write(2, "0"), 1);
    CHECK(sched_getcpu() != 2);
    CHECK_EQ(hotplug_write(2, "1"), 1);
    for (unsigned cpu = 1; cpu < 4; cpu++) {
        CHECK_EQ(hotplug_write(cpu, "0"), 1);
    }
    CHECK_EQ(sched_getcpu(), 0);
    show_lists();
    sleep_ms(10);
    for (unsigned cpu = 1; cpu < 4; cpu++) {
        CHECK_EQ(hotplug_write(cpu, "1"), 1);
    }
    CHECK_EQ(hotplug_affinity(), ALL);
}

int main(void)
{
    files();
    lists();
    masks();
    threads();
    back();
    own();
    return check_done();
}
