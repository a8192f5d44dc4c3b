// SPDX-License-Identifier: MIT
//
// Unmapping, protecting and waking by four threads of one process at once. Where four vCPUs share
// a CPU of the host, most of those that have to be told of a change do not run.
#include "guests/exits/exits.h"

#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define THREADS     4
#define ROUNDS      150
#define PAGES       16
#define PAGE_BYTES  4096
#define WAKE_ROUNDS 2 // of each round

// The threads take turns: each waits until the number is its own.
static atomic_uint turn;

static void take_turn(unsigned self)
{
    unsigned now;
    while ((now = atomic_load(&turn)) % THREADS != self) {
        syscall(SYS_futex, &turn, FUTEX_WAIT_PRIVATE, now, NULL, NULL, 0);
    }
    atomic_fetch_add(&turn, 1);
    syscall(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, THREADS, NULL, NULL, 0);
}

static void *work(void *argument)
{
    unsigned self = (unsigned)(uintptr_t)argument;
    exits_pin(self);
    for (unsigned round = 0; round < ROUNDS; round++) {
        char *area = mmap(
            NULL, PAGES * PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (area == MAP_FAILED) {
            exits_fail("mmap");
        }
        memset(area, (int)round, PAGES * PAGE_BYTES);
        if (mprotect(area, PAGES * PAGE_BYTES / 2, PROT_READ) != 0 ||
            area[PAGE_BYTES] != (char)round || munmap(area, PAGES * PAGE_BYTES) != 0) {
            exits_fail("mprotect");
        }
        for (unsigned i = 0; i < WAKE_ROUNDS; i++) {
            take_turn(self);
        }
    }
    return NULL;
}

uint64_t exits_storm(void)
{
    pthread_t threads[THREADS];
    uint64_t start_ns = exits_now_ns();
    atomic_store(&turn, 0);
    for (unsigned i = 0; i < THREADS; i++) {
        if (pthread_create(&threads[i], NULL, work, (void *)(uintptr_t)i) != 0) {
            exits_fail("pthread_create");
        }
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    return exits_now_ns() - start_ns;
}
