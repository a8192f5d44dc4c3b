// SPDX-License-Identifier: MIT
//
// Claim: realtime signals queue, come lowest number first and in order, with their values; ordinary
// signals are one deep; siginfo says who sent what and how; thread-directed ones come before those
// of the process; a process may not forge the kernel's codes.
// Method: everything is sent while blocked and then taken with sigtimedwait, or delivered at once.
#include "tests/guest/check.h"
#include <pthread.h>

static int order[64], order_count;
static siginfo_t last;

static void on_signal(int number, siginfo_t *info, void *context)
{
    (void)context;
    order[order_count++] = number * 100 + info->si_value.sival_int % 100;
    last = *info;
}

static void block(int number)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, number);
    sigprocmask(SIG_BLOCK, &set, NULL);
}

static int take(siginfo_t *info)
{
    struct timespec zero = {0, 0};
    sigset_t all;
    sigfillset(&all);
    return sigtimedwait(&all, info, &zero);
}

static void order_of_queues(void)
{
    union sigval value;
    siginfo_t info;

    block(SIGUSR1);
    block(SIGUSR2);
    block(SIGRTMIN);
    block(SIGRTMIN + 1);
    block(SIGRTMAX);
    for (int i = 0; i < 3; i++) {
        value.sival_int = i;
        OK(sigqueue(getpid(), SIGRTMIN + 1, value));
        OK(sigqueue(getpid(), SIGRTMAX, value));
        OK(sigqueue(getpid(), SIGRTMIN, value));
        OK(sigqueue(getpid(), SIGUSR2, value));
    }
    OK(kill(getpid(), SIGUSR1));
    for (int number; (number = take(&info)) > 0;) {
        note("  %s value %d", signal_name(number), number == SIGUSR1 ? 0 : info.si_value.sival_int);
    }
    CHECK_EQ(errno, EAGAIN);
}

static void senders(void)
{
    siginfo_t info;
    union sigval value = {.sival_ptr = (void *)0x123456789abc};

    block(SIGUSR1);
    block(SIGCHLD);
    block(SIGALRM);
    kill(getpid(), SIGUSR1);
    CHECK_EQ(take(&info), SIGUSR1);
    CHECK(info.si_code == SI_USER && info.si_pid == getpid() && info.si_uid == 0);
    CHECK(info.si_errno == 0);
    sigqueue(getpid(), SIGUSR1, value);
    CHECK_EQ(take(&info), SIGUSR1);
    CHECK(info.si_code == SI_QUEUE && info.si_pid == getpid());
    CHECK(info.si_value.sival_ptr == value.sival_ptr);
    raise(SIGUSR1);
    CHECK_EQ(take(&info), SIGUSR1);
    CHECK(info.si_code == SI_TKILL && info.si_pid == getpid());
    pid_t child = fork();
    if (child == 0) {
        setuid(1234);
        _exit(56);
    }
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    CHECK_EQ(sigwaitinfo(&set, &info), SIGCHLD);
    CHECK(info.si_code == CLD_EXITED && info.si_pid == child);
    CHECK_EQ(info.si_status, 56);
    CHECK_EQ(info.si_uid, 1234);
    waitpid(child, NULL, 0);
    ualarm(1000, 0);
    sigaddset(&set, SIGALRM);
    CHECK_EQ(sigwaitinfo(&set, &info), SIGALRM);
    CHECK_EQ(info.si_code, SI_KERNEL);
    child = fork();
    if (child == 0) {
        kill(getppid(), SIGUSR1);
        _exit(0);
    }
    sigaddset(&set, SIGUSR1);
    CHECK_EQ(sigwaitinfo(&set, &info) == SIGCHLD ? sigwaitinfo(&set, &info) : SIGUSR1, SIGUSR1);
    waitpid(child, NULL, 0);
}

static void forging(void)
{
    siginfo_t info = {.si_code = SI_QUEUE};
    pid_t child = fork();
    if (child == 0) {
        pause();
        _exit(0);
    }
    info.si_value.sival_int = 5;
    OK(syscall(SYS_rt_sigqueueinfo, child, SIGCONT, &info));
    info.si_code = SI_USER;
    ERR(EPERM, syscall(SYS_rt_sigqueueinfo, child, SIGCONT, &info));
    info.si_code = SI_TKILL;
    ERR(EPERM, syscall(SYS_rt_sigqueueinfo, child, SIGCONT, &info));
    info.si_code = SEGV_MAPERR;
    ERR(EPERM, syscall(SYS_rt_sigqueueinfo, child, SIGCONT, &info));
    ERR(EPERM, syscall(SYS_rt_tgsigqueueinfo, child, child, SIGCONT, &info));
    // To oneself anything goes.
    block(SIGUSR2);
    OK(syscall(SYS_rt_sigqueueinfo, getpid(), SIGUSR2, &info));
    CHECK_EQ(take(&info), SIGUSR2);
    CHECK_EQ(info.si_code, SEGV_MAPERR);
    info.si_code = SI_QUEUE;
    ERR(EINVAL, syscall(SYS_rt_sigqueueinfo, child, 65, &info));
    ERR(ESRCH, syscall(SYS_rt_sigqueueinfo, 999999, SIGUSR1, &info));
    ERR(EFAULT, syscall(SYS_rt_sigqueueinfo, child, SIGUSR1, 8));
    ERR(ESRCH, syscall(SYS_rt_tgsigqueueinfo, getpid(), child, SIGUSR1, &info));
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

// Unblocking delivers everything before sigprocmask returns, lowest number first.
static void delivery_order(void)
{
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
    union sigval value;
    sigset_t none;

    sigfillset(&action.sa_mask); // so that handlers do not nest
    for (int number = SIGRTMIN; number < SIGRTMIN + 4; number++) {
        sigaction(number, &action, NULL);
        block(number);
    }
    for (int i = 0; i < 12; i++) {
        value.sival_int = i;
        sigqueue(getpid(), SIGRTMIN + 3 - i % 4, value);
    }
    order_count = 0;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    CHECK_EQ(order_count, 12);
    for (int i = 0; i < order_count; i++) {
        note("  delivered %d: SIGRTMIN+%d value %d", i, order[i] / 100 - SIGRTMIN, order[i] % 100);
    }
}

static void thread_first(void)
{
    siginfo_t info;
    union sigval value = {.sival_int = 1};

    block(SIGRTMIN);
    sigqueue(getpid(), SIGRTMIN, value);
    info = (siginfo_t){.si_code = SI_QUEUE};
    info.si_value.sival_int = 2;
    OK(syscall(SYS_rt_tgsigqueueinfo, getpid(), syscall(SYS_gettid), SIGRTMIN, &info));
    CHECK_EQ(take(&info), SIGRTMIN);
    CHECK_EQ(info.si_value.sival_int, 2);
    CHECK_EQ(take(&info), SIGRTMIN);
    CHECK_EQ(info.si_value.sival_int, 1);
}

static volatile pid_t handled_by;

static void note_thread(int number)
{
    (void)number;
    handled_by = (pid_t)syscall(SYS_gettid);
}

static void *idle(void *argument)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGHUP);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    *(volatile pid_t *)argument = (pid_t)syscall(SYS_gettid);
    for (;;) {
        pause();
    }
    return NULL;
}

// A signal to the process goes to a thread that does not block it.
static void any_thread(void)
{
    pthread_t thread;
    volatile pid_t other = 0;

    signal(SIGHUP, note_thread);
    block(SIGHUP);
    pthread_create(&thread, NULL, idle, (void *)&other);
    while (other == 0) {
        sleep_ms(1);
    }
    kill(getpid(), SIGHUP);
    for (int i = 0; i < 1000 && handled_by == 0; i++) {
        sleep_ms(1);
    }
    CHECK(handled_by == other);
}

int main(void)
{
    scratch();
    CHILD(order_of_queues, "exit 0");
    CHILD(senders, "exit 0");
    CHILD(forging, "exit 0");
    CHILD(delivery_order, "exit 0");
    CHILD(thread_first, "exit 0");
    CHILD(any_thread, "exit 0");
    return check_done();
}
