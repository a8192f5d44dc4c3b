// SPDX-License-Identifier: MIT
// Sleeping locks: a mutex with an owner and adaptive spinning while the owner runs on a running
// vCPU, and a reader/writer lock. Task context only (they may sleep). Checked for order like spin
// locks.
//
// Both are free or taken by one atomic instruction, inline; mutex.c and rwlock.c have the theory of
// the rest.
#pragma once

#include "kernel/base/list.h"
#include "kernel/core/lockdep.h"
#include "kernel/core/spinlock.h"
#include "kernel/core/thread.h"

struct mutex {
    uintptr_t owner; // struct thread * of the owner, 0: free; MUTEX_FLAGS in the low bits; atomic
    struct spinlock lock; // protects waiters
    struct list_node waiters;
#ifdef LODGER_DEBUG
    struct lock_class *class;
#endif
};
#define MUTEX_WAITERS UINT64_C(1) // the list of waiters may not be empty
#define MUTEX_HANDOFF UINT64_C(2) // the next release gives it to the first waiter
#define MUTEX_FLAGS   (MUTEX_WAITERS | MUTEX_HANDOFF)

#ifdef LODGER_DEBUG
#define mutex_init(mutex) mutex_init_class((mutex), LOCK_CLASS_INIT(__FILE__ ": " #mutex))
#define MUTEX_INIT(variable, label)                                                                \
    {                                                                                              \
        .lock = SPINLOCK_INIT(label ".wait"), .waiters = LIST_INIT((variable).waiters),            \
        .class = &(struct lock_class)                                                              \
        {                                                                                          \
            .name = label                                                                          \
        }                                                                                          \
    }
#else
#define mutex_init(mutex)           mutex_init_class((mutex), NULL)
#define MUTEX_INIT(variable, label) {.waiters = LIST_INIT((variable).waiters)}
#endif
void mutex_init_class(struct mutex *mutex, struct lock_class *class);

// The slow halves (mutex.c).
[[nodiscard]] int mutex_lock_slow(struct mutex *mutex, bool killable);
void mutex_unlock_slow(struct mutex *mutex);

static inline bool mutex_word_try(struct mutex *mutex)
{
    uintptr_t free = 0;
    return atomic_cmpxchg_acquire(&mutex->owner, &free, (uintptr_t)thread_current());
}

static inline void mutex_lock_nested(struct mutex *mutex, uint32_t subclass)
{
#ifdef LODGER_DEBUG
    might_sleep();
    lockdep_acquire_sleeping(mutex, mutex->class, subclass, false, false);
#endif
    (void)subclass;
    if (unlikely(!mutex_word_try(mutex)))
        (void)mutex_lock_slow(mutex, false);
}

static inline void mutex_lock(struct mutex *mutex)
{
    mutex_lock_nested(mutex, 0);
}

[[nodiscard]] static inline bool mutex_trylock(struct mutex *mutex)
{
    bool taken = mutex_word_try(mutex);
#ifdef LODGER_DEBUG
    if (taken)
        lockdep_acquire_sleeping(mutex, mutex->class, 0, false, true);
#endif
    return taken;
}

// -EINTR when a fatal signal arrived first.
[[nodiscard]] static inline int mutex_lock_killable(struct mutex *mutex)
{
    int error = 0;
#ifdef LODGER_DEBUG
    might_sleep();
    lockdep_acquire_sleeping(mutex, mutex->class, 0, false, false);
#endif
    if (unlikely(!mutex_word_try(mutex)))
        error = mutex_lock_slow(mutex, true);
#ifdef LODGER_DEBUG
    if (error != 0)
        lockdep_release_sleeping(mutex);
#endif
    return error;
}

static inline void mutex_unlock(struct mutex *mutex)
{
#ifdef LODGER_DEBUG
    lockdep_release_sleeping(mutex);
#endif
    uintptr_t self = (uintptr_t)thread_current();
    if (unlikely(!atomic_cmpxchg_release(&mutex->owner, &self, (uintptr_t)0)))
        mutex_unlock_slow(mutex);
}

// By the running thread.
static inline bool mutex_is_held(const struct mutex *mutex)
{
    return (atomic_load_relaxed(&mutex->owner) & ~MUTEX_FLAGS) == (uintptr_t)thread_current();
}

// Many readers or one writer. Writers are preferred: a waiting writer holds new readers off.
struct rwlock {
    uint32_t state;           // number of readers, RWLOCK_WRITER, RWLOCK_WAITERS; atomic
    struct spinlock lock;     // protects waiters
    struct list_node waiters; // in order of arrival
    struct thread *writer;    // whom to spin for; only the writer writes it; atomic
#ifdef LODGER_DEBUG
    struct lock_class *class;
#endif
};
#define RWLOCK_WRITER  (UINT32_C(1) << 31) // a writer holds it
#define RWLOCK_WAITERS (UINT32_C(1) << 30) // the list of waiters is not empty
#define RWLOCK_HANDOFF (UINT32_C(1) << 29) // the first waiter gets it, nobody else
#define RWLOCK_READERS (RWLOCK_HANDOFF - 1)

#ifdef LODGER_DEBUG
#define rwlock_init(rwlock) rwlock_init_class((rwlock), LOCK_CLASS_INIT(__FILE__ ": " #rwlock))
#define RWLOCK_INIT(variable, label)                                                               \
    {                                                                                              \
        .lock = SPINLOCK_INIT(label ".wait"), .waiters = LIST_INIT((variable).waiters),            \
        .class = &(struct lock_class)                                                              \
        {                                                                                          \
            .name = label                                                                          \
        }                                                                                          \
    }
#else
#define rwlock_init(rwlock)          rwlock_init_class((rwlock), NULL)
#define RWLOCK_INIT(variable, label) {.waiters = LIST_INIT((variable).waiters)}
#endif
void rwlock_init_class(struct rwlock *rwlock, struct lock_class *class);

// The slow halves (rwlock.c).
[[nodiscard]] int rwlock_lock_slow(struct rwlock *rwlock, bool write, bool killable);
void rwlock_read_unlock_slow(struct rwlock *rwlock);
void rwlock_write_unlock_slow(struct rwlock *rwlock);

static inline bool rwlock_read_word_try(struct rwlock *rwlock)
{
    uint32_t state = atomic_load_relaxed(&rwlock->state);
    while (likely((state & (RWLOCK_WRITER | RWLOCK_WAITERS)) == 0)) {
        if (atomic_cmpxchg_acquire(&rwlock->state, &state, state + 1))
            return true;
    }
    return false;
}

static inline bool rwlock_write_word_try(struct rwlock *rwlock)
{
    uint32_t free = 0;
    return atomic_cmpxchg_acquire(&rwlock->state, &free, RWLOCK_WRITER);
}

static inline void rwlock_read_lock(struct rwlock *rwlock)
{
#ifdef LODGER_DEBUG
    might_sleep();
    lockdep_acquire_sleeping(rwlock, rwlock->class, 0, true, false);
#endif
    if (unlikely(!rwlock_read_word_try(rwlock)))
        (void)rwlock_lock_slow(rwlock, false, false);
}

[[nodiscard]] static inline bool rwlock_read_trylock(struct rwlock *rwlock)
{
    bool taken = rwlock_read_word_try(rwlock);
#ifdef LODGER_DEBUG
    if (taken)
        lockdep_acquire_sleeping(rwlock, rwlock->class, 0, true, true);
#endif
    return taken;
}

static inline void rwlock_read_unlock(struct rwlock *rwlock)
{
#ifdef LODGER_DEBUG
    lockdep_release_sleeping(rwlock);
    assert((atomic_load_relaxed(&rwlock->state) & RWLOCK_READERS) != 0);
#endif
    uint32_t before = __atomic_fetch_sub(&rwlock->state, 1u, __ATOMIC_RELEASE);
    if (unlikely((before & ~RWLOCK_HANDOFF) == (RWLOCK_WAITERS | 1)))
        rwlock_read_unlock_slow(rwlock);
}

static inline void rwlock_write_lock_nested(struct rwlock *rwlock, uint32_t subclass)
{
#ifdef LODGER_DEBUG
    might_sleep();
    lockdep_acquire_sleeping(rwlock, rwlock->class, subclass, false, false);
#endif
    (void)subclass;
    if (unlikely(!rwlock_write_word_try(rwlock)))
        (void)rwlock_lock_slow(rwlock, true, false);
    atomic_store_relaxed(&rwlock->writer, thread_current());
}

static inline void rwlock_write_lock(struct rwlock *rwlock)
{
    rwlock_write_lock_nested(rwlock, 0);
}

// -EINTR when a fatal signal arrived first.
[[nodiscard]] static inline int rwlock_write_lock_killable(struct rwlock *rwlock)
{
    int error = 0;
#ifdef LODGER_DEBUG
    might_sleep();
    lockdep_acquire_sleeping(rwlock, rwlock->class, 0, false, false);
#endif
    if (unlikely(!rwlock_write_word_try(rwlock)))
        error = rwlock_lock_slow(rwlock, true, true);
    if (error == 0)
        atomic_store_relaxed(&rwlock->writer, thread_current());
#ifdef LODGER_DEBUG
    else
        lockdep_release_sleeping(rwlock);
#endif
    return error;
}

static inline bool rwlock_is_write_held(const struct rwlock *rwlock)
{
    return (atomic_load_relaxed(&rwlock->state) & RWLOCK_WRITER) != 0 &&
           atomic_load_relaxed(&rwlock->writer) == thread_current();
}

static inline void rwlock_write_unlock(struct rwlock *rwlock)
{
    debug_assert(rwlock_is_write_held(rwlock));
#ifdef LODGER_DEBUG
    lockdep_release_sleeping(rwlock);
#endif
    atomic_store_relaxed(&rwlock->writer, NULL);
    uint32_t writer = RWLOCK_WRITER;
    if (unlikely(!atomic_cmpxchg_release(&rwlock->state, &writer, 0u)))
        rwlock_write_unlock_slow(rwlock);
}

void rwlock_write_downgrade(struct rwlock *rwlock); // write to read, without a gap
