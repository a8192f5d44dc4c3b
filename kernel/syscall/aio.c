// SPDX-License-Identifier: MIT
// io_setup(2) and its relatives.
#include "kernel/ipc/aio.h"
#include "kernel/core/timespec.h"
#include "kernel/process/signal.h"
#include "kernel/syscall/syscall.h"
#include <linux/aio_abi.h>

SYSCALL2(io_setup, uint32_t, events, uintptr_t, user_context)
{
    uint64_t old;
    uintptr_t address;
    if (user_get_u64(&old, user_context) != 0)
        return -EFAULT;
    if (old != 0)
        return -EINVAL;
    int error = aio_create(events, &address);
    if (error == 0 && user_put_u64(user_context, address) != 0) {
        struct aio_context *context = aio_find(address);
        if (context != NULL) {
            (void)!aio_destroy(context, address);
            aio_put(context);
        }
        error = -EFAULT;
    }
    return error;
}

SYSCALL1(io_destroy, uintptr_t, address)
{
    struct aio_context *context = aio_find(address);
    if (context == NULL)
        return -EINVAL;
    int error = aio_destroy(context, address);
    aio_put(context);
    return error;
}

SYSCALL3(io_submit, uintptr_t, address, int64_t, count, uintptr_t, user)
{
    if (count < 0)
        return -EINVAL;
    struct aio_context *context = aio_find(address);
    if (context == NULL)
        return -EINVAL;
    int64_t done = aio_submit(context, user, count);
    aio_put(context);
    return done;
}

// Requests that the device has can't be taken back.
SYSCALL3(io_cancel, uintptr_t, address, uintptr_t, iocb, uintptr_t, event)
{
    uint32_t key;
    if (user_get_u32(&key, iocb + offsetof(struct iocb, aio_key)) != 0)
        return -EFAULT;
    struct aio_context *context = aio_find(address);
    if (context == NULL)
        return -EINVAL;
    aio_put(context);
    return -EINVAL;
}

static int64_t get_events(
    uintptr_t address, int64_t minimum, int64_t count, uintptr_t user, uintptr_t timeout)
{
    uint64_t deadline_ns = UINT64_MAX;
    if (timeout != 0) {
        uint64_t duration_ns;
        int error = timespec_from_user(&duration_ns, timeout);
        if (error != 0)
            return error;
        deadline_ns = duration_ns == 0 ? 0 : deadline_after(duration_ns);
    }
    if (minimum < 0 || minimum > count || count > INT32_MAX)
        return -EINVAL;
    struct aio_context *context = aio_find(address);
    if (context == NULL)
        return -EINVAL;
    int64_t done = aio_events(context, (uint32_t)minimum, (uint32_t)count, user, deadline_ns);
    aio_put(context);
    return done;
}

SYSCALL5(io_getevents, uintptr_t, address, int64_t, minimum, int64_t, count, uintptr_t, user,
    uintptr_t, timeout)
{
    return get_events(address, minimum, count, user, timeout);
}

SYSCALL6(io_pgetevents, uintptr_t, address, int64_t, minimum, int64_t, count, uintptr_t, user,
    uintptr_t, timeout, uintptr_t, user_mask)
{
    // struct __aio_sigset; no UAPI header has it.
    struct {
        uintptr_t mask;
        size_t size;
    } argument = {};
    uint64_t mask;
    if (user_mask != 0 && copy_from_user(&argument, user_mask, sizeof(argument)) != 0)
        return -EFAULT;
    if (argument.mask != 0) {
        int error = signal_mask_from_user(&mask, argument.mask, argument.size);
        if (error != 0)
            return error;
        signal_mask_push(mask);
    }
    int64_t result = get_events(address, minimum, count, user, timeout);
    if (argument.mask != 0)
        signal_mask_pop(result == -EINTR);
    return result;
}
