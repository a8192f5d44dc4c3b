// SPDX-License-Identifier: MIT
//
// Claim: futex wait and wake with and without bitset, requeue and cmp_requeue, private and shared
// (also through different mappings of one file), relative and absolute time-outs on both clocks,
// and all argument errors.
// Method: waiters are threads or processes; "asleep" is read from /proc before anybody is woken.
#include "tests/guest/check.h"
#include <linux/futex.h>
#include <pthread.h>

static long futex(
    void *word, int operation, uint32_t value, const void *time, void *word2, uint32_t value3)
{
    return syscall(SYS_futex, word, operation, value, time, word2, value3);
}

static uint32_t word, other_word;

struct waiter {
    pthread_t thread;
    volatile pid_t id;
    uint32_t *word;
    int operation;
    uint32_t bits;
    volatile long result;
    volatile int error;
};

static void *wait_in_thread(void *argument)
{
    struct waiter *waiter = argument;
    waiter->error = 0;
    waiter->id = (pid_t)syscall(SYS_gettid);
    waiter->result = futex(waiter->word, waiter->operation, 0, NULL, NULL, waiter->bits);
    waiter->error = waiter->result < 0 ? errno : 0;
    return NULL;
}

static void start(struct waiter *waiter, uint32_t *on, int operation, uint32_t bits)
{
    *waiter = (struct waiter){.word = on, .operation = operation, .bits = bits, .result = 99};
    MUST(pthread_create(&waiter->thread, NULL, wait_in_thread, waiter) == 0 ? 0 : -1);
    while (waiter->id == 0) {
        sleep_ms(1);
    }
    CHECK_QUIET(wait_until_asleep(getpid(), waiter->id));
}

static void finish(struct waiter *waiter)
{
    pthread_join(waiter->thread, NULL);
    CHECK_QUIET(waiter->result == 0);
}

static void wait_and_wake(int flags)
{
    struct waiter waiters[5];

    CHECK_EQ(futex(&word, FUTEX_WAKE | flags, 10, NULL, NULL, 0), 0);
    ERR(EAGAIN, futex(&word, FUTEX_WAIT | flags, 1, NULL, NULL, 0));
    for (int i = 0; i < 5; i++) {
        start(&waiters[i], &word, FUTEX_WAIT | flags, 0);
    }
    CHECK_EQ(futex(&other_word, FUTEX_WAKE | flags, 10, NULL, NULL, 0), 0);
    CHECK_EQ(futex(&word, FUTEX_WAKE | flags, 1, NULL, NULL, 0), 1);
    CHECK_EQ(futex(&word, FUTEX_WAKE | flags, 2, NULL, NULL, 0), 2);
    CHECK_EQ(futex(&word, FUTEX_WAKE | flags, INT_MAX, NULL, NULL, 0), 2);
    for (int i = 0; i < 5; i++) {
        finish(&waiters[i]);
    }
}

static void bitsets(void)
{
    struct waiter a, b;

    start(&a, &word, FUTEX_WAIT_BITSET_PRIVATE, 1);
    start(&b, &word, FUTEX_WAIT_BITSET_PRIVATE, 6);
    CHECK_EQ(futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 10, NULL, NULL, 8), 0);
    CHECK_EQ(futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 10, NULL, NULL, 4), 1);
    finish(&b);
    CHECK_EQ(futex(&word, FUTEX_WAKE_PRIVATE, 10, NULL, NULL, 0), 1); // any bits
    finish(&a);
    ERR(EINVAL, futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 0, NULL, NULL, 0));
    ERR(EINVAL, futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 1, NULL, NULL, 0));
}

static void requeue(void)
{
    struct waiter waiters[4];

    for (int i = 0; i < 4; i++) {
        start(&waiters[i], &word, FUTEX_WAIT_PRIVATE, 0);
    }
    ERR(EAGAIN, futex(&word, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)10l, &other_word, 7));
    // Wakes one, moves two.
    CHECK_EQ(futex(&word, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)2l, &other_word, 0), 3);
    CHECK_EQ(futex(&word, FUTEX_WAKE_PRIVATE, 10, NULL, NULL, 0), 1);
    CHECK_EQ(futex(&other_word, FUTEX_WAKE_PRIVATE, 10, NULL, NULL, 0), 2);
    for (int i = 0; i < 4; i++) {
        finish(&waiters[i]);
    }
    start(&waiters[0], &word, FUTEX_WAIT_PRIVATE, 0);
    // FUTEX_REQUEUE counts only what it woke.
    CHECK_EQ(futex(&word, FUTEX_REQUEUE_PRIVATE, 0, (void *)10l, &other_word, 0), 1);
    CHECK_EQ(futex(&other_word, FUTEX_WAKE_PRIVATE, 10, NULL, NULL, 0), 1);
    finish(&waiters[0]);
}

static void wake_operation(void)
{
    struct waiter a, b;

    other_word = 5;
    start(&a, &word, FUTEX_WAIT_PRIVATE, 0);
    other_word = 0;
    start(&b, &other_word, FUTEX_WAIT_PRIVATE, 0);
    other_word = 5;
    // other_word += 3; wakes on other_word too if the old value was 5.
    uint32_t operation = FUTEX_OP(FUTEX_OP_ADD, 3, FUTEX_OP_CMP_EQ, 5);
    CHECK_EQ(futex(&word, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1l, &other_word, operation), 2);
    CHECK_EQ(other_word, 8);
    finish(&a);
    finish(&b);
    operation = FUTEX_OP(FUTEX_OP_ANDN, 8, FUTEX_OP_CMP_LT, 8);
    CHECK_EQ(futex(&word, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1l, &other_word, operation), 0);
    CHECK_EQ(other_word, 0);
    operation = FUTEX_OP(FUTEX_OP_OR | FUTEX_OP_OPARG_SHIFT, 4, FUTEX_OP_CMP_NE, 8);
    CHECK_EQ(futex(&word, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1l, &other_word, operation), 0);
    CHECK_EQ(other_word, 16);
    operation = FUTEX_OP(FUTEX_OP_XOR, 17, FUTEX_OP_CMP_GE, 8);
    CHECK_EQ(futex(&word, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1l, &other_word, operation), 0);
    CHECK_EQ(other_word, 1);
    operation = FUTEX_OP(FUTEX_OP_SET, 0, FUTEX_OP_CMP_GT, 8);
    CHECK_EQ(futex(&word, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1l, &other_word, operation), 0);
    CHECK_EQ(other_word, 0);
    ERR(ENOSYS, futex(&word, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1l, &other_word,
                    FUTEX_OP(7, 0, FUTEX_OP_CMP_EQ, 0)));
}

static void time_outs(void)
{
    struct timespec time = {0, 30000000};
    uint64_t before = now_ns();

    ERR(ETIMEDOUT, futex(&word, FUTEX_WAIT_PRIVATE, 0, &time, NULL, 0));
    CHECK(now_ns() - before >= 30000000);
    clock_gettime(CLOCK_MONOTONIC, &time);
    time.tv_nsec += 30000000;
    if (time.tv_nsec >= 1000000000) {
        time.tv_nsec -= 1000000000;
        time.tv_sec++;
    }
    before = now_ns();
    ERR(ETIMEDOUT, futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 0, &time, NULL, ~0u));
    CHECK(now_ns() - before >= 20000000);
    // In the past: at once.
    ERR(ETIMEDOUT, futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 0, &time, NULL, ~0u));
    clock_gettime(CLOCK_REALTIME, &time);
    ERR(ETIMEDOUT,
        futex(&word, FUTEX_WAIT_BITSET_PRIVATE | FUTEX_CLOCK_REALTIME, 0, &time, NULL, ~0u));
    time = (struct timespec){0, 1000000000};
    ERR(EINVAL, futex(&word, FUTEX_WAIT_PRIVATE, 0, &time, NULL, 0));
    time = (struct timespec){-1, 0};
    ERR(EINVAL, futex(&word, FUTEX_WAIT_PRIVATE, 0, &time, NULL, 0));
    ERR(EFAULT, futex(&word, FUTEX_WAIT_PRIVATE, 0, (void *)8, NULL, 0));
}

// Processes meet on a page of a file that each maps at its own address.
static void shared_between_processes(void)
{
    int file = (int)MUST(open("page", O_RDWR | O_CREAT, 0600));
    MUST(ftruncate(file, 8192));
    uint32_t *here = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    pid_t child = fork();
    if (child == 0) {
        munmap(here, 8192);
        uint32_t *there = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 4096);
        _exit(futex(there + 5, FUTEX_WAIT, 0, NULL, NULL, 0) == 0 ? 0 : 1);
    }
    CHECK(wait_until_asleep(child, child));
    CHECK_EQ(futex(here + 1024 + 5, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0), 0);
    CHECK_EQ(futex(here + 5, FUTEX_WAKE, 1, NULL, NULL, 0), 0);
    CHECK_EQ(futex(here + 1024 + 5, FUTEX_WAKE, 1, NULL, NULL, 0), 1);
    int status;
    waitpid(child, &status, 0);
    CHECK_STR(status_text(status), "exit 0");

    uint32_t *anonymous =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    child = fork();
    if (child == 0) {
        _exit(futex(anonymous, FUTEX_WAIT, 0, NULL, NULL, 0) == 0 ? 0 : 1);
    }
    CHECK(wait_until_asleep(child, child));
    CHECK_EQ(futex(anonymous, FUTEX_WAKE, 1, NULL, NULL, 0), 1);
    waitpid(child, &status, 0);
    CHECK_STR(status_text(status), "exit 0");
}

static void errors(void)
{
    uint32_t *read_only = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    ERR(EINVAL, futex((char *)&word + 1, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0));
    ERR(EINVAL, futex((char *)&word + 2, FUTEX_WAKE_PRIVATE, 0, NULL, NULL, 0));
    ERR(EFAULT, futex((void *)16, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0));
    CHECK_EQ(futex((void *)16, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0), 0);
    ERR(EFAULT, futex((void *)16, FUTEX_WAKE, 1, NULL, NULL, 0));
    ERR(EFAULT, futex((void *)0xffffffff81000000, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
    ERR(EAGAIN, futex(read_only, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0));
    ERR(ENOSYS, futex(&word, 77, 0, NULL, NULL, 0));
    ERR(ENOSYS, futex(&word, FUTEX_WAKE | FUTEX_CLOCK_REALTIME, 0, NULL, NULL, 0));
    ERR(EINVAL, futex(&word, FUTEX_CMP_REQUEUE_PRIVATE, (uint32_t)-1, NULL, &other_word, 0));
}

int main(void)
{
    scratch();
    wait_and_wake(0);
    wait_and_wake(FUTEX_PRIVATE_FLAG);
    bitsets();
    requeue();
    wake_operation();
    time_outs();
    shared_between_processes();
    errors();
    return check_done();
}
