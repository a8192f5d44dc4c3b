// SPDX-License-Identifier: MIT
//
// Claim: gettid, set_tid_address, the robust list registration, tgkill, tkill and getcpu are there
// and consistent; rseq works or says ENOSYS.
// Method: direct calls; the effect of clear_child_tid is seen in memory shared with the parent.
#include "tests/guest/check.h"
#include <linux/futex.h>
#include <linux/rseq.h>

static volatile sig_atomic_t caught;

static void on_signal(int number)
{
    caught = number;
}

static void clear_tid_at_exit(void)
{
    volatile int *word =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    *word = 5;
    pid_t child = fork();
    if (child == 0) {
        pid_t id = (pid_t)syscall(SYS_set_tid_address, word);
        if (id != getpid()) {
            _exit(1);
        }
        sleep_ms(20);
        // The kernel clears the word only when the memory has another user: a vfork-like child
        // or a thread. Here memory is not shared by CLONE_VM, so nothing may happen.
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    CHECK_STR(status_text(status), "exit 0");
    CHECK_EQ(*word, 5);
}

static void robust_list(void)
{
    struct robust_list_head head = {.list = {&head.list}}, *got = NULL;
    size_t length = 0;

    OK(syscall(SYS_set_robust_list, &head, sizeof(head)));
    OK(syscall(SYS_get_robust_list, 0, &got, &length));
    CHECK(got == &head);
    CHECK_EQ(length, sizeof(head));
    ERR(EINVAL, syscall(SYS_set_robust_list, &head, sizeof(head) - 1));
    ERR(ESRCH, syscall(SYS_get_robust_list, 999999, &got, &length));
    ERR(EFAULT, syscall(SYS_get_robust_list, 0, 8, &length));
    OK(syscall(SYS_set_robust_list, NULL, sizeof(head)));
}

static void thread_kill(void)
{
    pid_t process = getpid(), thread = (pid_t)syscall(SYS_gettid);

    signal(SIGUSR1, on_signal);
    OK(syscall(SYS_tgkill, process, thread, SIGUSR1));
    CHECK_EQ(caught, SIGUSR1);
    signal(SIGUSR2, on_signal);
    OK(syscall(SYS_tkill, thread, SIGUSR2));
    CHECK_EQ(caught, SIGUSR2);
    OK(syscall(SYS_tgkill, process, thread, 0));
    ERR(ESRCH, syscall(SYS_tgkill, 1, thread, 0));
    ERR(ESRCH, syscall(SYS_tgkill, process, 999999, 0));
    ERR(EINVAL, syscall(SYS_tgkill, -1, thread, 0));
    ERR(EINVAL, syscall(SYS_tgkill, process, 0, 0));
    ERR(EINVAL, syscall(SYS_tgkill, process, thread, 65));
    ERR(EINVAL, syscall(SYS_tkill, -5, 0));
    ERR(ESRCH, syscall(SYS_tkill, 999999, 0));
}

static void restartable_sequences(void)
{
    static struct rseq area __attribute__((aligned(32)));
    long result = syscall(SYS_rseq, &area, sizeof(area), 0, 0x53053053);

    // Both answers are right; what is printed does not depend on it.
    bool fine = result == 0 ? area.cpu_id < 4096 : errno == ENOSYS;
    CHECK(fine);
    if (result == 0) {
        CHECK_QUIET(syscall(SYS_rseq, &area, sizeof(area), 0, 0x53053053) == -1 && errno == EBUSY);
        CHECK_QUIET(syscall(SYS_rseq, &area, sizeof(area), RSEQ_FLAG_UNREGISTER, 1) == -1 &&
                    errno == EPERM);
        CHECK_QUIET(syscall(SYS_rseq, &area, sizeof(area), RSEQ_FLAG_UNREGISTER, 0x53053053) == 0);
    }
}

static void which_cpu(void)
{
    unsigned cpu = 99999, node = 99999;
    OK(syscall(SYS_getcpu, &cpu, &node, NULL));
    CHECK(cpu < 256 && node < 64);
    OK(syscall(SYS_getcpu, NULL, NULL, NULL));
    ERR(EFAULT, syscall(SYS_getcpu, 8, NULL, NULL));
}

int main(void)
{
    scratch();
    CHECK((pid_t)syscall(SYS_gettid) == getpid());
    clear_tid_at_exit();
    robust_list();
    thread_kill();
    restartable_sequences();
    which_cpu();
    return check_done();
}
