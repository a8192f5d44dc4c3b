// SPDX-License-Identifier: MIT
//
// Claim: interval timers (real, virtual, profiling), alarm, and POSIX timers on several clocks with
// signals, values, threads as targets, overruns, absolute times; all with their errors.
// Method: signals are blocked and taken with sigtimedwait, so that each is counted.
#include "tests/guest/check.h"
#include <sys/time.h>

static int take(int number, siginfo_t *info, int timeout_ms)
{
    sigset_t set;
    struct timespec time = {timeout_ms / 1000, timeout_ms % 1000 * 1000000};
    sigemptyset(&set);
    sigaddset(&set, number);
    return sigtimedwait(&set, info, &time);
}

static void compute_until_pending(int number)
{
    sigset_t set;
    uint64_t start = now_ns();
    do {
        sigpending(&set);
    } while (!sigismember(&set, number) && now_ns() - start < 10000000000);
}

static void intervals(void)
{
    struct itimerval timer = {{0, 20000}, {0, 30000}}, old;
    siginfo_t info;
    uint64_t start = now_ns();

    OK(setitimer(ITIMER_REAL, &timer, &old));
    CHECK(old.it_value.tv_sec == 0 && old.it_interval.tv_sec == 0);
    OK(getitimer(ITIMER_REAL, &old));
    CHECK(old.it_interval.tv_usec == 20000 && old.it_value.tv_usec <= 30000);
    for (int i = 0; i < 3; i++) {
        CHECK_QUIET(take(SIGALRM, &info, 2000) == SIGALRM);
    }
    CHECK(now_ns() - start >= 69000000);
    timer = (struct itimerval){{0, 0}, {0, 0}};
    OK(setitimer(ITIMER_REAL, &timer, NULL));
    take(SIGALRM, &info, 0);
    ERR(EAGAIN, take(SIGALRM, &info, 50));

    timer = (struct itimerval){{0, 0}, {0, 30000}};
    OK(setitimer(ITIMER_VIRTUAL, &timer, NULL));
    sleep_ms(60);
    ERR(EAGAIN, take(SIGVTALRM, &info, 0)); // sleeping does not count
    compute_until_pending(SIGVTALRM);
    CHECK_EQ(take(SIGVTALRM, &info, 0), SIGVTALRM);
    OK(setitimer(ITIMER_PROF, &timer, NULL));
    compute_until_pending(SIGPROF);
    CHECK_EQ(take(SIGPROF, &info, 0), SIGPROF);
    OK(getitimer(ITIMER_PROF, &old));
    CHECK(old.it_value.tv_sec == 0 && old.it_value.tv_usec == 0);
    ERR(EINVAL, getitimer(5, &old));
    timer.it_value.tv_usec = 1000000;
    ERR(EINVAL, setitimer(ITIMER_REAL, &timer, NULL));
    timer.it_value = (struct timeval){-1, 0};
    ERR(EINVAL, setitimer(ITIMER_REAL, &timer, NULL));
    ERR(EFAULT, syscall(SYS_setitimer, ITIMER_REAL, 8, NULL));

    CHECK_EQ(alarm(100), 0);
    CHECK_EQ(alarm(0), 100);
    CHECK_EQ(ualarm(30000, 0), 0);
    CHECK_EQ(take(SIGALRM, &info, 2000), SIGALRM);
}

static void posix_timers(void)
{
    static const clockid_t clocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 2};
    siginfo_t info;
    timer_t timer;

    for (size_t i = 0; i < ARRAY_SIZE(clocks); i++) {
        struct itimerspec spec = {{0, 0}, {0, 20000000}}, now;
        event.sigev_value.sival_int = 500 + (int)i;
        OK(timer_create(clocks[i], &event, &timer));
        OK(timer_gettime(timer, &now));
        CHECK(now.it_value.tv_sec == 0 && now.it_value.tv_nsec == 0);
        uint64_t start = now_ns();
        OK(timer_settime(timer, 0, &spec, NULL));
        OK(timer_gettime(timer, &now));
        CHECK(now.it_value.tv_nsec <= 20000000);
        CHECK_EQ(take(SIGRTMIN + 2, &info, 2000), SIGRTMIN + 2);
        CHECK(now_ns() - start >= 20000000);
        CHECK_EQ(info.si_code, SI_TIMER);
        CHECK_EQ(info.si_value.sival_int, 500 + (int)i);
        CHECK_EQ(timer_getoverrun(timer), 0);
        // Absolute, then cancelled.
        clock_gettime(clocks[i], &spec.it_value);
        spec.it_value.tv_sec += 100;
        OK(timer_settime(timer, TIMER_ABSTIME, &spec, NULL));
        OK(timer_gettime(timer, &now));
        CHECK(now.it_value.tv_sec == 99 || now.it_value.tv_sec == 100);
        spec.it_value = (struct timespec){0, 1}; // in the past: at once
        OK(timer_settime(timer, TIMER_ABSTIME, &spec, &now));
        CHECK(now.it_value.tv_sec == 99 || now.it_value.tv_sec == 100);
        CHECK_EQ(take(SIGRTMIN + 2, &info, 2000), SIGRTMIN + 2);
        OK(timer_delete(timer));
        ERR(EINVAL, syscall(SYS_timer_delete, timer)); // libc gives the bare error number here
        ERR(EINVAL, syscall(SYS_timer_gettime, timer, &now));
    }
}

static void overruns(void)
{
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    struct itimerspec spec = {{0, 5000000}, {0, 5000000}};
    siginfo_t info;
    timer_t timer;

    MUST(timer_create(CLOCK_MONOTONIC, &event, &timer));
    MUST(timer_settime(timer, 0, &spec, NULL));
    sleep_ms(100);
    CHECK_EQ(take(SIGUSR1, &info, 1000), SIGUSR1);
    CHECK(info.si_overrun >= 15 && info.si_overrun < 200);
    CHECK(timer_getoverrun(timer) == info.si_overrun);
    // It goes on after that.
    CHECK_EQ(take(SIGUSR1, &info, 1000), SIGUSR1);
    OK(timer_delete(timer));
    take(SIGUSR1, &info, 0);
    ERR(EAGAIN, take(SIGUSR1, &info, 30));
}

static void targets(void)
{
    struct sigevent event = {.sigev_notify = SIGEV_NONE};
    struct itimerspec spec = {{0, 0}, {0, 10000000}}, now;
    siginfo_t info;
    timer_t timer;

    MUST(timer_create(CLOCK_MONOTONIC, &event, &timer));
    MUST(timer_settime(timer, 0, &spec, NULL));
    sleep_ms(30);
    OK(timer_gettime(timer, &now));
    CHECK(now.it_value.tv_sec == 0 && now.it_value.tv_nsec == 0);
    timer_delete(timer);
    // The raw structure: a signal for one thread.
    struct {
        union sigval value;
        int signal, notify, thread;
        char rest[48];
    } raw = {.signal = SIGUSR2, .notify = SIGEV_THREAD_ID};
    int id;
    raw.thread = (int)syscall(SYS_gettid);
    OK(syscall(SYS_timer_create, CLOCK_MONOTONIC, &raw, &id));
    OK(syscall(SYS_timer_settime, id, 0, &spec, NULL));
    CHECK_EQ(take(SIGUSR2, &info, 2000), SIGUSR2);
    OK(syscall(SYS_timer_delete, id));
    raw.thread = 1;
    ERR(EINVAL, syscall(SYS_timer_create, CLOCK_MONOTONIC, &raw, &id));
    // Without an event: SIGALRM with the timer's number.
    OK(syscall(SYS_timer_create, CLOCK_MONOTONIC, NULL, &id));
    OK(syscall(SYS_timer_settime, id, 0, &spec, NULL));
    CHECK_EQ(take(SIGALRM, &info, 2000), SIGALRM);
    CHECK_EQ(info.si_value.sival_int, id);
    OK(syscall(SYS_timer_delete, id));
    // On the process's CPU time.
    OK(syscall(SYS_timer_create, CLOCK_PROCESS_CPUTIME_ID, NULL, &id));
    OK(syscall(SYS_timer_settime, id, 0, &spec, NULL));
    compute_until_pending(SIGALRM);
    CHECK_EQ(take(SIGALRM, &info, 0), SIGALRM);
    OK(syscall(SYS_timer_delete, id));

    event = (struct sigevent){.sigev_notify = SIGEV_SIGNAL, .sigev_signo = 65};
    ERR(EINVAL, timer_create(CLOCK_MONOTONIC, &event, &timer));
    event.sigev_signo = SIGUSR1;
    ERR(EINVAL, timer_create(12345, &event, &timer));
    event.sigev_notify = 77;
    ERR(EINVAL, syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &id));
    ERR(EFAULT, syscall(SYS_timer_create, CLOCK_MONOTONIC, NULL, 8));
    MUST(syscall(SYS_timer_create, CLOCK_MONOTONIC, NULL, &id));
    spec.it_value.tv_nsec = 1000000000;
    ERR(EINVAL, syscall(SYS_timer_settime, id, 0, &spec, NULL));
    ERR(EINVAL, syscall(SYS_timer_settime, id, 0, NULL, NULL));
    ERR(EINVAL, syscall(SYS_timer_settime, 999, 0, &spec, NULL));
    // exec and fork: no timers in the child.
    pid_t child = fork();
    if (child == 0) {
        ERR(EINVAL, syscall(SYS_timer_gettime, id, &now));
        _exit(check_failures);
    }
    int status;
    waitpid(child, &status, 0);
    CHECK_STR(status_text(status), "exit 0");
}

int main(void)
{
    sigset_t set;

    scratch();
    sigfillset(&set);
    sigdelset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    intervals();
    posix_timers();
    overruns();
    targets();
    return check_done();
}
