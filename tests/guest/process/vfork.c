// SPDX-License-Identifier: MIT
//
// Claim: vfork's child runs in its parent's memory while the parent waits until it ends or execs;
// descriptors are copied; posix_spawn (built on CLONE_VM | CLONE_VFORK) works and reports errors.
// Method: the child writes into variables that the parent then reads; order is shown by a pipe.
#include "tests/guest/check.h"
#include <spawn.h>

static volatile int written;

static void memory_is_shared(void)
{
    written = 0;
    pid_t child = vfork();
    if (child == 0) {
        written = 42;
        _exit(3);
    }
    CHECK_EQ(written, 42);
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK_STR(status_text(status), "exit 3");
}

// The parent must not run before the child's end, even if the child sleeps.
static void parent_waits(void)
{
    written = 0;
    uint64_t before_ns = now_ns();
    pid_t child = vfork();
    if (child == 0) {
        struct timespec time = {0, 100000000};
        syscall(SYS_nanosleep, &time, NULL);
        written = 1;
        _exit(0);
    }
    CHECK_EQ(written, 1);
    CHECK(now_ns() - before_ns >= 100000000u);
    CHECK(waitpid(child, NULL, 0) == child);
}

// exec releases the parent though the program goes on running.
static void exec_releases(void)
{
    int ends[2];
    MUST(pipe(ends));
    pid_t child = vfork();
    if (child == 0) {
        dup2(ends[0], 0);
        close(ends[1]);
        execl("/bin/busybox", "cat", (char *)NULL);
        _exit(127);
    }
    close(ends[0]);
    OK(waitpid(child, NULL, WNOHANG));
    close(ends[1]); // cat sees the end of its input
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK_STR(status_text(status), "exit 0");
}

static void descriptors_are_copied(void)
{
    int file = (int)MUST(open("/dev/null", O_RDONLY));
    pid_t child = vfork();
    if (child == 0) {
        close(file);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    OK(fcntl(file, F_GETFD));
    close(file);
}

static void killed_child_releases(void)
{
    pid_t child = vfork();
    if (child == 0) {
        kill(getpid(), SIGKILL);
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK_STR(status_text(status), "killed by SIGKILL");
}

static void spawn(void)
{
    extern char **environ;
    pid_t child;
    int status;
    char *yes[] = {"true", NULL}, *no[] = {"false", NULL}, *missing[] = {"missing", NULL};

    CHECK_EQ(posix_spawn(&child, "/bin/busybox", NULL, NULL, yes, environ), 0);
    CHECK(waitpid(child, &status, 0) == child);
    CHECK_STR(status_text(status), "exit 0");
    CHECK_EQ(posix_spawn(&child, "/bin/busybox", NULL, NULL, no, environ), 0);
    CHECK(waitpid(child, &status, 0) == child);
    CHECK_STR(status_text(status), "exit 1");
    CHECK_EQ(posix_spawn(&child, "/no/such/program", NULL, NULL, missing, environ), ENOENT);
    ERR(ECHILD, waitpid(-1, &status, 0));

    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, "out", O_WRONLY | O_CREAT, 0600);
    char *echo[] = {"echo", "spawned", NULL};
    CHECK_EQ(posix_spawn(&child, "/bin/busybox", &actions, NULL, echo, environ), 0);
    waitpid(child, &status, 0);
    CHECK_STR(get_file("out"), "spawned\n");
    posix_spawn_file_actions_destroy(&actions);
}

int main(void)
{
    scratch();
    memory_is_shared();
    parent_waits();
    exec_releases();
    descriptors_are_copied();
    killed_child_releases();
    spawn();
    return check_done();
}
