// SPDX-License-Identifier: MIT
//
// Claim: wait4 and waitid select children by id, group, any and pidfd, report exit, death, stop and
// continue once each with the right status and siginfo, leave the child with WNOWAIT, account its
// times, and fail as they should; ignored SIGCHLD and SA_NOCLDWAIT leave no zombies.
// Method: children in known states; each is asked for in several ways.
#include "tests/guest/check.h"
#include <sys/resource.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

static pid_t spawn_exit(int code)
{
    pid_t child = fork();
    if (child == 0) {
        _exit(code);
    }
    return child;
}

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

static const char *code_name(int code)
{
    static const char *const names[] = {"none", "CLD_EXITED", "CLD_KILLED", "CLD_DUMPED",
        "CLD_TRAPPED", "CLD_STOPPED", "CLD_CONTINUED"};
    return code >= 0 && code < (int)ARRAY_SIZE(names) ? names[code] : "?";
}

static void show(const siginfo_t *info, pid_t child)
{
    note("  %s %s, pid %s, uid %d, status %d", signal_name(info->si_signo),
        code_name(info->si_code),
        info->si_pid == child ? "right"
        : info->si_pid == 0   ? "0"
                              : "wrong",
        (int)info->si_uid, info->si_status);
}

static void selection(void)
{
    int status;
    pid_t a = spawn_exit(1), b = spawn_exit(2), c = fork();
    if (c == 0) {
        setpgid(0, 0);
        _exit(3);
    }
    setpgid(c, c);
    CHECK(waitpid(b, &status, 0) == b);
    CHECK_STR(status_text(status), "exit 2");
    CHECK(waitpid(-c, &status, 0) == c);
    CHECK_STR(status_text(status), "exit 3");
    ERR(ECHILD, waitpid(-c, &status, 0));
    CHECK(waitpid(0, &status, 0) == a);
    CHECK_STR(status_text(status), "exit 1");
    ERR(ECHILD, waitpid(-1, &status, 0));
    ERR(ECHILD, waitpid(a, &status, WNOHANG));
    ERR(ECHILD, waitpid(1, &status, WNOHANG));
    ERR(EINVAL, waitpid(-1, &status, 0x100));
    ERR(ESRCH, waitpid(INT_MIN, &status, 0));
}

static void no_hang(void)
{
    int status = 12345;
    pid_t child = spawn_paused();
    CHECK_EQ(waitpid(child, &status, WNOHANG), 0);
    CHECK_EQ(status, 12345);
    CHECK_EQ(waitpid(-1, &status, WNOHANG), 0);
    siginfo_t info;
    memset(&info, 0xff, sizeof(info));
    OK(waitid(P_ALL, 0, &info, WEXITED | WNOHANG));
    CHECK(info.si_pid == 0 && info.si_signo == 0);
    kill(child, SIGTERM);
    CHECK(waitpid(child, &status, 0) == child);
    CHECK_STR(status_text(status), "killed by SIGTERM");
    CHECK_EQ(WCOREDUMP(status), 0);
}

static void stop_and_continue(void)
{
    int status;
    siginfo_t info = {0};
    pid_t child = spawn_paused();

    setpgid(child, 0); // in an orphaned group SIGTSTP would be ignored
    kill(child, SIGSTOP);
    CHECK(waitpid(child, &status, WUNTRACED) == child);
    CHECK_STR(status_text(status), "stopped by SIGSTOP");
    CHECK_EQ(waitpid(child, &status, WUNTRACED | WNOHANG), 0); // reported once
    kill(child, SIGCONT);
    CHECK(waitpid(child, &status, WCONTINUED) == child);
    CHECK_STR(status_text(status), "continued");
    CHECK_EQ(waitpid(child, &status, WCONTINUED | WNOHANG), 0);

    kill(child, SIGTSTP);
    OK(waitid(P_PID, (id_t)child, &info, WSTOPPED | WNOWAIT));
    show(&info, child);
    OK(waitid(P_PID, (id_t)child, &info, WSTOPPED));
    show(&info, child);
    info.si_pid = 7;
    OK(waitid(P_PID, (id_t)child, &info, WSTOPPED | WNOHANG));
    CHECK_EQ(info.si_pid, 0);
    kill(child, SIGCONT);
    OK(waitid(P_PID, (id_t)child, &info, WCONTINUED | WNOWAIT));
    show(&info, child);
    OK(waitid(P_PID, (id_t)child, &info, WCONTINUED));

    // A stopped child can be killed, and the stop is then not reported any more.
    kill(child, SIGSTOP);
    OK(waitid(P_PID, (id_t)child, &info, WSTOPPED | WNOWAIT));
    kill(child, SIGKILL);
    OK(waitid(P_PID, (id_t)child, &info, WEXITED | WSTOPPED));
    show(&info, child);
    ERR(ECHILD, waitid(P_PID, (id_t)child, &info, WEXITED | WSTOPPED));
}

static void siginfo(void)
{
    siginfo_t info;
    struct rusage usage;

    pid_t child = spawn_exit(0x1ab);
    OK(waitid(P_ALL, 0, &info, WEXITED | WNOWAIT));
    show(&info, child);
    OK(waitid(P_PID, (id_t)child, &info, WEXITED));
    show(&info, child);
    ERR(ECHILD, waitid(P_ALL, 0, &info, WEXITED));

    child = fork();
    if (child == 0) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        abort();
    }
    OK(waitid(P_PGID, (id_t)getpgrp(), &info, WEXITED));
    show(&info, child);

    // P_PGID 0 is the caller's group.
    child = spawn_exit(4);
    OK(waitid(P_PGID, 0, &info, WEXITED));
    show(&info, child);

    child = spawn_exit(5);
    int pidfd = (int)syscall(SYS_pidfd_open, child, 0);
    CHECK(pidfd >= 0);
    OK(syscall(SYS_waitid, P_PIDFD, pidfd, &info, WEXITED, &usage));
    show(&info, child);
    close(pidfd);

    ERR(EINVAL, waitid(P_ALL, 0, &info, 0));
    ERR(EINVAL, waitid(P_ALL, 0, &info, WNOHANG));
    ERR(EINVAL, waitid(P_ALL, 0, &info, WEXITED | 0x100));
    ERR(EINVAL, waitid((idtype_t)9, 0, &info, WEXITED));
    ERR(EINVAL, waitid(P_PID, 0, &info, WEXITED));
    ERR(EBADF, waitid((idtype_t)P_PIDFD, 999, &info, WEXITED));
    child = spawn_exit(6);
    OK(syscall(SYS_waitid, P_PID, child, NULL, WEXITED, NULL));
    child = spawn_exit(6);
    ERR(EFAULT, syscall(SYS_wait4, child, (int *)8, 0, NULL));
}

static void usage_is_collected(void)
{
    struct rusage one, all;
    int status;

    pid_t child = fork();
    if (child == 0) {
        // A twentieth of a second of computing, so that it must show.
        struct timespec used;
        do {
            clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
        } while (used.tv_sec == 0 && used.tv_nsec < 50000000);
        _exit(0);
    }
    CHECK(wait4(child, &status, 0, &one) == child);
    long long us = (long long)(one.ru_utime.tv_sec + one.ru_stime.tv_sec) * 1000000 +
                   one.ru_utime.tv_usec + one.ru_stime.tv_usec;
    CHECK(us >= 49000);
    OK(getrusage(RUSAGE_CHILDREN, &all));
    long long all_us = (long long)(all.ru_utime.tv_sec + all.ru_stime.tv_sec) * 1000000 +
                       all.ru_utime.tv_usec + all.ru_stime.tv_usec;
    CHECK(all_us >= us);
    ERR(EINVAL, getrusage(5, &all));
}

static void no_zombies(void)
{
    signal(SIGCHLD, SIG_IGN);
    pid_t child = spawn_exit(1);
    ERR(ECHILD, waitpid(child, NULL, 0)); // waits for the end, then has nothing to report
    signal(SIGCHLD, SIG_DFL);

    struct sigaction action = {.sa_handler = SIG_DFL, .sa_flags = SA_NOCLDWAIT};
    sigaction(SIGCHLD, &action, NULL);
    spawn_exit(1);
    spawn_exit(2);
    ERR(ECHILD, waitpid(-1, NULL, 0));
    signal(SIGCHLD, SIG_DFL);
}

static void on_alarm(int number)
{
    (void)number;
}

static void interrupted(void)
{
    struct sigaction action = {.sa_handler = on_alarm};
    pid_t child = spawn_paused();

    sigaction(SIGALRM, &action, NULL);
    ualarm(50000, 0);
    ERR(EINTR, waitpid(child, NULL, 0));
    kill(child, SIGKILL);
    OK(waitpid(child, NULL, 0) == child ? 0 : -1);
}

int main(void)
{
    scratch();
    selection();
    no_hang();
    stop_and_continue();
    siginfo();
    usage_is_collected();
    no_zombies();
    interrupted();
    return check_done();
}
