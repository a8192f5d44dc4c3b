// SPDX-License-Identifier: MIT
// SQPOLL: a kernel thread that submits what the program puts into the ring, so that the program
// makes no system calls. It borrows the program's address space. It has no descriptors: only
// registered files can be used.
//
// When it has found nothing for a while it says so in the ring's flags and sleeps; the program
// wakes it with io_uring_enter(2).
#include "kernel/arch/x86/arch.h"
#include "kernel/base/atomic.h"
#include "kernel/core/errno.h"
#include "kernel/core/time.h"
#include "kernel/ipc/io_uring/internal.h"
#include "kernel/process/credentials.h"
#include "mm/address_space.h"
#include "mm/slab.h"
#include "sched/sched.h"
#include <linux/capability.h>

#define IDLE_DEFAULT_MS 1000
#define SUBMIT_AT_ONCE  32

struct uring_poller {
    struct uring *ring;
    struct address_space *space; // with a reference as a user
    uint64_t idle_ns;
    struct wait_queue wait;
    uint32_t wakes; // atomic: asked for since it slept last
    uint32_t stop;  // atomic
    struct completion ended;
};

static bool has_entries(const struct uring *ring)
{
    return ring->enabled && atomic_load_acquire(&ring->shared->sq_tail) != ring->sq_head;
}

static void set_flag(struct uring *ring, bool on)
{
    uint64_t flags = spin_lock_irqsave(&ring->done_lock);
    const uint32_t other = ring->shared->sq_flags & ~(uint32_t)IORING_SQ_NEED_WAKEUP;
    atomic_store(&ring->shared->sq_flags, other | (on ? (uint32_t)IORING_SQ_NEED_WAKEUP : 0));
    spin_unlock_irqrestore(&ring->done_lock, flags);
}

static void sleep_until_needed(struct uring_poller *poller)
{
    struct uring *ring = poller->ring;
    set_flag(ring, true); // a full fence: the program sees it, or its entry is seen here
    wait_event(&poller->wait, atomic_exchange(&poller->wakes, 0) != 0 || has_entries(ring) ||
                                  atomic_load_acquire(&poller->stop) != 0);
    set_flag(ring, false);
}

static void poller_main(void *argument)
{
    struct uring_poller *poller = argument;
    struct uring *ring = poller->ring;
    address_space_activate(poller->space);
    uint64_t busy_ns = time_monotonic_ns();
    while (atomic_load_acquire(&poller->stop) == 0) {
        if (has_entries(ring)) {
            mutex_lock(&ring->lock);
            (void)uring_submit(ring, SUBMIT_AT_ONCE);
            mutex_unlock(&ring->lock);
            busy_ns = time_monotonic_ns();
        } else if (time_monotonic_ns() - busy_ns > poller->idle_ns) {
            sleep_until_needed(poller);
            busy_ns = time_monotonic_ns();
        }
        uring_reap(ring);
        struct file *file = ring->last_file;
        if (file != NULL && file->ops->harvest != NULL)
            file->ops->harvest(file);
        if (this_cpu_read(need_resched))
            sched_yield();
        arch_pause();
    }
    address_space_activate(NULL);
    completion_complete(&poller->ended);
}

int uring_poller_start(struct uring *ring, const struct io_uring_params *parameters)
{
    struct uring_poller *poller = kzalloc(sizeof(*poller));
    if (poller == NULL)
        return -ENOMEM;
    const uint32_t idle_ms =
        parameters->sq_thread_idle != 0 ? parameters->sq_thread_idle : IDLE_DEFAULT_MS;
    poller->ring = ring;
    poller->idle_ns = idle_ms * NS_PER_MS;
    poller->space = thread_current()->space;
    wait_queue_init(&poller->wait);
    completion_init(&poller->ended);
    address_space_get(poller->space);
    ring->poller = poller;
    struct thread *thread;
    int error = kthread_create(&thread, "iou-sqp", poller_main, poller);
    if (error == 0 && (parameters->flags & IORING_SETUP_SQ_AFF)) {
        struct cpumask mask = {};
        if (parameters->sq_thread_cpu >= CPU_MAX)
            error = -EINVAL;
        else
            cpumask_set(&mask, parameters->sq_thread_cpu);
        if (error == 0)
            error = sched_set_affinity(thread, &mask);
        if (error != 0)
            uring_poller_stop(ring);
        return error;
    }
    if (error != 0) {
        ring->poller = NULL;
        address_space_put(poller->space);
        kfree(poller);
    }
    return error;
}

void uring_poller_wake(struct uring *ring)
{
    if (ring->poller == NULL)
        return;
    atomic_store(&ring->poller->wakes, 1);
    wait_wake_all(&ring->poller->wait);
}

void uring_poller_stop(struct uring *ring)
{
    struct uring_poller *poller = ring->poller;
    if (poller == NULL)
        return;
    atomic_store(&poller->stop, 1);
    uring_poller_wake(ring);
    completion_wait(&poller->ended);
    ring->poller = NULL;
    address_space_put(poller->space);
    kfree(poller);
}
