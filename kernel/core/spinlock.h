// SPDX-License-Identifier: MIT
// Spin locks.
//
// A lock word with an unfair test-and-set acquisition: with overcommitted vCPUs a fair queue would
// hand the lock to a waiter that is not running. Long waits go through
// pv_lock_wait()/pv_lock_kick(), so that a waiter can halt. Holding a spin lock disables
// preemption; a lock that is also taken in interrupt context must be taken with the _irqsave forms
// everywhere else.
//
// Debug builds: each initialisation site is a lock class; the order in which classes nest is
// recorded, and a cycle, a sleep under a spin lock, or a lock taken with the wrong interrupt state
// stops the kernel (lockdep.h).
#pragma once

#include "kernel/arch/x86/cpu_inline.h"
#include "kernel/base/atomic.h"
#include "kernel/base/types.h"
#include "kernel/core/preempt.h"

#define LOCK_SUBCLASSES 4

struct lock_class {
    const char *name;               // "file.c: lock" for messages
    uint16_t node[LOCK_SUBCLASSES]; // assigned at first use by the order checker; 0 before
};

struct spinlock {
    uint32_t word; // 0 free, 1 taken, 2 taken and somebody may wait in the hypervisor; atomic
#ifdef LODGER_DEBUG
    uint32_t owner_cpu; // CPU that holds it plus 1, 0 for none: for messages and assert_lock_held
    struct lock_class *class;
#endif
};

#ifdef LODGER_DEBUG
#define LOCK_CLASS_INIT(label)                                                                     \
    ({                                                                                             \
        static struct lock_class lock_class_here = {.name = label};                                \
        &lock_class_here;                                                                          \
    })
// Static initialiser, at file scope; `label` is a string for messages.
#define SPINLOCK_INIT(label)                                                                       \
    {                                                                                              \
        .class = &(struct lock_class)                                                              \
        {                                                                                          \
            .name = label                                                                          \
        }                                                                                          \
    }
#define spin_lock_init(lock) spin_lock_init_class((lock), LOCK_CLASS_INIT(__FILE__ ": " #lock))
#else
#define LOCK_CLASS_INIT(label) NULL
#define SPINLOCK_INIT(label)   {.word = 0}
#define spin_lock_init(lock)   spin_lock_init_class((lock), NULL)
#endif
static inline void spin_lock_init_class(struct spinlock *lock, struct lock_class *class)
{
    lock->word = 0;
#ifdef LODGER_DEBUG
    lock->owner_cpu = 0;
    lock->class = class;
#else
    (void)class;
#endif
}

// The parts of the inline functions below that are rare; spinlock.c.
void spin_lock_contended(struct spinlock *lock);
void spin_unlock_contended(struct spinlock *lock);
#ifdef LODGER_DEBUG
void spin_debug_acquire(struct spinlock *lock, uint32_t subclass, bool try);
void spin_debug_acquired(struct spinlock *lock);
void spin_debug_release(struct spinlock *lock);
#else
#define spin_debug_acquire(lock, subclass, try) ((void)0)
#define spin_debug_acquired(lock)               ((void)0)
#define spin_debug_release(lock)                ((void)0)
#endif

static inline bool spin_word_try(struct spinlock *lock)
{
    uint32_t free = 0;
    return atomic_cmpxchg_acquire(&lock->word, &free, 1u);
}

// For locks whose order the checker can't know, e.g. two run queues: `subclass` separates nesting
// levels (0..3).
static __always_inline void spin_lock_nested(struct spinlock *lock, uint32_t subclass)
{
    (void)subclass;
    preempt_disable();
    spin_debug_acquire(lock, subclass, false);
    if (unlikely(!spin_word_try(lock)))
        spin_lock_contended(lock);
    spin_debug_acquired(lock);
}

// Any context but NMI; never sleeps. Acquire/release ordering.
static __always_inline void spin_lock(struct spinlock *lock)
{
    spin_lock_nested(lock, 0);
}

[[nodiscard]] static __always_inline bool spin_trylock(struct spinlock *lock)
{
    preempt_disable();
    if (unlikely(!spin_word_try(lock))) {
        preempt_enable();
        return false;
    }
    spin_debug_acquire(lock, 0, true);
    spin_debug_acquired(lock);
    return true;
}

// The exchange makes what was done under the lock visible before the lock is free, and tells in the
// same instruction whether a waiter has to be kicked.
static __always_inline void spin_unlock_no_resched(struct spinlock *lock)
{
    spin_debug_release(lock);
    if (unlikely(__atomic_exchange_n(&lock->word, 0u, __ATOMIC_RELEASE) != 1))
        spin_unlock_contended(lock);
    preempt_enable_no_resched();
}

static __always_inline void spin_unlock(struct spinlock *lock)
{
    spin_debug_release(lock);
    if (unlikely(__atomic_exchange_n(&lock->word, 0u, __ATOMIC_RELEASE) != 1))
        spin_unlock_contended(lock);
    preempt_enable();
}

// Also switches interrupts off; the result goes to the matching restore.
[[nodiscard]] static __always_inline uint64_t spin_lock_irqsave(struct spinlock *lock)
{
    uint64_t flags = arch_irq_save();
    spin_lock(lock);
    return flags;
}

// Interrupts are on again before preemption is, so that a wanted reschedule happens at once.
static __always_inline void spin_unlock_irqrestore(struct spinlock *lock, uint64_t flags)
{
    spin_debug_release(lock);
    if (unlikely(__atomic_exchange_n(&lock->word, 0u, __ATOMIC_RELEASE) != 1))
        spin_unlock_contended(lock);
    arch_irq_restore(flags);
    preempt_enable();
}

// True when the running CPU holds the lock (debug builds); always true in release builds.
static inline bool spin_is_held(const struct spinlock *lock)
{
#ifdef LODGER_DEBUG
    return atomic_load_relaxed(&lock->owner_cpu) == cpu_current() + 1;
#else
    (void)lock;
    return true;
#endif
}
#define assert_lock_held(lock) debug_assert(spin_is_held(lock))
