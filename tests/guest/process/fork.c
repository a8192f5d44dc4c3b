// SPDX-License-Identifier: MIT
//
// Claim: fork gives a child with a copy of the parent's memory, descriptors, signal dispositions,
// mask and working directory, but without its pending signals, timers, file locks and times.
// Method: the parent prepares each of these, the child looks and reports through its checks.
#include "tests/guest/check.h"
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/times.h>

static int global = 1;
static volatile sig_atomic_t caught;
static int shared_offset_file;

static void on_signal(int number)
{
    caught = number;
}

static void memory_is_copied(void)
{
    CHECK_EQ(global, 1);
    global = 2;
    int *heap = malloc(1 << 20);
    heap[1000] = 5;
    CHECK_EQ(heap[1000], 5);
}

static void identity(void)
{
    CHECK(getpid() != getppid());
    CHECK(getpid() == (pid_t)syscall(SYS_gettid));
    CHECK(getpgrp() == getpgid(getppid()));
    CHECK(getsid(0) == getsid(getppid()));
}

static void signals_are_inherited(void)
{
    struct sigaction action;
    sigset_t set;

    OK(sigaction(SIGUSR1, NULL, &action));
    CHECK(action.sa_handler == on_signal);
    OK(sigaction(SIGUSR2, NULL, &action));
    CHECK(action.sa_handler == SIG_IGN);
    OK(sigprocmask(SIG_SETMASK, NULL, &set));
    CHECK(sigismember(&set, SIGUSR1) == 1);
    CHECK(sigismember(&set, SIGTERM) == 0);
    OK(sigpending(&set));
    CHECK(sigismember(&set, SIGUSR1) == 0);
    raise(SIGUSR1);
    sigemptyset(&set);
    OK(sigprocmask(SIG_SETMASK, &set, NULL));
    CHECK_EQ(caught, SIGUSR1);
}

static void timers_are_not_inherited(void)
{
    struct itimerval left;

    OK(getitimer(ITIMER_REAL, &left));
    CHECK(left.it_value.tv_sec == 0 && left.it_value.tv_usec == 0);
    CHECK_EQ(alarm(0), 0);
}

static void times_start_at_zero(void)
{
    struct tms used;
    struct rusage usage;

    CHECK(times(&used) != (clock_t)-1);
    CHECK(used.tms_cutime == 0 && used.tms_cstime == 0);
    OK(getrusage(RUSAGE_CHILDREN, &usage));
    CHECK(usage.ru_utime.tv_sec == 0 && usage.ru_utime.tv_usec == 0);
}

static void descriptors_are_shared_descriptions(void)
{
    CHECK_EQ(lseek(shared_offset_file, 0, SEEK_CUR), 3);
    OK(lseek(shared_offset_file, 10, SEEK_SET));
    OK(fcntl(shared_offset_file, F_SETFD, FD_CLOEXEC));
    OK(close(shared_offset_file));
}

static void locks_are_not_inherited(void)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};

    ERR(EAGAIN, fcntl(shared_offset_file, F_SETLK, &lock));
    OK(fcntl(shared_offset_file, F_GETLK, &lock));
    CHECK_EQ(lock.l_type, F_WRLCK);
    CHECK(lock.l_pid == getppid());
}

static void nothing(void)
{
}

static void exit_seven(void)
{
    _exit(7);
}

static void exit_wide(void)
{
    _exit(0x1234ff);
}

static void die_of_kill(void)
{
    raise(SIGKILL);
}

static void directory_is_inherited(void)
{
    OK(access("file", F_OK));
    CHECK_EQ(umask(0), 027);
    OK(mkdir("below", 0777));
    OK(chdir("below"));
}

int main(void)
{
    scratch();
    CHILD(memory_is_copied, "exit 0");
    CHECK_EQ(global, 1);
    CHILD(identity, "exit 0");

    sigset_t set, old;
    signal(SIGUSR1, on_signal);
    signal(SIGUSR2, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, &old);
    raise(SIGUSR1);
    CHILD(signals_are_inherited, "exit 0");
    sigpending(&set);
    CHECK(sigismember(&set, SIGUSR1) == 1);
    sigprocmask(SIG_SETMASK, &old, NULL);
    CHECK_EQ(caught, SIGUSR1);

    alarm(1000);
    CHILD(timers_are_not_inherited, "exit 0");
    CHECK(alarm(0) > 900);
    CHILD(times_start_at_zero, "exit 0");

    put_file("file", "0123456789abcdef", 0600);
    shared_offset_file = (int)MUST(open("file", O_RDWR));
    lseek(shared_offset_file, 3, SEEK_SET);
    CHILD(descriptors_are_shared_descriptions, "exit 0");
    CHECK_EQ(lseek(shared_offset_file, 0, SEEK_CUR), 10);
    CHECK_EQ(fcntl(shared_offset_file, F_GETFD), 0);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
    OK(fcntl(shared_offset_file, F_SETLK, &lock));
    CHILD(locks_are_not_inherited, "exit 0");

    umask(027);
    CHILD(directory_is_inherited, "exit 0");
    OK(access("below", F_OK));
    CHECK_EQ(umask(022), 027);

    CHILD(nothing, "exit 0");
    CHILD(exit_seven, "exit 7");
    CHILD(exit_wide, "exit 255");
    CHILD(die_of_kill, "killed by SIGKILL");

    // A thousand children, one after the other, leave nothing behind.
    int ended_well = 0;
    for (int i = 0; i < 1000; i++) {
        pid_t child = fork();
        if (child == 0) {
            _exit(i & 63);
        }
        int status;
        ended_well += waitpid(child, &status, 0) == child && WEXITSTATUS(status) == (i & 63);
    }
    CHECK_EQ(ended_well, 1000);
    ERR(ECHILD, wait(NULL));
    return check_done();
}
