// SPDX-License-Identifier: MIT
// fcntl and flock.
#include "kernel/core/errno.h"
#include "kernel/fs/async.h"
#include "kernel/fs/file.h"
#include "kernel/fs/inode.h"
#include "kernel/fs/lock.h"
#include "kernel/fs/tmpfs.h"
#include "kernel/ipc/pipe.h"
#include "kernel/process/task.h"
#include "kernel/syscall/syscall.h"
#include <linux/fs.h>

#define SETTABLE_FLAGS ((uint32_t)(O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME | FASYNC))
#define OFFSET_MAX     INT64_MAX

static int64_t fcntl_duplicate(struct file *file, uint64_t minimum, bool close_on_exec)
{
    if (minimum >= process_limit(RLIMIT_NOFILE))
        return -EINVAL;
    int fd = file_fd_reserve((int)minimum, close_on_exec);
    if (fd >= 0) {
        file_get(file);
        file_fd_install(fd, file);
    }
    return fd;
}

static int64_t fcntl_set_flags(struct file *file, uint32_t flags)
{
    if (file->inode != NULL && file->inode->flags & INODE_APPEND && !(flags & O_APPEND))
        return -EPERM;
    if (flags & O_NOATIME && !(file->flags & O_NOATIME) &&
        (file->inode == NULL || !inode_owner_or_capable(file->inode)))
        return -EPERM;
    if ((flags ^ file->flags) & FASYNC) {
        int error = file_async_set(file, flags & FASYNC);
        if (error != 0)
            return error;
    }
    spin_lock(&file->lock);
    file->flags = (file->flags & ~SETTABLE_FLAGS) | (flags & SETTABLE_FLAGS);
    spin_unlock(&file->lock);
    return 0;
}

// ---- record locks ----

// The range of a struct flock: 0, -EINVAL, -EOVERFLOW.
static int flock_range(
    const struct file *file, const struct flock *flock, uint64_t *start, uint64_t *end)
{
    int64_t base = 0;
    int64_t from, last;
    switch (flock->l_whence) {
    case SEEK_SET:
        break;
    case SEEK_CUR:
        base = (int64_t)file->offset;
        break;
    case SEEK_END:
        base = (int64_t)inode_size(file->inode);
        break;
    default:
        return -EINVAL;
    }
    if (__builtin_add_overflow(base, (int64_t)flock->l_start, &from))
        return -EOVERFLOW;
    if (from < 0)
        return -EINVAL;
    if (flock->l_len > 0) {
        if (__builtin_add_overflow(from, (int64_t)flock->l_len - 1, &last))
            return -EOVERFLOW;
    } else if (flock->l_len < 0) {
        if (from + flock->l_len < 0)
            return -EINVAL;
        last = from - 1;
        from += flock->l_len;
    } else {
        last = OFFSET_MAX;
    }
    *start = (uint64_t)from;
    *end = (uint64_t)last;
    return 0;
}

static int64_t fcntl_get_lock(struct file *file, uintptr_t user, bool ofd)
{
    struct flock flock;
    uint64_t start, end;
    int32_t pid = 0;
    if (copy_from_user(&flock, user, sizeof(flock)) != 0)
        return -EFAULT;
    if (file->inode == NULL || (flock.l_type != F_RDLCK && flock.l_type != F_WRLCK) ||
        (ofd && flock.l_pid != 0))
        return -EINVAL;
    int error = flock_range(file, &flock, &start, &end);
    if (error != 0)
        return error;
    int type = flock.l_type;
    file_lock_test(file, ofd ? FILE_LOCK_OFD : FILE_LOCK_POSIX, &type, &start, &end, &pid);
    flock.l_type = (short)type;
    if (type != F_UNLCK) {
        flock.l_whence = SEEK_SET;
        flock.l_start = (int64_t)start;
        flock.l_len = end == OFFSET_MAX ? 0 : (int64_t)(end - start + 1);
        flock.l_pid = pid;
    }
    return copy_to_user(user, &flock, sizeof(flock));
}

static int64_t fcntl_set_lock(struct file *file, uintptr_t user, bool ofd, bool wait)
{
    struct flock flock;
    uint64_t start, end;
    if (copy_from_user(&flock, user, sizeof(flock)) != 0)
        return -EFAULT;
    if (file->inode == NULL || (ofd && flock.l_pid != 0))
        return -EINVAL;
    int error = flock_range(file, &flock, &start, &end);
    if (error != 0)
        return error;
    switch (flock.l_type) {
    case F_RDLCK:
        if (!(file->mode & FILE_READ))
            return -EBADF;
        break;
    case F_WRLCK:
        if (!(file->mode & FILE_WRITE))
            return -EBADF;
        break;
    case F_UNLCK:
        break;
    default:
        return -EINVAL;
    }
    return file_lock_record(
        file, ofd ? FILE_LOCK_OFD : FILE_LOCK_POSIX, flock.l_type, start, end, wait);
}

// ---- signals of asynchronous I/O ----

static int64_t fcntl_set_owner_extended(struct file *file, uintptr_t user)
{
    struct f_owner_ex owner;
    if (copy_from_user(&owner, user, sizeof(owner)) != 0)
        return -EFAULT;
    if (owner.type != F_OWNER_TID && owner.type != F_OWNER_PID && owner.type != F_OWNER_PGRP)
        return -EINVAL;
    return file_owner_set(file, owner.type == F_OWNER_PGRP ? -owner.pid : owner.pid);
}

static int64_t fcntl_get_owner_extended(const struct file *file, uintptr_t user)
{
    int32_t pid = file->owner_pid;
    struct f_owner_ex owner = {
        .type = pid < 0 ? F_OWNER_PGRP : F_OWNER_PID, .pid = pid < 0 ? -pid : pid};
    return copy_to_user(user, &owner, sizeof(owner));
}

static int64_t fcntl_set_signal(struct file *file, uint64_t signal)
{
    if (signal > SIGNAL_COUNT)
        return -EINVAL;
    spin_lock(&file->lock);
    file->owner_signal = (int32_t)signal;
    spin_unlock(&file->lock);
    return 0;
}

static int64_t fcntl_pipe_size(struct file *file, bool set, uint64_t size)
{
    struct pipe *pipe = pipe_of_file(file);
    if (pipe == NULL)
        return -EBADF;
    if (!set)
        return pipe_size_get(pipe);
    return size > INT32_MAX ? -EINVAL : pipe_size_set(pipe, size);
}

static int64_t fcntl_file(struct file *file, int fd, int command, uintptr_t argument)
{
    switch (command) {
    case F_DUPFD:
    case F_DUPFD_CLOEXEC:
        return fcntl_duplicate(file, (uint32_t)argument, command == F_DUPFD_CLOEXEC);
    case F_GETFD:
        return file_fd_flags_get(fd);
    case F_SETFD:
        return file_fd_flags_set(fd, argument & FD_CLOEXEC);
    case F_GETFL:
        return file->flags;
    case F_SETFL:
        return fcntl_set_flags(file, (uint32_t)argument);
    case F_GETLK:
    case F_OFD_GETLK:
        return fcntl_get_lock(file, argument, command == F_OFD_GETLK);
    case F_SETLK:
    case F_SETLKW:
        return fcntl_set_lock(file, argument, false, command == F_SETLKW);
    case F_OFD_SETLK:
    case F_OFD_SETLKW:
        return fcntl_set_lock(file, argument, true, command == F_OFD_SETLKW);
    case F_GETOWN:
        return file->owner_pid;
    case F_SETOWN:
        return file_owner_set(file, (int32_t)argument);
    case F_GETOWN_EX:
        return fcntl_get_owner_extended(file, argument);
    case F_SETOWN_EX:
        return fcntl_set_owner_extended(file, argument);
    case F_GETSIG:
        return file->owner_signal;
    case F_SETSIG:
        return fcntl_set_signal(file, argument);
    case F_GETLEASE:
        return F_UNLCK;
    case F_GETPIPE_SZ:
    case F_SETPIPE_SZ:
        return fcntl_pipe_size(file, command == F_SETPIPE_SZ, argument);
    case F_ADD_SEALS:
        return tmpfs_seals_add(file, (uint32_t)argument);
    case F_GET_SEALS:
        return tmpfs_seals_get(file);
    default:
        return -EINVAL;
    }
}

SYSCALL3(fcntl, int, fd, int, command, uintptr_t, argument)
{
    bool borrowed;
    struct file *file = file_fd_get_any(fd, &borrowed);
    if (file == NULL)
        return -EBADF;
    bool allowed = !(file->mode & FILE_PATH) || command == F_DUPFD || command == F_DUPFD_CLOEXEC ||
                   command == F_GETFD || command == F_SETFD || command == F_GETFL;
    int64_t result = allowed ? fcntl_file(file, fd, command, argument) : -EBADF;
    file_fd_put(file, borrowed);
    return result;
}

SYSCALL2(flock, int, fd, int, operation)
{
    bool borrowed;
    bool wait = !(operation & LOCK_NB);
    operation &= ~LOCK_NB;
    if (operation != LOCK_SH && operation != LOCK_EX && operation != LOCK_UN)
        return -EINVAL;
    struct file *file = file_fd_get(fd, &borrowed);
    if (file == NULL)
        return -EBADF;
    int64_t result = file->inode != NULL ? file_lock_flock(file, operation, wait) : -EBADF;
    file_fd_put(file, borrowed);
    return result;
}
