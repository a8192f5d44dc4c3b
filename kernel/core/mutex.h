// SPDX-License-Identifier: MIT
// Sleeping locks: a mutex with an owner and adaptive spinning while the owner runs on a running vCPU, and
// a reader/writer lock. Task context only (they may sleep). Checked for order like spin locks.
#pragma once

#include "kernel/base/list.h"
#include "kernel/core/spinlock.h"

struct thread;

struct mutex {
    uintptr_t owner; // struct thread * with bit 0: there are waiters; atomic
    struct spinlock lock; // protects waiters
    struct list_node waiters;
#ifdef LODGER_DEBUG
    struct lock_class *class;
#endif
};

#ifdef LODGER_DEBUG
#define mutex_init(mutex) mutex_init_class((mutex), LOCK_CLASS_INIT(__FILE__ ": " #mutex))
#define MUTEX_INIT(name, label)                                                                    \
    {.lock = SPINLOCK_INIT(label ".wait"), .waiters = LIST_INIT((name).waiters),                   \
        .class = &(struct lock_class){.name = label}}
#else
#define mutex_init(mutex) mutex_init_class((mutex), NULL)
#define MUTEX_INIT(name, label) {.waiters = LIST_INIT((name).waiters)}
#endif
void mutex_init_class(struct mutex *mutex, struct lock_class *class);
void mutex_lock(struct mutex *mutex);
[[nodiscard]] bool mutex_trylock(struct mutex *mutex);
[[nodiscard]] int mutex_lock_killable(struct mutex *mutex); // -EINTR when a fatal signal arrived first
void mutex_lock_nested(struct mutex *mutex, uint32_t subclass);
void mutex_unlock(struct mutex *mutex);
bool mutex_is_held(const struct mutex *mutex); // by the running thread

// Many readers or one writer. Writers are preferred: a waiting writer holds new readers off.
struct rwlock {
    uint32_t state;       // readers in the low bits, RWLOCK_WRITER, RWLOCK_WAITERS; atomic
    struct spinlock lock; // protects waiters
    struct list_node waiters;
    struct thread *writer; // for assertions; only the writer writes it
#ifdef LODGER_DEBUG
    struct lock_class *class;
#endif
};

#ifdef LODGER_DEBUG
#define rwlock_init(rwlock) rwlock_init_class((rwlock), LOCK_CLASS_INIT(__FILE__ ": " #rwlock))
#else
#define rwlock_init(rwlock) rwlock_init_class((rwlock), NULL)
#endif
void rwlock_init_class(struct rwlock *rwlock, struct lock_class *class);
void rwlock_read_lock(struct rwlock *rwlock);
[[nodiscard]] bool rwlock_read_trylock(struct rwlock *rwlock);
void rwlock_read_unlock(struct rwlock *rwlock);
void rwlock_write_lock(struct rwlock *rwlock);
void rwlock_write_lock_nested(struct rwlock *rwlock, uint32_t subclass);
[[nodiscard]] int rwlock_write_lock_killable(struct rwlock *rwlock);
void rwlock_write_unlock(struct rwlock *rwlock);
void rwlock_write_downgrade(struct rwlock *rwlock); // write to read, without a gap
bool rwlock_is_write_held(const struct rwlock *rwlock);
