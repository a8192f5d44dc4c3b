// SPDX-License-Identifier: MIT
//
// Claim: the C library's threads work on this kernel: creation and joining of hundreds, mutexes of
// all kinds, condition variables, read-write locks, barriers, semaphores, once, timed waits.
// Method: counters that come out right only if every lock excludes, for each kind of lock.
#include "tests/guest/check.h"
#include <pthread.h>
#include <semaphore.h>

enum { THREADS = 8, ROUNDS = 2000 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_barrier_t barrier;
static pthread_spinlock_t spin;
static sem_t semaphore;
static volatile long counter;
static _Atomic int inside;
static _Atomic int violations;

static void start_all(void *(*body)(void *), pthread_t *threads)
{
    for (long i = 0; i < THREADS; i++) {
        CHECK_QUIET(pthread_create(&threads[i], NULL, body, (void *)i) == 0);
    }
}

static long join_all(pthread_t *threads)
{
    long sum = 0;
    for (int i = 0; i < THREADS; i++) {
        void *result = NULL;
        CHECK_QUIET(pthread_join(threads[i], &result) == 0);
        sum += (long)result;
    }
    return sum;
}

static void *with_mutex(void *argument)
{
    for (int i = 0; i < ROUNDS; i++) {
        pthread_mutex_lock(&mutex);
        counter++;
        pthread_mutex_unlock(&mutex);
    }
    return argument;
}

static void *with_spin(void *argument)
{
    for (int i = 0; i < 200; i++) {
        pthread_spin_lock(&spin);
        counter++;
        pthread_spin_unlock(&spin);
    }
    return argument;
}

static void *with_rwlock(void *argument)
{
    for (int i = 0; i < ROUNDS / 4; i++) {
        if (i % 4 == 0) {
            pthread_rwlock_wrlock(&rwlock);
            violations += inside++ != 0;
            counter++;
            violations += --inside != 0;
        } else {
            pthread_rwlock_rdlock(&rwlock);
            violations += inside != 0;
        }
        pthread_rwlock_unlock(&rwlock);
    }
    return argument;
}

static void *with_semaphore(void *argument)
{
    for (int i = 0; i < ROUNDS / 4; i++) {
        while (sem_wait(&semaphore) != 0) {
        }
        violations += ++inside > 3; // at most three at a time
        inside--;
        sem_post(&semaphore);
    }
    return argument;
}

static _Atomic int phase_count[100];

static void *with_barrier(void *argument)
{
    long serial = 0;
    for (int i = 0; i < 100; i++) {
        phase_count[i]++;
        serial += pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD;
        violations += phase_count[i] != THREADS;
        pthread_barrier_wait(&barrier);
    }
    (void)argument;
    return (void *)serial;
}

static int queue[16], head, tail;

static void *consume(void *argument)
{
    long sum = 0;
    (void)argument;
    for (;;) {
        pthread_mutex_lock(&mutex);
        while (head == tail) {
            pthread_cond_wait(&condition, &mutex);
        }
        int item = queue[head++ % 16];
        pthread_cond_broadcast(&condition);
        pthread_mutex_unlock(&mutex);
        if (item < 0) {
            return (void *)sum;
        }
        sum += item;
    }
}

static void produce(int item)
{
    pthread_mutex_lock(&mutex);
    while (tail - head == 16) {
        pthread_cond_wait(&condition, &mutex);
    }
    queue[tail++ % 16] = item;
    pthread_cond_broadcast(&condition);
    pthread_mutex_unlock(&mutex);
}

static int once_calls;

static void once_body(void)
{
    once_calls++;
}

static void *with_once(void *argument)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, once_body);
    return argument;
}

static void *return_argument(void *argument)
{
    return argument;
}

static void *lock_and_hold(void *argument)
{
    pthread_mutex_lock(&mutex);
    *(volatile int *)argument = 1;
    sleep_ms(200);
    pthread_mutex_unlock(&mutex);
    return NULL;
}

static struct timespec in_ms(int milliseconds)
{
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    time.tv_nsec += milliseconds * 1000000l;
    time.tv_sec += time.tv_nsec / 1000000000;
    time.tv_nsec %= 1000000000;
    return time;
}

static void kinds_of_mutex(void)
{
    pthread_mutexattr_t attributes;
    pthread_mutex_t checked, recursive;

    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK);
    pthread_mutex_init(&checked, &attributes);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&recursive, &attributes);
    CHECK_EQ(pthread_mutex_lock(&checked), 0);
    CHECK_EQ(pthread_mutex_lock(&checked), EDEADLK);
    CHECK_EQ(pthread_mutex_unlock(&checked), 0);
    CHECK_EQ(pthread_mutex_unlock(&checked), EPERM);
    CHECK_EQ(pthread_mutex_lock(&recursive), 0);
    CHECK_EQ(pthread_mutex_lock(&recursive), 0);
    CHECK_EQ(pthread_mutex_unlock(&recursive), 0);
    CHECK_EQ(pthread_mutex_unlock(&recursive), 0);
    CHECK_EQ(pthread_mutex_unlock(&recursive), EPERM);

    volatile int held = 0;
    pthread_t thread;
    pthread_create(&thread, NULL, lock_and_hold, (void *)&held);
    while (!held) {
        sleep_ms(1);
    }
    CHECK_EQ(pthread_mutex_trylock(&mutex), EBUSY);
    struct timespec soon = in_ms(20), later = in_ms(5000);
    CHECK_EQ(pthread_mutex_timedlock(&mutex, &soon), ETIMEDOUT);
    CHECK_EQ(pthread_mutex_timedlock(&mutex, &later), 0);
    soon = in_ms(20);
    CHECK_EQ(pthread_cond_timedwait(&condition, &mutex, &soon), ETIMEDOUT);
    pthread_mutex_unlock(&mutex);
    pthread_join(thread, NULL);
    sem_t empty;
    sem_init(&empty, 0, 0);
    soon = in_ms(20);
    ERR(ETIMEDOUT, sem_timedwait(&empty, &soon));
    ERR(EAGAIN, sem_trywait(&empty));
}

int main(void)
{
    pthread_t threads[THREADS];

    scratch();
    start_all(with_mutex, threads);
    join_all(threads);
    CHECK_EQ(counter, THREADS * ROUNDS);
    counter = 0;
    pthread_spin_init(&spin, 0);
    start_all(with_spin, threads);
    join_all(threads);
    CHECK_EQ(counter, THREADS * 200);
    counter = 0;
    start_all(with_rwlock, threads);
    join_all(threads);
    CHECK_EQ(counter, THREADS * ROUNDS / 16);
    sem_init(&semaphore, 0, 3);
    start_all(with_semaphore, threads);
    join_all(threads);
    pthread_barrier_init(&barrier, NULL, THREADS);
    start_all(with_barrier, threads);
    CHECK_EQ(join_all(threads), 100); // one serial thread a phase
    CHECK_EQ(violations, 0);

    start_all(consume, threads);
    for (int i = 1; i <= 3000; i++) {
        produce(i);
    }
    for (int i = 0; i < THREADS; i++) {
        produce(-1);
    }
    CHECK_EQ(join_all(threads), 3000 * 3001 / 2);
    start_all(with_once, threads);
    join_all(threads);
    CHECK_EQ(once_calls, 1);
    kinds_of_mutex();

    // Hundreds, one after the other and many at once.
    long sum = 0;
    for (long i = 0; i < 500; i++) {
        pthread_t thread;
        void *result;
        CHECK_QUIET(pthread_create(&thread, NULL, return_argument, (void *)i) == 0);
        pthread_join(thread, &result);
        sum += (long)result;
    }
    CHECK_EQ(sum, 499 * 250);
    static pthread_t many[200];
    int made = 0;
    for (long i = 0; i < 200; i++) {
        made += pthread_create(&many[i], NULL, return_argument, (void *)i) == 0;
    }
    sum = 0;
    for (int i = 0; i < 200; i++) {
        void *result;
        pthread_join(many[i], &result);
        sum += (long)result;
    }
    CHECK_EQ(made, 200);
    CHECK_EQ(sum, 199 * 100);
    return check_done();
}
