// SPDX-License-Identifier: MIT
// Spin locks: the contended paths.
//
// The word goes 0 -> 1 by an uncontended acquisition and back by the release. A waiter spins for a
// while; if that was not enough it publishes that it waits, exchanges the word for 2 and, unless
// that gave it the lock, waits in the hypervisor. A release that finds 2 kicks one such waiter.
//
// Why no wake-up is lost:
//   I1  a waiter sets its bit in the bucket and its lock_waiting before each exchange to 2;
//   I2  the exchange of the release returns 2 only if such an exchange (by a waiter, or by the
//       owner when it got the lock from there) came before it, so the releaser sees what was
//       published before, and kicks;
//   I3  pv_lock_wait() looks at the word again after the kick can reach it and returns at once if
//       it is not 2;
//   I4  who got the lock by an exchange to 2 leaves 2 in the word, though perhaps nobody waits any
//       more: a kick too many. Nobody writes 1 while somebody waits, but a barging 0 -> 1 in
//       between; then the kicked waiter exchanges to 2 again before it waits again.
// A waiter that an interrupt interrupts may wait for another lock there: the inner wait restores
// what the outer one published, and pv_lock_wait() of the outer one has returned because of the
// interrupt.
#include "kernel/core/spinlock.h"

#include "kernel/base/hash.h"
#include "kernel/core/counter.h"
#include "kernel/core/cpumask.h"
#include "kernel/core/lockdep.h"
#include "kernel/core/panic.h"
#include "pv/pv.h"

// Tries before waiting in the hypervisor: longer than any critical section.
#define SPIN_ROUNDS      2048
#define LOCK_BUCKET_BITS 5

// CPUs that wait for a lock whose address hashes here.
static struct lock_bucket {
    __cache_aligned struct cpumask waiting;
} lock_buckets[1 << LOCK_BUCKET_BITS];

static PERCPU(
    const struct spinlock *, lock_waiting); // what this CPU waits for in the hypervisor; atomic

COUNTER(lock, spin_contended);
COUNTER(lock, spin_waits);

static struct lock_bucket *lock_bucket_of(const struct spinlock *lock)
{
    return &lock_buckets[hash_to_index(hash_pointer(lock), LOCK_BUCKET_BITS)];
}

static bool spin_for_a_while(struct spinlock *lock)
{
    for (int round = 0; round < SPIN_ROUNDS; round++) {
        if (atomic_load_relaxed(&lock->word) == 0 && spin_word_try(lock))
            return true;
        spin_hint();
    }
    return false;
}

void spin_lock_contended(struct spinlock *lock)
{
    counter_add(lock, spin_contended, 1);
    if (spin_for_a_while(lock))
        return;
    uint32_t cpu = cpu_current();
    struct lock_bucket *bucket = lock_bucket_of(lock);
    const struct spinlock *outer = this_cpu(lock_waiting);
    for (;;) {
        atomic_store(percpu_of(lock_waiting, cpu), lock); // I1
        cpumask_set_atomic(&bucket->waiting, cpu);
        if (__atomic_exchange_n(&lock->word, 2u, __ATOMIC_SEQ_CST) == 0)
            break;
        counter_add(lock, spin_waits, 1);
        pv_lock_wait(&lock->word, 2); // I3
    }
    cpumask_clear_atomic(&bucket->waiting, cpu);
    atomic_store(percpu_of(lock_waiting, cpu), outer);
    if (outer != NULL)
        cpumask_set_atomic(&lock_bucket_of(outer)->waiting, cpu);
}

void spin_unlock_contended(struct spinlock *lock)
{
    // The lock is free already: its memory may be gone, only its address is used.
    struct lock_bucket *bucket = lock_bucket_of(lock);
    cpumask_for_each(cpu, &bucket->waiting)
    {
        if (atomic_load(percpu_of(lock_waiting, cpu)) == lock) {
            pv_lock_kick(cpu);
            return;
        }
    }
}

#ifdef LODGER_DEBUG
void spin_debug_acquire(struct spinlock *lock, uint32_t subclass, bool try)
{
    if (!try && atomic_load_relaxed(&lock->owner_cpu) == cpu_current() + 1)
        panic("spin lock %s taken twice by CPU %u", lock->class != NULL ? lock->class->name : "?",
            cpu_current());
    lockdep_acquire_spin(lock, lock->class, subclass, try);
}

void spin_debug_acquired(struct spinlock *lock)
{
    atomic_store_relaxed(&lock->owner_cpu, cpu_current() + 1);
}

void spin_debug_release(struct spinlock *lock)
{
    if (atomic_load_relaxed(&lock->owner_cpu) != cpu_current() + 1)
        panic("spin lock %s released by CPU %u, which does not hold it",
            lock->class != NULL ? lock->class->name : "?", cpu_current());
    atomic_store_relaxed(&lock->owner_cpu, 0);
    lockdep_release_spin(lock);
}
#endif
