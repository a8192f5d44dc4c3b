// SPDX-License-Identifier: MIT
//
// Claim: when a thread or process ends while it holds robust futexes, each gets FUTEX_OWNER_DIED
// and one waiter is woken, whatever the reason of the end (exit, signal, exec); a damaged list
// harms nobody; robust pthread mutexes stand on that.
// Method: the list is built by hand in shared memory, once as libc does it, once damaged.
#include "tests/guest/check.h"
#include <linux/futex.h>
#include <pthread.h>

struct lock {
    struct robust_list link;
    uint32_t word;
};

static struct shared {
    struct robust_list_head head;
    struct lock locks[3];
    volatile uint32_t ready;
    pthread_mutex_t mutex;
} *shared;

static void hold_locks(bool pending_only)
{
    uint32_t id = (uint32_t)syscall(SYS_gettid);

    shared->head.futex_offset = offsetof(struct lock, word) - offsetof(struct lock, link);
    shared->head.list.next = &shared->head.list;
    shared->head.list_op_pending = NULL;
    for (int i = 0; i < 3; i++) {
        shared->locks[i].word = id;
        if (!pending_only) {
            shared->locks[i].link.next = shared->head.list.next;
            shared->head.list.next = &shared->locks[i].link;
        }
    }
    if (pending_only) {
        shared->head.list_op_pending = &shared->locks[1].link;
    }
    MUST(syscall(SYS_set_robust_list, &shared->head, sizeof(shared->head)));
}

static void show(const char *when)
{
    for (int i = 0; i < 3; i++) {
        uint32_t word = shared->locks[i].word;
        note("  %s: lock %d: %s%s%s", when, i, (word & FUTEX_OWNER_DIED) != 0 ? "owner died " : "",
            (word & FUTEX_WAITERS) != 0 ? "waiters " : "",
            (word & FUTEX_TID_MASK) != 0 ? "owned" : "free");
    }
}

static void end_by_exit(void)
{
    hold_locks(false);
    _exit(0);
}

static void end_by_signal(void)
{
    hold_locks(false);
    kill(getpid(), SIGKILL);
}

static void end_by_exec(void)
{
    hold_locks(false);
    execl("/bin/busybox", "true", (char *)NULL);
}

static void pending(void)
{
    hold_locks(true);
    _exit(0);
}

static void circular(void)
{
    hold_locks(false);
    // A loop that never comes back to the head: the kernel must give up.
    shared->locks[0].link.next = &shared->locks[1].link;
    shared->locks[1].link.next = &shared->locks[0].link;
    _exit(0);
}

static void wild(void)
{
    hold_locks(false);
    shared->locks[1].link.next = (struct robust_list *)0x10;
    _exit(0);
}

static void foreign(void)
{
    hold_locks(false);
    shared->locks[0].word = 1; // owned by somebody else
    _exit(0);
}

static void waiter_is_woken(void)
{
    pid_t owner = fork();
    if (owner == 0) {
        hold_locks(false);
        shared->locks[2].word |= FUTEX_WAITERS;
        shared->ready = 1;
        pause();
        _exit(0);
    }
    while (shared->ready == 0) {
        sleep_ms(1);
    }
    uint32_t seen = shared->locks[2].word;
    pid_t waiter = fork();
    if (waiter == 0) {
        _exit(syscall(SYS_futex, &shared->locks[2].word, FUTEX_WAIT, seen, NULL, NULL, 0) == 0 ? 0
                                                                                               : 1);
    }
    CHECK(wait_until_asleep(waiter, waiter));
    kill(owner, SIGTERM);
    waitpid(owner, NULL, 0);
    int status;
    CHECK(waitpid(waiter, &status, 0) == waiter);
    CHECK_STR(status_text(status), "exit 0");
    show("with a waiter");
}

static void robust_mutex(void)
{
    pthread_mutexattr_t attributes;

    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    CHECK_EQ(pthread_mutex_init(&shared->mutex, &attributes), 0);
    pid_t child = fork();
    if (child == 0) {
        pthread_mutex_lock(&shared->mutex);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    CHECK_EQ(pthread_mutex_lock(&shared->mutex), EOWNERDEAD);
    CHECK_EQ(pthread_mutex_consistent(&shared->mutex), 0);
    CHECK_EQ(pthread_mutex_unlock(&shared->mutex), 0);
    CHECK_EQ(pthread_mutex_lock(&shared->mutex), 0);
    CHECK_EQ(pthread_mutex_unlock(&shared->mutex), 0);
    child = fork();
    if (child == 0) {
        pthread_mutex_lock(&shared->mutex);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    CHECK_EQ(pthread_mutex_lock(&shared->mutex), EOWNERDEAD);
    CHECK_EQ(pthread_mutex_unlock(&shared->mutex), 0); // not made consistent
    CHECK_EQ(pthread_mutex_lock(&shared->mutex), ENOTRECOVERABLE);
}

int main(void)
{
    static const struct {
        const char *name;
        void (*body)(void);
        const char *end;
    } cases[] = {
        {"exit", end_by_exit, "exit 0"},
        {"signal", end_by_signal, "killed by SIGKILL"},
        {"exec", end_by_exec, "exit 0"},
        {"pending operation", pending, "exit 0"},
        {"circular list", circular, "exit 0"},
        {"wild pointer", wild, "exit 0"},
        {"foreign owner", foreign, "exit 0"},
    };

    scratch();
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        memset(shared, 0, sizeof(*shared));
        CHILD(cases[i].body, cases[i].end);
        show(cases[i].name);
    }
    memset(shared, 0, sizeof(*shared));
    CHILD(end_by_exit, "exit 0");
    CHECK_EQ(shared->locks[2].word, FUTEX_OWNER_DIED);
    memset(shared, 0, sizeof(*shared));
    waiter_is_woken();
    robust_mutex();
    return check_done();
}
