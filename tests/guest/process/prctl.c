// SPDX-License-Identifier: MIT
//
// Claim: prctl's and arch_prctl's operations that C libraries and daemons use work: thread names,
// FS and GS bases, dumpability, capability bounds, death signal, timer slack; the rest is refused.
// Method: set, read back, look at the effect, then the errors.
#include "tests/guest/check.h"
#include <asm/prctl.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <pthread.h>
#include <sys/prctl.h>

static void names(void)
{
    char name[16] = "";

    OK(prctl(PR_SET_NAME, "a name longer than fifteen"));
    OK(prctl(PR_GET_NAME, name));
    CHECK_STR(name, "a name longer t");
    CHECK_STR(get_file("/proc/self/comm"), "a name longer t\n");
    put_file("/proc/self/comm", "other", 0);
    OK(prctl(PR_GET_NAME, name));
    CHECK_STR(name, "other");
    ERR(EFAULT, prctl(PR_SET_NAME, 8));
    ERR(EFAULT, prctl(PR_GET_NAME, 8));
}

static void *named_thread(void *argument)
{
    char name[16];
    prctl(PR_SET_NAME, "worker");
    prctl(PR_GET_NAME, name);
    return strcmp(name, "worker") == 0 ? argument : NULL;
}

static void names_of_threads(void)
{
    pthread_t thread;
    void *result;
    char name[16];

    pthread_create(&thread, NULL, named_thread, name);
    pthread_join(thread, &result);
    CHECK(result == name);
    prctl(PR_GET_NAME, name);
    CHECK_STR(name, "other");
}

static void segment_bases(void)
{
    static uint64_t data[4] = {11, 22, 33, 44};
    uint64_t base = 0, value;

    OK(syscall(SYS_arch_prctl, ARCH_SET_GS, data));
    OK(syscall(SYS_arch_prctl, ARCH_GET_GS, &base));
    CHECK(base == (uintptr_t)data);
    __asm__ volatile("mov %%gs:16, %0" : "=r"(value));
    CHECK_EQ(value, 33);
    // Kept over sleeping, other processes, signals and fork.
    sleep_ms(5);
    pid_t child = fork();
    if (child == 0) {
        __asm__ volatile("mov %%gs:24, %0" : "=r"(value));
        _exit(value == 44 ? 0 : 1);
    }
    int status;
    waitpid(child, &status, 0);
    CHECK_STR(status_text(status), "exit 0");
    __asm__ volatile("mov %%gs:8, %0" : "=r"(value));
    CHECK_EQ(value, 22);
    OK(syscall(SYS_arch_prctl, ARCH_SET_GS, 0));

    OK(syscall(SYS_arch_prctl, ARCH_GET_FS, &base));
    __asm__ volatile("mov %%fs:0, %0" : "=r"(value));
    CHECK(base == value); // the thread pointer points to itself
    OK(syscall(SYS_arch_prctl, ARCH_SET_FS, base));
    ERR(EPERM, syscall(SYS_arch_prctl, ARCH_SET_GS, 0xffff800000000000));
    ERR(EPERM, syscall(SYS_arch_prctl, ARCH_SET_FS, 0xffffffff80000000));
    ERR(EFAULT, syscall(SYS_arch_prctl, ARCH_GET_FS, 8));
    ERR(EINVAL, syscall(SYS_arch_prctl, 0x7777, 0));
}

static void dumpable(void)
{
    CHECK_EQ(prctl(PR_GET_DUMPABLE), 1);
    OK(prctl(PR_SET_DUMPABLE, 0));
    CHECK_EQ(prctl(PR_GET_DUMPABLE), 0);
    OK(prctl(PR_SET_DUMPABLE, 1));
    ERR(EINVAL, prctl(PR_SET_DUMPABLE, 2));
    ERR(EINVAL, prctl(PR_SET_DUMPABLE, 3));
}

static void death_signal(void)
{
    int number = -1;
    OK(prctl(PR_GET_PDEATHSIG, &number));
    CHECK_EQ(number, 0);
    OK(prctl(PR_SET_PDEATHSIG, SIGUSR2));
    OK(prctl(PR_GET_PDEATHSIG, &number));
    CHECK_EQ(number, SIGUSR2);
    ERR(EINVAL, prctl(PR_SET_PDEATHSIG, 65));
    OK(prctl(PR_SET_PDEATHSIG, 0));
}

static void capability_bounds(void)
{
    CHECK_EQ(prctl(PR_CAPBSET_READ, CAP_CHOWN), 1);
    OK(prctl(PR_CAPBSET_DROP, CAP_CHOWN));
    CHECK_EQ(prctl(PR_CAPBSET_READ, CAP_CHOWN), 0);
    ERR(EINVAL, prctl(PR_CAPBSET_READ, 1000));
    CHECK_EQ(prctl(PR_GET_KEEPCAPS), 0);
    ERR(EINVAL, prctl(PR_SET_KEEPCAPS, 2));
    CHECK_EQ(prctl(PR_GET_SECUREBITS), 0);
    CHECK_EQ(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 0);
    ERR(EINVAL, prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0));
    ERR(EINVAL, prctl(PR_SET_NO_NEW_PRIVS, 1, 1, 0, 0));
    OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    CHECK_EQ(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
}

static void timer_slack(void)
{
    CHECK_EQ(prctl(PR_GET_TIMERSLACK), 50000);
    OK(prctl(PR_SET_TIMERSLACK, 1234));
    CHECK_EQ(prctl(PR_GET_TIMERSLACK), 1234);
    OK(prctl(PR_SET_TIMERSLACK, 0));
    CHECK_EQ(prctl(PR_GET_TIMERSLACK), 50000);
}

int main(void)
{
    scratch();
    names();
    names_of_threads();
    segment_bases();
    dumpable();
    death_signal();
    timer_slack();
    CHILD(capability_bounds, "exit 0");
    ERR(EINVAL, prctl(9999, 0, 0, 0, 0));
    return check_done();
}
