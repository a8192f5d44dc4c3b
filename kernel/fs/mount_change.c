// SPDX-License-Identifier: MIT
// Changes of the mount tree: bind, move, remount, unmount, pivot_root.
#include "kernel/base/assert.h"
#include "kernel/core/errno.h"
#include "kernel/fs/dentry.h"
#include "kernel/fs/inode.h"
#include "kernel/fs/mount_private.h"
#include "kernel/fs/vfs.h"
#include "kernel/process/task.h"

// Is `mount` below `ancestor` in the tree of mounts, or the same?
static bool mount_is_below(const struct mount *mount, const struct mount *ancestor)
{
    for (;;) {
        if (mount == ancestor)
            return true;
        if (mount->parent == mount)
            return false;
        mount = mount->parent;
    }
}

static int mount_bind_one(
    const struct mount *from, struct dentry *root, const struct path *at, struct mount **result)
{
    struct mount *mount = mount_create(from->superblock, root, from->flags, from->source);
    if (mount == NULL)
        return -ENOMEM;
    mount_attach_locked(mount, at);
    *result = mount;
    return 0;
}

// Copies of the mounts below `from` that lie under `root`, onto the copy of `from`. Depth first,
// bounded by the tree itself.
static int mount_bind_children(
    struct mount *from, const struct dentry *root, struct mount *copy, const struct mount *top)
{
    struct mount *child;
    list_for_each_entry (child, &from->children, sibling) {
        struct path at = {.mount = copy, .dentry = child->mountpoint};
        struct mount *child_copy;
        if (child == top || !dentry_is_below(child->mountpoint, root))
            continue;
        int error = mount_bind_one(child, child->root, &at, &child_copy);
        if (error != 0)
            return error;
        error = mount_bind_children(child, child->root, child_copy, top);
        mount_put(child_copy);
        if (error != 0)
            return error;
    }
    return 0;
}

int mount_bind(const struct path *from, const struct path *at, bool recursive)
{
    struct mount *mount;
    if (inode_is_directory(from->dentry->inode) != inode_is_directory(at->dentry->inode))
        return -ENOTDIR;
    struct path top = *at;
    path_get(&top);
    mutex_lock(&mount_lock);
    mount_follow(&top);
    int error = dentry_is_removed(top.dentry)
                    ? -ENOENT
                    : mount_bind_one(from->mount, from->dentry, &top, &mount);
    if (error == 0) {
        // A tree may be bound below itself: the copy is left out of what is copied.
        if (recursive)
            error = mount_bind_children(from->mount, from->dentry, mount, mount);
        mount_put(mount);
    }
    mutex_unlock(&mount_lock);
    path_put(&top);
    return error;
}

int mount_remount(
    const struct path *at, uint32_t flags, bool bind, bool read_only, const char *options)
{
    struct mount *mount = at->mount;
    struct superblock *superblock = mount->superblock;
    int error = 0;
    if (at->dentry != mount->root)
        return -EINVAL;
    mutex_lock(&mount_lock);
    if (bind) {
        if (flags & MOUNT_READ_ONLY && !(mount->flags & MOUNT_READ_ONLY)) {
            // Announce it, then look for writers: mount_write_get() does the same the other way
            // round.
            uint32_t old = mount->flags;
            __atomic_store_n(&mount->flags, old | MOUNT_READ_ONLY, __ATOMIC_SEQ_CST);
            if (__atomic_load_n(&mount->writers, __ATOMIC_SEQ_CST) != 0) {
                mount->flags = old;
                error = -EBUSY;
            }
        }
    } else {
        if (read_only && __atomic_load_n(&mount->writers, __ATOMIC_SEQ_CST) != 0)
            error = -EBUSY;
        if (error == 0 && superblock->ops != NULL && superblock->ops->remount != NULL)
            error = superblock->ops->remount(
                superblock, &(struct mount_request){mount->source, options, read_only});
        if (error == 0)
            superblock->flags = read_only ? superblock->flags | SUPERBLOCK_READ_ONLY
                                          : superblock->flags & ~(uint32_t)SUPERBLOCK_READ_ONLY;
        flags &= ~(uint32_t)MOUNT_READ_ONLY;
    }
    if (error == 0)
        __atomic_store_n(&mount->flags, flags, __ATOMIC_SEQ_CST);
    mutex_unlock(&mount_lock);
    return error;
}

int mount_move(const struct path *from, const struct path *to)
{
    struct mount *mount = from->mount;
    struct path was_at;
    if (from->dentry != mount->root)
        return -EINVAL;
    if (inode_is_directory(from->dentry->inode) != inode_is_directory(to->dentry->inode))
        return -ENOTDIR;
    mutex_lock(&mount_lock);
    int error = 0;
    if (!mount_is_attached(mount))
        error = -EINVAL; // the root stays
    else if (mount_is_below(to->mount, mount))
        error = -ELOOP;
    if (error == 0) {
        mount_detach_locked(mount, &was_at);
        mount_attach_locked(mount, to);
        mount_put(mount); // detaching handed its reference to us
        mutex_unlock(&mount_lock);
        path_put(&was_at);
        return 0;
    }
    mutex_unlock(&mount_lock);
    return error;
}

// Detaches a mount and all below it; references are dropped one by one outside the lock.
static void mount_detach_tree(struct mount *mount)
{
    for (;;) {
        struct path was_at;
        struct mount *at = mount;
        while (!list_is_empty(&at->children))
            at = list_first_entry(&at->children, struct mount, sibling);
        bool last = at == mount;
        mount_detach_locked(at, &was_at);
        mutex_unlock(&mount_lock);
        path_put(&was_at);
        mount_put(at);
        mutex_lock(&mount_lock);
        if (last || !mount_is_attached(mount))
            return;
    }
}

int mount_unmount(struct mount *mount, bool lazy)
{
    int error = 0;
    mutex_lock(&mount_lock);
    if (!mount_is_attached(mount)) {
        error = mount == mount_root ? -EBUSY : -EINVAL;
    } else if (!lazy) {
        // One reference for being attached, one is the caller's.
        if (!list_is_empty(&mount->children) ||
            __atomic_load_n(&mount->refcount, __ATOMIC_SEQ_CST) > 2)
            error = -EBUSY;
    }
    if (error == 0)
        mount_detach_tree(mount);
    mutex_unlock(&mount_lock);
    return error;
}

// Tasks whose root or working directory was the old root follow to the new one. The task list is
// walked by pid.
static void mount_pivot_tasks(const struct path *old_root, const struct path *new_root)
{
    struct process *process;
    for (int32_t pid = 0; (process = process_next_get(pid)) != NULL; process_put(process)) {
        pid = process->pid;
        struct task *task;
        for (int32_t tid = 0; (task = process_thread_next_get(process, tid)) != NULL;
             task_put(task)) {
            tid = task->tid;
            spin_lock(&task->alloc_lock);
            struct fs_context *fs = task->fs;
            if (fs != NULL)
                fs_context_get(fs);
            spin_unlock(&task->alloc_lock);
            if (fs == NULL)
                continue;
            if (path_equal(&fs->root, old_root))
                fs_context_path_set(fs, true, new_root);
            if (path_equal(&fs->cwd, old_root))
                fs_context_path_set(fs, false, new_root);
            fs_context_put(fs);
        }
    }
}

int mount_pivot(const struct path *new_root, const struct path *put_old)
{
    struct path old_root, was_at;
    fs_context_path_get(task_current()->fs, true, &old_root);
    mutex_lock(&mount_lock);
    struct mount *new_mount = new_root->mount;
    struct mount *old_mount = old_root.mount;
    int error = 0;
    if (new_root->dentry != new_mount->root || old_root.dentry != old_mount->root ||
        !mount_is_attached(new_mount))
        error = -EINVAL; // both must be mount points
    else if (new_mount == old_mount)
        error = -EBUSY;
    else if (!mount_is_below(put_old->mount, new_mount))
        error = -EINVAL;
    else if (!mount_is_attached(old_mount))
        error = -EINVAL; // rootfs can't be moved away, as in Linux
    if (error == 0) {
        struct path root_at;
        mount_detach_locked(new_mount, &was_at);
        mount_detach_locked(old_mount, &root_at);
        mount_attach_locked(new_mount, &root_at);
        mount_attach_locked(old_mount, put_old);
        mutex_unlock(&mount_lock);
        mount_put(new_mount);
        mount_put(old_mount);
        path_put(&root_at);
        path_put(&was_at);
        mount_pivot_tasks(&old_root, new_root);
    } else {
        mutex_unlock(&mount_lock);
    }
    path_put(&old_root);
    return error;
}
