// SPDX-License-Identifier: MIT
// Mutexes: the contended paths.
//
// owner is 0 when the mutex is free, else the owning thread; MUTEX_WAITERS says that the list of
// waiters may not be empty. With it set the inline fast paths fail, so that everything below
// happens under mutex->lock:
//   I1  flags are set and cleared only under mutex->lock; while one is set, the release takes that
//       lock;
//   I2  a waiter is on the list, and MUTEX_WAITERS set, before it sleeps: the release that follows
//       wakes it;
//   I3  a release with waiters leaves owner == MUTEX_WAITERS, which only code here can take: the
//       woken waiter or one that spins. The woken one tries again and goes back to sleep if it
//       lost;
//   I4  a waiter that lost MUTEX_PATIENCE times sets MUTEX_HANDOFF; the next release makes the
//       first waiter the owner before it wakes it.
//
// Spinning pays while the owner runs and is about to release: it ends when the owner sleeps, when
// its vCPU is not running, when somebody else wants this CPU, or after a bounded number of rounds.
// The owner's struct thread may not vanish meanwhile: threads are freed after an RCU grace period,
// and the loop runs with preemption off.
#include "kernel/core/mutex.h"

#include "kernel/core/counter.h"
#include "kernel/core/upcall.h"
#include "pv/pv.h"

#define MUTEX_SPIN_ROUNDS 1000
#define MUTEX_PATIENCE    3 // wake-ups without success before hand-over

struct mutex_waiter {
    struct list_node node;
    struct thread *thread;
};

COUNTER(lock, mutex_contended);
COUNTER(lock, mutex_sleeps);

void mutex_init_class(struct mutex *mutex, struct lock_class *class)
{
    mutex->owner = 0;
    spin_lock_init(&mutex->lock);
    list_init(&mutex->waiters);
#ifdef LODGER_DEBUG
    mutex->class = class;
#else
    (void)class;
#endif
}

static bool mutex_owner_runs(uintptr_t owner)
{
    const struct thread *thread = (const struct thread *)(owner & ~MUTEX_FLAGS);
    return sched_is_running(thread) && !pv_vcpu_is_preempted(atomic_load_relaxed(&thread->cpu));
}

// Takes the mutex if it is free and not promised to a waiter.
static bool mutex_take_if_free(struct mutex *mutex)
{
    uintptr_t owner = atomic_load_relaxed(&mutex->owner);
    while ((owner & ~MUTEX_WAITERS) == 0) {
        if (atomic_cmpxchg_acquire(&mutex->owner, &owner, owner | (uintptr_t)thread_current()))
            return true;
    }
    return false;
}

static bool mutex_spin(struct mutex *mutex)
{
    bool taken = false;
    if (cpu_count_possible == 1)
        return false;
    preempt_disable();
    for (int round = 0; round < MUTEX_SPIN_ROUNDS && !this_cpu_read(need_resched); round++) {
        uintptr_t owner = atomic_load_relaxed(&mutex->owner);
        if ((owner & ~MUTEX_FLAGS) == 0) {
            taken = mutex_take_if_free(mutex);
            break;
        }
        if (!mutex_owner_runs(owner))
            break;
        spin_hint();
    }
    preempt_enable();
    return taken;
}

// Under mutex->lock: takes the mutex, or makes sure that its release will come here. True if it is
// ours.
static bool mutex_take_or_flag(struct mutex *mutex, bool impatient)
{
    uintptr_t self = (uintptr_t)thread_current();
    uintptr_t owner = atomic_load_relaxed(&mutex->owner);
    for (;;) {
        if ((owner & ~MUTEX_FLAGS) == self)
            return true; // handed over
        bool is_free = (owner & ~MUTEX_FLAGS) == 0;
        uintptr_t wanted =
            (is_free ? self : owner | (impatient ? MUTEX_HANDOFF : 0)) | MUTEX_WAITERS;
        if (atomic_cmpxchg_acquire(&mutex->owner, &owner, wanted))
            return is_free;
    }
}

int mutex_lock_slow(struct mutex *mutex, bool killable)
{
    counter_add(lock, mutex_contended, 1);
    if (mutex_spin(mutex))
        return 0;
    struct mutex_waiter waiter = {.thread = thread_current()};
    int result = 0;
    int tries = 0;
    spin_lock(&mutex->lock);
    list_add_tail(&mutex->waiters, &waiter.node);
    for (;;) {
        thread_prepare_sleep(killable ? THREAD_KILLABLE : THREAD_UNINTERRUPTIBLE);
        if (mutex_take_or_flag(mutex, tries >= MUTEX_PATIENCE)) // I2
            break;
        if (killable && thread_kill_pending(waiter.thread)) {
            result = -4 /* EINTR */;
            break;
        }
        spin_unlock(&mutex->lock);
        counter_add(lock, mutex_sleeps, 1);
        (void)sched_block(UINT64_MAX);
        tries++;
        spin_lock(&mutex->lock);
    }
    thread_cancel_sleep();
    list_remove(&waiter.node);
    if (list_is_empty(&mutex->waiters))
        (void)__atomic_fetch_and(&mutex->owner, ~MUTEX_FLAGS, __ATOMIC_RELAXED); // I1
    else if (result != 0 && (atomic_load_relaxed(&mutex->owner) & ~MUTEX_FLAGS) == 0)
        sched_wake(list_first_entry(&mutex->waiters, struct mutex_waiter, node)->thread,
            THREAD_ANY_SLEEP); // passes on a wake-up that it may have got and does not use
    spin_unlock(&mutex->lock);
    return result;
}

void mutex_unlock_slow(struct mutex *mutex)
{
    debug_assert(mutex_is_held(mutex));
    sched_wake_begin();
    spin_lock(&mutex->lock);
    struct list_node *first = list_first(&mutex->waiters);
    struct thread *next =
        first != NULL ? list_entry(first, struct mutex_waiter, node)->thread : NULL;
    uintptr_t owner = next != NULL ? MUTEX_WAITERS : 0; // I3
    if (next != NULL && (atomic_load_relaxed(&mutex->owner) & MUTEX_HANDOFF))
        owner |= (uintptr_t)next; // I4
    atomic_store_release(&mutex->owner, owner);
    if (next != NULL)
        sched_wake(next, THREAD_ANY_SLEEP);
    spin_unlock(&mutex->lock);
    sched_wake_end();
}
