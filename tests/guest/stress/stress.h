// SPDX-License-Identifier: MIT
//
// What the stress programs share. Each takes a duration in seconds as its first argument and, where
// it is random, a seed as its second; it checks itself all the time, prints the same lines however
// often it got round, and ends with 1 (or is ended by its watchdog, which says what stood still) if
// something was wrong.
#pragma once
#include "tests/guest/check.h"
#include <pthread.h>

static uint64_t stress_until_ns CHECK_UNUSED;
static unsigned stress_seed CHECK_UNUSED = 1;

// Reads the arguments.
CHECK_UNUSED static void stress_start(int argc, char **argv)
{
    long seconds = argc > 1 ? strtol(argv[1], NULL, 10) : 5;

    scratch();
    stress_until_ns = now_ns() + (uint64_t)seconds * 1000000000u;
    stress_seed = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 1;
}

CHECK_UNUSED static bool stress_goes_on(void)
{
    return now_ns() < stress_until_ns;
}

// A generator of its own for each thread: *state is the thread's.
CHECK_UNUSED static unsigned stress_random(uint64_t *state, unsigned limit)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(((*state >> 32) * limit) >> 32);
}

// Progress that the watchdog watches, in memory which children share.
struct stress_progress {
    _Atomic uint64_t count;
    char what[56];
};

enum { STRESS_PROGRESS_MAX = 64, STRESS_STALL_S = 25 };
static struct stress_progress *stress_table CHECK_UNUSED;
static _Atomic unsigned *stress_used CHECK_UNUSED;

CHECK_UNUSED static void *stress_shared(size_t length)
{
    void *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    MUST(memory == MAP_FAILED ? -1 : 0);
    return memory;
}

// Starts to watch something; `count` must be increased all the time, until set to UINT64_MAX.
CHECK_UNUSED static struct stress_progress *stress_watch(const char *what)
{
    unsigned index = (*stress_used)++;

    MUST(index < STRESS_PROGRESS_MAX ? 0 : -1);
    snprintf(stress_table[index].what, sizeof(stress_table[index].what), "%s", what);
    return &stress_table[index];
}

CHECK_UNUSED static void stress_done(struct stress_progress *progress)
{
    progress->count = UINT64_MAX;
}

CHECK_UNUSED static void *stress_watchdog(void *argument)
{
    uint64_t last[STRESS_PROGRESS_MAX] = {0};
    unsigned still[STRESS_PROGRESS_MAX] = {0};

    for (;;) {
        sleep_ms(1000);
        for (unsigned i = 0; i < *stress_used && i < STRESS_PROGRESS_MAX; i++) {
            uint64_t now = stress_table[i].count;
            still[i] = now == last[i] && now != UINT64_MAX ? still[i] + 1 : 0;
            last[i] = now;
            if (still[i] >= STRESS_STALL_S) {
                note("FAIL: %s stands still", stress_table[i].what);
                for (unsigned k = 0; k < *stress_used && k < STRESS_PROGRESS_MAX; k++) {
                    note("  %s: count %llu", stress_table[k].what,
                        (unsigned long long)stress_table[k].count);
                }
                _exit(1);
            }
        }
    }
    return argument;
}

CHECK_UNUSED static void stress_start_watchdog(void)
{
    pthread_t thread;

    stress_table = stress_shared(sizeof(*stress_table) * STRESS_PROGRESS_MAX + 64);
    stress_used = (_Atomic unsigned *)(stress_table + STRESS_PROGRESS_MAX);
    MUST(pthread_create(&thread, NULL, stress_watchdog, NULL) == 0 ? 0 : -1);
}

// Waits for all children; the number of those that did not end with 0.
CHECK_UNUSED static int stress_reap(void)
{
    int status, wrong = 0;

    for (;;) {
        pid_t child = waitpid(-1, &status, 0);
        if (child < 0 && errno == ECHILD) {
            return wrong;
        }
        if (child > 0 && status != 0) {
            note("  a child: %s", status_text(status));
            wrong++;
        }
    }
}
