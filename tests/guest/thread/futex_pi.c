// SPDX-License-Identifier: MIT
//
// Claim: futexes with priority inheritance do what futex(2) says: owner in the word, EDEADLK for a
// cycle of any length, EPERM, ESRCH, EAGAIN, time limits of both clocks, hand-over in order of
// priority, owners that die; an owner of low priority runs when a thread of high priority waits for
// it, also through a chain, and not longer. pthread mutexes with PTHREAD_PRIO_INHERIT, robust ones
// too, exclude each other. Method: threads that know what they must see; order shows who ran when,
// no time is measured.
#include "tests/guest/check.h"
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>

static int futex(unsigned *word, int operation, unsigned value, const struct timespec *limit)
{
    return (int)syscall(SYS_futex, word, operation | FUTEX_PRIVATE_FLAG, value, limit, NULL, 0);
}

static int lock(unsigned *word)
{
    return futex(word, FUTEX_LOCK_PI, 0, NULL);
}

static int unlock(unsigned *word)
{
    return futex(word, FUTEX_UNLOCK_PI, 0, NULL);
}

static unsigned tid(void)
{
    return (unsigned)syscall(SYS_gettid);
}

static void until(const volatile unsigned *word, unsigned bits)
{
    while ((__atomic_load_n(word, __ATOMIC_ACQUIRE) & bits) == 0)
        usleep(1000);
}

// ---- words -------------------------------------------------------------------------------------

static void alone(void)
{
    unsigned word = 0;
    CHECK_EQ(lock(&word), 0);
    CHECK(word == tid());
    ERR(EDEADLK, lock(&word));
    ERR(EDEADLK, futex(&word, FUTEX_TRYLOCK_PI, 0, NULL));
    CHECK_EQ(unlock(&word), 0);
    CHECK_EQ(word, 0);
    ERR(EPERM, unlock(&word));
    CHECK_EQ(futex(&word, FUTEX_TRYLOCK_PI, 0, NULL), 0);
    CHECK(word == tid());
    word = 0x3ffffffe; // nobody has this id
    ERR(ESRCH, lock(&word));
    ERR(EPERM, unlock(&word));
    word = FUTEX_OWNER_DIED;
    CHECK_EQ(lock(&word), 0);
    CHECK(word == (FUTEX_OWNER_DIED | tid()));
    ERR(EINVAL, lock((unsigned *)((char *)&word + 1)));
    ERR(EFAULT, lock((unsigned *)8));
}

static unsigned shared_word;

static void *try_it(void *result)
{
    errno = 0;
    struct timespec limit;
    int *errors = result;
    errors[0] = futex(&shared_word, FUTEX_TRYLOCK_PI, 0, NULL) == 0 ? 0 : errno;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_nsec += 20000000;
    limit.tv_sec += limit.tv_nsec / 1000000000;
    limit.tv_nsec %= 1000000000;
    errors[1] = futex(&shared_word, FUTEX_LOCK_PI, 0, &limit) == 0 ? 0 : errno;
    clock_gettime(CLOCK_MONOTONIC, &limit);
    errors[2] = futex(&shared_word, FUTEX_LOCK_PI2, 0, &limit) == 0 ? 0 : errno;
    errors[3] = unlock(&shared_word) == 0 ? 0 : errno;
    return NULL;
}

static void held_by_another(void)
{
    int errors[4];
    pthread_t thread;
    CHECK_EQ(lock(&shared_word), 0);
    pthread_create(&thread, NULL, try_it, errors);
    pthread_join(thread, NULL);
    CHECK_EQ(errors[0], EAGAIN);
    CHECK_EQ(errors[1], ETIMEDOUT);
    CHECK_EQ(errors[2], ETIMEDOUT);
    CHECK_EQ(errors[3], EPERM);
    CHECK(shared_word == (tid() | FUTEX_WAITERS)); // the waiter left its mark
    CHECK_EQ(unlock(&shared_word), 0);
    CHECK_EQ(shared_word, 0);
}

// ---- order -------------------------------------------------------------------------------------

static int order[8], order_count;
static volatile int waiting;

static void *wait_with_priority(void *argument)
{
    int priority = (int)(long)argument;
    struct sched_param parameter = {.sched_priority = priority};
    if (priority != 0)
        pthread_setschedparam(pthread_self(), SCHED_FIFO, &parameter);
    __atomic_fetch_add(&waiting, 1, __ATOMIC_SEQ_CST);
    if (lock(&shared_word) == 0) {
        order[order_count++] = priority;
        unlock(&shared_word);
    }
    return NULL;
}

static void priority_order(void)
{
    static const int priorities[] = {0, 3, 1, 5, 2};
    pthread_t threads[ARRAY_SIZE(priorities)];
    lock(&shared_word);
    for (size_t i = 0; i < ARRAY_SIZE(priorities); i++) {
        pthread_create(&threads[i], NULL, wait_with_priority, (void *)(long)priorities[i]);
        while (waiting <= (int)i)
            usleep(1000);
        usleep(20000);
    }
    unlock(&shared_word);
    for (size_t i = 0; i < ARRAY_SIZE(priorities); i++)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; i < ARRAY_SIZE(priorities); i++)
        printf("%d ", order[i]);
    printf("\n");
    CHECK_EQ(shared_word, 0);
}

// ---- a cycle -----------------------------------------------------------------------------------

static unsigned ring[3];
static pthread_barrier_t barrier;

static void *ring_member(void *argument)
{
    long i = (long)argument;
    lock(&ring[i]);
    pthread_barrier_wait(&barrier);
    // 0 waits for 1, 1 for 2; 2 would close the ring.
    if (i == 1)
        until(&ring[1], FUTEX_WAITERS);
    if (i == 2)
        until(&ring[2], FUTEX_WAITERS);
    usleep(20000);
    long result = lock(&ring[(i + 1) % 3]) == 0 ? 0 : errno;
    if (result == 0)
        unlock(&ring[(i + 1) % 3]);
    unlock(&ring[i]);
    return (void *)result;
}

static void cycle(void)
{
    pthread_t threads[3];
    void *results[3];
    pthread_barrier_init(&barrier, NULL, 3);
    for (long i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, ring_member, (void *)i);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], &results[i]);
    CHECK_EQ((long)results[0], 0);
    CHECK_EQ((long)results[1], 0);
    CHECK_EQ((long)results[2], EDEADLK);
}

// ---- inheritance -------------------------------------------------------------------------------

static unsigned first, second;
static volatile int low_has, middle_runs, done_low, done_middle_before_low;

// Owns `second` and works a while; everything on one CPU.
static void *low(void *argument)
{
    (void)argument;
    lock(&second);
    low_has = 1;
    until(&second, FUTEX_WAITERS); // sleeps, so that the others get to run
    for (volatile int i = 0; i < 3000000; i++)
        ;
    done_low = 1;
    unlock(&second);
    return NULL;
}

// Owns `first` and waits for `second`.
static void *link_thread(void *argument)
{
    (void)argument;
    lock(&first);
    lock(&second);
    unlock(&second);
    unlock(&first);
    return NULL;
}

// Would keep `low` from running if that did not inherit.
static void *middle(void *argument)
{
    (void)argument;
    middle_runs = 1;
    for (volatile long i = 0; i < 200000000 && !done_low; i++)
        ;
    done_middle_before_low = !done_low;
    return NULL;
}

static void *start(pthread_t *thread, void *(*function)(void *), int priority)
{
    pthread_attr_t attributes;
    struct sched_param parameter = {.sched_priority = priority};
    pthread_attr_init(&attributes);
    pthread_attr_setinheritsched(&attributes, PTHREAD_EXPLICIT_SCHED);
    pthread_attr_setschedpolicy(&attributes, SCHED_FIFO);
    pthread_attr_setschedparam(&attributes, &parameter);
    if (pthread_create(thread, &attributes, function, NULL) != 0)
        exit(3);
    return NULL;
}

// The main thread has priority 50 and waits for `first`: `low` (1) has to run before `middle` (20).
static void inheritance(void)
{
    pthread_t low_thread, link, middle_thread;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(0, &one);
    CHECK_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
    struct sched_param parameter = {.sched_priority = 50};
    CHECK_EQ(pthread_setschedparam(pthread_self(), SCHED_FIFO, &parameter), 0);
    start(&low_thread, low, 1);
    while (!low_has)
        usleep(1000);
    start(&link, link_thread, 2);
    until(&second, FUTEX_WAITERS);
    start(&middle_thread, middle, 20); // runs once we sleep
    CHECK_EQ(lock(&first), 0);
    CHECK_EQ(done_low, 1);
    CHECK_EQ(done_middle_before_low, 0);
    unlock(&first);
    pthread_join(low_thread, NULL);
    pthread_join(link, NULL);
    pthread_join(middle_thread, NULL);
    parameter.sched_priority = 0;
    pthread_setschedparam(pthread_self(), SCHED_OTHER, &parameter);
}

// ---- owners that die ---------------------------------------------------------------------------

static void *die_with_lock(void *argument)
{
    (void)argument;
    lock(&shared_word);
    until(&shared_word, FUTEX_WAITERS);
    usleep(20000);
    return NULL; // still owns it
}

static void owner_dies(void)
{
    pthread_t thread;
    shared_word = 0;
    pthread_create(&thread, NULL, die_with_lock, NULL);
    while (__atomic_load_n(&shared_word, __ATOMIC_ACQUIRE) == 0)
        usleep(1000);
    CHECK_EQ(lock(&shared_word), 0);
    CHECK((shared_word & FUTEX_TID_MASK) == tid());
    CHECK((shared_word & FUTEX_OWNER_DIED) != 0);
    CHECK_EQ(unlock(&shared_word), 0);
    pthread_join(thread, NULL);
}

static pthread_mutex_t mutex;

static void *die_with_mutex(void *argument)
{
    (void)argument;
    pthread_mutex_lock(&mutex);
    return NULL;
}

static void robust_mutex(void)
{
    pthread_t thread;
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    CHECK_EQ(pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT), 0);
    CHECK_EQ(pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST), 0);
    pthread_mutex_init(&mutex, &attributes);
    pthread_create(&thread, NULL, die_with_mutex, NULL);
    pthread_join(thread, NULL);
    CHECK_EQ(pthread_mutex_lock(&mutex), EOWNERDEAD);
    CHECK_EQ(pthread_mutex_consistent(&mutex), 0);
    CHECK_EQ(pthread_mutex_unlock(&mutex), 0);
    CHECK_EQ(pthread_mutex_lock(&mutex), 0);
    CHECK_EQ(pthread_mutex_unlock(&mutex), 0);
}

// ---- exclusion ---------------------------------------------------------------------------------

static long counter;

static void *count(void *argument)
{
    (void)argument;
    for (int i = 0; i < 300; i++) {
        pthread_mutex_lock(&mutex);
        long value = counter;
        if (i % 64 == 0)
            sched_yield();
        counter = value + 1;
        pthread_mutex_unlock(&mutex);
    }
    return NULL;
}

static void exclusion(void)
{
    pthread_t threads[4];
    cpu_set_t all;
    memset(&all, 0xff, sizeof(all));
    sched_setaffinity(0, sizeof(all), &all);
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT);
    pthread_mutex_init(&mutex, &attributes);
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, count, NULL);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    CHECK_EQ(counter, 1200);
}

int main(void)
{
    alone();
    held_by_another();
    priority_order();
    cycle();
    inheritance();
    owner_dies();
    robust_mutex();
    exclusion();
    return check_done();
}
