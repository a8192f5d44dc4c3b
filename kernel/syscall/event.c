// SPDX-License-Identifier: MIT
// pipe, eventfd, timerfd and signalfd: the calls that make files out of events.
#include "kernel/core/timespec.h"
#include "kernel/fs/file.h"
#include "kernel/ipc/eventfd.h"
#include "kernel/ipc/pipe.h"
#include "kernel/ipc/signalfd.h"
#include "kernel/ipc/timerfd.h"
#include "kernel/process/credentials.h"
#include "kernel/process/signal.h"
#include "kernel/syscall/syscall.h"
#include <linux/capability.h>
#include <linux/signalfd.h>
#include <linux/time.h>
#include <linux/timerfd.h>

// ---- pipe ----

static int64_t pipe_user(uintptr_t user, int flags)
{
    struct file *ends[2];
    int fds[2];
    if ((flags & ~(O_CLOEXEC | O_NONBLOCK | O_DIRECT)) != 0)
        return -EINVAL;
    bool close_on_exec = (flags & O_CLOEXEC) != 0;
    int error = pipe_create((uint32_t)flags, &ends[0], &ends[1]);
    if (error != 0)
        return error;
    fds[0] = file_fd_reserve(0, close_on_exec);
    fds[1] = fds[0] < 0 ? fds[0] : file_fd_reserve(0, close_on_exec);
    error = fds[1] < 0 ? fds[1] : copy_to_user(user, fds, sizeof(fds));
    if (error == 0) {
        file_fd_install(fds[0], ends[0]);
        file_fd_install(fds[1], ends[1]);
        return 0;
    }
    for (int i = 0; i < 2; i++) {
        if (fds[i] >= 0)
            file_fd_release(fds[i]);
        file_put(ends[i]);
    }
    return error;
}

SYSCALL1(pipe, uintptr_t, fds)
{
    return pipe_user(fds, 0);
}

SYSCALL2(pipe2, uintptr_t, fds, int, flags)
{
    return pipe_user(fds, flags);
}

// ---- eventfd ----

static int64_t eventfd_fd(uint32_t count, int flags)
{
    if ((flags & ~(EFD_SEMAPHORE | EFD_CLOEXEC | EFD_NONBLOCK)) != 0)
        return -EINVAL;
    struct file *file =
        eventfd_create(count, (flags & EFD_SEMAPHORE) != 0, (uint32_t)flags & EFD_NONBLOCK);
    return file == NULL ? -ENOMEM : file_fd_add(file, (flags & EFD_CLOEXEC) != 0);
}

SYSCALL1(eventfd, uint32_t, count)
{
    return eventfd_fd(count, 0);
}

SYSCALL2(eventfd2, uint32_t, count, int, flags)
{
    return eventfd_fd(count, flags);
}

// ---- timerfd ----

SYSCALL2(timerfd_create, int, clock, int, flags)
{
    if ((flags & ~(TFD_CLOEXEC | TFD_NONBLOCK)) != 0)
        return -EINVAL;
    bool alarm = clock == CLOCK_REALTIME_ALARM || clock == CLOCK_BOOTTIME_ALARM;
    if (clock != CLOCK_REALTIME && clock != CLOCK_MONOTONIC && clock != CLOCK_BOOTTIME && !alarm)
        return -EINVAL;
    if (alarm && !capable(CAP_WAKE_ALARM))
        return -EPERM;
    struct file *file = timerfd_create(clock, (uint32_t)flags & TFD_NONBLOCK);
    return file == NULL ? -ENOMEM : file_fd_add(file, (flags & TFD_CLOEXEC) != 0);
}

static int timerfd_setting_to_user(uintptr_t user, const struct timerfd_setting *setting)
{
    int error = timespec_to_user(
        user + offsetof(struct __kernel_itimerspec, it_interval), setting->interval_ns);
    if (error == 0)
        error = timespec_to_user(
            user + offsetof(struct __kernel_itimerspec, it_value), setting->value_ns);
    return error;
}

// The timer behind a descriptor, to be given back with file_fd_put(). -EBADF, -EINVAL.
static int timerfd_file(int fd, struct file **result, bool *borrowed)
{
    struct file *file = file_fd_get(fd, borrowed);
    if (file == NULL)
        return -EBADF;
    if (!file_is_timerfd(file)) {
        file_fd_put(file, *borrowed);
        return -EINVAL;
    }
    *result = file;
    return 0;
}

SYSCALL4(timerfd_settime, int, fd, int, flags, uintptr_t, new_value, uintptr_t, old_value)
{
    struct __kernel_itimerspec value;
    struct timerfd_setting setting, old;
    struct file *file;
    bool borrowed;
    if (copy_from_user(&value, new_value, sizeof(value)) != 0)
        return -EFAULT;
    if ((flags & ~(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET)) != 0 ||
        timespec_to_ns(&value.it_value, &setting.value_ns) != 0 ||
        timespec_to_ns(&value.it_interval, &setting.interval_ns) != 0)
        return -EINVAL;
    int error = timerfd_file(fd, &file, &borrowed);
    if (error != 0)
        return error;
    timerfd_set(file, flags, &setting, &old);
    file_fd_put(file, borrowed);
    return old_value != 0 ? timerfd_setting_to_user(old_value, &old) : 0;
}

SYSCALL2(timerfd_gettime, int, fd, uintptr_t, current_value)
{
    struct timerfd_setting setting;
    struct file *file;
    bool borrowed;
    int error = timerfd_file(fd, &file, &borrowed);
    if (error != 0)
        return error;
    timerfd_get(file, &setting);
    file_fd_put(file, borrowed);
    return timerfd_setting_to_user(current_value, &setting);
}

// ---- signalfd ----

static int64_t signalfd_fd(int fd, uintptr_t user_mask, size_t mask_size, int flags)
{
    uint64_t mask;
    if ((flags & ~(SFD_CLOEXEC | SFD_NONBLOCK)) != 0)
        return -EINVAL;
    int error = signal_mask_from_user(&mask, user_mask, mask_size);
    if (error != 0)
        return error;
    if (fd == -1) {
        struct file *file = signalfd_create(mask, (uint32_t)flags & SFD_NONBLOCK);
        return file == NULL ? -ENOMEM : file_fd_add(file, (flags & SFD_CLOEXEC) != 0);
    }
    bool borrowed;
    struct file *file = file_fd_get(fd, &borrowed);
    if (file == NULL)
        return -EBADF;
    int64_t result = -EINVAL;
    if (file_is_signalfd(file)) {
        signalfd_set_mask(file, mask);
        result = fd;
    }
    file_fd_put(file, borrowed);
    return result;
}

SYSCALL3(signalfd, int, fd, uintptr_t, mask, size_t, mask_size)
{
    return signalfd_fd(fd, mask, mask_size, 0);
}

SYSCALL4(signalfd4, int, fd, uintptr_t, mask, size_t, mask_size, int, flags)
{
    return signalfd_fd(fd, mask, mask_size, flags);
}
