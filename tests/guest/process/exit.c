// SPDX-License-Identifier: MIT
//
// Claim: exit ends one thread, exit_group all of them; codes are cut to eight bits; at the end
// files are closed, locks released, children given to process 1 or the nearest subreaper, and
// parents told. Method: children with threads and children of their own; the parent watches through
// pipes.
#include "tests/guest/check.h"
#include <pthread.h>
#include <sys/prctl.h>

static int ends[2];

static void *exit_thread_only(void *argument)
{
    syscall(SYS_exit, 5);
    return argument;
}

// A thread's exit does not end the process, the last thread's does, with its code.
static void thread_exit_is_not_process_exit(void)
{
    pthread_t thread;

    pthread_create(&thread, NULL, exit_thread_only, NULL);
    sleep_ms(50);
    syscall(SYS_exit, 21);
}

static void *end_process(void *argument)
{
    sleep_ms(20);
    syscall(SYS_exit_group, 22);
    return argument;
}

static void group_exit_from_thread(void)
{
    pthread_t threads[5];

    for (int i = 0; i < 5; i++) {
        pthread_create(&threads[i], NULL, end_process, NULL);
    }
    for (;;) {
        pause();
    }
}

static void *exit_late(void *argument)
{
    sleep_ms(100);
    note("second thread still runs");
    syscall(SYS_exit_group, 23);
    return argument;
}

// The first thread may leave; the process lives on as long as others run.
static void first_thread_leaves(void)
{
    pthread_t thread;

    pthread_create(&thread, NULL, exit_late, NULL);
    syscall(SYS_exit, 0);
}

static void code_minus_one(void)
{
    _exit(-1);
}

static void code_256(void)
{
    _exit(256);
}

static void hold_pipe_and_end(void)
{
    close(ends[0]);
    MUST(write(ends[1], "x", 1));
    _exit(0);
}

// The orphan tells its grandparent who its parent is after its own parent's end.
static void make_orphan(void)
{
    pid_t middle = getpid();

    if (fork() == 0) {
        close(ends[0]);
        while (getppid() == middle) {
            sleep_ms(2);
        }
        pid_t parent = getppid();
        MUST(write(ends[1], &parent, sizeof(parent)));
        _exit(9);
    }
    _exit(0);
}

static void death_signal(void)
{
    // PR_SET_PDEATHSIG: the child is told of its parent's end.
    pid_t middle = fork();
    if (middle == 0) {
        int ready[2];
        MUST(pipe(ready));
        if (fork() == 0) {
            OK(prctl(PR_SET_PDEATHSIG, SIGUSR1));
            sigset_t set;
            sigemptyset(&set);
            sigaddset(&set, SIGUSR1);
            sigprocmask(SIG_BLOCK, &set, NULL);
            MUST(write(ready[1], "x", 1));
            int number = 0;
            sigwait(&set, &number);
            MUST(write(ends[1], &number, sizeof(number)));
            _exit(0);
        }
        char byte;
        MUST(read(ready[0], &byte, 1));
        _exit(0);
    }
    waitpid(middle, NULL, 0);
    int number = 0;
    CHECK_EQ(read(ends[0], &number, sizeof(number)), sizeof(number));
    CHECK_EQ(number, SIGUSR1);
}

static void at_exit_runs(void)
{
    note("handler registered with atexit");
}

static void libc_exit(void)
{
    atexit(at_exit_runs);
    exit(31);
}

int main(void)
{
    scratch();
    CHILD(thread_exit_is_not_process_exit, "exit 21");
    CHILD(group_exit_from_thread, "exit 22");
    CHILD(first_thread_leaves, "exit 23");
    CHILD(code_minus_one, "exit 255");
    CHILD(code_256, "exit 0");
    CHILD(libc_exit, "exit 31");

    MUST(pipe(ends));
    CHILD(hold_pipe_and_end, "exit 0");
    close(ends[1]);
    char text[4];
    CHECK_EQ(read(ends[0], text, sizeof(text)), 1);
    CHECK_EQ(read(ends[0], text, sizeof(text)), 0); // every writer is gone
    close(ends[0]);

    MUST(pipe(ends));
    pid_t parent = 0;
    CHILD(make_orphan, "exit 0");
    CHECK_EQ(read(ends[0], &parent, sizeof(parent)), sizeof(parent));
    CHECK_EQ(parent, 1);
    ERR(ECHILD, wait(NULL));

    OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
    int flag = 0;
    OK(prctl(PR_GET_CHILD_SUBREAPER, &flag));
    CHECK_EQ(flag, 1);
    CHILD(make_orphan, "exit 0");
    CHECK_EQ(read(ends[0], &parent, sizeof(parent)), sizeof(parent));
    CHECK(parent == getpid());
    int status;
    CHECK(wait(&status) > 0);
    CHECK_STR(status_text(status), "exit 9");
    death_signal();
    return check_done();
}
