// SPDX-License-Identifier: MIT
//
// Claim: timerfd counts expirations of one-shot and periodic timers, relative and absolute, on each
// clock, wakes readers, poll and epoll, is cancelled by a set clock if asked, and checks arguments.
// Method: reads with known times; counts are compared with the clock.
#include "tests/guest/check.h"
#include <poll.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

#ifndef TFD_TIMER_CANCEL_ON_SET
#define TFD_TIMER_CANCEL_ON_SET 2
#endif

static void one_clock(clockid_t clock)
{
    struct itimerspec spec = {{0, 0}, {0, 20000000}}, now;
    uint64_t count = 0;
    int timer = (int)OK(timerfd_create(clock, TFD_CLOEXEC));

    uint64_t start = now_ns();
    OK(timerfd_settime(timer, 0, &spec, &now));
    CHECK(now.it_value.tv_sec == 0 && now.it_value.tv_nsec == 0);
    CHECK_EQ(read(timer, &count, 8), 8);
    CHECK(count == 1 && now_ns() - start >= 20000000);
    OK(timerfd_gettime(timer, &now));
    CHECK(now.it_value.tv_sec == 0 && now.it_value.tv_nsec == 0);
    fcntl(timer, F_SETFL, O_NONBLOCK);
    ERR(EAGAIN, read(timer, &count, 8));
    // Periodic: what was missed is counted.
    spec = (struct itimerspec){{0, 10000000}, {0, 1}};
    OK(timerfd_settime(timer, 0, &spec, NULL));
    start = now_ns();
    sleep_ms(105);
    CHECK_EQ(read(timer, &count, 8), 8);
    uint64_t passed = (now_ns() - start) / 10000000 + 2;
    CHECK(count >= 10 && count <= passed);
    OK(timerfd_gettime(timer, &now));
    CHECK(now.it_interval.tv_nsec == 10000000 && now.it_value.tv_nsec <= 10000000);
    // Absolute in the past, periodic: all periods since then.
    struct timespec past;
    sleep_ms(400); // the clock may have started just now
    clock_gettime(clock, &past);
    int64_t past_ns = (int64_t)past.tv_sec * 1000000000 + past.tv_nsec - 450000000;
    spec.it_value = (struct timespec){past_ns / 1000000000, past_ns % 1000000000};
    spec.it_interval = (struct timespec){0, 200000000};
    OK(timerfd_settime(timer, TFD_TIMER_ABSTIME, &spec, NULL));
    struct pollfd source = {.fd = timer, .events = POLLIN};
    CHECK_EQ(poll(&source, 1, 2000), 1);
    CHECK_EQ(read(timer, &count, 8), 8);
    CHECK(count == 3 || count == 4);
    spec.it_value = (struct timespec){0, 0}; // disarm
    OK(timerfd_settime(timer, 0, &spec, &now));
    CHECK(now.it_interval.tv_nsec == 200000000);
    ERR(EAGAIN, read(timer, &count, 8));
    ERR(EINVAL, read(timer, &count, 7));
    close(timer);
}

static void waiting(void)
{
    struct itimerspec spec = {{0, 0}, {0, 30000000}};
    uint64_t count;
    int timer = (int)MUST(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
    int set = (int)MUST(epoll_create1(0));
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    struct pollfd source = {.fd = timer, .events = POLLIN | POLLOUT};

    CHECK_EQ(poll(&source, 1, 0), 0);
    MUST(timerfd_settime(timer, 0, &spec, NULL));
    CHECK_EQ(poll(&source, 1, 2000), 1);
    CHECK_EQ(source.revents, POLLIN);
    MUST(epoll_ctl(set, EPOLL_CTL_ADD, timer, &event));
    CHECK_EQ(epoll_wait(set, &event, 1, 0), 1);
    MUST(timerfd_settime(timer, 0, &spec, NULL)); // setting takes back what was not read
    CHECK_EQ(poll(&source, 1, 0), 0);
    CHECK_EQ(epoll_wait(set, &event, 1, 2000), 1);
    CHECK_EQ(read(timer, &count, 8), 8);
    CHECK_EQ(count, 1);
    // Shared with a child: whoever reads takes it.
    MUST(timerfd_settime(timer, 0, &spec, NULL));
    if (fork() == 0) {
        CHECK_QUIET(poll(&source, 1, 2000) == 1 && read(timer, &count, 8) == 8);
        _exit(check_failures);
    }
    int status;
    wait(&status);
    CHECK_STR(status_text(status), "exit 0");
    ERR(EAGAIN, read(timer, &count, 8));
}

static void cancelled_by_setting(void)
{
    struct itimerspec spec = {{0, 0}, {0, 0}};
    struct timespec now;
    uint64_t count;
    int timer = (int)MUST(timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK));

    clock_gettime(CLOCK_REALTIME, &spec.it_value);
    spec.it_value.tv_sec += 1000;
    OK(timerfd_settime(timer, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &spec, NULL));
    ERR(EAGAIN, read(timer, &count, 8));
    clock_gettime(CLOCK_REALTIME, &now);
    MUST(clock_settime(CLOCK_REALTIME, &now));
    ERR(ECANCELED, read(timer, &count, 8));
    close(timer);
    // An absolute timer fires when the clock is set beyond it.
    timer = (int)MUST(timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK));
    OK(timerfd_settime(timer, TFD_TIMER_ABSTIME, &spec, NULL));
    clock_gettime(CLOCK_REALTIME, &now);
    now.tv_sec += 2000;
    MUST(clock_settime(CLOCK_REALTIME, &now));
    struct pollfd source = {.fd = timer, .events = POLLIN};
    CHECK_EQ(poll(&source, 1, 2000), 1);
    now.tv_sec -= 2000;
    MUST(clock_settime(CLOCK_REALTIME, &now));
    CHECK_EQ(read(timer, &count, 8), 8);
    CHECK_EQ(count, 1);
}

static void errors(void)
{
    struct itimerspec spec = {{0, 0}, {0, 1000000000}};
    int timer = (int)MUST(timerfd_create(CLOCK_MONOTONIC, 0)), ends[2];

    MUST(pipe(ends));
    ERR(EINVAL, timerfd_create(CLOCK_PROCESS_CPUTIME_ID, 0));
    ERR(EINVAL, timerfd_create(CLOCK_MONOTONIC, 1));
    ERR(EINVAL, timerfd_settime(timer, 0, &spec, NULL));
    spec.it_value.tv_nsec = 0;
    ERR(EINVAL, timerfd_settime(timer, 0x100, &spec, NULL));
    ERR(EINVAL, timerfd_settime(ends[0], 0, &spec, NULL));
    ERR(EBADF, timerfd_settime(999, 0, &spec, NULL));
    ERR(EFAULT, syscall(SYS_timerfd_settime, timer, 0, 8, NULL));
    ERR(EINVAL, write(timer, &spec, 8));
    ERR(EFAULT, syscall(SYS_timerfd_gettime, timer, 8));
}

int main(void)
{
    scratch();
    one_clock(CLOCK_MONOTONIC);
    one_clock(CLOCK_REALTIME);
    one_clock(CLOCK_BOOTTIME);
    waiting();
    cancelled_by_setting();
    errors();
    return check_done();
}
