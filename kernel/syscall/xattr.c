// SPDX-License-Identifier: MIT
// Extended attributes: no file system here has any. The calls check their arguments, and the file, as those of Linux do
// and then say so: ENOTSUP for single attributes, an empty list for lists.
#include "kernel/core/errno.h"
#include "kernel/fs/file.h"
#include "kernel/syscall/user_path.h"
#include <linux/limits.h>
#include <linux/xattr.h>

#define XATTR_ALL_FLAGS (XATTR_CREATE | XATTR_REPLACE)

// A valid name: 1 to 255 bytes.
static int64_t xattr_name_check(uintptr_t user)
{
    char name[XATTR_NAME_MAX + 1];
    int64_t len = user_copy_string(name, user, sizeof(name));
    if (len == -ENAMETOOLONG || len == 0)
        return -ERANGE;
    return len < 0 ? len : 0;
}

static int64_t xattr_path(uintptr_t user, uint32_t walk_flags, int64_t answer)
{
    struct path path;
    int error = user_path_walk(AT_FDCWD, user, walk_flags, &path);
    if (error != 0)
        return error;
    path_put(&path);
    return answer;
}

static int64_t xattr_fd(int fd, int64_t answer)
{
    bool borrowed;
    struct file *file = file_fd_get(fd, &borrowed);
    if (file == NULL)
        return -EBADF;
    file_fd_put(file, borrowed);
    return answer;
}

static int64_t xattr_set_check(uintptr_t name, size_t size, int flags)
{
    if (flags & ~XATTR_ALL_FLAGS)
        return -EINVAL;
    int64_t error = xattr_name_check(name);
    if (error == 0 && size > XATTR_SIZE_MAX)
        error = -E2BIG;
    return error != 0 ? error : -EOPNOTSUPP;
}

static int64_t xattr_get_check(uintptr_t name)
{
    int64_t error = xattr_name_check(name);
    return error != 0 ? error : -EOPNOTSUPP;
}

SYSCALL5(setxattr, uintptr_t, path, uintptr_t, name, uintptr_t, value, size_t, size, int, flags)
{
    return xattr_path(path, WALK_FOLLOW, xattr_set_check(name, size, flags));
}

SYSCALL5(lsetxattr, uintptr_t, path, uintptr_t, name, uintptr_t, value, size_t, size, int, flags)
{
    return xattr_path(path, 0, xattr_set_check(name, size, flags));
}

SYSCALL5(fsetxattr, int, fd, uintptr_t, name, uintptr_t, value, size_t, size, int, flags)
{
    return xattr_fd(fd, xattr_set_check(name, size, flags));
}

SYSCALL4(getxattr, uintptr_t, path, uintptr_t, name, uintptr_t, value, size_t, size)
{
    return xattr_path(path, WALK_FOLLOW, xattr_get_check(name));
}

SYSCALL4(lgetxattr, uintptr_t, path, uintptr_t, name, uintptr_t, value, size_t, size)
{
    return xattr_path(path, 0, xattr_get_check(name));
}

SYSCALL4(fgetxattr, int, fd, uintptr_t, name, uintptr_t, value, size_t, size)
{
    return xattr_fd(fd, xattr_get_check(name));
}

SYSCALL3(listxattr, uintptr_t, path, uintptr_t, list, size_t, size)
{
    return xattr_path(path, WALK_FOLLOW, 0);
}

SYSCALL3(llistxattr, uintptr_t, path, uintptr_t, list, size_t, size)
{
    return xattr_path(path, 0, 0);
}

SYSCALL3(flistxattr, int, fd, uintptr_t, list, size_t, size)
{
    return xattr_fd(fd, 0);
}

SYSCALL2(removexattr, uintptr_t, path, uintptr_t, name)
{
    return xattr_path(path, WALK_FOLLOW, xattr_get_check(name));
}

SYSCALL2(lremovexattr, uintptr_t, path, uintptr_t, name)
{
    return xattr_path(path, 0, xattr_get_check(name));
}

SYSCALL2(fremovexattr, int, fd, uintptr_t, name)
{
    return xattr_fd(fd, xattr_get_check(name));
}
