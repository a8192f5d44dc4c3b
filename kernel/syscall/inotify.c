// SPDX-License-Identifier: MIT
// inotify_init, inotify_init1, inotify_add_watch and inotify_rm_watch.
#include "kernel/fs/file.h"
#include "kernel/fs/inode.h"
#include "kernel/fs/dentry.h"
#include "kernel/fs/name_walk.h"
#include "kernel/ipc/inotify.h"
#include "kernel/syscall/syscall.h"
#include "kernel/syscall/user_path.h"

#define INOTIFY_ADD_FLAGS                                                                          \
    (IN_ONLYDIR | IN_DONT_FOLLOW | IN_EXCL_UNLINK | IN_MASK_CREATE | IN_MASK_ADD | IN_ONESHOT)

static int64_t inotify_fd(int flags)
{
    if ((flags & ~(IN_CLOEXEC | IN_NONBLOCK)) != 0)
        return -EINVAL;
    struct file *file = inotify_create((uint32_t)flags & IN_NONBLOCK);
    return file == NULL ? -ENOMEM : file_fd_add(file, (flags & IN_CLOEXEC) != 0);
}

SYSCALL0(inotify_init)
{
    return inotify_fd(0);
}

SYSCALL1(inotify_init1, int, flags)
{
    return inotify_fd(flags);
}

static int64_t watch_path(struct file *file, uintptr_t user_path, uint32_t mask)
{
    struct path path;
    uint32_t walk_flags =
        (mask & IN_DONT_FOLLOW ? 0 : WALK_FOLLOW) | (mask & IN_ONLYDIR ? WALK_DIRECTORY : 0);
    int result = user_path_walk(AT_FDCWD, user_path, walk_flags, &path);
    if (result != 0)
        return result;
    struct inode *inode = path.dentry->inode;
    result = inode_permission(inode, MAY_READ);
    if (result == 0)
        result = inotify_watch_add(file, inode, mask);
    path_put(&path);
    return result;
}

SYSCALL3(inotify_add_watch, int, fd, uintptr_t, path, uint32_t, mask)
{
    bool borrowed;
    if ((mask & (IN_ALL_EVENTS | INOTIFY_ADD_FLAGS)) == 0)
        return -EINVAL;
    struct file *file = file_fd_get(fd, &borrowed);
    if (file == NULL)
        return -EBADF;
    int64_t result = -EINVAL;
    bool contradiction = (mask & IN_MASK_ADD) != 0 && (mask & IN_MASK_CREATE) != 0;
    if (file_is_inotify(file) && !contradiction)
        result = watch_path(file, path, mask);
    file_fd_put(file, borrowed);
    return result;
}

SYSCALL2(inotify_rm_watch, int, fd, int, descriptor)
{
    bool borrowed;
    struct file *file = file_fd_get(fd, &borrowed);
    if (file == NULL)
        return -EBADF;
    int64_t result = file_is_inotify(file) ? inotify_watch_remove(file, descriptor) : -EINVAL;
    file_fd_put(file, borrowed);
    return result;
}
