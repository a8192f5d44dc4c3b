// SPDX-License-Identifier: MIT
//
// Claim: sigaction keeps what it is told; SA_NODEFER, SA_RESETHAND, sa_mask and SA_SIGINFO do what
// they say; default actions are those of POSIX; SIGKILL and SIGSTOP cannot be caught, ignored or
// blocked. Method: handlers that record their nesting and mask; children that die of each signal.
#include "tests/guest/check.h"

static volatile int depth, deepest, calls;
static sigset_t mask_inside;

static void on_signal(int number)
{
    calls++;
    depth++;
    deepest = depth > deepest ? depth : deepest;
    sigprocmask(SIG_SETMASK, NULL, &mask_inside);
    if (calls < 3) {
        raise(number);
    }
    depth--;
}

static void run(int flags, int also_masked)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = flags}, got;

    sigemptyset(&action.sa_mask);
    if (also_masked != 0) {
        sigaddset(&action.sa_mask, also_masked);
    }
    depth = deepest = calls = 0;
    MUST(sigaction(SIGUSR1, &action, NULL));
    MUST(sigaction(SIGUSR1, NULL, &got));
    CHECK_EQ(got.sa_flags & ~0x04000000, flags);
    raise(SIGUSR1);
    sigaction(SIGUSR1, NULL, &got);
    note("  flags %x: calls %d, deepest %d, USR1 masked %d, USR2 masked %d, handler %s", flags,
        calls, deepest, sigismember(&mask_inside, SIGUSR1), sigismember(&mask_inside, SIGUSR2),
        got.sa_handler == SIG_DFL ? "default" : "set");
}

static void three_deep(int flags)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = flags};
    depth = deepest = calls = 0;
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
    CHECK_EQ(deepest, 3);
    CHECK_EQ(calls, 3);
}

static int signal_to_die_of;

static void die(void)
{
    signal(signal_to_die_of, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setpgid(0, 0);
    raise(signal_to_die_of);
    _exit(66); // survived
}

static void ignore(void)
{
    signal(signal_to_die_of, SIG_IGN);
    raise(signal_to_die_of);
    _exit(66);
}

static void default_actions(void)
{
    for (int number = 1; number <= 64; number++) {
        if (number == 32 || number == 33 || number == 34) {
            continue; // the C library's own
        }
        signal_to_die_of = number;
        pid_t child = fork();
        if (child == 0) {
            die();
        }
        int status;
        waitpid(child, &status, WUNTRACED);
        const char *text = status_text(status);
        char first[64], second[64];
        snprintf(first, sizeof(first), "%s", text);
        if (WIFSTOPPED(status)) {
            kill(child, SIGKILL);
            waitpid(child, NULL, 0);
        }
        second[0] = 0;
        if (number != SIGKILL && number != SIGSTOP) {
            snprintf(second, sizeof(second), "%s", status_text(in_child(ignore)));
        }
        note("%s: default %s; ignored %s", signal_name(number), first, second);
    }
}

static void refusals(void)
{
    struct sigaction action = {.sa_handler = SIG_IGN};
    sigset_t set, got;

    ERR(EINVAL, sigaction(SIGKILL, &action, NULL));
    ERR(EINVAL, sigaction(SIGSTOP, &action, NULL));
    OK(sigaction(SIGKILL, NULL, &action));
    ERR(EINVAL, sigaction(0, NULL, &action));
    ERR(EINVAL, sigaction(65, NULL, &action));
    ERR(EINVAL, syscall(SYS_rt_sigaction, SIGUSR1, NULL, NULL, 4));
    ERR(EFAULT, syscall(SYS_rt_sigaction, SIGUSR1, 8, NULL, 8));
    ERR(EFAULT, syscall(SYS_rt_sigaction, SIGUSR1, NULL, 8, 8));
    ERR(EINVAL, syscall(SYS_rt_sigprocmask, 5, &set, NULL, 8));
    ERR(EINVAL, syscall(SYS_rt_sigprocmask, SIG_SETMASK, &set, NULL, 16));
    ERR(EFAULT, syscall(SYS_rt_sigprocmask, SIG_SETMASK, 8, NULL, 8));
    OK(syscall(SYS_rt_sigprocmask, 5, NULL, &set, 8)); // "how" counts only with a set
    ERR(EINVAL, syscall(SYS_rt_sigpending, &set, 16));
    uint64_t all = ~0ull, now = 0;
    OK(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, 8));
    OK(syscall(SYS_rt_sigprocmask, SIG_SETMASK, NULL, &now, 8));
    CHECK_EQ(now, ~((1ull << (SIGKILL - 1)) | (1ull << (SIGSTOP - 1))));
    all = 0;
    OK(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, 8));
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGUSR2);
    OK(sigprocmask(SIG_BLOCK, &set, NULL));
    sigdelset(&set, SIGUSR1);
    OK(sigprocmask(SIG_UNBLOCK, &set, &got));
    CHECK(sigismember(&got, SIGUSR1) == 1 && sigismember(&got, SIGUSR2) == 1);
    OK(sigprocmask(SIG_SETMASK, NULL, &got));
    CHECK(sigismember(&got, SIGUSR1) == 1 && sigismember(&got, SIGUSR2) == 0);
    sigemptyset(&set);
    OK(sigprocmask(SIG_SETMASK, &set, NULL));
}

// Setting SIG_IGN discards what is pending; so does SIG_DFL where the default is to ignore.
static void discarded_when_ignored(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGUSR1, on_signal);
    signal(SIGCHLD, on_signal);
    raise(SIGUSR1);
    raise(SIGCHLD);
    sigpending(&set);
    CHECK(sigismember(&set, SIGUSR1) == 1 && sigismember(&set, SIGCHLD) == 1);
    signal(SIGUSR1, SIG_IGN);
    signal(SIGCHLD, SIG_DFL);
    sigpending(&set);
    CHECK(sigismember(&set, SIGUSR1) == 0 && sigismember(&set, SIGCHLD) == 0);
    // Blocked and ignored: stays pending while blocked.
    raise(SIGUSR1);
    sigpending(&set);
    CHECK(sigismember(&set, SIGUSR1) == 1);
}

int main(void)
{
    scratch();
    run(0, 0);
    run(0, SIGUSR2);
    run(SA_SIGINFO, 0);
    run(SA_RESTART, 0);
    run(SA_NOCLDSTOP, SIGUSR2);
    three_deep(SA_NODEFER);
    calls = 5; // the handler does not raise again
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND}, got;
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
    sigaction(SIGUSR1, NULL, &got);
    CHECK(got.sa_handler == SIG_DFL);
    refusals();
    default_actions();
    CHILD(discarded_when_ignored, "exit 0");
    return check_done();
}
