// SPDX-License-Identifier: MIT
// mount, umount2, pivot_root.
#include "kernel/fs/mount.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/process/credentials.h"
#include "kernel/syscall/user_path.h"
#include "mm/slab.h"
#include <linux/capability.h>
#include <linux/mount.h>

#define UMOUNT_FORCE    1
#define UMOUNT_DETACH   2
#define UMOUNT_EXPIRE   4
#define UMOUNT_NOFOLLOW 8

#define PROPAGATION (MS_SHARED | MS_PRIVATE | MS_SLAVE | MS_UNBINDABLE)

static uint32_t mount_flags_of(uint64_t flags)
{
    static const struct {
        uint64_t user;
        uint32_t flag;
    } table[] = {
        {MS_RDONLY, MOUNT_READ_ONLY},
        {MS_NOSUID, MOUNT_NOSUID},
        {MS_NODEV, MOUNT_NODEV},
        {MS_NOEXEC, MOUNT_NOEXEC},
        {MS_NOATIME, MOUNT_NOATIME},
        {MS_NODIRATIME, MOUNT_NODIRATIME},
        {MS_STRICTATIME, MOUNT_STRICTATIME},
    };
    uint32_t result = 0;
    for (size_t i = 0; i < ARRAY_SIZE(table); i++)
        if (flags & table[i].user)
            result |= table[i].flag;
    if (!(result & (MOUNT_NOATIME | MOUNT_STRICTATIME)))
        result |= MOUNT_RELATIME;
    return result;
}

// The texts of mount(2), copied in.
struct mount_call {
    char source[256];
    char type[64];
    char *options; // a page
};

static int mount_copy_text(char *to, uintptr_t user, size_t size)
{
    if (user == 0) {
        to[0] = 0;
        return 0;
    }
    int64_t len = user_copy_string(to, user, size);
    if (len == -ENAMETOOLONG)
        return -EINVAL;
    return len < 0 ? (int)len : 0;
}

static int mount_call_copy(
    struct mount_call *call, uintptr_t source, uintptr_t type, uintptr_t data)
{
    int error = mount_copy_text(call->source, source, sizeof(call->source));
    if (error == 0)
        error = mount_copy_text(call->type, type, sizeof(call->type));
    call->options = kmalloc(PAGE_SIZE, 0);
    if (error == 0 && call->options == NULL)
        error = -ENOMEM;
    if (error == 0)
        error = mount_copy_text(call->options, data, PAGE_SIZE);
    return error;
}

static int64_t mount_do(const struct mount_call *call, const struct path *at, uint64_t flags)
{
    struct path from;
    uint32_t mount_flags = mount_flags_of(flags);
    if (flags & MS_REMOUNT)
        return mount_remount(at, mount_flags, flags & MS_BIND, flags & MS_RDONLY, call->options);
    if (flags & (MS_BIND | MS_MOVE)) {
        int error = walk_path(AT_FDCWD, call->source, strlen(call->source), WALK_FOLLOW, &from);
        if (error != 0)
            return error;
        error = flags & MS_BIND ? mount_bind(&from, at, flags & MS_REC) : mount_move(&from, at);
        path_put(&from);
        return error;
    }
    if (flags & PROPAGATION) // one namespace: every mount is private, which is what most ask for
        return flags & MS_PRIVATE || flags & MS_SLAVE || flags & MS_UNBINDABLE || flags & MS_SHARED
                   ? 0
                   : -EINVAL;
    if (call->type[0] == 0)
        return -EINVAL;
    const struct filesystem_type *type = filesystem_find(call->type);
    if (type == NULL || !type->user_mountable)
        return -ENODEV;
    return mount_filesystem(call->type, call->source, at, mount_flags & ~(uint32_t)MOUNT_READ_ONLY,
        flags & MS_RDONLY, call->options);
}

SYSCALL5(
    mount, uintptr_t, source, uintptr_t, target, uintptr_t, type, uint64_t, flags, uintptr_t, data)
{
    struct path at;
    if ((flags & MS_MGC_MSK) == MS_MGC_VAL)
        flags &= ~(uint64_t)MS_MGC_MSK;
    struct mount_call *call = kzalloc(sizeof(*call));
    if (call == NULL)
        return -ENOMEM;
    int64_t result = mount_call_copy(call, source, type, data);
    if (result == 0)
        result = user_path_walk(AT_FDCWD, target, WALK_FOLLOW, &at);
    if (result == 0) {
        result = capable(CAP_SYS_ADMIN) ? mount_do(call, &at, flags) : -EPERM;
        path_put(&at);
    }
    kfree(call->options);
    kfree(call);
    return result;
}

SYSCALL2(umount2, uintptr_t, user, uint32_t, flags)
{
    struct path path;
    if (flags & ~(uint32_t)(UMOUNT_FORCE | UMOUNT_DETACH | UMOUNT_EXPIRE | UMOUNT_NOFOLLOW) ||
        (flags & UMOUNT_EXPIRE && flags & (UMOUNT_FORCE | UMOUNT_DETACH)))
        return -EINVAL;
    int64_t result =
        user_path_walk(AT_FDCWD, user, flags & UMOUNT_NOFOLLOW ? 0 : WALK_FOLLOW, &path);
    if (result != 0)
        return result;
    struct mount *mount = path.mount;
    if (!capable(CAP_SYS_ADMIN))
        result = -EPERM;
    else if (path.dentry != mount->root)
        result = -EINVAL;
    mount_get(mount);
    path_put(&path); // the walk's references would make it look busy
    if (result == 0)
        result = mount_unmount(mount, flags & UMOUNT_DETACH);
    mount_put(mount);
    return result;
}

SYSCALL2(pivot_root, uintptr_t, new_root, uintptr_t, put_old)
{
    struct path root, old;
    if (!capable(CAP_SYS_ADMIN))
        return -EPERM;
    int64_t result = user_path_walk(AT_FDCWD, new_root, WALK_FOLLOW | WALK_DIRECTORY, &root);
    if (result != 0)
        return result;
    result = user_path_walk(AT_FDCWD, put_old, WALK_FOLLOW | WALK_DIRECTORY, &old);
    if (result == 0) {
        result = mount_pivot(&root, &old);
        path_put(&old);
    }
    path_put(&root);
    return result;
}
