// SPDX-License-Identifier: MIT
//
// Claim: sigaltstack: handlers with SA_ONSTACK run there, others do not; a stack overflow can be
// handled; the state is reported, kept by fork, not by threads, and cannot be changed in use;
// SS_AUTODISARM works.
// Method: handlers report where their frame lies.
#include "tests/guest/check.h"
#include <pthread.h>
#include <setjmp.h>

#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1u << 31)
#endif

static char alternative[32768] __attribute__((aligned(16)));
static volatile int on_alternative, inside_flags, change_error;
static sigjmp_buf out;

static bool lies_there(const void *address)
{
    return (const char *)address >= alternative &&
           (const char *)address < alternative + sizeof(alternative);
}

static void on_signal(int number)
{
    stack_t now, other = {.ss_sp = alternative, .ss_size = sizeof(alternative) / 2};
    char local;

    (void)number;
    on_alternative = lies_there(&local);
    sigaltstack(NULL, &now);
    inside_flags = now.ss_flags;
    change_error = sigaltstack(&other, NULL) < 0 ? errno : 0;
}

static void on_overflow(int number)
{
    char local;
    (void)number;
    on_alternative = lies_there(&local);
    siglongjmp(out, 1);
}

__attribute__((noinline)) static int overflow(int depth)
{
    volatile char frame[4096];
    frame[0] = (char)depth;
    return depth == INT_MAX ? 0 : overflow(depth + 1) + frame[0];
}

static void *thread_has_none(void *argument)
{
    stack_t now;
    sigaltstack(NULL, &now);
    return now.ss_flags == SS_DISABLE ? argument : NULL;
}

int main(void)
{
    stack_t stack = {.ss_sp = alternative, .ss_size = sizeof(alternative)}, got;
    struct sigaction action = {.sa_handler = on_signal};

    scratch();
    OK(sigaltstack(NULL, &got));
    CHECK_EQ(got.ss_flags, SS_DISABLE);
    OK(sigaltstack(&stack, NULL));
    OK(sigaltstack(NULL, &got));
    CHECK(got.ss_sp == alternative && got.ss_size == sizeof(alternative) && got.ss_flags == 0);

    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
    CHECK_EQ(on_alternative, 0);
    CHECK_EQ(inside_flags, 0);
    OK(sigaltstack(&stack, NULL)); // the handler was allowed to change it
    action.sa_flags = SA_ONSTACK;
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
    CHECK_EQ(on_alternative, 1);
    CHECK_EQ(inside_flags, SS_ONSTACK);
    CHECK_EQ(change_error, EPERM);

    pid_t child = fork();
    if (child == 0) {
        on_alternative = 0;
        raise(SIGUSR1);
        _exit(on_alternative);
    }
    int status;
    waitpid(child, &status, 0);
    CHECK_STR(status_text(status), "exit 1");
    pthread_t thread;
    void *result;
    pthread_create(&thread, NULL, thread_has_none, &stack);
    pthread_join(thread, &result);
    CHECK(result == &stack);

    struct sigaction fault = {.sa_handler = on_overflow, .sa_flags = SA_ONSTACK};
    sigaction(SIGSEGV, &fault, NULL);
    for (int i = 0; i < 3; i++) {
        on_alternative = 0;
        if (sigsetjmp(out, 1) == 0) {
            overflow(0);
        }
        CHECK_EQ(on_alternative, 1);
    }

    stack.ss_flags = (int)SS_AUTODISARM;
    OK(sigaltstack(&stack, NULL));
    raise(SIGUSR1);
    CHECK_EQ(on_alternative, 1);
    CHECK_EQ(inside_flags, SS_DISABLE);
    CHECK_EQ(change_error, 0);
    OK(sigaltstack(NULL, &got)); // restored on return
    CHECK(got.ss_sp == alternative && got.ss_size == sizeof(alternative));

    stack.ss_flags = 0;
    stack.ss_size = 1000;
    ERR(ENOMEM, sigaltstack(&stack, NULL));
    stack.ss_size = 2047;
    ERR(ENOMEM, syscall(SYS_sigaltstack, &stack, NULL));
    stack.ss_size = sizeof(alternative);
    stack.ss_flags = 8;
    ERR(EINVAL, syscall(SYS_sigaltstack, &stack, NULL));
    ERR(EFAULT, syscall(SYS_sigaltstack, 8, NULL));
    stack.ss_flags = SS_DISABLE;
    OK(sigaltstack(&stack, NULL));
    raise(SIGUSR1);
    CHECK_EQ(on_alternative, 0);
    return check_done();
}
