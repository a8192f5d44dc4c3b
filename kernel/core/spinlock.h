// SPDX-License-Identifier: MIT
// Spin locks.
//
// A lock word with an unfair test-and-set acquisition: with overcommitted vCPUs a fair queue would hand
// the lock to a waiter that is not running. Long waits go through pv_lock_wait()/pv_lock_kick(), so that a
// waiter can halt. Holding a spin lock disables preemption; a lock that is also taken in interrupt
// context must be taken with the _irqsave forms everywhere else.
//
// Debug builds: each initialisation site is a lock class; the order in which classes nest is recorded,
// and a cycle, a sleep under a spin lock, or a lock taken with the wrong interrupt state stops the kernel.
#pragma once

#include "kernel/base/types.h"
#include "kernel/core/preempt.h"

struct lock_class {
    const char *name; // "file.c: lock" for messages
    uint32_t id;      // assigned at first use by the order checker; 0 before
};

struct spinlock {
    uint32_t word; // 0 free, 1 taken, 2 taken and somebody waits in the hypervisor
#ifdef LODGER_DEBUG
    uint32_t owner_cpu; // CPU that holds it, for messages and assert_lock_held
    struct lock_class *class;
#endif
};

#ifdef LODGER_DEBUG
#define LOCK_CLASS_INIT(label)                                                                     \
    ({                                                                                             \
        static struct lock_class lock_class_here = {.name = label};                                \
        &lock_class_here;                                                                          \
    })
// Static initialiser; `label` is a string for messages.
#define SPINLOCK_INIT(label)                                                                       \
    {.owner_cpu = UINT32_MAX, .class = &(struct lock_class){.name = label}}
#define spin_lock_init(lock) spin_lock_init_class((lock), LOCK_CLASS_INIT(__FILE__ ": " #lock))
void spin_lock_init_class(struct spinlock *lock, struct lock_class *class);
#else
#define SPINLOCK_INIT(label) {.word = 0}
static inline void spin_lock_init(struct spinlock *lock)
{
    lock->word = 0;
}
#endif

// Any context but NMI; never sleeps. Acquire/release ordering.
void spin_lock(struct spinlock *lock);
[[nodiscard]] bool spin_trylock(struct spinlock *lock);
void spin_unlock(struct spinlock *lock);

// Also switches interrupts off; the result goes to the matching restore.
[[nodiscard]] uint64_t spin_lock_irqsave(struct spinlock *lock);
void spin_unlock_irqrestore(struct spinlock *lock, uint64_t flags);

// For locks whose order the checker can't know, e.g. two run queues: `subclass` separates nesting levels (0..3).
void spin_lock_nested(struct spinlock *lock, uint32_t subclass);

// True when the running CPU holds the lock (debug builds); always true in release builds.
bool spin_is_held(const struct spinlock *lock);
#define assert_lock_held(lock) debug_assert(spin_is_held(lock))
