// SPDX-License-Identifier: MIT
//
// Claim: nanosleep and clock_nanosleep never wake early, report what is left when interrupted,
// sleep until absolute times on each clock, react to a set clock, and refuse bad arguments.
// Method: readings of the clock before and after; a signal in the middle.
#include "tests/guest/check.h"

static void on_signal(int number)
{
    (void)number;
}

static void relative(void)
{
    for (int i = 0; i < 12; i++) {
        struct timespec time = {0, (i * i * i + 1) * 10000L};
        uint64_t before = now_ns();
        CHECK_QUIET(nanosleep(&time, NULL) == 0);
        CHECK_QUIET(now_ns() - before >= (uint64_t)time.tv_nsec);
    }
    note("twelve sleeps, none too short");
    struct timespec zero = {0, 0}, one = {0, 1}, wrong = {0, 1000000000}, negative = {-1, 0};
    OK(nanosleep(&zero, NULL));
    OK(nanosleep(&one, NULL));
    ERR(EINVAL, nanosleep(&wrong, NULL));
    ERR(EINVAL, nanosleep(&negative, NULL));
    wrong.tv_nsec = -1;
    ERR(EINVAL, nanosleep(&wrong, NULL));
    ERR(EFAULT, syscall(SYS_nanosleep, 8, NULL));
}

static void absolute(void)
{
    static const clockid_t clocks[] = {CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME, CLOCK_TAI};
    for (size_t i = 0; i < ARRAY_SIZE(clocks); i++) {
        struct timespec time, after;
        clock_gettime(clocks[i], &time);
        time.tv_nsec += 20000000;
        if (time.tv_nsec >= 1000000000) {
            time.tv_sec++;
            time.tv_nsec -= 1000000000;
        }
        CHECK_EQ(clock_nanosleep(clocks[i], TIMER_ABSTIME, &time, NULL), 0);
        clock_gettime(clocks[i], &after);
        CHECK(after.tv_sec > time.tv_sec ||
              (after.tv_sec == time.tv_sec && after.tv_nsec >= time.tv_nsec));
        CHECK_EQ(clock_nanosleep(clocks[i], TIMER_ABSTIME, &time, NULL), 0); // already past
    }
    struct timespec time = {0, 1000}, wrong = {0, 1000000000};
    CHECK_EQ(clock_nanosleep(CLOCK_THREAD_CPUTIME_ID, 0, &time, NULL), EINVAL);
    CHECK_EQ(clock_nanosleep(12345, 0, &time, NULL), EINVAL);
    CHECK_EQ(clock_nanosleep(CLOCK_MONOTONIC, 0, &wrong, NULL), EINVAL);
    CHECK_EQ(clock_nanosleep(CLOCK_MONOTONIC_RAW, 0, &time, NULL), EOPNOTSUPP);
}

static void interrupted(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    struct timespec time = {10, 0}, rest = {0, 0};

    sigaction(SIGALRM, &action, NULL);
    ualarm(50000, 0);
    ERR(EINTR, nanosleep(&time, &rest));
    CHECK(rest.tv_sec == 9 && rest.tv_nsec < 960000000);
    ualarm(50000, 0);
    rest = (struct timespec){77, 77};
    clock_gettime(CLOCK_MONOTONIC, &time);
    time.tv_sec += 10;
    CHECK_EQ(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, &rest), EINTR);
    CHECK_EQ(rest.tv_sec, 77); // untouched
    ualarm(50000, 0);
    time = (struct timespec){10, 0};
    CHECK_EQ(clock_nanosleep(CLOCK_REALTIME, 0, &time, &rest), EINTR);
    CHECK_EQ(rest.tv_sec, 9);
    ualarm(20000, 0);
    time = (struct timespec){10, 0};
    ERR(EFAULT, syscall(SYS_nanosleep, &time, 8));
}

// Many sleepers wake in the order of their times.
static void order(void)
{
    int ends[2];
    unsigned char got[10], index = 0;

    MUST(pipe(ends));
    uint64_t start = now_ns() + 100000000;
    for (int i = 0; i < 10; i++) {
        if (fork() == 0) {
            uint64_t until = start + (uint64_t)((i * 7) % 10) * 60000000;
            struct timespec time = {(time_t)(until / 1000000000), (long)(until % 1000000000)};
            clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL);
            unsigned char place = (unsigned char)((i * 7) % 10);
            MUST(write(ends[1], &place, 1));
            _exit(0);
        }
    }
    while (index < 10) {
        MUST(read(ends[0], &got[index++], 1));
    }
    while (wait(NULL) > 0) {
    }
    for (int i = 0; i < 10; i++) {
        CHECK_QUIET(got[i] == i);
    }
    note("ten sleepers woke in order");
}

int main(void)
{
    scratch();
    relative();
    absolute();
    interrupted();
    order();
    return check_done();
}
