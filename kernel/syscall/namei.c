// SPDX-License-Identifier: MIT
// Calls that make, remove and read names.
#include "kernel/core/errno.h"
#include "kernel/fs/file.h"
#include "kernel/fs/inode.h"
#include "kernel/process/credentials.h"
#include "kernel/syscall/user_path.h"
#include "mm/slab.h"
#include <linux/capability.h>
#include <linux/fs.h>

static int64_t do_mknod(int dirfd, uintptr_t user, uint32_t mode, struct device_number device)
{
    USER_PATH(path);
    int error = user_path_get(&path, user);
    if (error != 0)
        return error;
    struct name name = user_path_name(&path, dirfd);
    error = namei_mknod(&name, mode, device);
    user_path_put(&path);
    return error;
}

SYSCALL2(mkdir, uintptr_t, path, uint32_t, mode)
{
    return do_mknod(AT_FDCWD, path, S_IFDIR | (mode & 01777), (struct device_number){});
}

SYSCALL3(mkdirat, int, dirfd, uintptr_t, path, uint32_t, mode)
{
    return do_mknod(dirfd, path, S_IFDIR | (mode & 01777), (struct device_number){});
}

static int64_t do_mknod_device(int dirfd, uintptr_t path, uint32_t mode, uint32_t number)
{
    struct device_number device = {
        .major = number >> 8 & 0xfff, .minor = (number & 0xff) | (number >> 12 & 0xfff00)};
    switch (mode & S_IFMT) {
    case 0:
        mode |= S_IFREG;
        [[fallthrough]];
    case S_IFREG:
    case S_IFIFO:
    case S_IFSOCK:
        device = (struct device_number){};
        break;
    case S_IFCHR:
    case S_IFBLK:
        break;
    case S_IFDIR:
        return -EPERM;
    default:
        return -EINVAL;
    }
    return do_mknod(dirfd, path, mode, device);
}

SYSCALL3(mknod, uintptr_t, path, uint32_t, mode, uint32_t, number)
{
    return do_mknod_device(AT_FDCWD, path, mode, number);
}

SYSCALL4(mknodat, int, dirfd, uintptr_t, path, uint32_t, mode, uint32_t, number)
{
    return do_mknod_device(dirfd, path, mode, number);
}

static int64_t do_remove(int dirfd, uintptr_t user, int (*remove)(const struct name *name))
{
    USER_PATH(path);
    int error = user_path_get(&path, user);
    if (error != 0)
        return error;
    struct name name = user_path_name(&path, dirfd);
    error = remove(&name);
    user_path_put(&path);
    return error;
}

SYSCALL1(unlink, uintptr_t, path)
{
    return do_remove(AT_FDCWD, path, namei_unlink);
}

SYSCALL1(rmdir, uintptr_t, path)
{
    return do_remove(AT_FDCWD, path, namei_rmdir);
}

SYSCALL3(unlinkat, int, dirfd, uintptr_t, path, int, flags)
{
    if (flags & ~AT_REMOVEDIR)
        return -EINVAL;
    return do_remove(dirfd, path, flags & AT_REMOVEDIR ? namei_rmdir : namei_unlink);
}

static int64_t do_link(
    int old_dirfd, uintptr_t old_user, int new_dirfd, uintptr_t new_user, int flags)
{
    struct path old;
    USER_PATH(path);
    if (flags & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH))
        return -EINVAL;
    if (flags & AT_EMPTY_PATH && !capable(CAP_DAC_READ_SEARCH))
        return -ENOENT;
    uint32_t walk_flags =
        (flags & AT_SYMLINK_FOLLOW ? WALK_FOLLOW : 0) | (flags & AT_EMPTY_PATH ? WALK_EMPTY : 0);
    int error = user_path_walk(old_dirfd, old_user, walk_flags, &old);
    if (error != 0)
        return error;
    error = user_path_get(&path, new_user);
    if (error == 0) {
        struct name name = user_path_name(&path, new_dirfd);
        error = namei_link(&old, &name);
        user_path_put(&path);
    }
    path_put(&old);
    return error;
}

SYSCALL2(link, uintptr_t, old_path, uintptr_t, new_path)
{
    return do_link(AT_FDCWD, old_path, AT_FDCWD, new_path, 0);
}

SYSCALL5(
    linkat, int, old_dirfd, uintptr_t, old_path, int, new_dirfd, uintptr_t, new_path, int, flags)
{
    return do_link(old_dirfd, old_path, new_dirfd, new_path, flags);
}

static int64_t do_symlink(uintptr_t target_user, int dirfd, uintptr_t user)
{
    USER_PATH(target);
    USER_PATH(path);
    int error = user_path_get(&target, target_user);
    if (error != 0)
        return error;
    if (target.len == 0)
        error = -ENOENT;
    else
        error = user_path_get(&path, user);
    if (error == 0) {
        struct name name = user_path_name(&path, dirfd);
        error = namei_symlink(&name, target.text, target.len);
        user_path_put(&path);
    }
    user_path_put(&target);
    return error;
}

SYSCALL2(symlink, uintptr_t, target, uintptr_t, path)
{
    return do_symlink(target, AT_FDCWD, path);
}

SYSCALL3(symlinkat, uintptr_t, target, int, dirfd, uintptr_t, path)
{
    return do_symlink(target, dirfd, path);
}

static int64_t do_rename(
    int old_dirfd, uintptr_t old_user, int new_dirfd, uintptr_t new_user, uint32_t flags)
{
    USER_PATH(old);
    USER_PATH(new);
    if (flags & ~(uint32_t)(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT))
        return -EINVAL;
    int error = user_path_get(&old, old_user);
    if (error != 0)
        return error;
    error = user_path_get(&new, new_user);
    if (error == 0) {
        struct name old_name = user_path_name(&old, old_dirfd);
        struct name new_name = user_path_name(&new, new_dirfd);
        error = namei_rename(&old_name, &new_name, flags);
        user_path_put(&new);
    }
    user_path_put(&old);
    return error;
}

SYSCALL2(rename, uintptr_t, old_path, uintptr_t, new_path)
{
    return do_rename(AT_FDCWD, old_path, AT_FDCWD, new_path, 0);
}

SYSCALL4(renameat, int, old_dirfd, uintptr_t, old_path, int, new_dirfd, uintptr_t, new_path)
{
    return do_rename(old_dirfd, old_path, new_dirfd, new_path, 0);
}

SYSCALL5(renameat2, int, old_dirfd, uintptr_t, old_path, int, new_dirfd, uintptr_t, new_path,
    uint32_t, flags)
{
    return do_rename(old_dirfd, old_path, new_dirfd, new_path, flags);
}

// The text of a link that leads to an object: that object's path.
static int64_t readlink_magic(struct inode *inode, uintptr_t buffer, size_t size)
{
    struct path target;
    char *memory = kmalloc(PATH_WALK_PATH_MAX, 0);
    if (memory == NULL)
        return -ENOMEM;
    int64_t result = inode->ops->follow_link(inode, &target);
    if (result == 0) {
        char *text = path_to_text(&target, NULL, memory, PATH_WALK_PATH_MAX, NULL);
        path_put(&target);
        size_t len = text != NULL ? (size_t)(memory + PATH_WALK_PATH_MAX - 1 - text) : 0;
        len = MIN(len, size);
        if (text == NULL)
            result = -ENAMETOOLONG;
        else
            result = copy_to_user(buffer, text, len) == 0 ? (int64_t)len : -EFAULT;
    }
    kfree(memory);
    return result;
}

static int64_t do_readlink(int dirfd, uintptr_t user, uintptr_t buffer, int size)
{
    struct path path;
    const char *text;
    bool allocated;
    if (size <= 0)
        return -EINVAL;
    int error = user_path_walk(dirfd, user, WALK_EMPTY, &path);
    if (error != 0)
        return error;
    struct inode *inode = path.dentry->inode;
    int64_t result = -EINVAL;
    if (S_ISLNK(inode->mode) && inode->ops->follow_link != NULL && inode->ops->read_link == NULL) {
        result = readlink_magic(inode, buffer, (size_t)size);
    } else if (S_ISLNK(inode->mode)) {
        inode_touch_accessed(inode, path.mount);
        result = walk_link_text(inode, &text, &allocated);
        if (result >= 0) {
            size_t len = MIN((size_t)result, (size_t)size);
            result = copy_to_user(buffer, text, len) == 0 ? (int64_t)len : -EFAULT;
            if (allocated)
                kfree(text);
        }
    }
    path_put(&path);
    return result;
}

SYSCALL3(readlink, uintptr_t, path, uintptr_t, buffer, int, size)
{
    return do_readlink(AT_FDCWD, path, buffer, size);
}

SYSCALL4(readlinkat, int, dirfd, uintptr_t, path, uintptr_t, buffer, int, size)
{
    return do_readlink(dirfd, path, buffer, size);
}
