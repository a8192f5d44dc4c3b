// SPDX-License-Identifier: MIT
//
// Each operation: the page gets a new number; all other CPUs read it, so that their TLBs hold it;
// madvise(MADV_DONTNEED) takes it away (measured); all read again, and must see zero: who still
// reads the number has a stale entry.
#include "guests/bench/shootdown.h"
#include "guests/bench/bench.h"
#include "guests/bench/workers.h"

#include <pthread.h>
#include <stdint.h>
#include <sys/mman.h>

#define READERS_MAX 63

static volatile uint32_t *page;
// Odd: read the page, which holds this number; even: read the page, which must be zero.
static uint32_t phase;
static uint32_t finished; // readers that are done with this phase
static uint32_t stale;    // reads that gave something else

static void *reader_main(void *argument)
{
    uint32_t count = *(unsigned *)argument;
    static unsigned next_cpu;
    workers_pin(1 + __atomic_fetch_add(&next_cpu, 1, __ATOMIC_RELAXED) % (workers_cpus() - 1));
    for (uint32_t expected = 1; expected <= 2 * count; expected++) {
        while (__atomic_load_n(&phase, __ATOMIC_ACQUIRE) < expected) {
            __builtin_ia32_pause();
        }
        if (*page != (expected % 2 == 1 ? expected : 0)) {
            __atomic_fetch_add(&stale, 1, __ATOMIC_RELAXED);
        }
        __atomic_fetch_add(&finished, 1, __ATOMIC_RELEASE);
    }
    return argument;
}

static void let_read(uint32_t number, uint32_t readers)
{
    __atomic_store_n(&finished, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&phase, number, __ATOMIC_RELEASE);
    while (__atomic_load_n(&finished, __ATOMIC_ACQUIRE) < readers) {
        __builtin_ia32_pause();
    }
}

void shootdown_run(unsigned count, unsigned cpus)
{
    pthread_t threads[READERS_MAX];
    uint32_t readers = cpus - 1;
    bench_require(readers <= READERS_MAX && workers_cpus() >= cpus, "so many CPUs");
    page = workers_small_pages(4096);
    phase = stale = 0;
    for (uint32_t i = 0; i < readers; i++) {
        bench_require(pthread_create(&threads[i], NULL, reader_main, &count) == 0, "thread");
    }
    workers_pin(0);
    for (uint32_t i = 0; i < count; i++) {
        *page = 2 * i + 1;
        let_read(2 * i + 1, readers);
        bench_start();
        int error = madvise((void *)page, 4096, MADV_DONTNEED);
        bench_stop();
        bench_require(error == 0, "madvise");
        let_read(2 * i + 2, readers);
    }
    for (uint32_t i = 0; i < readers; i++) {
        void *result;
        bench_require(pthread_join(threads[i], &result) == 0 && result == &count, "reader");
    }
    bench_require(stale == 0, "the other CPUs' TLB entries are gone");
    munmap((void *)page, 4096);
}
