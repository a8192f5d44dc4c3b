// SPDX-License-Identifier: MIT
// Listing directories, and where the task stands: getdents, getcwd, chdir, chroot, umask.
#include "kernel/fs/directory.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/fs/file.h"
#include "kernel/fs/inode.h"
#include "kernel/process/credentials.h"
#include "kernel/process/task.h"
#include "kernel/syscall/user_path.h"
#include "mm/slab.h"
#include <linux/capability.h>

// Layouts of the ABI; no UAPI header has them.
struct dirent64 {
    uint64_t inode;
    int64_t offset;
    uint16_t len;
    uint8_t type;
    char name[];
} __packed;
static_assert(offsetof(struct dirent64, name) == 19);
struct dirent_old { // the type stands in the last byte
    uint64_t inode;
    uint64_t offset;
    uint16_t len;
    char name[];
} __packed;
static_assert(offsetof(struct dirent_old, name) == 18);

struct getdents {
    struct directory_emitter emitter;
    uintptr_t buffer;
    size_t left;
    size_t done;
    bool old_form;
    int error; // why an entry was not taken: -EINVAL (too long for the buffer), -EFAULT
};

static bool getdents_emit(struct directory_emitter *emitter, const char *name, size_t len,
    uint64_t next, uint64_t inode, uint32_t type)
{
    struct getdents *call = container_of(emitter, struct getdents, emitter);
    union {
        struct dirent64 entry;
        struct dirent_old old;
        char bytes[288];
    } record __attribute__((uninitialized));
    size_t header =
        call->old_form ? offsetof(struct dirent_old, name) : offsetof(struct dirent64, name);
    size_t size = ALIGN_UP(header + len + (call->old_form ? 2 : 1), (size_t)8);
    if (size > call->left) {
        call->error = -EINVAL;
        return false;
    }
    memset(record.bytes + size - 8, 0, 8);
    if (call->old_form) {
        record.old.inode = inode;
        record.old.offset = next;
        record.old.len = (uint16_t)size;
        record.bytes[size - 1] = (char)type;
    } else {
        record.entry.inode = inode;
        record.entry.offset = (int64_t)next;
        record.entry.len = (uint16_t)size;
        record.entry.type = (uint8_t)type;
    }
    memcpy(record.bytes + header, name, len);
    record.bytes[header + len] = 0;
    if (user_copy_out(call->buffer, &record, size) != 0) {
        call->error = -EFAULT;
        return false;
    }
    call->buffer += size;
    call->left -= size;
    call->done += size;
    return true;
}

static int64_t do_getdents(int fd, uintptr_t buffer, uint32_t size, bool old_form)
{
    bool borrowed;
    struct file *file = file_fd_get(fd, &borrowed);
    if (file == NULL)
        return -EBADF;
    int64_t result = -ENOTDIR;
    if (file->ops->iterate != NULL) {
        struct getdents call = {
            .emitter.emit = getdents_emit, .buffer = buffer, .left = size, .old_form = old_form};
        bool locked = file_position_lock(file);
        rwlock_read_lock(&file->inode->lock);
        call.emitter.position = file->offset;
        result =
            file->inode->flags & INODE_DEAD ? -ENOENT : file->ops->iterate(file, &call.emitter);
        file->offset = call.emitter.position;
        rwlock_read_unlock(&file->inode->lock);
        file_position_unlock(file, locked);
        if (call.done != 0)
            result = (int64_t)call.done;
        else if (result == 0)
            result = call.error;
        inode_touch_accessed(file->inode, file->path.mount);
    }
    file_fd_put(file, borrowed);
    return result;
}

SYSCALL3(getdents, int, fd, uintptr_t, buffer, uint32_t, size)
{
    return do_getdents(fd, buffer, size, true);
}

SYSCALL3(getdents64, int, fd, uintptr_t, buffer, uint32_t, size)
{
    return do_getdents(fd, buffer, size, false);
}

SYSCALL2(getcwd, uintptr_t, buffer, size_t, size)
{
    struct path cwd;
    struct path_text info;
    char *memory = kmalloc(PATH_WALK_PATH_MAX, 0);
    if (memory == NULL)
        return -ENOMEM;
    fs_context_path_get(task_current()->fs, false, &cwd);
    int64_t result = -ENAMETOOLONG;
    char *text = path_to_text(&cwd, NULL, memory, PATH_WALK_PATH_MAX, &info);
    if (info.deleted) {
        result = -ENOENT;
    } else if (text != NULL) {
        char *end = memory + PATH_WALK_PATH_MAX;
        if (!info.reachable && text - memory >= 13) {
            text -= 13;
            memcpy(text, "(unreachable)", 13);
        }
        size_t len = (size_t)(end - text);
        if (len > size)
            result = -ERANGE;
        else
            result = copy_to_user(buffer, text, len) == 0 ? (int64_t)len : -EFAULT;
    }
    path_put(&cwd);
    kfree(memory);
    return result;
}

static int change_directory(const struct path *path)
{
    int error = inode_permission(path->dentry->inode, MAY_EXEC);
    if (error == 0)
        fs_context_path_set(task_current()->fs, false, path);
    return error;
}

SYSCALL1(chdir, uintptr_t, user)
{
    struct path path;
    int error = user_path_walk(AT_FDCWD, user, WALK_FOLLOW | WALK_DIRECTORY, &path);
    if (error == 0) {
        error = change_directory(&path);
        path_put(&path);
    }
    return error;
}

SYSCALL1(fchdir, int, fd)
{
    bool borrowed;
    struct file *file = file_fd_get_any(fd, &borrowed);
    if (file == NULL)
        return -EBADF;
    int error = -ENOTDIR;
    if (file->path.mount != NULL && inode_is_directory(file->inode))
        error = change_directory(&file->path);
    file_fd_put(file, borrowed);
    return error;
}

SYSCALL1(chroot, uintptr_t, user)
{
    struct path path;
    int error = user_path_walk(AT_FDCWD, user, WALK_FOLLOW | WALK_DIRECTORY, &path);
    if (error != 0)
        return error;
    error = inode_permission(path.dentry->inode, MAY_EXEC);
    if (error == 0 && !capable(CAP_SYS_CHROOT))
        error = -EPERM;
    if (error == 0)
        fs_context_path_set(task_current()->fs, true, &path);
    path_put(&path);
    return error;
}

SYSCALL1(umask, uint32_t, mask)
{
    struct fs_context *fs = task_current()->fs;
    spin_lock(&fs->lock);
    uint32_t old = fs->umask;
    fs->umask = mask & 0777;
    spin_unlock(&fs->lock);
    return old;
}
