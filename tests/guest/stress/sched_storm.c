// SPDX-License-Identifier: MIT
//
// Claim: threads of all classes, whose policies, priorities, bandwidths, nice values and affinities
// change all the time, sleep, wake, hand over, yield, hold locks with priority inheritance and end;
// every one of them goes on, no lock is held twice, and all bandwidth comes back.
// Method: random threads under the watchdog; those that must go on are more than their classes can
// starve: urgent ones sleep in between. At the end one deadline thread asks for nearly everything.
#include "tests/guest/stress/stress.h"
#include <linux/futex.h>
#define sched_param sched_param_of_the_kernel // the C library has one of that name, and needs it
#include <linux/sched/types.h>
#undef sched_param
#include <sched.h>

enum { THREADS = 12, LOCKS = 3 };

static unsigned locks[LOCKS];
static _Atomic unsigned inside[LOCKS];
static _Atomic bool stop;

static long set_policy(int policy, unsigned priority, uint64_t runtime, uint64_t period)
{
    struct sched_attr attributes = {.size = sizeof(attributes),
        .sched_policy = (uint32_t)policy,
        .sched_priority = priority,
        .sched_runtime = runtime,
        .sched_deadline = period,
        .sched_period = period};
    return syscall(SYS_sched_setattr, 0, &attributes, 0);
}

static void change(uint64_t *state)
{
    uint64_t period = 200000 + stress_random(state, 20000000);
    uint64_t mask[16];
    switch (stress_random(state, 6)) {
    case 0:
        MUST(set_policy(SCHED_FIFO, 1 + stress_random(state, 99), 0, 0));
        break;
    case 1:
        MUST(set_policy(SCHED_RR, 1 + stress_random(state, 99), 0, 0));
        break;
    case 2: // refused where the affinity or the bandwidth is too small
        // A host that stops the processor makes debts, which small bandwidths pay back for ever.
        if (set_policy(SCHED_DEADLINE, 0,
                period / 20 + stress_random(state, (unsigned)(period / 5)), period) != 0 &&
            errno != EBUSY && errno != EPERM)
            check_failures++;
        break;
    case 3:
        memset(mask, 0, sizeof(mask));
        mask[0] = 1 + stress_random(state, 15);
        if (syscall(SYS_sched_setaffinity, 0, sizeof(mask), mask) != 0 && errno != EBUSY &&
            errno != EINVAL)
            check_failures++;
        break;
    case 4:
        memset(mask, 0xff, sizeof(mask));
        MUST(syscall(SYS_sched_setaffinity, 0, sizeof(mask), mask));
        break;
    default:
        MUST(set_policy(stress_random(state, 2) ? SCHED_OTHER : SCHED_BATCH, 0, 0, 0));
        break;
    }
}

// A stretch under a lock with priority inheritance.
static void locked(uint64_t *state)
{
    unsigned i = stress_random(state, LOCKS);
    MUST(syscall(SYS_futex, &locks[i], FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0));
    if (inside[i]++ != 0)
        check_failures++;
    for (volatile unsigned n = stress_random(state, 3000); n != 0; n--) {
    }
    if (stress_random(state, 8) == 0)
        sched_yield();
    inside[i]--;
    MUST(syscall(SYS_futex, &locks[i], FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0));
}

struct worker {
    uint64_t random;
    struct stress_progress *progress;
};

static void *short_life(void *argument)
{
    uint64_t state = (uint64_t)(uintptr_t)argument;
    change(&state);
    return NULL;
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    uint64_t *state = &worker->random;
    while (!stop) {
        worker->progress->count++;
        switch (stress_random(state, 5)) {
        case 0:
            change(state);
            break;
        case 1:
            locked(state);
            break;
        case 2:
            sched_yield();
            break;
        case 3:
            if (stress_random(state, 20) == 0) {
                pthread_t thread; // a deadline thread makes none
                int error =
                    pthread_create(&thread, NULL, short_life, (void *)(uintptr_t)(*state | 1));
                if (error == 0)
                    pthread_join(thread, NULL);
                else if (error != EAGAIN)
                    check_failures++;
            }
            break;
        default: {
            struct timespec time = {0, stress_random(state, 300000)};
            nanosleep(&time, NULL);
        }
        }
    }
    worker->progress->count = UINT64_MAX;
    (void)set_policy(SCHED_OTHER, 0, 0, 0);
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[THREADS];
    struct worker workers[THREADS];
    stress_start(argc, argv);
    // Above FIFO and RR, so that somebody looks at the time.
    MUST(set_policy(SCHED_FIFO, 99, 0, 0));
    stress_start_watchdog();
    for (unsigned i = 0; i < THREADS; i++) {
        char name[32];
        snprintf(name, sizeof(name), "worker %u", i);
        workers[i] =
            (struct worker){.random = stress_seed * 1000u + i, .progress = stress_watch(name)};
        MUST(pthread_create(&threads[i], NULL, work, &workers[i]));
    }
    while (stress_goes_on())
        sleep_ms(50);
    stop = true;
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    CHECK_EQ(check_failures, 0);
    OK(set_policy(SCHED_DEADLINE, 0, 94000000, 100000000));
    return check_done();
}
