// SPDX-License-Identifier: MIT
//
// Claim: process groups and sessions follow POSIX: who may join which group, who may start a
// session, kill reaches groups, and orphaned stopped groups get SIGHUP and SIGCONT.
// Method: children in each of the positions; parents and children ask for the forbidden things too.
#include "tests/guest/check.h"

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

static void end(pid_t child)
{
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

static void sessions(void)
{
    ERR(EPERM, setpgid(0, 0) == 0 ? setsid() : -2); // a group leader cannot
    pid_t child = fork();
    if (child == 0) {
        pid_t id = (pid_t)OK(setsid());
        CHECK(id == getpid());
        CHECK(getsid(0) == id && getpgrp() == id);
        ERR(EPERM, setsid());
        ERR(EPERM, setpgid(0, 0)); // a session leader stays in its group
        ERR(ENXIO, open("/dev/tty", O_RDWR));
        _exit(check_failures);
    }
    int status;
    waitpid(child, &status, 0);
    CHECK_STR(status_text(status), "exit 0");
}

static void groups(void)
{
    pid_t a = spawn_paused(), b = spawn_paused();

    OK(setpgid(a, 0));
    CHECK(getpgid(a) == a);
    OK(setpgid(b, a));
    CHECK(getpgid(b) == a);
    OK(setpgid(b, getpgrp()));
    OK(setpgid(b, a));
    ERR(EINVAL, setpgid(b, -1));
    ERR(ESRCH, setpgid(1, 0));        // not a child
    ERR(EPERM, setpgid(b, b + 1000)); // no such group
    ERR(ESRCH, getpgid(999999));
    ERR(ESRCH, getsid(999999));
    CHECK(getsid(a) == getsid(0));

    // The group outlives its leader.
    end(a);
    CHECK(getpgid(b) == a);
    OK(kill(-a, 0));
    OK(kill(-a, SIGTERM));
    int status;
    CHECK(waitpid(-a, &status, 0) == b);
    CHECK_STR(status_text(status), "killed by SIGTERM");
    ERR(ESRCH, kill(-a, 0));

    // Into another session's group: never. After exec: not from outside.
    int ends[2];
    char byte;
    MUST(pipe(ends));
    pid_t leader = fork();
    if (leader == 0) {
        setsid();
        MUST(write(ends[1], "x", 1));
        for (;;) {
            pause();
        }
    }
    MUST(read(ends[0], &byte, 1));
    ERR(EPERM, setpgid(leader, getpgrp()));
    ERR(EPERM, setpgid(0, leader));
    end(leader);
    int exec_ends[2];
    MUST(pipe2(exec_ends, O_CLOEXEC));
    pid_t changed = fork();
    if (changed == 0) {
        execl("/bin/busybox", "sleep", "1000", (char *)NULL);
        _exit(1);
    }
    close(exec_ends[1]);
    CHECK_EQ(read(exec_ends[0], &byte, 1), 0); // closed by exec
    ERR(EACCES, setpgid(changed, 0));
    end(changed);
}

static int received[2];

static void report(int number)
{
    unsigned char byte = (unsigned char)number;
    if (write(received[1], &byte, 1) != 1) {
        _exit(1);
    }
}

// kill(0), kill(-group) and kill of several reach each member once.
static void kill_group(void)
{
    enum { MEMBERS = 5 };
    int ready[2];
    char byte;

    MUST(pipe(received));
    MUST(pipe(ready));
    pid_t first = 0, members[MEMBERS];
    for (int i = 0; i < MEMBERS; i++) {
        pid_t child = fork();
        if (child == 0) {
            setpgid(0, first);
            signal(SIGUSR1, report);
            MUST(write(ready[1], "x", 1));
            for (;;) {
                pause();
            }
        }
        members[i] = child;
        first = first == 0 ? child : first;
        MUST(read(ready[0], &byte, 1));
    }
    OK(kill(-first, SIGUSR1));
    for (int i = 0; i < MEMBERS; i++) {
        CHECK_QUIET(read(received[0], &byte, 1) == 1 && byte == SIGUSR1);
    }
    note("each member got the signal");
    OK(kill(-first, SIGKILL));
    for (int i = 0; i < MEMBERS; i++) {
        CHECK(waitpid(members[i], NULL, 0) == members[i]);
    }
    fcntl(received[0], F_SETFL, O_NONBLOCK);
    ERR(EAGAIN, read(received[0], &byte, 1));
    ERR(ESRCH, kill(-first, 0));
    ERR(ESRCH, kill(first, 0));
    ERR(EINVAL, kill(getpid(), 65));
    ERR(EINVAL, kill(getpid(), -1));
    OK(kill(0, 0));
}

// A stopped group whose last link to its session ends gets SIGHUP, then SIGCONT.
static void orphaned_group(void)
{
    int ready[2];
    unsigned char byte;

    MUST(pipe(received));
    MUST(pipe(ready));
    pid_t leader = fork();
    if (leader == 0) {
        setsid();
        pid_t member = fork();
        if (member == 0) {
            setpgid(0, 0);
            signal(SIGHUP, report);
            signal(SIGCONT, report);
            MUST(write(ready[1], "x", 1));
            raise(SIGSTOP);
            sleep_ms(2000);
            _exit(0);
        }
        MUST(read(ready[0], &byte, 1));
        waitpid(member, NULL, WUNTRACED);
        _exit(0);
    }
    waitpid(leader, NULL, 0);
    close(received[1]);
    close(ready[1]);
    unsigned char got[2] = {0};
    CHECK_EQ(read(received[0], &got[0], 1), 1);
    CHECK_EQ(read(received[0], &got[1], 1), 1);
    CHECK((got[0] == SIGHUP && got[1] == SIGCONT) || (got[0] == SIGCONT && got[1] == SIGHUP));
}

// Stop signals from the keyboard do nothing in an orphaned group, SIGSTOP does.
static void no_stop_when_orphaned(void)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        setsid();
        raise(SIGTSTP);
        raise(SIGTTIN);
        raise(SIGTTOU);
        _exit(44);
    }
    CHECK(waitpid(child, &status, WUNTRACED) == child);
    CHECK_STR(status_text(status), "exit 44");
}

int main(void)
{
    scratch();
    // The runner made this process a session leader; work in a child of it.
    pid_t child = fork();
    if (child == 0) {
        sessions();
        groups();
        kill_group();
        orphaned_group();
        no_stop_when_orphaned();
        _exit(check_done());
    }
    int status;
    waitpid(child, &status, 0);
    CHECK_STR(status_text(status), "exit 0");
    return check_done();
}
