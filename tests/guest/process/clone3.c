// SPDX-License-Identifier: MIT
//
// Claim: clone3 reads its arguments by size (short, exact, longer with zeroes), refuses what it
// does not know, and otherwise does what clone does; CLONE_CLEAR_SIGHAND resets handlers.
// Method: the raw call in fork style (no stack of its own), and with one error each.
#include "tests/guest/check.h"
#include <linux/sched.h>

#ifndef CLONE_CLEAR_SIGHAND
#define CLONE_CLEAR_SIGHAND 0x100000000ULL
#endif

static long clone3(struct clone_args *arguments, size_t size)
{
    return syscall(SYS_clone3, arguments, size);
}

static void handler(int number)
{
    (void)number;
}

static void fork_style(void)
{
    struct clone_args arguments = {.exit_signal = SIGCHLD};
    int status;

    pid_t child = (pid_t)clone3(&arguments, sizeof(arguments));
    if (child == 0) {
        _exit(11);
    }
    CHECK(child > 0);
    CHECK(waitpid(child, &status, 0) == child);
    CHECK_STR(status_text(status), "exit 11");

    child = (pid_t)clone3(&arguments, CLONE_ARGS_SIZE_VER0);
    if (child == 0) {
        _exit(12);
    }
    CHECK(waitpid(child, &status, 0) == child);
    CHECK_STR(status_text(status), "exit 12");
}

static void thread_ids(void)
{
    static pid_t parent_tid, child_tid;
    struct clone_args arguments = {
        .flags = CLONE_PARENT_SETTID | CLONE_CHILD_SETTID,
        .parent_tid = (uintptr_t)&parent_tid,
        .child_tid = (uintptr_t)&child_tid,
        .exit_signal = SIGCHLD,
    };
    int status;

    pid_t child = (pid_t)clone3(&arguments, sizeof(arguments));
    if (child == 0) {
        _exit(child_tid == getpid() ? 0 : 1);
    }
    CHECK(parent_tid == child);
    CHECK(waitpid(child, &status, 0) == child);
    CHECK_STR(status_text(status), "exit 0");
}

static void clear_handlers(void)
{
    struct clone_args arguments = {.flags = CLONE_CLEAR_SIGHAND, .exit_signal = SIGCHLD};
    int status;

    signal(SIGUSR1, handler);
    signal(SIGUSR2, SIG_IGN);
    pid_t child = (pid_t)clone3(&arguments, sizeof(arguments));
    if (child == 0) {
        struct sigaction one, two;
        sigaction(SIGUSR1, NULL, &one);
        sigaction(SIGUSR2, NULL, &two);
        _exit(one.sa_handler == SIG_DFL && two.sa_handler == SIG_IGN ? 0 : 1);
    }
    CHECK(waitpid(child, &status, 0) == child);
    CHECK_STR(status_text(status), "exit 0");
}

static void shared_memory_on_new_stack(void)
{
    static char stack[65536] __attribute__((aligned(16)));
    static volatile int value;
    struct clone_args arguments = {
        .flags = CLONE_VM | CLONE_VFORK,
        .exit_signal = SIGCHLD,
        .stack = (uintptr_t)stack,
        .stack_size = sizeof(stack),
    };
    int status;
    long child;

    // The child returns on an empty stack, so it is written without one.
    __asm__ volatile("syscall\n"
                     "test %%rax, %%rax\n"
                     "jnz 1f\n"
                     "movl $99, %[value]\n"
                     "mov %%rsp, %%rdi\n"
                     "and $15, %%rdi\n" // exit code: misalignment of the stack
                     "mov $60, %%eax\n"
                     "syscall\n"
                     "1:"
        : "=a"(child), [value] "=m"(value)
        : "a"(SYS_clone3), "D"(&arguments), "S"(sizeof(arguments))
        : "rcx", "r11", "memory");
    CHECK(child > 0);
    CHECK_EQ(value, 99);
    CHECK(waitpid((pid_t)child, &status, 0) == child);
    CHECK_STR(status_text(status), "exit 0");
}

static void errors(void)
{
    struct clone_args good = {.exit_signal = SIGCHLD}, arguments;
    struct {
        struct clone_args known;
        uint64_t unknown[4];
    } longer = {.known = good};
    int status;

    ERR(EINVAL, clone3(&good, CLONE_ARGS_SIZE_VER0 - 1));
    ERR(EINVAL, clone3(&good, 0));
    ERR(E2BIG, clone3(&good, 100000));
    ERR(EFAULT, clone3((void *)8, sizeof(good)));

    pid_t child = (pid_t)clone3(&longer.known, sizeof(longer));
    if (child == 0) {
        _exit(13);
    }
    CHECK(waitpid(child, &status, 0) == child);
    CHECK_STR(status_text(status), "exit 13");
    longer.unknown[3] = 1;
    ERR(E2BIG, clone3(&longer.known, sizeof(longer)));

    arguments = good;
    arguments.exit_signal = 65;
    ERR(EINVAL, clone3(&arguments, sizeof(arguments)));
    arguments.exit_signal = 0x100000000ull | SIGCHLD;
    ERR(EINVAL, clone3(&arguments, sizeof(arguments)));
    arguments = good;
    arguments.flags = SIGCHLD; // the exit signal is not part of the flags here
    ERR(EINVAL, clone3(&arguments, sizeof(arguments)));
    arguments.flags = CLONE_DETACHED;
    ERR(EINVAL, clone3(&arguments, sizeof(arguments)));
    arguments.flags = 1ull << 40;
    ERR(EINVAL, clone3(&arguments, sizeof(arguments)));
    arguments.flags = CLONE_THREAD | CLONE_SIGHAND | CLONE_VM; // with an exit signal
    ERR(EINVAL, clone3(&arguments, sizeof(arguments)));
    arguments.flags = CLONE_CLEAR_SIGHAND | CLONE_SIGHAND | CLONE_VM;
    ERR(EINVAL, clone3(&arguments, sizeof(arguments)));
    arguments = good;
    arguments.stack = 4096; // a stack without a size
    ERR(EINVAL, clone3(&arguments, sizeof(arguments)));
    arguments = good;
    arguments.stack_size = 4096; // a size without a stack
    ERR(EINVAL, clone3(&arguments, sizeof(arguments)));
    ERR(ECHILD, waitpid(-1, NULL, __WALL));
}

int main(void)
{
    scratch();
    fork_style();
    thread_ids();
    clear_handlers();
    shared_memory_on_new_stack();
    errors();
    return check_done();
}
