// SPDX-License-Identifier: MIT
// close, dup, close_range, ioctl.
#include "kernel/core/errno.h"
#include "kernel/fs/async.h"
#include "kernel/fs/file.h"
#include "kernel/fs/inode.h"
#include "kernel/process/task.h"
#include "kernel/syscall/syscall.h"
#include <asm/ioctls.h>
#include <linux/close_range.h>
#include <linux/fs.h>

SYSCALL1(close, int, fd)
{
    int error = file_fd_close(fd);
    // The descriptor is gone whatever flush said: the call must not be repeated.
    return error == -ERESTARTSYS ? -EINTR : error;
}

SYSCALL3(close_range, uint32_t, first, uint32_t, last, uint32_t, flags)
{
    if (first > last || flags & ~(uint32_t)(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC))
        return -EINVAL;
    if (flags & CLOSE_RANGE_UNSHARE) {
        int error = fd_table_unshare();
        if (error != 0)
            return error;
    }
    file_fd_close_range(first, last, flags & CLOSE_RANGE_CLOEXEC);
    return 0;
}

// The file behind a descriptor with a reference of its own.
static struct file *descriptor_file_get(int fd)
{
    bool borrowed;
    struct file *file = file_fd_get_any(fd, &borrowed);
    if (file != NULL && borrowed)
        file_get(file);
    return file;
}

SYSCALL1(dup, int, fd)
{
    struct file *file = descriptor_file_get(fd);
    return file != NULL ? file_fd_add(file, false) : -EBADF;
}

static int64_t descriptor_replace(int old_fd, int new_fd, bool close_on_exec)
{
    struct file *file = descriptor_file_get(old_fd);
    return file != NULL ? file_fd_replace(new_fd, file, close_on_exec) : -EBADF;
}

SYSCALL2(dup2, int, old_fd, int, new_fd)
{
    if (old_fd == new_fd)
        return file_fd_flags_get(old_fd) < 0 ? -EBADF : new_fd;
    return descriptor_replace(old_fd, new_fd, false);
}

SYSCALL3(dup3, int, old_fd, int, new_fd, int, flags)
{
    if (flags & ~O_CLOEXEC || old_fd == new_fd)
        return -EINVAL;
    return descriptor_replace(old_fd, new_fd, flags & O_CLOEXEC);
}

static int64_t ioctl_set_flag(struct file *file, uint32_t flag, uintptr_t argument)
{
    uint32_t on;
    if (user_get_u32(&on, argument) != 0)
        return -EFAULT;
    spin_lock(&file->lock);
    file->flags = on ? file->flags | flag : file->flags & ~flag;
    spin_unlock(&file->lock);
    return 0;
}

static int64_t ioctl_set_async(struct file *file, uintptr_t argument)
{
    uint32_t on;
    if (user_get_u32(&on, argument) != 0)
        return -EFAULT;
    int error = file_async_set(file, on != 0);
    return error != 0 ? error : ioctl_set_flag(file, FASYNC, argument);
}

// Bytes left in a regular file; other files answer FIONREAD themselves.
static int64_t ioctl_bytes_left(struct file *file, uintptr_t argument)
{
    uint64_t size = inode_size(file->inode);
    return user_put_u32(argument, size > file->offset ? (uint32_t)(size - file->offset) : 0);
}

// What all files have in common; 1: not one of those.
static int64_t ioctl_common(struct file *file, int fd, uint32_t command, uintptr_t argument)
{
    bool regular = file->inode != NULL && S_ISREG(file->inode->mode);
    switch (command) {
    case FIOCLEX:
    case FIONCLEX:
        return file_fd_flags_set(fd, command == FIOCLEX);
    case FIONBIO:
        return ioctl_set_flag(file, O_NONBLOCK, argument);
    case FIOASYNC:
        return ioctl_set_async(file, argument);
    case FIGETBSZ:
        return file->path.dentry != NULL ? user_put_u32(argument, PAGE_SIZE) : -EINVAL;
    case FIOQSIZE:
        return file->path.dentry != NULL ? user_put_u64(argument, inode_size(file->inode))
                                         : -ENOTTY;
    case FIONREAD:
        return regular ? ioctl_bytes_left(file, argument) : 1;
    default:
        return 1;
    }
}

SYSCALL3(ioctl, int, fd, uint32_t, command, uintptr_t, argument)
{
    bool borrowed;
    struct file *file = file_fd_get(fd, &borrowed);
    if (file == NULL)
        return -EBADF;
    int64_t result = ioctl_common(file, fd, command, argument);
    if (result == 1)
        result = file->ops->ioctl != NULL ? file->ops->ioctl(file, command, argument) : -ENOTTY;
    file_fd_put(file, borrowed);
    return result;
}
