// SPDX-License-Identifier: MIT
// open, openat, openat2, creat, memfd_create.
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/fs/file.h"
#include "kernel/fs/tmpfs.h"
#include "kernel/syscall/user_path.h"
#include <linux/memfd.h>
#include <linux/openat2.h>

#define OPEN_FLAGS                                                                                 \
    ((uint32_t)(O_ACCMODE | O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_APPEND | O_NONBLOCK |        \
                O_SYNC | O_DSYNC | FASYNC | O_DIRECT | O_LARGEFILE | O_DIRECTORY | O_NOFOLLOW |    \
                O_NOATIME | O_CLOEXEC | O_PATH | __O_TMPFILE))

static int64_t open_at(int dirfd, uintptr_t user, const struct open_how_checked *how)
{
    USER_PATH(path);
    int error = user_path_get(&path, user);
    if (unlikely(error != 0))
        return error;
    int fd = file_fd_reserve(0, how->flags & O_CLOEXEC);
    if (likely(fd >= 0)) {
        struct file *file;
        struct name name = user_path_name(&path, dirfd);
        error = namei_open(&name, how, &file);
        if (likely(error == 0)) {
            file_fd_install(fd, file);
        } else {
            file_fd_release(fd);
            fd = error;
        }
    }
    user_path_put(&path);
    return fd;
}

static int64_t open_flags(int dirfd, uintptr_t user, uint32_t flags, uint32_t mode)
{
    // Unknown flags are ignored, as they always were; O_LARGEFILE goes without saying.
    struct open_how_checked how = {
        .flags = (flags & OPEN_FLAGS) | O_LARGEFILE, .mode = mode & 07777};
    if (unlikely(flags & __O_TMPFILE && (flags & O_TMPFILE) != O_TMPFILE))
        return -EINVAL;
    return open_at(dirfd, user, &how);
}

SYSCALL3(open, uintptr_t, path, uint32_t, flags, uint32_t, mode)
{
    return open_flags(AT_FDCWD, path, flags, mode);
}

SYSCALL4(openat, int, dirfd, uintptr_t, path, uint32_t, flags, uint32_t, mode)
{
    return open_flags(dirfd, path, flags, mode);
}

SYSCALL2(creat, uintptr_t, path, uint32_t, mode)
{
    return open_flags(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

// openat2 refuses what open ignores.
static int open_how_check(const struct open_how *how, struct open_how_checked *checked)
{
    static const struct {
        uint64_t resolve;
        uint32_t walk;
    } resolves[] = {
        {RESOLVE_NO_XDEV, WALK_NO_XDEV},
        {RESOLVE_NO_MAGICLINKS, WALK_NO_MAGIC},
        {RESOLVE_NO_SYMLINKS, WALK_NO_SYMLINKS | WALK_NO_MAGIC},
        {RESOLVE_BENEATH, WALK_BENEATH},
        {RESOLVE_IN_ROOT, WALK_IN_ROOT},
        {RESOLVE_CACHED, 0},
    };
    uint64_t known = 0;
    *checked = (struct open_how_checked){};
    for (size_t i = 0; i < ARRAY_SIZE(resolves); i++) {
        known |= resolves[i].resolve;
        if (how->resolve & resolves[i].resolve)
            checked->walk_flags |= resolves[i].walk;
    }
    if (how->resolve & ~known || how->flags & ~(uint64_t)OPEN_FLAGS || how->mode & ~UINT64_C(07777))
        return -EINVAL;
    if ((how->resolve & (RESOLVE_BENEATH | RESOLVE_IN_ROOT)) == (RESOLVE_BENEATH | RESOLVE_IN_ROOT))
        return -EINVAL;
    if (how->mode != 0 && !(how->flags & (O_CREAT | __O_TMPFILE)))
        return -EINVAL;
    if (how->flags & O_PATH &&
        how->flags & ~(uint64_t)(O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC))
        return -EINVAL;
    if (how->flags & __O_TMPFILE && (how->flags & O_TMPFILE) != O_TMPFILE)
        return -EINVAL;
    checked->flags = (uint32_t)how->flags | (how->flags & O_PATH ? 0 : O_LARGEFILE);
    checked->mode = (uint32_t)how->mode;
    return 0;
}

SYSCALL4(openat2, int, dirfd, uintptr_t, path, uintptr_t, user_how, size_t, size)
{
    struct open_how how = {};
    struct open_how_checked checked;
    if (size < sizeof(how))
        return -EINVAL;
    if (size > PAGE_SIZE)
        return -E2BIG;
    if (copy_from_user(&how, user_how, sizeof(how)) != 0)
        return -EFAULT;
    for (size_t at = sizeof(how); at < size;
        at++) { // a newer program: what we don't know must be 0
        uint8_t byte;
        if (copy_from_user(&byte, user_how + at, 1) != 0)
            return -EFAULT;
        if (byte != 0)
            return -E2BIG;
    }
    int error = open_how_check(&how, &checked);
    return error != 0 ? error : open_at(dirfd, path, &checked);
}

SYSCALL2(memfd_create, uintptr_t, user_name, uint32_t, flags)
{
    char name[256]; // the text may have 249 bytes
    if (flags & ~(uint32_t)(MFD_CLOEXEC | MFD_ALLOW_SEALING))
        return -EINVAL;
    int64_t len = user_copy_string(name + 6, user_name, sizeof(name) - 6);
    if (len < 0)
        return len == -ENAMETOOLONG ? -EINVAL : len;
    memcpy(name, "memfd:", 6);
    struct file *file = tmpfs_unnamed_create(name, 0, flags & MFD_ALLOW_SEALING ? 0 : F_SEAL_SEAL);
    return file != NULL ? file_fd_add(file, flags & MFD_CLOEXEC) : -ENOMEM;
}
