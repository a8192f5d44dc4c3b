// SPDX-License-Identifier: MIT
// io_uring_setup(2), io_uring_enter(2), io_uring_register(2).
#include "kernel/core/timespec.h"
#include "kernel/fs/file.h"
#include "kernel/ipc/io_uring/io_uring.h"
#include "kernel/process/signal.h"
#include "kernel/syscall/syscall.h"
#include <linux/io_uring.h>

#define ENTER_KNOWN                                                                                \
    (IORING_ENTER_GETEVENTS | IORING_ENTER_SQ_WAKEUP | IORING_ENTER_SQ_WAIT | IORING_ENTER_EXT_ARG)

SYSCALL2(io_uring_setup, uint32_t, entries, uintptr_t, user)
{
    struct io_uring_params parameters;
    struct file *file;
    if (copy_from_user(&parameters, user, sizeof(parameters)) != 0)
        return -EFAULT;
    int error = io_uring_create(entries, &parameters, &file);
    if (error != 0)
        return error;
    if (copy_to_user(user, &parameters, sizeof(parameters)) != 0) {
        file_put(file);
        return -EFAULT;
    }
    return file_fd_add(file, true);
}

// What the last arguments say: a signal mask, or both a mask and a time.
struct enter_arguments {
    uintptr_t mask;
    size_t mask_size;
    uint64_t deadline_ns;
};

static int enter_arguments(
    struct enter_arguments *arguments, uint32_t flags, uintptr_t argument, size_t size)
{
    struct io_uring_getevents_arg extended;
    *arguments =
        (struct enter_arguments){.mask = argument, .mask_size = size, .deadline_ns = UINT64_MAX};
    if (!(flags & IORING_ENTER_EXT_ARG))
        return 0;
    if (size != sizeof(extended))
        return -EINVAL;
    if (copy_from_user(&extended, argument, sizeof(extended)) != 0)
        return -EFAULT;
    arguments->mask = extended.sigmask;
    arguments->mask_size = extended.sigmask_sz;
    if (extended.ts != 0) {
        uint64_t duration_ns;
        int error = timespec_from_user(&duration_ns, extended.ts);
        if (error != 0)
            return error;
        arguments->deadline_ns = deadline_after(duration_ns);
    }
    return 0;
}

static int64_t enter(struct file *file, uint32_t to_submit, uint32_t minimum, uint32_t flags,
    uintptr_t argument, size_t size)
{
    struct enter_arguments arguments;
    uint64_t mask;
    int error = io_uring_check(file);
    if (error == 0)
        error = enter_arguments(&arguments, flags, argument, size);
    if (error == 0 && arguments.mask != 0)
        error = signal_mask_from_user(&mask, arguments.mask, arguments.mask_size);
    if (error != 0)
        return error;
    if (arguments.mask != 0)
        signal_mask_push(mask);
    int64_t result = io_uring_do_enter(file, to_submit, minimum, flags, arguments.deadline_ns);
    if (arguments.mask != 0)
        signal_mask_pop(result == -EINTR);
    return result;
}

SYSCALL6(io_uring_enter, int, fd, uint32_t, to_submit, uint32_t, minimum, uint32_t, flags,
    uintptr_t, argument, size_t, size)
{
    bool borrowed;
    if (flags & ~(uint32_t)ENTER_KNOWN)
        return -EINVAL;
    struct file *file = file_fd_get(fd, &borrowed);
    if (file == NULL)
        return -EBADF;
    int64_t result = enter(file, to_submit, minimum, flags, argument, size);
    file_fd_put(file, borrowed);
    return result;
}

SYSCALL4(io_uring_register, int, fd, uint32_t, operation, uintptr_t, argument, uint32_t, count)
{
    bool borrowed;
    struct file *file = file_fd_get(fd, &borrowed);
    if (file == NULL)
        return -EBADF;
    int64_t result = io_uring_check(file);
    if (result == 0)
        result = io_uring_do_register(file, operation, argument, count);
    file_fd_put(file, borrowed);
    return result;
}
