// SPDX-License-Identifier: MIT
//
// Claim: the scheduler's calls: nice values and priorities, policies and their ranges, affinity,
// yield, round-robin interval, sched_setattr and sched_getattr, with permissions as on Linux.
// Method: set, read back in each way, give up privileges, try again.
#include "tests/guest/check.h"
#include <linux/sched.h>
#include <linux/sched/types.h>
#include <sys/resource.h>

// libc's <sched.h> would clash with <linux/sched.h>; the raw calls say exactly what is tested.
struct parameter {
    int priority;
};

static long set_scheduler(pid_t id, int policy, int priority)
{
    struct parameter parameter = {priority};
    return syscall(SYS_sched_setscheduler, id, policy, &parameter);
}

static void nice_values(void)
{
    OK(setpriority(PRIO_PROCESS, 0, 5));
    CHECK_EQ(getpriority(PRIO_PROCESS, 0), 5);
    CHECK_EQ(syscall(SYS_getpriority, PRIO_PROCESS, 0), 15); // the raw call gives 20 - nice
    OK(setpriority(PRIO_PROCESS, 0, 100));
    CHECK_EQ(getpriority(PRIO_PROCESS, 0), 19);
    OK(setpriority(PRIO_PROCESS, 0, -100));
    CHECK_EQ(getpriority(PRIO_PROCESS, 0), -20);
    CHECK_EQ(nice(7), -13);
    OK(setpgid(0, 0));
    OK(setpriority(PRIO_PGRP, 0, 3));
    CHECK_EQ(getpriority(PRIO_PGRP, 0), 3);
    ERR(EINVAL, getpriority(7, 0));
    ERR(ESRCH, getpriority(PRIO_PROCESS, 999999));
    ERR(ESRCH, setpriority(PRIO_PROCESS, 999999, 0));
    MUST(setuid(1000));
    OK(setpriority(PRIO_PROCESS, 0, 4));
    ERR(EACCES, setpriority(PRIO_PROCESS, 0, 3));
    ERR(EPERM, setpriority(PRIO_PROCESS, 1, 5));
    ERR(EPERM, set_scheduler(0, SCHED_FIFO, 1));
}

static void policies(void)
{
    struct parameter parameter = {99};

    CHECK_EQ(syscall(SYS_sched_getscheduler, 0), SCHED_NORMAL);
    OK(syscall(SYS_sched_getparam, 0, &parameter));
    CHECK_EQ(parameter.priority, 0);
    for (int policy = 0; policy < 8; policy++) {
        note("policy %d: priorities %ld to %ld", policy,
            syscall(SYS_sched_get_priority_min, policy),
            syscall(SYS_sched_get_priority_max, policy));
    }
    OK(set_scheduler(0, SCHED_FIFO, 10));
    CHECK_EQ(syscall(SYS_sched_getscheduler, 0), SCHED_FIFO);
    OK(syscall(SYS_sched_getparam, 0, &parameter));
    CHECK_EQ(parameter.priority, 10);
    parameter.priority = 20;
    OK(syscall(SYS_sched_setparam, 0, &parameter));
    parameter.priority = 100;
    ERR(EINVAL, syscall(SYS_sched_setparam, 0, &parameter));
    OK(syscall(SYS_sched_yield));
    OK(set_scheduler(0, SCHED_RR, 1));
    struct timespec interval = {-1, -1};
    OK(syscall(SYS_sched_rr_get_interval, 0, &interval));
    CHECK(interval.tv_sec == 0 && interval.tv_nsec > 0);
    ERR(EINVAL, set_scheduler(0, SCHED_RR, 0));
    ERR(EINVAL, set_scheduler(0, SCHED_NORMAL, 1));
    ERR(EINVAL, set_scheduler(0, 77, 0));
    ERR(EINVAL, set_scheduler(0, -1, 0));
    ERR(EINVAL, set_scheduler(-1, SCHED_NORMAL, 0));
    ERR(ESRCH, set_scheduler(999999, SCHED_NORMAL, 0));
    OK(set_scheduler(0, SCHED_BATCH, 0));
    OK(set_scheduler(0, SCHED_IDLE, 0));
    CHECK_EQ(syscall(SYS_sched_getscheduler, 0), SCHED_IDLE);
    OK(set_scheduler(0, SCHED_NORMAL | SCHED_RESET_ON_FORK, 0));
    CHECK_EQ(syscall(SYS_sched_getscheduler, 0), SCHED_NORMAL | SCHED_RESET_ON_FORK);
}

static void attributes(void)
{
    struct sched_attr attributes = {.size = sizeof(attributes)};

    OK(syscall(SYS_sched_getattr, 0, &attributes, sizeof(attributes), 0));
    CHECK_EQ(attributes.sched_policy, SCHED_NORMAL);
    CHECK_EQ(attributes.sched_nice, 0);
    attributes = (struct sched_attr){.size = SCHED_ATTR_SIZE_VER0, .sched_nice = 6};
    OK(syscall(SYS_sched_setattr, 0, &attributes, 0));
    CHECK_EQ(getpriority(PRIO_PROCESS, 0), 6);
    attributes.sched_policy = SCHED_FIFO;
    attributes.sched_priority = 3;
    OK(syscall(SYS_sched_setattr, 0, &attributes, 0));
    CHECK_EQ(syscall(SYS_sched_getscheduler, 0), SCHED_FIFO);
    ERR(EINVAL, syscall(SYS_sched_setattr, 0, &attributes, 1));
    attributes.size = 10;
    ERR(E2BIG, syscall(SYS_sched_setattr, 0, &attributes, 0));
    ERR(EINVAL, syscall(SYS_sched_getattr, 0, &attributes, 10, 0));
}

static void affinity(void)
{
    uint64_t all[16] = {0}, mask[16] = {0};

    long size = OK(syscall(SYS_sched_getaffinity, 0, sizeof(all), all));
    CHECK(size >= 8 && size % 8 == 0);
    CHECK((all[0] & 1) == 1);
    mask[0] = 1;
    OK(syscall(SYS_sched_setaffinity, 0, sizeof(mask), mask));
    memset(mask, 0xff, sizeof(mask));
    OK(syscall(SYS_sched_getaffinity, 0, sizeof(mask), mask));
    CHECK_EQ(mask[0], 1);
    unsigned cpu = 99;
    OK(syscall(SYS_getcpu, &cpu, NULL, NULL));
    CHECK_EQ(cpu, 0);
    pid_t child = fork(); // inherited
    if (child == 0) {
        uint64_t own[16] = {0};
        syscall(SYS_sched_getaffinity, 0, sizeof(own), own);
        _exit(own[0] == 1 ? 0 : 1);
    }
    int status;
    waitpid(child, &status, 0);
    CHECK_STR(status_text(status), "exit 0");
    memset(mask, 0xff, sizeof(mask)); // processors that are not there are ignored
    OK(syscall(SYS_sched_setaffinity, 0, sizeof(mask), mask));
    OK(syscall(SYS_sched_getaffinity, 0, sizeof(mask), mask));
    CHECK(mask[0] == all[0]);
    memset(mask, 0, sizeof(mask));
    ERR(EINVAL, syscall(SYS_sched_setaffinity, 0, sizeof(mask), mask));
    ERR(EINVAL, syscall(SYS_sched_getaffinity, 0, 4, mask));
    ERR(ESRCH, syscall(SYS_sched_getaffinity, 999999, sizeof(mask), mask));
    ERR(EFAULT, syscall(SYS_sched_getaffinity, 0, sizeof(mask), 8));
}

// A thread with a higher real-time priority on the same processor runs as soon as it may.
static void fifo_preempts(void)
{
    uint64_t mask = 1;
    volatile int *shared =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    MUST(syscall(SYS_sched_setaffinity, 0, sizeof(mask), &mask));
    MUST(set_scheduler(0, SCHED_FIFO, 10));
    int ends[2];
    MUST(pipe(ends));
    pid_t child = fork();
    if (child == 0) {
        char byte;
        set_scheduler(0, SCHED_FIFO, 20);
        shared[1] = 1;
        MUST(read(ends[0], &byte, 1));
        shared[0] = 1;
        _exit(0);
    }
    while (shared[1] == 0 || !wait_until_asleep(child, child)) {
        sleep_ms(1);
    }
    MUST(write(ends[1], "x", 1));
    CHECK_EQ(shared[0], 1); // it ran before this process went on
    waitpid(child, NULL, 0);
}

int main(void)
{
    scratch();
    CHILD(nice_values, "exit 0");
    CHILD(policies, "exit 0");
    CHILD(attributes, "exit 0");
    CHILD(affinity, "exit 0");
    CHILD(fifo_preempts, "exit 0");
    return check_done();
}
