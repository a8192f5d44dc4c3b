// SPDX-License-Identifier: MIT
// Reader/writer locks: the contended paths.
//
// Whoever releases a lock that somebody waits for wakes the first waiter, or all readers that stand
// before the first writer, and leaves it free: who comes by and runs may take it meanwhile. Handing
// it over to somebody who sleeps would make all others stop until that one runs, which may be long
// where vCPUs share processors, and then again for the next (a convoy). A first waiter that found
// the lock taken RWLOCK_PATIENCE times asks for a hand-over: then nobody else takes it, and the
// release gives it to that waiter before it runs.
//   I1  RWLOCK_WAITERS is set exactly while the list is not empty; both change only under
//       rwlock->lock, as RWLOCK_HANDOFF does, which is set only with it;
//   I2  with RWLOCK_WAITERS set the inline fast paths take nothing, and with RWLOCK_HANDOFF nobody
//       does: readers and writer in `state` can then only become fewer, but for grants, which
//       happen under rwlock->lock;
//   I3  the release that leaves nobody in `state` while RWLOCK_WAITERS is set takes rwlock->lock
//       and wakes or grants. A waiter that found the lock taken (under rwlock->lock, its sleep
//       published) had announced itself before: that holder's release, or that of one who took it
//       in between, sees it;
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
#define RWLOCK_PATIENCE    4 // times that the first waiter finds the lock taken

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
    return write ? (state & ~(RWLOCK_WAITERS | RWLOCK_HANDOFF)) == 0 : (state & RWLOCK_WRITER) == 0;
}

// Under rwlock->lock: takes the lock for one more if that is possible, whoever waits.
static bool rwlock_take(struct rwlock *rwlock, bool write)
{
    uint32_t state = atomic_load_relaxed(&rwlock->state);
    while (rwlock_allows(state, write)) {
        if (atomic_cmpxchg_acquire(&rwlock->state, &state, state + (write ? RWLOCK_WRITER : 1u)))
            return true;
    }
    return false;
}

// Under rwlock->lock: takes a waiter off the list.
static void rwlock_unlist(struct rwlock *rwlock, struct rwlock_waiter *waiter)
{
    bool was_first = list_first(&rwlock->waiters) == &waiter->node;
    list_remove(&waiter->node);
    uint32_t over = (was_first ? RWLOCK_HANDOFF : 0) | // it was that one's
                    (list_is_empty(&rwlock->waiters) ? RWLOCK_WAITERS : 0);
    if (over != 0)
        atomic_fetch_and(&rwlock->state, ~over); // I1
}

// Under rwlock->lock, after a release: the first waiter, and readers that stand behind it if it is
// one, are woken, or given the lock where it was asked for.
static void rwlock_pass_on(struct rwlock *rwlock)
{
    struct rwlock_waiter *waiter, *following;
    assert_lock_held(&rwlock->lock);
    bool first = true;
    list_for_each_entry_safe (waiter, following, &rwlock->waiters, node) {
        uint32_t state = atomic_load_relaxed(&rwlock->state);
        if ((waiter->write && !first) || !rwlock_allows(state, waiter->write))
            return;
        bool write = waiter->write;
        struct thread *thread = waiter->thread;
        if ((state & RWLOCK_HANDOFF) && rwlock_take(rwlock, write)) {
            rwlock_unlist(rwlock, waiter);
            waiter->granted = true; // I4
        }
        sched_wake(thread, THREAD_ANY_SLEEP);
        if (write)
            return;
        first = false;
    }
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

// Waits a little without sleeping: most holders are about to release. Not if somebody has asked for
// a hand-over, nor if its writer does not run. The writer's struct thread may be looked at
// because preemption is off and threads are freed after an RCU grace period. True if taken.
static bool rwlock_spin(struct rwlock *rwlock, bool write)
{
    bool taken = false;
    if (cpu_count_possible == 1)
        return false;
    preempt_disable();
    for (int round = 0; round < RWLOCK_SPIN_ROUNDS && !this_cpu_read(need_resched); round++) {
        uint32_t state = atomic_load_relaxed(&rwlock->state);
        if (state & RWLOCK_HANDOFF)
            break; // I2
        // Readers that follow each other without a gap would keep a writer out for ever.
        if (!write && (state & RWLOCK_WAITERS) && (state & RWLOCK_READERS) != 0)
            break;
        if (rwlock_allows(state, write)) {
            taken = atomic_cmpxchg_acquire(
                &rwlock->state, &state, state + (write ? RWLOCK_WRITER : 1u));
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

// Is every waiter before this one a reader, as this one is, or is there none? Under rwlock->lock.
static bool rwlock_is_in_front(struct rwlock *rwlock, const struct rwlock_waiter *self)
{
    struct rwlock_waiter *waiter;
    list_for_each_entry (waiter, &rwlock->waiters, node) {
        if (waiter == self)
            return true;
        if (waiter->write || self->write)
            return false;
    }
    return false;
}

// A waiter's turn, under rwlock->lock: true if the lock is its own now, and it is off the list.
static bool rwlock_try_waiter(struct rwlock *rwlock, struct rwlock_waiter *waiter, int tries)
{
    if (waiter->granted)
        return true;
    if (!rwlock_is_in_front(rwlock, waiter))
        return false;
    if (rwlock_take(rwlock, waiter->write)) {
        rwlock_unlist(rwlock, waiter);
        return true;
    }
    if (tries >= RWLOCK_PATIENCE && list_first(&rwlock->waiters) == &waiter->node)
        atomic_fetch_or(&rwlock->state, RWLOCK_HANDOFF);
    return false; // whoever released it since wants rwlock->lock next (I3)
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
    for (int tries = 0;; tries++) {
        thread_prepare_sleep(killable ? THREAD_KILLABLE : THREAD_UNINTERRUPTIBLE);
        if (rwlock_try_waiter(rwlock, &waiter, tries)) {
            result = 0;
            break;
        }
        if (result != 0) {
            rwlock_unlist(rwlock, &waiter);
            rwlock_pass_on(rwlock); // what it was woken for is for whoever stood behind it
            break;
        }
        spin_unlock(&rwlock->lock);
        result = sched_block(UINT64_MAX);
        spin_lock(&rwlock->lock); // I4
    }
    thread_cancel_sleep();
    spin_unlock(&rwlock->lock);
    return result;
}

void rwlock_read_unlock_slow(struct rwlock *rwlock)
{
    sched_wake_begin();
    spin_lock(&rwlock->lock);
    rwlock_pass_on(rwlock); // I3; does nothing if somebody else did it first
    spin_unlock(&rwlock->lock);
    sched_wake_end();
}

void rwlock_write_unlock_slow(struct rwlock *rwlock)
{
    sched_wake_begin();
    spin_lock(&rwlock->lock);
    __atomic_fetch_and(&rwlock->state, ~RWLOCK_WRITER, __ATOMIC_RELEASE);
    rwlock_pass_on(rwlock);
    spin_unlock(&rwlock->lock);
    sched_wake_end();
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
