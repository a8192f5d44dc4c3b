// SPDX-License-Identifier: MIT
// execve and execveat.
#include "kernel/process/process.h"
#include "kernel/syscall/syscall.h"
#include "mm/slab.h"
#include <linux/fcntl.h>
#include <linux/limits.h>

static int64_t exec(int dirfd, uintptr_t path_user, uintptr_t argv, uintptr_t envp, int flags)
{
    char *path = kmalloc(PATH_MAX, 0);
    if (path == NULL)
        return -ENOMEM;
    int64_t result = user_copy_string(path, path_user, PATH_MAX);
    if (result == 0 && (flags & AT_EMPTY_PATH) == 0)
        result = -ENOENT;
    if (result >= 0)
        result = process_exec(dirfd, path, argv, envp, flags);
    kfree(path);
    return result;
}

SYSCALL3(execve, uintptr_t, path, uintptr_t, argv, uintptr_t, envp)
{
    return exec(AT_FDCWD, path, argv, envp, 0);
}

SYSCALL5(execveat, int, dirfd, uintptr_t, path, uintptr_t, argv, uintptr_t, envp, int, flags)
{
    if ((flags & ~(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW)) != 0)
        return -EINVAL;
    return exec(dirfd, path, argv, envp, flags);
}
