// SPDX-License-Identifier: MIT
// futex(2), futex_waitv(2).
#include "kernel/ipc/futex.h"
#include "kernel/core/timespec.h"
#include "kernel/process/task.h"
#include "kernel/syscall/syscall.h"
#include "mm/slab.h"
#include <linux/futex.h>
#include <linux/time.h>

// An absolute time of the clock as a monotonic deadline.
static uint64_t deadline_of(uint64_t ns, bool realtime)
{
    if (!realtime)
        return ns;
    int64_t offset = time_realtime_offset_ns();
    return (int64_t)ns > offset ? ns - (uint64_t)offset : 0;
}

static int64_t restart_wait(struct task_restart *restart);

// A wait with a time limit that a signal interrupted goes on with the same deadline.
static int64_t wait_result(const struct futex_wait_request *request, int result)
{
    if (result != -EINTR)
        return result;
    if (request->deadline_ns == UINT64_MAX)
        return -ERESTARTSYS;
    struct task_restart *restart = &task_current()->restart;
    restart->function = restart_wait;
    restart->futex.address = request->address;
    restart->futex.value = request->value;
    restart->futex.bitset = request->bitset;
    restart->futex.flags = request->shared;
    restart->futex.deadline_ns = request->deadline_ns;
    return -ERESTART_RESTARTBLOCK;
}

static int64_t restart_wait(struct task_restart *restart)
{
    struct futex_wait_request request = {
        .address = restart->futex.address,
        .value = restart->futex.value,
        .bitset = restart->futex.bitset,
        .shared = restart->futex.flags != 0,
        .deadline_ns = restart->futex.deadline_ns,
    };
    return wait_result(&request, futex_wait(&request));
}

static int64_t wait_forever(uintptr_t address, uint32_t value, uint32_t bitset, bool shared)
{
    struct futex_wait_request request = {.address = address,
        .value = value,
        .bitset = bitset,
        .shared = shared,
        .deadline_ns = UINT64_MAX};
    int result = futex_wait(&request);
    return result == -EINTR ? -ERESTARTSYS : result;
}

static __noinline int64_t wait(uintptr_t address, uint32_t value, uint32_t bitset, bool shared,
    uintptr_t timeout, bool absolute, bool realtime)
{
    struct futex_wait_request request = {.address = address,
        .value = value,
        .bitset = bitset,
        .shared = shared,
        .deadline_ns = UINT64_MAX};
    if (timeout != 0) {
        uint64_t ns;
        int error = timespec_from_user(&ns, timeout);
        if (error != 0)
            return error;
        request.deadline_ns = absolute ? deadline_of(ns, realtime) : deadline_after(ns);
    }
    return wait_result(&request, futex_wait(&request));
}

static int64_t lock_pi(uintptr_t address, bool shared, uintptr_t timeout, bool realtime)
{
    uint64_t deadline_ns = UINT64_MAX;
    if (timeout != 0) {
        uint64_t ns;
        int error = timespec_from_user(&ns, timeout);
        if (error != 0)
            return error;
        deadline_ns = deadline_of(ns, realtime);
    }
    int result = futex_lock_pi(address, shared, deadline_ns);
    return result == -EINTR ? -ERESTARTNOINTR : result;
}

static __noinline int64_t futex_other(uintptr_t address, int operation, uint32_t value,
    uintptr_t timeout, uintptr_t address2, uint32_t value3)
{
    bool shared = (operation & FUTEX_PRIVATE_FLAG) == 0;
    bool realtime = (operation & FUTEX_CLOCK_REALTIME) != 0;
    int command = operation & FUTEX_CMD_MASK;
    uint32_t value2 = (uint32_t)timeout; // some commands have a number there
    if (realtime && command != FUTEX_WAIT_BITSET && command != FUTEX_LOCK_PI2)
        return -ENOSYS;
    switch (command) {
    case FUTEX_WAIT:
        return wait(address, value, FUTEX_BITSET_MATCH_ANY, shared, timeout, false, false);
    case FUTEX_WAIT_BITSET:
        return wait(address, value, value3, shared, timeout, true, realtime);
    case FUTEX_WAKE:
        return futex_wake(address, shared, value, FUTEX_BITSET_MATCH_ANY);
    case FUTEX_WAKE_BITSET:
        return futex_wake(address, shared, value, value3);
    case FUTEX_REQUEUE:
    case FUTEX_CMP_REQUEUE:
        if ((int32_t)value < 0 || (int32_t)value2 < 0)
            return -EINVAL;
        return futex_requeue(address, shared, address2, shared, value, value2,
            command == FUTEX_CMP_REQUEUE ? &value3 : NULL);
    case FUTEX_WAKE_OP:
        return futex_wake_op(address, address2, shared, value, value2, value3);
    case FUTEX_LOCK_PI:
        return lock_pi(address, shared, timeout, true);
    case FUTEX_LOCK_PI2:
        return lock_pi(address, shared, timeout, realtime);
    case FUTEX_TRYLOCK_PI:
        return futex_trylock_pi(address, shared);
    case FUTEX_UNLOCK_PI:
        return futex_unlock_pi(address, shared);
    default:
        return -ENOSYS; // requeueing to a word with priority inheritance among them
    }
}

SYSCALL6(futex, uintptr_t, address, int, operation, uint32_t, value, uintptr_t, timeout, uintptr_t,
    address2, uint32_t, value3)
{
    // What locks and condition variables do without a time limit: the other commands' code would
    // only be in the way.
    if (operation == (FUTEX_WAKE | FUTEX_PRIVATE_FLAG))
        return futex_wake(address, false, value, FUTEX_BITSET_MATCH_ANY);
    if (operation == (FUTEX_WAIT | FUTEX_PRIVATE_FLAG) && timeout == 0)
        return wait_forever(address, value, FUTEX_BITSET_MATCH_ANY, false);
    return futex_other(address, operation, value, timeout, address2, value3);
}

static int waitv_requests(struct futex_wait_request *requests, uintptr_t user, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct futex_waitv waiter;
        if (copy_from_user(&waiter, user + i * sizeof(waiter), sizeof(waiter)) != 0)
            return -EFAULT;
        if ((waiter.flags & ~(uint32_t)(FUTEX_32 | FUTEX_PRIVATE_FLAG)) != 0 ||
            waiter.__reserved != 0 || (waiter.flags & FUTEX_32) == 0)
            return -EINVAL;
        requests[i] = (struct futex_wait_request){.address = waiter.uaddr,
            .value = (uint32_t)waiter.val,
            .bitset = FUTEX_BITSET_MATCH_ANY,
            .shared = (waiter.flags & FUTEX_PRIVATE_FLAG) == 0};
    }
    return 0;
}

SYSCALL5(futex_waitv, uintptr_t, waiters, uint32_t, count, uint32_t, flags, uintptr_t, timeout, int,
    clock)
{
    uint64_t deadline_ns = UINT64_MAX;
    if (flags != 0 || count == 0 || count > FUTEX_WAIT_MANY_MAX || waiters == 0)
        return -EINVAL;
    if (timeout != 0) {
        uint64_t ns;
        if (clock != CLOCK_MONOTONIC && clock != CLOCK_REALTIME)
            return -EINVAL;
        int error = timespec_from_user(&ns, timeout);
        if (error != 0)
            return error;
        deadline_ns = deadline_of(ns, clock == CLOCK_REALTIME);
    }
    struct futex_wait_request *requests = kmalloc(count * sizeof(*requests), 0);
    if (requests == NULL)
        return -ENOMEM;
    int64_t result = waitv_requests(requests, waiters, count);
    if (result == 0)
        result = futex_wait_many(requests, count, deadline_ns);
    kfree(requests);
    return result == -EINTR ? -ERESTARTSYS : result;
}
