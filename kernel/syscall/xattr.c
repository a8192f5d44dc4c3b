// SPDX-License-Identifier: MIT
// The twelve calls for extended attributes: on a path, on a link itself, on an open file.
#include "kernel/fs/xattr.h"
#include "kernel/core/errno.h"
#include "kernel/fs/file.h"
#include "kernel/syscall/user_path.h"
#include "mm/slab.h"
#include <linux/limits.h>
#include <linux/xattr.h>

// What a call is about: one of the three ways to name a file, and the attribute's name.
struct xattr_call {
    char name[XATTR_NAME_MAX + 1];
    struct path path; // with references; or
    struct file *file;
    bool borrowed;
    struct inode *inode;
};

static int64_t xattr_name_get(struct xattr_call *call, uintptr_t user)
{
    int64_t len = user_copy_string(call->name, user, sizeof(call->name));
    if (len == -ENAMETOOLONG || len == 0)
        return -ERANGE;
    return len < 0 ? len : 0;
}

static int xattr_path_get(struct xattr_call *call, uintptr_t user, uint32_t walk_flags)
{
    int error = user_path_walk(AT_FDCWD, user, walk_flags, &call->path);
    call->file = NULL;
    if (error == 0)
        call->inode = call->path.dentry->inode;
    return error;
}

static int xattr_file_get(struct xattr_call *call, int fd)
{
    call->file = file_fd_get(fd, &call->borrowed);
    if (call->file == NULL)
        return -EBADF;
    call->inode = call->file->inode;
    call->path = call->file->path;
    if (call->inode != NULL)
        return 0;
    file_fd_put(call->file, call->borrowed);
    return -EOPNOTSUPP;
}

static void xattr_put(struct xattr_call *call)
{
    if (call->file != NULL)
        file_fd_put(call->file, call->borrowed);
    else
        path_put(&call->path);
}

// ---- set ----

// A copy of the value in kernel memory.
static int64_t xattr_value_copy(uintptr_t user, size_t size, void **value)
{
    if (size > XATTR_SIZE_MAX)
        return -E2BIG;
    *value = kmalloc(MAX(size, (size_t)1), 0);
    if (*value == NULL)
        return -ENOMEM;
    if (copy_from_user(*value, user, size) == 0)
        return 0;
    kfree(*value);
    return -EFAULT;
}

static int64_t xattr_do_set(
    struct xattr_call *call, uintptr_t name, uintptr_t value_user, size_t size, int flags)
{
    void *value;
    int64_t result = flags & ~(XATTR_CREATE | XATTR_REPLACE) ? -EINVAL : xattr_name_get(call, name);
    if (result == 0)
        result = xattr_value_copy(value_user, size, &value);
    if (result == 0) {
        result = call->path.mount != NULL ? mount_write_get(call->path.mount) : 0;
        if (result == 0) {
            result = xattr_set(call->inode, call->name, value, size, flags);
            if (call->path.mount != NULL)
                mount_write_put(call->path.mount);
        }
        kfree(value);
    }
    xattr_put(call);
    return result;
}

SYSCALL5(setxattr, uintptr_t, path, uintptr_t, name, uintptr_t, value, size_t, size, int, flags)
{
    struct xattr_call call;
    int error = xattr_path_get(&call, path, WALK_FOLLOW);
    return error != 0 ? error : xattr_do_set(&call, name, value, size, flags);
}

SYSCALL5(lsetxattr, uintptr_t, path, uintptr_t, name, uintptr_t, value, size_t, size, int, flags)
{
    struct xattr_call call;
    int error = xattr_path_get(&call, path, 0);
    return error != 0 ? error : xattr_do_set(&call, name, value, size, flags);
}

SYSCALL5(fsetxattr, int, fd, uintptr_t, name, uintptr_t, value, size_t, size, int, flags)
{
    struct xattr_call call;
    int error = xattr_file_get(&call, fd);
    return error != 0 ? error : xattr_do_set(&call, name, value, size, flags);
}

// ---- get and list ----

static int64_t xattr_do_get(struct xattr_call *call, uintptr_t name, uintptr_t user, size_t size)
{
    int64_t result = xattr_name_get(call, name);
    size = MIN(size, (size_t)XATTR_SIZE_MAX);
    void *value = size != 0 ? kmalloc(size, 0) : NULL;
    if (result == 0 && size != 0 && value == NULL)
        result = -ENOMEM;
    if (result == 0)
        result = xattr_get(call->inode, call->name, value, size);
    if (result > 0 && size != 0 && copy_to_user(user, value, (size_t)result) != 0)
        result = -EFAULT;
    kfree(value);
    xattr_put(call);
    return result;
}

SYSCALL4(getxattr, uintptr_t, path, uintptr_t, name, uintptr_t, value, size_t, size)
{
    struct xattr_call call;
    int error = xattr_path_get(&call, path, WALK_FOLLOW);
    return error != 0 ? error : xattr_do_get(&call, name, value, size);
}

SYSCALL4(lgetxattr, uintptr_t, path, uintptr_t, name, uintptr_t, value, size_t, size)
{
    struct xattr_call call;
    int error = xattr_path_get(&call, path, 0);
    return error != 0 ? error : xattr_do_get(&call, name, value, size);
}

SYSCALL4(fgetxattr, int, fd, uintptr_t, name, uintptr_t, value, size_t, size)
{
    struct xattr_call call;
    int error = xattr_file_get(&call, fd);
    return error != 0 ? error : xattr_do_get(&call, name, value, size);
}

static int64_t xattr_do_list(struct xattr_call *call, uintptr_t user, size_t size)
{
    size = MIN(size, (size_t)XATTR_LIST_MAX);
    char *list = size != 0 ? kmalloc(size, 0) : NULL;
    int64_t result = size != 0 && list == NULL ? -ENOMEM : xattr_list(call->inode, list, size);
    if (result > 0 && size != 0 && copy_to_user(user, list, (size_t)result) != 0)
        result = -EFAULT;
    kfree(list);
    xattr_put(call);
    return result;
}

SYSCALL3(listxattr, uintptr_t, path, uintptr_t, list, size_t, size)
{
    struct xattr_call call;
    int error = xattr_path_get(&call, path, WALK_FOLLOW);
    return error != 0 ? error : xattr_do_list(&call, list, size);
}

SYSCALL3(llistxattr, uintptr_t, path, uintptr_t, list, size_t, size)
{
    struct xattr_call call;
    int error = xattr_path_get(&call, path, 0);
    return error != 0 ? error : xattr_do_list(&call, list, size);
}

SYSCALL3(flistxattr, int, fd, uintptr_t, list, size_t, size)
{
    struct xattr_call call;
    int error = xattr_file_get(&call, fd);
    return error != 0 ? error : xattr_do_list(&call, list, size);
}

// ---- remove ----

static int64_t xattr_do_remove(struct xattr_call *call, uintptr_t name)
{
    int64_t result = xattr_name_get(call, name);
    if (result == 0)
        result = xattr_remove(call->inode, call->name);
    xattr_put(call);
    return result;
}

SYSCALL2(removexattr, uintptr_t, path, uintptr_t, name)
{
    struct xattr_call call;
    int error = xattr_path_get(&call, path, WALK_FOLLOW);
    return error != 0 ? error : xattr_do_remove(&call, name);
}

SYSCALL2(lremovexattr, uintptr_t, path, uintptr_t, name)
{
    struct xattr_call call;
    int error = xattr_path_get(&call, path, 0);
    return error != 0 ? error : xattr_do_remove(&call, name);
}

SYSCALL2(fremovexattr, int, fd, uintptr_t, name)
{
    struct xattr_call call;
    int error = xattr_file_get(&call, fd);
    return error != 0 ? error : xattr_do_remove(&call, name);
}
