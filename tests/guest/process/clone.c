// SPDX-License-Identifier: MIT
//
// Claim: clone shares exactly what its flags say (memory, files, working directory, handlers), sets
// and clears thread ids where asked, takes the child's stack, TLS and exit signal, and refuses
// combinations that make no sense.
// Method: each flag in turn, with libc's clone(); the child changes things, the parent looks.
#include "tests/guest/check.h"
#include <linux/futex.h>
#include <sched.h>

static char stack[65536] __attribute__((aligned(16)));
static volatile int value;
static int file;
static volatile pid_t child_tid;

static int change_everything(void *argument)
{
    value = *(int *)argument;
    close(file);
    umask(077);
    if (chdir("/") != 0) {
        return 1;
    }
    signal(SIGUSR1, SIG_IGN);
    return 4;
}

// Runs change_everything with these flags and says what the parent sees of it.
static void shared_by(int flags, const char *name)
{
    int argument = 77, status;
    char where[PATH_MAX];
    char home[PATH_MAX];

    value = 0;
    file = (int)MUST(open("/dev/null", O_RDONLY));
    umask(022);
    signal(SIGUSR1, SIG_DFL);
    MUST(getcwd(home, sizeof(home)) != NULL ? 0 : -1);
    pid_t child =
        (pid_t)MUST(clone(change_everything, stack + sizeof(stack), flags | SIGCHLD, &argument));
    MUST(waitpid(child, &status, 0));
    struct sigaction action;
    sigaction(SIGUSR1, NULL, &action);
    MUST(getcwd(where, sizeof(where)) != NULL ? 0 : -1);
    bool closed = fcntl(file, F_GETFD) < 0;
    mode_t mask = umask(022);
    note("%s: %s, memory %s, files %s, fs %s, umask %03o, handlers %s", name, status_text(status),
        value == 77 ? "shared" : "copied", closed ? "shared" : "copied",
        strcmp(where, "/") == 0 ? "shared" : "copied", mask,
        action.sa_handler == SIG_IGN ? "shared" : "copied");
    CHECK_QUIET((value == 77) == ((flags & CLONE_VM) != 0));
    CHECK_QUIET(closed == ((flags & CLONE_FILES) != 0));
    CHECK_QUIET((strcmp(where, "/") == 0) == ((flags & CLONE_FS) != 0));
    CHECK_QUIET((action.sa_handler == SIG_IGN) == ((flags & CLONE_SIGHAND) != 0));
    close(file);
    signal(SIGUSR1, SIG_DFL);
    MUST(chdir(home));
}

static int report_ids(void *argument)
{
    (void)argument;
    if (child_tid != (pid_t)syscall(SYS_gettid)) {
        return 1;
    }
    return getppid() == 0 ? 2 : 0;
}

static void thread_ids(void)
{
    pid_t parent_tid = 0;
    int status;

    child_tid = 0;
    pid_t child = (pid_t)OK(clone(report_ids, stack + sizeof(stack),
        CLONE_CHILD_SETTID | CLONE_PARENT_SETTID | SIGCHLD, NULL, &parent_tid, NULL, &child_tid));
    CHECK(parent_tid == child);
    waitpid(child, &status, 0);
    CHECK_STR(status_text(status), "exit 0");
    CHECK_EQ(child_tid, 0); // set in the child's memory only

    child_tid = 1;
    child = (pid_t)OK(clone(report_ids, stack + sizeof(stack),
        CLONE_VM | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | SIGCHLD, NULL, NULL, NULL,
        &child_tid));
    waitpid(child, &status, 0);
    CHECK_STR(status_text(status), "exit 0");
    CHECK_EQ(child_tid, 0); // cleared in the shared memory at its end
}

static int in_thread(void *argument)
{
    // The process is the same, the thread another.
    *(int *)argument = getpid() != (pid_t)syscall(SYS_gettid);
    syscall(SYS_exit, 0);
    return 0;
}

static void thread_group(void)
{
    static int different;

    child_tid = 1;
    long thread = OK(clone(in_thread, stack + sizeof(stack),
        CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
            CLONE_CHILD_CLEARTID,
        &different, NULL, NULL, &child_tid));
    while (child_tid != 0) {
        syscall(SYS_futex, &child_tid, FUTEX_WAIT, 1, NULL, NULL, 0);
    }
    CHECK_EQ(different, 1);
    ERR(ECHILD, waitpid((pid_t)thread, NULL, 0));
    ERR(ECHILD, waitpid(-1, NULL, __WALL));
}

static int exit_six(void *argument)
{
    (void)argument;
    return 6;
}

static void exit_signals(void)
{
    int status = -1;

    // A child with another exit signal is a "clone child": plain wait does not see it.
    pid_t child = (pid_t)OK(clone(exit_six, stack + sizeof(stack), 0, NULL));
    ERR(ECHILD, waitpid(child, &status, 0));
    CHECK(waitpid(child, &status, __WCLONE) == child);
    CHECK_STR(status_text(status), "exit 6");

    signal(SIGUSR2, SIG_IGN);
    child = (pid_t)OK(clone(exit_six, stack + sizeof(stack), SIGUSR2, NULL));
    CHECK(waitpid(child, &status, __WALL) == child);
    CHECK_STR(status_text(status), "exit 6");
}

static int sibling(void *argument)
{
    // With CLONE_PARENT the new process is its creator's sibling.
    return getppid() == *(pid_t *)argument ? 0 : 1;
}

static void parent_flag(void)
{
    static pid_t self;
    int status;

    self = getpid();
    pid_t child = fork();
    if (child == 0) {
        pid_t other = clone(sibling, stack + sizeof(stack), CLONE_PARENT | SIGCHLD, &self);
        _exit(other > 0 && waitpid(other, NULL, 0) < 0 && errno == ECHILD ? 0 : 1);
    }
    CHECK(waitpid(child, &status, 0) == child);
    CHECK_STR(status_text(status), "exit 0");
    CHECK(waitpid(-1, &status, 0) > 0);
    CHECK_STR(status_text(status), "exit 0");
}

static void nonsense(void)
{
    // The raw call: libc's wrapper checks some of these itself.
    ERR(EINVAL, syscall(SYS_clone, CLONE_THREAD | SIGCHLD, 0, NULL, NULL, 0));
    ERR(EINVAL, syscall(SYS_clone, CLONE_SIGHAND | SIGCHLD, 0, NULL, NULL, 0));
    ERR(EINVAL, syscall(SYS_clone, CLONE_THREAD | CLONE_SIGHAND | SIGCHLD, 0, NULL, NULL, 0));
    ERR(EINVAL, syscall(SYS_clone, CLONE_FS | CLONE_NEWNS | SIGCHLD, 0, NULL, NULL, 0));
    ERR(ECHILD, waitpid(-1, NULL, __WALL));
}

int main(void)
{
    scratch();
    shared_by(0, "nothing");
    shared_by(CLONE_VM, "CLONE_VM");
    shared_by(CLONE_FILES, "CLONE_FILES");
    shared_by(CLONE_FS, "CLONE_FS");
    shared_by(CLONE_VM | CLONE_SIGHAND, "CLONE_VM | CLONE_SIGHAND");
    shared_by(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND, "all four");
    thread_ids();
    thread_group();
    exit_signals();
    parent_flag();
    nonsense();
    return check_done();
}
