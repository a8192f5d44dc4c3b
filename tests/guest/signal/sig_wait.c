// SPDX-License-Identifier: MIT
//
// Claim: sigsuspend, pause, sigtimedwait and sigwait wait as they should: the mask is replaced
// atomically and restored, time-outs are kept, handlers of other signals interrupt.
// Method: a child sends signals at known moments (when this process sleeps).
#include "tests/guest/check.h"
#include <poll.h>

static volatile int calls;
static sigset_t mask_inside;

static void on_signal(int number)
{
    (void)number;
    calls++;
    sigprocmask(SIG_SETMASK, NULL, &mask_inside);
}

// Sends a signal to this process as soon as it sleeps.
static pid_t send_when_asleep(int number)
{
    pid_t parent = getpid(), child = fork();
    if (child == 0) {
        if (!wait_until_asleep(parent, parent)) {
            _exit(1);
        }
        kill(parent, number);
        _exit(0);
    }
    return child;
}

static void reap(pid_t child)
{
    int status;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    CHECK_QUIET(status == 0);
}

int main(void)
{
    sigset_t blocked, empty, now, wanted;
    siginfo_t info;

    scratch();
    signal(SIGUSR1, on_signal);
    signal(SIGUSR2, on_signal);
    sigemptyset(&empty);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    sigaddset(&blocked, SIGUSR2);
    sigprocmask(SIG_SETMASK, &blocked, NULL);

    // Already pending: sigsuspend returns at once, with the old mask again.
    raise(SIGUSR1);
    ERR(EINTR, sigsuspend(&empty));
    CHECK_EQ(calls, 1);
    CHECK(sigismember(&mask_inside, SIGUSR1) == 1 && sigismember(&mask_inside, SIGUSR2) == 0);
    sigprocmask(SIG_SETMASK, NULL, &now);
    CHECK(sigismember(&now, SIGUSR1) == 1 && sigismember(&now, SIGUSR2) == 1);

    // Coming later.
    pid_t child = send_when_asleep(SIGUSR2);
    ERR(EINTR, sigsuspend(&empty));
    CHECK_EQ(calls, 2);
    reap(child);

    // Ignored signals do not end it: SIGCHLD of a child, then the real one.
    child = send_when_asleep(SIGUSR1);
    pid_t other = fork();
    if (other == 0) {
        _exit(0);
    }
    ERR(EINTR, sigsuspend(&empty));
    CHECK_EQ(calls, 3);
    reap(child);
    reap(other);
    ERR(EINVAL, syscall(SYS_rt_sigsuspend, &empty, 16));
    ERR(EFAULT, syscall(SYS_rt_sigsuspend, 8, 8));

    sigprocmask(SIG_SETMASK, &empty, NULL);
    child = send_when_asleep(SIGUSR1);
    ERR(EINTR, pause());
    CHECK_EQ(calls, 4);
    reap(child);

    // sigtimedwait takes without calling the handler.
    sigprocmask(SIG_SETMASK, &blocked, NULL);
    sigemptyset(&wanted);
    sigaddset(&wanted, SIGUSR1);
    child = send_when_asleep(SIGUSR1);
    CHECK_EQ(sigwaitinfo(&wanted, &info), SIGUSR1);
    CHECK(info.si_pid == child && info.si_code == SI_USER);
    CHECK_EQ(calls, 4);
    reap(child);
    struct timespec zero = {0, 0}, some = {0, 30000000}, wrong = {0, 1000000000};
    ERR(EAGAIN, sigtimedwait(&wanted, &info, &zero));
    uint64_t before = now_ns();
    ERR(EAGAIN, sigtimedwait(&wanted, &info, &some));
    CHECK(now_ns() - before >= 30000000);
    ERR(EINVAL, sigtimedwait(&wanted, &info, &wrong));
    wrong = (struct timespec){-1, 0};
    ERR(EINVAL, sigtimedwait(&wanted, &info, &wrong));
    ERR(EFAULT, syscall(SYS_rt_sigtimedwait, 8, NULL, NULL, 8));
    ERR(EINVAL, syscall(SYS_rt_sigtimedwait, &wanted, NULL, NULL, 16));
    // One that is not waited for but unblocked interrupts the wait and runs its handler.
    sigprocmask(SIG_SETMASK, &wanted, NULL);
    child = send_when_asleep(SIGUSR2);
    ERR(EINTR, syscall(SYS_rt_sigtimedwait, &wanted, NULL, NULL, 8));
    CHECK_EQ(calls, 5);
    reap(child);
    // A signal that is not blocked can also be waited for.
    sigprocmask(SIG_SETMASK, &empty, NULL);
    child = send_when_asleep(SIGUSR1);
    CHECK_EQ(sigwaitinfo(&wanted, NULL), SIGUSR1);
    CHECK_EQ(calls, 5);
    reap(child);
    // SIGKILL cannot be waited for; asking is no error.
    sigaddset(&wanted, SIGKILL);
    ERR(EAGAIN, sigtimedwait(&wanted, NULL, &zero));

    // ppoll replaces the mask in the same way.
    sigprocmask(SIG_SETMASK, &blocked, NULL);
    child = send_when_asleep(SIGUSR2);
    ERR(EINTR, ppoll(NULL, 0, NULL, &empty));
    CHECK_EQ(calls, 6);
    sigprocmask(SIG_SETMASK, NULL, &now);
    CHECK(sigismember(&now, SIGUSR2) == 1);
    reap(child);
    // A blocked signal stays pending through a ppoll that times out.
    raise(SIGUSR1);
    CHECK_EQ(ppoll(NULL, 0, &some, &blocked), 0);
    CHECK_EQ(calls, 6);
    return check_done();
}
