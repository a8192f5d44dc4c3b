// SPDX-License-Identifier: MIT
// Reader/writer locks: the contended paths.
//
// A lock that somebody waits for is handed over, not fought for: whoever releases it gives it to
// the first waiter, or to all readers that stand before the first writer, before they run. So a
// writer waits at most for the readers and waiters before it, and a reader behind it as well.
//   I1  RWLOCK_WAITERS is set exactly while the list is not empty; both change only under
//       rwlock->lock;
//   I2  with RWLOCK_WAITERS set the inline fast paths take nothing: readers and writer in `state`
//       can then only become fewer, but for grants, which happen under rwlock->lock;
//   I3  the release that leaves nobody in `state` while RWLOCK_WAITERS is set grants;
//   I4  a waiter looks at `granted` only under rwlock->lock, so the granter is done with it when it
//       goes on.
#include "kernel/core/mutex.h"

#include "kernel/core/counter.h"
#include "kernel/core/upcall.h"
#include "pv/pv.h"

struct rwlock_waiter {
    struct list_node node; // all under rwlock->lock
    struct thread *thread;
    bool write;
    bool granted;
};

#define RWLOCK_SPIN_ROUNDS 400

COUNTER(lock, rwlock_contended);
COUNTER(lock, rwlock_sleeps);

void rwlock_init_class(struct rwlock *rwlock, struct lock_class *class)
{
    rwlock->state = 0;
    atomic_store_relaxed(&rwlock->writer, NULL);
    spin_lock_init(&rwlock->lock);
    list_init(&rwlock->waiters);
#ifdef LODGER_DEBUG
    rwlock->class = class;
#else
    (void)class;
#endif
}

// Can one more reader (a writer) have it, given who holds it?
static bool rwlock_allows(uint32_t state, bool write)
{
    return write ? (state & ~RWLOCK_WAITERS) == 0 : (state & RWLOCK_WRITER) == 0;
}

// Under rwlock->lock: gives the lock to as many waiters from the front as can have it together.
static void rwlock_grant(struct rwlock *rwlock)
{
    assert_lock_held(&rwlock->lock);
    while (!list_is_empty(&rwlock->waiters)) {
        struct rwlock_waiter *waiter =
            list_first_entry(&rwlock->waiters, struct rwlock_waiter, node);
        if (!rwlock_allows(atomic_load_relaxed(&rwlock->state), waiter->write))
            return;
        atomic_fetch_add(&rwlock->state, waiter->write ? RWLOCK_WRITER : 1u);
        list_remove(&waiter->node);
        waiter->granted = true;
        sched_wake(waiter->thread, THREAD_ANY_SLEEP);
    }
    atomic_fetch_and(&rwlock->state, ~RWLOCK_WAITERS); // I1
}

// Under rwlock->lock: takes the lock if it is free for us and nobody waits; else announces a
// waiter.
static bool rwlock_take_or_announce(struct rwlock *rwlock, bool write)
{
    uint32_t state = atomic_load_relaxed(&rwlock->state);
    for (;;) {
        bool take = (state & RWLOCK_WAITERS) == 0 && rwlock_allows(state, write);
        uint32_t wanted = take ? state + (write ? RWLOCK_WRITER : 1u) : state | RWLOCK_WAITERS;
        if (atomic_cmpxchg_acquire(&rwlock->state, &state, wanted))
            return take;
    }
}

// Waits a little without sleeping: most holders are about to release. Not if somebody sleeps for
// the lock already, nor if its writer does not run. The writer's struct thread may be looked at
// because preemption is off and threads are freed after an RCU grace period. True if taken.
static bool rwlock_spin(struct rwlock *rwlock, bool write)
{
    bool taken = false;
    if (cpu_count_possible == 1)
        return false;
    preempt_disable();
    for (int round = 0; round < RWLOCK_SPIN_ROUNDS && !this_cpu_read(need_resched); round++) {
        uint32_t state = atomic_load_relaxed(&rwlock->state);
        if (state & RWLOCK_WAITERS)
            break;
        if (rwlock_allows(state, write)) {
            taken = write ? rwlock_write_word_try(rwlock) : rwlock_read_word_try(rwlock);
            if (taken)
                break;
            continue;
        }
        const struct thread *writer = atomic_load_relaxed(&rwlock->writer);
        if ((state & RWLOCK_WRITER) && writer != NULL &&
            (!sched_is_running(writer) || pv_vcpu_is_preempted(atomic_load_relaxed(&writer->cpu))))
            break;
        spin_hint();
    }
    preempt_enable();
    return taken;
}

int rwlock_lock_slow(struct rwlock *rwlock, bool write, bool killable)
{
    struct rwlock_waiter waiter = {.thread = thread_current(), .write = write};
    int result = 0;
    counter_add(lock, rwlock_contended, 1);
    if (rwlock_spin(rwlock, write))
        return 0;
    counter_add(lock, rwlock_sleeps, 1);
    spin_lock(&rwlock->lock);
    if (rwlock_take_or_announce(rwlock, write)) {
        spin_unlock(&rwlock->lock);
        return 0;
    }
    list_add_tail(&rwlock->waiters, &waiter.node);
    while (!waiter.granted) {
        thread_prepare_sleep(killable ? THREAD_KILLABLE : THREAD_UNINTERRUPTIBLE);
        spin_unlock(&rwlock->lock);
        result = sched_block(UINT64_MAX);
        spin_lock(&rwlock->lock); // I4
        if (result != 0 && !waiter.granted) {
            list_remove(&waiter.node);
            rwlock_grant(rwlock); // whoever stood behind this one; also I1
            break;
        }
        result = 0;
    }
    spin_unlock(&rwlock->lock);
    return result;
}

void rwlock_read_unlock_slow(struct rwlock *rwlock)
{
    spin_lock(&rwlock->lock);
    rwlock_grant(rwlock); // I3; does nothing if somebody else did it first
    spin_unlock(&rwlock->lock);
}

void rwlock_write_unlock_slow(struct rwlock *rwlock)
{
    spin_lock(&rwlock->lock);
    __atomic_fetch_and(&rwlock->state, ~RWLOCK_WRITER, __ATOMIC_RELEASE);
    rwlock_grant(rwlock);
    spin_unlock(&rwlock->lock);
}

void rwlock_write_downgrade(struct rwlock *rwlock)
{
    debug_assert(rwlock_is_write_held(rwlock));
    atomic_store_relaxed(&rwlock->writer, NULL);
    // Writer out, reader in, in one step: -WRITER + 1.
    uint32_t before = __atomic_fetch_sub(&rwlock->state, RWLOCK_WRITER - 1, __ATOMIC_RELEASE);
    if (before & RWLOCK_WAITERS)
        rwlock_read_unlock_slow(rwlock); // readers at the front may join
}
