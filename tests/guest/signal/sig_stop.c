// SPDX-License-Identifier: MIT
//
// Claim: stop signals stop all threads of a process, SIGCONT continues them and cancels pending
// stops even if blocked or ignored, stops cancel a pending SIGCONT; the parent is told by SIGCHLD
// unless SA_NOCLDSTOP; SIGKILL works on stopped processes.
// Method: a child counts in shared memory with two threads; the parent stops it and watches.
#include "tests/guest/check.h"
#include <pthread.h>

static volatile unsigned *counters;

static void *count(void *argument)
{
    for (;;) {
        ++*(volatile unsigned *)argument;
        struct timespec time = {0, 1000000};
        nanosleep(&time, NULL);
    }
    return NULL;
}

static void on_continue(int number)
{
    (void)number;
    counters[2]++;
}

static pid_t start(bool block_continue)
{
    counters[0] = counters[1] = counters[2] = 0;
    pid_t child = fork();
    if (child == 0) {
        pthread_t thread;
        struct sigaction action = {.sa_handler = on_continue, .sa_flags = SA_RESTART};
        setpgid(0, 0);
        sigaction(SIGCONT, &action, NULL);
        if (block_continue) {
            sigset_t set;
            sigemptyset(&set);
            sigaddset(&set, SIGCONT);
            sigprocmask(SIG_BLOCK, &set, NULL);
        }
        pthread_create(&thread, NULL, count, (void *)&counters[1]);
        count((void *)&counters[0]);
    }
    setpgid(child, child);
    while (counters[0] == 0 || counters[1] == 0) {
        sleep_ms(1);
    }
    return child;
}

static bool runs(void)
{
    unsigned a = counters[0], b = counters[1];
    for (int i = 0; i < 2000 && (counters[0] == a || counters[1] == b); i++) {
        sleep_ms(1);
    }
    return counters[0] != a && counters[1] != b;
}

static bool stands(void)
{
    unsigned a = counters[0], b = counters[1];
    sleep_ms(60);
    return counters[0] == a && counters[1] == b;
}

static int status;

static bool stopped_by(pid_t child, int number)
{
    return waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status) &&
           WSTOPSIG(status) == number;
}

static volatile int told;
static siginfo_t told_info;

static void on_child(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)context;
    told_info = *info;
    told++;
}

int main(void)
{
    scratch();
    counters = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct sigaction action = {.sa_sigaction = on_child, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigaction(SIGCHLD, &action, NULL);

    static const int stops[] = {SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU};
    for (size_t i = 0; i < ARRAY_SIZE(stops); i++) {
        pid_t child = start(false);
        told = 0;
        kill(child, stops[i]);
        CHECK(stopped_by(child, stops[i]));
        CHECK(stands());
        CHECK_EQ(told, 1);
        CHECK(told_info.si_code == CLD_STOPPED && told_info.si_status == stops[i]);
        CHECK(told_info.si_pid == child);
        kill(child, SIGCONT);
        CHECK(waitpid(child, &status, WCONTINUED) == child && WIFCONTINUED(status));
        CHECK(runs());
        CHECK_EQ(told, 2);
        CHECK(told_info.si_code == CLD_CONTINUED && told_info.si_status == SIGCONT);
        CHECK_EQ(counters[2], 1);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
    }

    // Other signals wait until it is continued, SIGKILL does not.
    pid_t child = start(false);
    kill(child, SIGSTOP);
    CHECK(stopped_by(child, SIGSTOP));
    kill(child, SIGTERM);
    CHECK(stands());
    CHECK_EQ(waitpid(child, &status, WNOHANG), 0);
    kill(child, SIGCONT);
    CHECK(waitpid(child, &status, 0) == child);
    CHECK_STR(status_text(status), "killed by SIGTERM");
    child = start(false);
    kill(child, SIGSTOP);
    CHECK(stopped_by(child, SIGSTOP));
    kill(child, SIGKILL);
    CHECK(waitpid(child, &status, 0) == child);
    CHECK_STR(status_text(status), "killed by SIGKILL");

    // SIGCONT continues even where it is blocked; the handler runs later or never.
    child = start(true);
    kill(child, SIGSTOP);
    CHECK(stopped_by(child, SIGSTOP));
    kill(child, SIGCONT);
    CHECK(runs());
    CHECK_EQ(waitpid(child, &status, WUNTRACED | WNOHANG), 0);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);

    // A blocked stop is cancelled by SIGCONT, and a blocked SIGCONT by a stop.
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTSTP);
    sigaddset(&set, SIGCONT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGTSTP, on_continue);
    signal(SIGCONT, on_continue);
    raise(SIGTSTP);
    sigpending(&set);
    CHECK(sigismember(&set, SIGTSTP) == 1);
    raise(SIGCONT);
    sigpending(&set);
    CHECK(sigismember(&set, SIGTSTP) == 0 && sigismember(&set, SIGCONT) == 1);
    raise(SIGTSTP);
    sigpending(&set);
    CHECK(sigismember(&set, SIGTSTP) == 1 && sigismember(&set, SIGCONT) == 0);

    // With SA_NOCLDSTOP the parent hears of the end only.
    action.sa_flags |= SA_NOCLDSTOP;
    sigaction(SIGCHLD, &action, NULL);
    child = start(false);
    told = 0;
    kill(child, SIGSTOP);
    CHECK(stopped_by(child, SIGSTOP));
    CHECK_EQ(told, 0);
    kill(child, SIGKILL);
    CHECK(waitpid(child, &status, 0) == child);
    CHECK_EQ(told, 1);
    CHECK_EQ(told_info.si_code, CLD_KILLED);
    return check_done();
}
