// SPDX-License-Identifier: MIT
//
// Claim: eventfd counts and semaphores, with blocking at both ends; signalfd reads pending signals
// with their origin and never those of its mask's complement.
// Method: exact values, poll states at the limits, a second process as the other side.
#include "tests/guest/check.h"
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>

static int events_of(int file)
{
    struct pollfd source = {.fd = file, .events = POLLIN | POLLOUT};
    poll(&source, 1, 0);
    return source.revents;
}

static void counters(void)
{
    uint64_t value = 0, most = UINT64_MAX - 1;
    int counter = (int)OK(eventfd(3, EFD_NONBLOCK | EFD_CLOEXEC));

    CHECK_EQ(fcntl(counter, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(events_of(counter), POLLIN | POLLOUT);
    CHECK_EQ(read(counter, &value, 8), 8);
    CHECK_EQ(value, 3);
    ERR(EAGAIN, read(counter, &value, 8));
    CHECK_EQ(events_of(counter), POLLOUT);
    value = 5;
    CHECK_EQ(write(counter, &value, 8), 8);
    CHECK_EQ(write(counter, &value, 8), 8);
    CHECK_EQ(read(counter, &value, 8), 8);
    CHECK_EQ(value, 10);
    ERR(EINVAL, read(counter, &value, 7));
    ERR(EINVAL, write(counter, &value, 7));
    value = UINT64_MAX;
    ERR(EINVAL, write(counter, &value, 8));
    CHECK_EQ(write(counter, &most, 8), 8);
    CHECK_EQ(events_of(counter), POLLIN);
    value = 1;
    ERR(EAGAIN, write(counter, &value, 8));
    CHECK_EQ(read(counter, &value, 8), 8);
    CHECK(value == most);
    ERR(EFAULT, write(counter, (void *)8, 8));
    close(counter);
    ERR(EINVAL, eventfd(0, 4));

    counter = (int)OK(eventfd(2, EFD_SEMAPHORE | EFD_NONBLOCK));
    CHECK_EQ(read(counter, &value, 8), 8);
    CHECK_EQ(value, 1);
    CHECK_EQ(read(counter, &value, 8), 8);
    CHECK_EQ(value, 1);
    ERR(EAGAIN, read(counter, &value, 8));
    close(counter);
}

static void blocking_counter(void)
{
    uint64_t value;
    int there = eventfd(0, 0), back = eventfd(0, 0);
    pid_t child = fork();
    if (child == 0) {
        uint64_t sum = 0;
        for (int i = 0; i < 500; i++) {
            MUST(read(there, &value, 8));
            sum += value;
            MUST(write(back, &value, 8));
        }
        _exit(sum == 500 * 7 ? 0 : 1);
    }
    for (int i = 0; i < 500; i++) {
        value = 7;
        MUST(write(there, &value, 8));
        MUST(read(back, &value, 8));
    }
    int status;
    waitpid(child, &status, 0);
    CHECK_STR(status_text(status), "exit 0");
    // A writer sleeps while the counter would overflow.
    value = UINT64_MAX - 1;
    MUST(write(there, &value, 8));
    child = fork();
    if (child == 0) {
        value = 4;
        _exit(write(there, &value, 8) == 8 ? 0 : 1);
    }
    CHECK(wait_until_asleep(child, child));
    MUST(read(there, &value, 8));
    waitpid(child, &status, 0);
    CHECK_STR(status_text(status), "exit 0");
    MUST(read(there, &value, 8));
    CHECK_EQ(value, 4);
}

static void signals(void)
{
    struct signalfd_siginfo got[4];
    sigset_t set;
    union sigval value = {.sival_int = 77};

    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGRTMIN);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int file = (int)OK(signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
    CHECK_EQ(events_of(file), 0);
    ERR(EAGAIN, read(file, got, sizeof(got)));
    kill(getpid(), SIGUSR1);
    CHECK_EQ(events_of(file), POLLIN);
    sigqueue(getpid(), SIGRTMIN, value);
    ERR(EINVAL, read(file, got, sizeof(got[0]) - 1));
    CHECK_EQ(read(file, got, sizeof(got)), 2 * sizeof(got[0]));
    CHECK_EQ(sizeof(got[0]), 128);
    CHECK_EQ(got[0].ssi_signo, SIGUSR1);
    CHECK_EQ(got[0].ssi_code, SI_USER);
    CHECK(got[0].ssi_pid == (uint32_t)getpid() && got[0].ssi_uid == 0);
    CHECK_EQ(got[1].ssi_signo, SIGRTMIN);
    CHECK_EQ(got[1].ssi_code, SI_QUEUE);
    CHECK_EQ(got[1].ssi_int, 77);
    pid_t child = fork();
    if (child == 0) {
        _exit(9);
    }
    struct pollfd source = {.fd = file, .events = POLLIN};
    CHECK_EQ(poll(&source, 1, 10000), 1);
    CHECK_EQ(read(file, got, sizeof(got)), sizeof(got[0]));
    CHECK_EQ(got[0].ssi_signo, SIGCHLD);
    CHECK_EQ(got[0].ssi_code, CLD_EXITED);
    CHECK_EQ(got[0].ssi_status, 9);
    CHECK(got[0].ssi_pid == (uint32_t)child);
    waitpid(child, NULL, 0);
    // The set can be changed; signals outside it stay pending.
    sigdelset(&set, SIGUSR1);
    OK(signalfd(file, &set, 0));
    kill(getpid(), SIGUSR1);
    ERR(EAGAIN, read(file, got, sizeof(got)));
    sigaddset(&set, SIGUSR1);
    OK(signalfd(file, &set, 0));
    CHECK_EQ(read(file, got, sizeof(got)), sizeof(got[0]));
    // Each process reads its own signals, also through an inherited descriptor.
    kill(getpid(), SIGUSR1);
    child = fork();
    if (child == 0) {
        ERR(EAGAIN, read(file, got, sizeof(got)));
        _exit(check_failures);
    }
    int status;
    waitpid(child, &status, 0);
    CHECK_STR(status_text(status), "exit 0");
    // It blocks if asked to.
    fcntl(file, F_SETFL, 0);
    MUST(read(file, got, sizeof(got)));
    while (events_of(file) != 0) {
        MUST(read(file, got, sizeof(got)));
    }
    pid_t parent = getpid();
    child = fork();
    if (child == 0) {
        wait_until_asleep(parent, parent);
        kill(parent, SIGUSR1);
        pause();
        _exit(0);
    }
    CHECK_EQ(read(file, got, sizeof(got[0])), sizeof(got[0]));
    CHECK(got[0].ssi_signo == SIGUSR1 && got[0].ssi_pid == (uint32_t)child);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    ERR(EBADF, signalfd(999, &set, 0));
    ERR(EINVAL, signalfd(0, &set, 0));
    ERR(EINVAL, signalfd(-1, &set, 1));
    ERR(EINVAL, syscall(SYS_signalfd4, -1, &set, 4, 0));
}

int main(void)
{
    scratch();
    counters();
    blocking_counter();
    signals();
    return check_done();
}
