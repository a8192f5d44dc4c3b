// SPDX-License-Identifier: MIT
// The lock-order checker of debug builds; in release builds all of it is nothing. Only the lock
// implementations call it; everybody may use might_sleep().
//
// lockdep.c keeps, for each class of locks and nesting level, a node in a graph; taking B while A
// is held adds the edge A -> B. It stops the kernel when an edge closes a cycle, when a spin lock
// that interrupt handlers take is taken with interrupts on (directly, or below one that they take),
// and when something may sleep where it must not.
#pragma once

#include "kernel/base/types.h"

struct lock_class;

#ifdef LODGER_DEBUG
// Before a lock is waited for (try: after it was taken without waiting, so it adds no edge).
void lockdep_acquire_spin(const void *lock, struct lock_class *class, uint32_t subclass, bool try);
void lockdep_release_spin(const void *lock);
void lockdep_acquire_sleeping(
    const void *lock, struct lock_class *class, uint32_t subclass, bool shared, bool try);
void lockdep_release_sleeping(const void *lock);
bool lockdep_is_held(const void *lock); // a sleeping lock, by the running thread
// The running thread goes away or back to user mode: it must hold nothing.
void lockdep_assert_none_held(void);
void lockdep_might_sleep(const char *file, int line);
#define might_sleep() lockdep_might_sleep(__FILE__, __LINE__)
#else
#define lockdep_assert_none_held() ((void)0)
#define might_sleep()              ((void)0)
#endif
