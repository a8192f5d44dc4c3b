// SPDX-License-Identifier: MIT
//
// Claim: every clock can be read, has a sensible resolution, never goes back, and agrees between
// vDSO and system call; CPU clocks of processes and threads count computing and not sleeping; the
// wall clock can be set by root only.
// Method: pairs of readings around each other; computing and sleeping for known times.
#include "tests/guest/check.h"
#include <pthread.h>
#include <sys/time.h>
#include <sys/times.h>
#include <sys/timex.h>

static int64_t ns_of(const struct timespec *time)
{
    return (int64_t)time->tv_sec * 1000000000 + time->tv_nsec;
}

static int64_t by_call(clockid_t clock)
{
    struct timespec time = {-1, -1};
    CHECK_QUIET(syscall(SYS_clock_gettime, clock, &time) == 0);
    return ns_of(&time);
}

static int64_t by_vdso(clockid_t clock)
{
    struct timespec time = {-1, -1};
    CHECK_QUIET(clock_gettime(clock, &time) == 0);
    return ns_of(&time);
}

static void compute(int64_t ns)
{
    int64_t from = by_call(CLOCK_THREAD_CPUTIME_ID);
    while (by_call(CLOCK_THREAD_CPUTIME_ID) - from < ns) {
    }
}

static void all_clocks(void)
{
    static const struct {
        clockid_t id;
        const char *name;
        bool coarse;
    } clocks[] = {
        {CLOCK_REALTIME, "REALTIME", false},
        {CLOCK_MONOTONIC, "MONOTONIC", false},
        {CLOCK_PROCESS_CPUTIME_ID, "PROCESS_CPUTIME", false},
        {CLOCK_THREAD_CPUTIME_ID, "THREAD_CPUTIME", false},
        {CLOCK_MONOTONIC_RAW, "MONOTONIC_RAW", false},
        {CLOCK_REALTIME_COARSE, "REALTIME_COARSE", true},
        {CLOCK_MONOTONIC_COARSE, "MONOTONIC_COARSE", true},
        {CLOCK_BOOTTIME, "BOOTTIME", false},
        {CLOCK_TAI, "TAI", false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(clocks); i++) {
        struct timespec resolution = {-1, -1};
        CHECK_QUIET(clock_getres(clocks[i].id, &resolution) == 0);
        bool right = clocks[i].coarse ? ns_of(&resolution) >= 1000000 : ns_of(&resolution) == 1;
        bool monotonic = true, agree = true;
        int64_t last = 0;
        for (int k = 0; k < 3000; k++) {
            int64_t a = by_call(clocks[i].id), b = by_vdso(clocks[i].id), c = by_call(clocks[i].id);
            monotonic &= a >= last && c >= a;
            agree &= a <= b && b <= c;
            last = c;
        }
        note("%s: resolution %s, %s, vDSO and call %s", clocks[i].name, right ? "right" : "wrong",
            monotonic ? "monotonic" : "goes back", agree ? "agree" : "differ");
        CHECK_QUIET(right && monotonic && agree);
    }
    struct timespec time;
    ERR(EINVAL, syscall(SYS_clock_gettime, 12345, &time));
    ERR(EINVAL, syscall(SYS_clock_getres, 12345, &time));
    ERR(EFAULT, syscall(SYS_clock_gettime, CLOCK_MONOTONIC, 8));
    OK(syscall(SYS_clock_getres, CLOCK_MONOTONIC, NULL));
}

static void relations(void)
{
    struct timeval day;
    struct timespec time;

    CHECK(by_vdso(CLOCK_REALTIME) > 1600000000000000000);
    CHECK(llabs(by_vdso(CLOCK_BOOTTIME) - by_vdso(CLOCK_MONOTONIC)) < 1000000000);
    CHECK(llabs(by_vdso(CLOCK_REALTIME) - by_vdso(CLOCK_REALTIME_COARSE)) < 1000000000);
    CHECK(by_vdso(CLOCK_MONOTONIC) < 3600000000000);
    OK(gettimeofday(&day, NULL));
    OK(clock_gettime(CLOCK_REALTIME, &time));
    CHECK(time.tv_sec - day.tv_sec <= 1 && time.tv_sec >= day.tv_sec);
    CHECK(llabs((long long)syscall(SYS_time, NULL) - time.tv_sec) <= 1);
    long value = 0;
    CHECK(syscall(SYS_time, &value) == value);
    ERR(EFAULT, syscall(SYS_gettimeofday, 8, NULL));
    int64_t before = by_vdso(CLOCK_MONOTONIC), real = by_vdso(CLOCK_REALTIME);
    sleep_ms(50);
    int64_t slept = by_vdso(CLOCK_MONOTONIC) - before;
    CHECK(slept >= 50000000);
    CHECK(llabs(by_vdso(CLOCK_REALTIME) - real - slept) < 2000000000);
}

static void *compute_in_thread(void *argument)
{
    compute(60000000);
    *(int64_t *)argument = by_call(CLOCK_THREAD_CPUTIME_ID);
    return NULL;
}

static void cpu_clocks(void)
{
    int64_t process = by_call(CLOCK_PROCESS_CPUTIME_ID), thread = by_call(CLOCK_THREAD_CPUTIME_ID);
    sleep_ms(100);
    CHECK(by_call(CLOCK_PROCESS_CPUTIME_ID) - process < 50000000);
    pthread_t worker;
    int64_t used = 0;
    clockid_t clock;
    pthread_create(&worker, NULL, compute_in_thread, &used);
    CHECK_EQ(pthread_getcpuclockid(worker, &clock), 0);
    struct timespec time;
    OK(clock_gettime(clock, &time));
    pthread_join(worker, NULL);
    CHECK(used >= 60000000 && used < 200000000);
    CHECK(by_call(CLOCK_PROCESS_CPUTIME_ID) - process >= 60000000);
    CHECK(by_call(CLOCK_THREAD_CPUTIME_ID) - thread < 60000000);
    // The clock of another process.
    pid_t child = fork();
    if (child == 0) {
        compute(40000000);
        pause();
        _exit(0);
    }
    CHECK(wait_until_asleep(child, child));
    CHECK_EQ(clock_getcpuclockid(child, &clock), 0);
    OK(clock_gettime(clock, &time));
    CHECK(ns_of(&time) >= 40000000 && time.tv_sec < 2);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

static void accounting(void)
{
    struct tms before, after;
    clock_t elapsed = times(&before);
    compute(150000000);
    elapsed = times(&after) - elapsed;
    CHECK(elapsed >= 13 && elapsed < 6000);
    CHECK(after.tms_utime + after.tms_stime - before.tms_utime - before.tms_stime >= 13);
}

static void setting(void)
{
    struct timespec time, later;
    int64_t monotonic = by_call(CLOCK_MONOTONIC);

    clock_gettime(CLOCK_REALTIME, &time);
    later = time;
    later.tv_sec += 5000;
    OK(clock_settime(CLOCK_REALTIME, &later));
    CHECK(llabs(by_vdso(CLOCK_REALTIME) - ns_of(&later)) < 1000000000);
    CHECK(llabs(by_call(CLOCK_REALTIME) - ns_of(&later)) < 1000000000);
    CHECK(by_call(CLOCK_MONOTONIC) - monotonic < 1000000000);
    OK(clock_settime(CLOCK_REALTIME, &time));
    ERR(EINVAL, clock_settime(CLOCK_MONOTONIC, &time));
    time.tv_nsec = 1000000000;
    ERR(EINVAL, clock_settime(CLOCK_REALTIME, &time));
    if (fork() == 0) {
        MUST(setuid(1000));
        clock_gettime(CLOCK_REALTIME, &time);
        ERR(EPERM, clock_settime(CLOCK_REALTIME, &time));
        struct timeval day = {time.tv_sec, 0};
        ERR(EPERM, settimeofday(&day, NULL));
        struct timex state = {0};
        CHECK(adjtimex(&state) >= 0);
        state.modes = ADJ_FREQUENCY;
        ERR(EPERM, adjtimex(&state));
        _exit(0);
    }
    wait(NULL);
}

int main(void)
{
    scratch();
    all_clocks();
    relations();
    cpu_clocks();
    accounting();
    setting();
    return check_done();
}
