// SPDX-License-Identifier: MIT
//
// spinlock.h, mutex.h and wait.h on several "CPUs" under the race detector: plain data behind each
// kind of lock, killable waits that end early, hand-over, downgrade, completions on the stack,
// wake-ups of exclusive waiters.
#include "kernel/core/mutex.h"
#include "kernel/core/wait.h"

#include "kernel/base/host/host_base.h"
#include "kernel/base/host/host_cmocka.h"
#include "kernel/core/host/host_core.h"

#include <pthread.h>
#include <stdlib.h>

#define CPUS   4
#define ROUNDS 5000

static struct spinlock spin = SPINLOCK_INIT("test: spin");
static struct mutex mutex = MUTEX_INIT(mutex, "test: mutex");
static struct rwlock rwlock = RWLOCK_INIT(rwlock, "test: rwlock");
static uint64_t behind_spin, behind_mutex, behind_rwlock; // plain: the locks protect them
static uint64_t mutex_killed, write_killed;               // atomic
static pthread_barrier_t start;

static void run_on_cpus(void *(*function)(void *))
{
    pthread_t threads[CPUS];
    pthread_barrier_init(&start, NULL, CPUS);
    for (uintptr_t cpu = 0; cpu < CPUS; cpu++)
        pthread_create(&threads[cpu], NULL, function, (void *)cpu);
    for (int cpu = 0; cpu < CPUS; cpu++)
        pthread_join(threads[cpu], NULL);
    pthread_barrier_destroy(&start);
}

static void begin(void *argument)
{
    host_cpu_begin((uint32_t)(uintptr_t)argument);
    pthread_barrier_wait(&start);
}

static void *spin_play(void *argument)
{
    begin(argument);
    for (int round = 0; round < ROUNDS; round++) {
        spin_lock(&spin);
        assert(spin_is_held(&spin));
        behind_spin++;
        spin_unlock(&spin);
    }
    host_cpu_end();
    return NULL;
}

static void spin_locks_exclude(void **state)
{
    (void)state;
    run_on_cpus(spin_play);
    assert_int_equal(behind_spin, CPUS * ROUNDS);
}

static void *mutex_play(void *argument)
{
    begin(argument);
    for (int round = 0; round < ROUNDS; round++) {
        if (round % 4 == 1) {
            // A fatal signal that is pending already: the wait ends at once, unless the mutex is
            // free.
            thread_work_set(thread_current(), THREAD_WORK_KILL);
            int error = mutex_lock_killable(&mutex);
            thread_work_clear(thread_current(), THREAD_WORK_KILL);
            if (error != 0) {
                atomic_fetch_add(&mutex_killed, (uint64_t)1);
                continue;
            }
        } else {
            mutex_lock(&mutex);
        }
        assert(mutex_is_held(&mutex));
        behind_mutex++;
        mutex_unlock(&mutex);
    }
    host_cpu_end();
    return NULL;
}

static void mutexes_exclude(void **state)
{
    (void)state;
    run_on_cpus(mutex_play);
    assert_int_equal(behind_mutex + mutex_killed, CPUS * ROUNDS);
    assert_true(mutex.owner == 0);
    assert_true(list_is_empty(&mutex.waiters));
}

static void *rwlock_play(void *argument)
{
    uint64_t last = 0;
    begin(argument);
    for (int round = 0; round < ROUNDS; round++) {
        switch (round % 8) {
        case 0:
            thread_work_set(thread_current(), THREAD_WORK_KILL);
            int error = rwlock_write_lock_killable(&rwlock);
            thread_work_clear(thread_current(), THREAD_WORK_KILL);
            if (error != 0) {
                atomic_fetch_add(&write_killed, (uint64_t)1);
                break;
            }
            behind_rwlock++;
            rwlock_write_unlock(&rwlock);
            break;
        case 1:
            rwlock_write_lock(&rwlock);
            behind_rwlock++;
            uint64_t mine = behind_rwlock;
            rwlock_write_downgrade(&rwlock);
            if (behind_rwlock != mine)
                abort(); // somebody wrote in between
            rwlock_read_unlock(&rwlock);
            break;
        default:
            rwlock_read_lock(&rwlock);
            if (behind_rwlock < last)
                abort();
            last = behind_rwlock;
            rwlock_read_unlock(&rwlock);
            break;
        }
    }
    host_cpu_end();
    return NULL;
}

static void rwlocks_exclude_writers(void **state)
{
    (void)state;
    run_on_cpus(rwlock_play);
    assert_int_equal(behind_rwlock + write_killed, CPUS * ROUNDS / 8 * 2);
    assert_int_equal(rwlock.state, 0);
}

// ---- wait queues -------------------------------------------------------------------------------

static struct wait_queue queue = WAIT_QUEUE_INIT(queue, "test: queue");
static uint64_t tokens; // atomic

static bool token_take(void)
{
    uint64_t have = atomic_load(&tokens);
    do {
        if (have == 0)
            return false;
    } while (!atomic_cmpxchg(&tokens, &have, have - 1));
    return true;
}

// Half of the CPUs make tokens and wake one waiter for each; the others take them. Each token must
// be taken.
static void *token_play(void *argument)
{
    bool makes = (uintptr_t)argument % 2 == 0;
    begin(argument);
    for (int round = 0; round < ROUNDS; round++) {
        if (makes) {
            atomic_fetch_add(&tokens, (uint64_t)1);
            wait_wake_one(&queue);
        } else {
            (void)wait_event_state(&queue, token_take(), THREAD_UNINTERRUPTIBLE, true, UINT64_MAX);
        }
    }
    host_cpu_end();
    return NULL;
}

static void no_wake_up_is_lost(void **state)
{
    (void)state;
    run_on_cpus(token_play);
    assert_int_equal(tokens, 0);
    assert_true(wait_queue_is_empty(&queue));
}

static struct completion *mailbox; // atomic

// CPUs 0 and 1: a completion on the stack of the one is completed by the other.
static void *completion_play(void *argument)
{
    uintptr_t cpu = (uintptr_t)argument;
    begin(argument);
    for (int round = 0; cpu < 2 && round < ROUNDS; round++) {
        if (cpu == 0) {
            struct completion completion;
            completion_init(&completion);
            atomic_store(&mailbox, &completion);
            completion_wait(&completion);
        } else {
            struct completion *completion;
            do {
                completion = __atomic_exchange_n(&mailbox, NULL, __ATOMIC_SEQ_CST);
            } while (completion == NULL);
            completion_complete(completion);
        }
    }
    host_cpu_end();
    return NULL;
}

static void completions_may_lie_on_the_stack(void **state)
{
    (void)state;
    run_on_cpus(completion_play);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spin_locks_exclude),
        cmocka_unit_test(mutexes_exclude),
        cmocka_unit_test(rwlocks_exclude_writers),
        cmocka_unit_test(no_wake_up_is_lost),
        cmocka_unit_test(completions_may_lie_on_the_stack),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
