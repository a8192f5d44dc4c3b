// SPDX-License-Identifier: MIT
// epoll_create, epoll_create1, epoll_ctl, epoll_wait, epoll_pwait and epoll_pwait2.
#include "kernel/core/timespec.h"
#include "kernel/fs/file.h"
#include "kernel/ipc/epoll.h"
#include "kernel/process/signal.h"
#include "kernel/syscall/syscall.h"

static int64_t epoll_create_fd(bool close_on_exec)
{
    struct file *file = epoll_create();
    return file == NULL ? -ENOMEM : file_fd_add(file, close_on_exec);
}

SYSCALL1(epoll_create, int, size)
{
    return size <= 0 ? -EINVAL : epoll_create_fd(false);
}

SYSCALL1(epoll_create1, int, flags)
{
    return (flags & ~EPOLL_CLOEXEC) != 0 ? -EINVAL : epoll_create_fd((flags & EPOLL_CLOEXEC) != 0);
}

SYSCALL4(epoll_ctl, int, epoll_fd, int, operation, int, fd, uintptr_t, user_event)
{
    struct epoll_event event = {};
    if (operation != EPOLL_CTL_DEL && copy_from_user(&event, user_event, sizeof(event)) != 0)
        return -EFAULT;
    bool epoll_borrowed, borrowed;
    struct file *epoll_file = file_fd_get(epoll_fd, &epoll_borrowed);
    if (epoll_file == NULL)
        return -EBADF;
    int64_t result = -EBADF;
    struct file *target = file_fd_get(fd, &borrowed);
    if (target != NULL) {
        result = epoll_control(epoll_file, operation, target, fd, event);
        file_fd_put(target, borrowed);
    }
    file_fd_put(epoll_file, epoll_borrowed);
    return result;
}

static int64_t epoll_wait_fd(int epoll_fd, uintptr_t events, int maximum, uint64_t deadline_ns)
{
    bool borrowed;
    if (maximum <= 0 || (size_t)maximum > INT32_MAX / sizeof(struct epoll_event))
        return -EINVAL;
    if (!user_range_ok(events, (size_t)maximum * sizeof(struct epoll_event)))
        return -EFAULT;
    struct file *file = file_fd_get(epoll_fd, &borrowed);
    if (file == NULL)
        return -EBADF;
    int64_t result = -EINVAL;
    if (file_is_epoll(file))
        result = epoll_wait_events(file, events, maximum, deadline_ns);
    file_fd_put(file, borrowed);
    return result;
}

// With the signal mask of the p-calls.
[[gnu::noinline]] static int64_t epoll_wait_masked(int epoll_fd, uintptr_t events, int maximum,
    uint64_t deadline_ns, uintptr_t mask, size_t mask_size)
{
    uint64_t new_mask;
    int error = signal_mask_from_user(&new_mask, mask, mask_size);
    if (error != 0)
        return error;
    signal_mask_push(new_mask);
    int64_t result = epoll_wait_fd(epoll_fd, events, maximum, deadline_ns);
    signal_mask_pop(result == -EINTR);
    return result;
}

static uint64_t epoll_deadline(int timeout_ms)
{
    if (timeout_ms < 0)
        return UINT64_MAX;
    return timeout_ms == 0 ? 0 : deadline_after((uint64_t)timeout_ms * NS_PER_MS);
}

SYSCALL4(epoll_wait, int, epoll_fd, uintptr_t, events, int, maximum, int, timeout_ms)
{
    return epoll_wait_fd(epoll_fd, events, maximum, epoll_deadline(timeout_ms));
}

SYSCALL6(epoll_pwait, int, epoll_fd, uintptr_t, events, int, maximum, int, timeout_ms, uintptr_t,
    mask, size_t, mask_size)
{
    uint64_t deadline_ns = epoll_deadline(timeout_ms);
    if (mask == 0)
        return epoll_wait_fd(epoll_fd, events, maximum, deadline_ns);
    return epoll_wait_masked(epoll_fd, events, maximum, deadline_ns, mask, mask_size);
}

SYSCALL6(epoll_pwait2, int, epoll_fd, uintptr_t, events, int, maximum, uintptr_t, timeout,
    uintptr_t, mask, size_t, mask_size)
{
    uint64_t deadline_ns = UINT64_MAX;
    if (timeout != 0) {
        uint64_t duration_ns;
        int error = timespec_from_user(&duration_ns, timeout);
        if (error != 0)
            return error;
        deadline_ns = duration_ns == 0 ? 0 : deadline_after(duration_ns);
    }
    if (mask == 0)
        return epoll_wait_fd(epoll_fd, events, maximum, deadline_ns);
    return epoll_wait_masked(epoll_fd, events, maximum, deadline_ns, mask, mask_size);
}
