// SPDX-License-Identifier: MIT
//
// Claim: a pidfd stands for one process: it is readable when that has ended, sends it signals,
// waits for it, is made by clone and clone3 as well, and never comes to mean another process with
// the same number. Method: children in known states; poll, signal and wait through the descriptor.
#include "tests/guest/check.h"
#include <linux/sched.h>
#include <poll.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

static pid_t spawn_paused(void)
{
    pid_t child = fork();
    if (child == 0) {
        for (;;) {
            pause();
        }
    }
    return child;
}

static int events_of(int file, int timeout_ms)
{
    struct pollfd source = {.fd = file, .events = POLLIN};
    poll(&source, 1, timeout_ms);
    return source.revents;
}

static void life(void)
{
    siginfo_t info;
    pid_t child = spawn_paused();
    int file = (int)OK(syscall(SYS_pidfd_open, child, 0));

    CHECK_EQ(fcntl(file, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(events_of(file, 0), 0);
    OK(syscall(SYS_pidfd_send_signal, file, 0, NULL, 0));
    memset(&info, 0, sizeof(info));
    OK(waitid((idtype_t)P_PIDFD, (id_t)file, &info, WEXITED | WNOHANG));
    CHECK_EQ(info.si_pid, 0);
    OK(syscall(SYS_pidfd_send_signal, file, SIGTERM, NULL, 0));
    CHECK_EQ(events_of(file, 10000), POLLIN);
    OK(syscall(SYS_pidfd_send_signal, file, 0, NULL, 0)); // a zombie is still there
    OK(waitid((idtype_t)P_PIDFD, (id_t)file, &info, WEXITED));
    CHECK(info.si_pid == child && info.si_status == SIGTERM && info.si_code == CLD_KILLED);
    ERR(ESRCH, syscall(SYS_pidfd_send_signal, file, 0, NULL, 0));
    ERR(ECHILD, waitid((idtype_t)P_PIDFD, (id_t)file, &info, WEXITED));
    CHECK((events_of(file, 0) & POLLIN) != 0);
    ERR(ESRCH, syscall(SYS_pidfd_open, child, 0));
    close(file);
}

static void made_by_clone3(void)
{
    int file = -1;
    struct clone_args arguments = {
        .flags = CLONE_PIDFD, .pidfd = (uintptr_t)&file, .exit_signal = SIGCHLD};
    pid_t child = (pid_t)syscall(SYS_clone3, &arguments, sizeof(arguments));
    if (child == 0) {
        _exit(33);
    }
    CHECK(child > 0 && file >= 0);
    CHECK_EQ(fcntl(file, F_GETFD), FD_CLOEXEC);
    siginfo_t info = {0};
    OK(waitid((idtype_t)P_PIDFD, (id_t)file, &info, WEXITED));
    CHECK(info.si_pid == child && info.si_status == 33);
    close(file);
    // Its number is told in /proc.
    child = spawn_paused();
    file = (int)MUST(syscall(SYS_pidfd_open, child, 0));
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", file);
    const char *line = strstr(get_file(path), "\nPid:\t");
    CHECK(line != NULL && atoi(line + 6) == child);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    close(file);
}

static void descriptors_of_others(void)
{
    put_file("file", "from the child", 0644);
    int ready[2];
    char byte;
    MUST(pipe(ready));
    pid_t child = fork();
    if (child == 0) {
        MUST(dup2((int)MUST(open("file", O_RDWR)), 60));
        MUST(lseek(60, 5, SEEK_SET));
        MUST(write(ready[1], "x", 1));
        for (;;) {
            pause();
        }
    }
    MUST(read(ready[0], &byte, 1));
    int file = (int)MUST(syscall(SYS_pidfd_open, child, 0));
    int taken = (int)OK(syscall(SYS_pidfd_getfd, file, 60, 0));
    char text[16] = "";
    CHECK_EQ(read(taken, text, 9), 9);
    CHECK_STR(text, "the child");
    CHECK_EQ(fcntl(taken, F_GETFD), FD_CLOEXEC);
    ERR(EBADF, syscall(SYS_pidfd_getfd, file, 61, 0));
    ERR(EINVAL, syscall(SYS_pidfd_getfd, file, 60, 1));
    ERR(EBADF, syscall(SYS_pidfd_getfd, taken, 60, 0));
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

static void errors(void)
{
    int ends[2];
    siginfo_t info = {.si_code = SI_USER};

    MUST(pipe(ends));
    ERR(EINVAL, syscall(SYS_pidfd_open, 0, 0));
    ERR(EINVAL, syscall(SYS_pidfd_open, -1, 0));
    ERR(EINVAL, syscall(SYS_pidfd_open, getpid(), 1));
    ERR(ESRCH, syscall(SYS_pidfd_open, 999999, 0));
    ERR(EBADF, syscall(SYS_pidfd_send_signal, 99, 0, NULL, 0));
    ERR(EBADF, syscall(SYS_pidfd_send_signal, ends[0], 0, NULL, 0));
    int self = (int)OK(syscall(SYS_pidfd_open, getpid(), 0));
    ERR(EINVAL, syscall(SYS_pidfd_send_signal, self, 65, NULL, 0));
    ERR(EINVAL, syscall(SYS_pidfd_send_signal, self, 0, NULL, 8));
    ERR(EFAULT, syscall(SYS_pidfd_send_signal, self, SIGCONT, 8, 0));
    info.si_signo = SIGUSR1;
    ERR(EINVAL, syscall(SYS_pidfd_send_signal, self, SIGCONT, &info, 0)); // two different numbers
    ERR(EINVAL, waitid((idtype_t)P_PIDFD, (id_t)-1, &info, WEXITED));
    ERR(EBADF, waitid((idtype_t)P_PIDFD, (id_t)ends[0], &info, WEXITED));
    ERR(ECHILD, waitid((idtype_t)P_PIDFD, (id_t)self, &info, WEXITED));
    char byte;
    ERR(EINVAL, read(self, &byte, 1));
}

int main(void)
{
    scratch();
    life();
    made_by_clone3();
    descriptors_of_others();
    errors();
    return check_done();
}
