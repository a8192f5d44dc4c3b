// SPDX-License-Identifier: MIT
//
// The surroundings of kernel/base on the host. RCU here is the simplest that is right: each thread
// publishes the epoch in which its section began, and a grace period raises the epoch and waits for
// all sections of older ones.
#include "kernel/base/host/host_base.h"

#include "kernel/base/alloc.h"
#include "kernel/base/assert.h"
#include "kernel/base/atomic.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

// cmocka's, if the program is linked with it: fails the test, or satisfies expect_assert_failure().
void mock_assert(int result, const char *expression, const char *file, int line)
    __attribute__((weak));

[[noreturn]] void assert_failed(const char *expression, const char *file, int line)
{
    if (mock_assert != nullptr) {
        mock_assert(0, expression, file, line);
    }
    fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, expression);
    abort();
}

struct prng host_seed(const char *test)
{
    const char *given = getenv("LODGER_SEED");
    uint64_t seed = 0;
    if (given != nullptr) {
        seed = strtoull(given, nullptr, 0);
    } else if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed)) {
        abort();
    }
    printf("%s: LODGER_SEED=%#lx\n", test, seed);
    fflush(stdout);
    return (struct prng){.state = seed};
}

// ---- Memory

static pthread_mutex_t alloc_lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t alloc_countdown = UINT64_MAX; // protected by alloc_lock, like the next four
static bool alloc_fail_all_after;
static bool alloc_failed;
static uint64_t alloc_live;

void host_alloc_fail(uint64_t countdown, bool all_after)
{
    pthread_mutex_lock(&alloc_lock);
    alloc_countdown = countdown;
    alloc_fail_all_after = all_after;
    alloc_failed = false;
    pthread_mutex_unlock(&alloc_lock);
}

bool host_alloc_fail_never(void)
{
    pthread_mutex_lock(&alloc_lock);
    bool failed = alloc_failed;
    alloc_countdown = UINT64_MAX;
    alloc_failed = false;
    pthread_mutex_unlock(&alloc_lock);
    return failed;
}

uint64_t host_alloc_live(void)
{
    return atomic_load(&alloc_live);
}

// Is it this allocation's turn to fail?
static bool alloc_must_fail(void)
{
    bool fail = false;
    pthread_mutex_lock(&alloc_lock);
    if (alloc_countdown == 0) {
        fail = true;
        alloc_failed = true;
        alloc_countdown = alloc_fail_all_after ? 0 : UINT64_MAX;
    } else if (alloc_countdown != UINT64_MAX) {
        alloc_countdown--;
    }
    pthread_mutex_unlock(&alloc_lock);
    return fail;
}

void *base_alloc(size_t size)
{
    if (alloc_must_fail()) {
        return nullptr;
    }
    void *memory = calloc(1, size);
    if (memory != nullptr) {
        atomic_fetch_add(&alloc_live, 1);
    }
    return memory;
}

void base_free(void *memory)
{
    if (memory != nullptr) {
        atomic_fetch_sub(&alloc_live, 1);
        free(memory);
    }
}

// ---- RCU

#define READER_MAX 64

static uint64_t rcu_epoch = 1;
static uint64_t rcu_readers[READER_MAX]; // epoch of the running section, 0: none
static uint32_t rcu_reader_count;
static __thread uint32_t rcu_reader_slot; // + 1; 0: none yet

static pthread_mutex_t rcu_lock = PTHREAD_MUTEX_INITIALIZER;
static struct rcu_head *rcu_queue; // protected by rcu_lock

void host_rcu_read_lock(void)
{
    if (rcu_reader_slot == 0) {
        rcu_reader_slot = atomic_fetch_add(&rcu_reader_count, 1u) + 1;
        assert(rcu_reader_slot <= READER_MAX);
    }
    atomic_store(&rcu_readers[rcu_reader_slot - 1], atomic_load(&rcu_epoch));
}

void host_rcu_read_unlock(void)
{
    atomic_store(&rcu_readers[rcu_reader_slot - 1], 0);
}

void host_rcu_synchronize(void)
{
    uint64_t epoch = atomic_fetch_add(&rcu_epoch, 1) + 1;
    for (uint32_t slot = 0; slot < MIN(atomic_load(&rcu_reader_count), READER_MAX); slot++) {
        uint64_t seen = atomic_load(&rcu_readers[slot]);
        while (seen != 0 && seen < epoch) {
            sched_yield();
            seen = atomic_load(&rcu_readers[slot]);
        }
    }
}

void base_call_rcu(struct rcu_head *head, void (*function)(struct rcu_head *head))
{
    head->function = function;
    pthread_mutex_lock(&rcu_lock);
    head->next = rcu_queue;
    rcu_queue = head;
    pthread_mutex_unlock(&rcu_lock);
}

uint64_t host_rcu_run_callbacks(void)
{
    pthread_mutex_lock(&rcu_lock);
    struct rcu_head *head = rcu_queue;
    rcu_queue = nullptr;
    pthread_mutex_unlock(&rcu_lock);

    uint64_t count = 0;
    host_rcu_synchronize();
    while (head != nullptr) {
        struct rcu_head *next = head->next; // the callback frees the object
        head->function(head);
        head = next;
        count++;
    }
    return count;
}
