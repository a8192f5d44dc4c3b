// SPDX-License-Identifier: MIT
// Futexes as process/ needs them; the system calls are in kernel/syscall/futex.c.
#pragma once

#include "kernel/base/types.h"

struct task;

// Deadlines and bit sets of one wait. Address, alignment and flags are checked by the functions
// below.
struct futex_wait_request {
    uintptr_t address;
    uint32_t value;
    uint32_t bitset; // not 0
    bool shared;
    uint64_t deadline_ns; // absolute monotonic; UINT64_MAX: none
};

// 0: woken; -EAGAIN: the word has another value; -EINTR: a signal came first; -ETIMEDOUT; -EFAULT,
// -EINVAL. May sleep.
[[nodiscard]] int futex_wait(const struct futex_wait_request *request);
// Number of waiters woken, or -EFAULT, -EINVAL.
[[nodiscard]] int futex_wake(uintptr_t address, bool shared, uint32_t count, uint32_t bitset);
// Wakes `wake` waiters of the first word and moves `move` others to the second. With `compare` only
// if the first word has *compare, else -EAGAIN. Result: woken plus moved (compare) or woken (no
// compare).
[[nodiscard]] int futex_requeue(uintptr_t from, bool from_shared, uintptr_t to, bool to_shared,
    uint32_t wake, uint32_t move, const uint32_t *compare);
// FUTEX_WAKE_OP: changes the second word as `operation` says, wakes on both.
[[nodiscard]] int futex_wake_op(uintptr_t first, uintptr_t second, bool shared, uint32_t wake_first,
    uint32_t wake_second, uint32_t operation);

// Waits on several words at once; `value`, `shared` and `bitset` of each count, its deadline does
// not. Index of the one that was woken.
#define FUTEX_WAIT_MANY_MAX 128
[[nodiscard]] int futex_wait_many(
    const struct futex_wait_request *requests, uint32_t count, uint64_t deadline_ns);

// Exit and exec of the running task: marks the futexes of its robust list as ownerless and wakes a
// waiter of each. Reads untrusted memory.
void futex_robust_exit(struct task *task);
// ---- with priority inheritance (futex_pi.c; futex(2), "Priority-inheritance futexes") ----

// FUTEX_LOCK_PI: until the running task owns the word. 0, -EDEADLK, -ESRCH (owner not found),
// -EINVAL, -EINTR, -ETIMEDOUT, -EFAULT, -ENOMEM. May sleep.
[[nodiscard]] int futex_lock_pi(uintptr_t address, bool shared, uint64_t deadline_ns);
// The same without waiting: -EAGAIN.
[[nodiscard]] int futex_trylock_pi(uintptr_t address, bool shared);
// 0, or -EPERM: not the owner; -EINVAL, -EFAULT.
[[nodiscard]] int futex_unlock_pi(uintptr_t address, bool shared);
// Exit and exec of the running task, after futex_robust_exit(): what it owns goes to who waits.
void futex_pi_exit(struct task *task);
// The task's own priority was changed.
void futex_pi_priority_changed(struct task *task);

// One waiter of a word that the running task has just written (clear_child_tid), private or shared.
int futex_wake_user(uintptr_t address, uint32_t count);
