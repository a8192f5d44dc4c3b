// SPDX-License-Identifier: MIT
// Making and removing names.
//
// Each call finds the directory (walk_parent), locks it, looks the last component up under the
// lock, checks, lets the file system change its side, and then changes the dentry cache. rename is
// in rename.c.
#include "kernel/fs/namei.h"
#include "kernel/base/assert.h"
#include "kernel/core/errno.h"
#include "kernel/fs/file_private.h"
#include "kernel/fs/namei_private.h"
#include "kernel/process/credentials.h"
#include <linux/capability.h>

int namei_may_create(struct inode *directory)
{
    if (directory->flags & INODE_DEAD)
        return -ENOENT;
    return inode_permission(directory, MAY_WRITE | MAY_EXEC);
}

int namei_may_delete(struct inode *directory, const struct dentry *victim, bool is_directory)
{
    const struct inode *inode = victim->inode;
    int error = inode_permission(directory, MAY_WRITE | MAY_EXEC);
    if (error != 0)
        return error;
    uint32_t fsuid = credentials_current()->fsuid;
    if (directory->mode & S_ISVTX && inode->uid != fsuid && directory->uid != fsuid &&
        !capable(CAP_FOWNER))
        return -EPERM;
    if (directory->flags & INODE_APPEND || inode->flags & INODE_APPEND)
        return -EPERM;
    if (is_directory) {
        if (!inode_is_directory(inode))
            return -ENOTDIR;
        if (dentry_is_root(victim))
            return -EBUSY;
    } else if (inode_is_directory(inode)) {
        return -EISDIR;
    }
    if (directory->flags & INODE_DEAD)
        return -ENOENT;
    return 0;
}

int namei_create_locked(
    struct dentry *directory, struct dentry *dentry, uint32_t mode, struct device_number device)
{
    const struct inode_ops *ops = directory->inode->ops;
    if (ops->create == NULL)
        return -EPERM;
    int error = ops->create(directory->inode, dentry, mode, device);
    if (error == 0)
        namei_enter(dentry);
    return error;
}

void namei_enter(struct dentry *dentry)
{
    if (!(dentry->flags & DENTRY_HASHED)) // it may have been there as a negative one
        dentry_add(dentry, dentry->superblock->flags & SUPERBLOCK_PERSISTENT);
}

// The directory of a name that is to be made, locked for writing, and the negative dentry.
static int namei_create_begin(
    const struct name *name, bool directory_wanted, struct path *parent, struct dentry **result)
{
    struct walk_last last = {};
    int error = walk_parent(name->dirfd, name->text, name->len, parent, &last);
    if (error != 0)
        return error;
    if (last.is_root || last.kind != PATH_COMPONENT_NAME) {
        path_put(parent);
        return -EEXIST;
    }
    int read_only = mount_write_get(parent->mount);
    struct inode *inode = parent->dentry->inode;
    rwlock_write_lock(&inode->lock);
    struct dentry *dentry = walk_lookup_locked(parent->dentry, last.name, last.len, &error);
    if (error == 0 && dentry->inode != NULL)
        error = -EEXIST;
    if (error == 0 && last.must_be_directory && !directory_wanted)
        error = -ENOENT;
    if (error == 0)
        error = read_only;
    if (error == 0)
        error = namei_may_create(inode);
    if (error == 0) {
        *result = dentry;
        return 0;
    }
    rwlock_write_unlock(&inode->lock);
    if (dentry != NULL)
        dentry_put(dentry);
    if (read_only == 0)
        mount_write_put(parent->mount);
    path_put(parent);
    return error;
}

static void namei_create_end(struct path *parent, struct dentry *dentry, int error)
{
    struct inode *directory = parent->dentry->inode;
    rwlock_write_unlock(&directory->lock);
    if (error == 0)
        notify_name(directory, dentry->inode, IN_CREATE, dentry->name);
    dentry_put(dentry);
    mount_write_put(parent->mount);
    path_put(parent);
}

int namei_mknod(const struct name *name, uint32_t mode, struct device_number device)
{
    struct path parent;
    struct dentry *dentry;
    uint32_t type = mode & S_IFMT;
    int error = namei_create_begin(name, type == S_IFDIR, &parent, &dentry);
    if (error != 0)
        return error;
    if ((type == S_IFCHR || type == S_IFBLK) && !capable(CAP_MKNOD))
        error = -EPERM;
    else
        error = namei_create_locked(
            parent.dentry, dentry, type | namei_apply_umask(mode & 07777), device);
    namei_create_end(&parent, dentry, error);
    return error;
}

int namei_symlink(const struct name *name, const char *target, size_t target_len)
{
    struct path parent;
    struct dentry *dentry;
    int error = namei_create_begin(name, false, &parent, &dentry);
    if (error != 0)
        return error;
    const struct inode_ops *ops = parent.dentry->inode->ops;
    error = ops->symlink != NULL ? ops->symlink(parent.dentry->inode, dentry, target, target_len)
                                 : -EPERM;
    if (error == 0)
        namei_enter(dentry);
    namei_create_end(&parent, dentry, error);
    return error;
}

static int namei_link_check(const struct path *old, const struct path *parent)
{
    const struct inode *inode = old->dentry->inode;
    if (old->mount != parent->mount)
        return -EXDEV;
    if (inode->flags & INODE_APPEND || inode_is_directory(inode))
        return -EPERM;
    if (inode->nlink == 0 && !(inode->flags & INODE_LINKABLE))
        return -ENOENT;
    return 0;
}

int namei_link(const struct path *old, const struct name *new_name)
{
    struct path parent;
    struct dentry *dentry;
    int error = namei_create_begin(new_name, false, &parent, &dentry);
    if (error != 0)
        return error;
    struct inode *inode = old->dentry->inode;
    const struct inode_ops *ops = parent.dentry->inode->ops;
    error = namei_link_check(old, &parent);
    if (error == 0)
        error = ops->link != NULL ? ops->link(inode, parent.dentry->inode, dentry) : -EPERM;
    if (error == 0)
        namei_enter(dentry);
    namei_create_end(&parent, dentry, error);
    return error;
}

// The directory of a name that is to be removed, locked, and the positive dentry.
static int namei_remove_begin(
    const struct name *name, struct path *parent, struct walk_last *last, struct dentry **result)
{
    int error = mount_write_get(parent->mount);
    if (error != 0)
        return error;
    struct inode *inode = parent->dentry->inode;
    rwlock_write_lock(&inode->lock);
    struct dentry *dentry = walk_lookup_locked(parent->dentry, last->name, last->len, &error);
    if (error == 0 && dentry->inode == NULL) {
        dentry_put(dentry);
        error = -ENOENT;
    }
    if (error != 0) {
        rwlock_write_unlock(&inode->lock);
        mount_write_put(parent->mount);
        return error;
    }
    *result = dentry;
    return 0;
}

static int namei_unlink_locked(struct path *parent, struct dentry *dentry, bool must_be_directory)
{
    struct inode *directory = parent->dentry->inode;
    struct inode *inode = dentry->inode;
    if (must_be_directory)
        return inode_is_directory(inode) ? -EISDIR : -ENOTDIR;
    int error = namei_may_delete(directory, dentry, false);
    if (error != 0)
        return error;
    if (dentry->flags & DENTRY_MOUNTED)
        return -EBUSY;
    if (directory->ops->unlink == NULL)
        return -EPERM;
    error = directory->ops->unlink(directory, dentry);
    if (error == 0)
        dentry_remove(dentry);
    return error;
}

int namei_unlink(const struct name *name)
{
    struct path parent;
    struct walk_last last = {};
    struct dentry *dentry;
    int error = walk_parent(name->dirfd, name->text, name->len, &parent, &last);
    if (error != 0)
        return error;
    if (last.is_root || last.kind != PATH_COMPONENT_NAME) {
        path_put(&parent);
        return -EISDIR;
    }
    error = namei_remove_begin(name, &parent, &last, &dentry);
    if (error == 0) {
        struct inode *directory = parent.dentry->inode;
        error = namei_unlink_locked(&parent, dentry, last.must_be_directory);
        rwlock_write_unlock(&directory->lock);
        if (error == 0) {
            notify_name(directory, dentry->inode, IN_DELETE, dentry->name);
            notify_gone(dentry->inode);
        }
        dentry_put(dentry);
        mount_write_put(parent.mount);
    }
    path_put(&parent);
    return error;
}

static int namei_rmdir_locked(struct path *parent, struct dentry *dentry)
{
    struct inode *directory = parent->dentry->inode;
    struct inode *inode = dentry->inode;
    int error = namei_may_delete(directory, dentry, true);
    if (error != 0)
        return error;
    if (directory->ops->unlink == NULL)
        return -EPERM;
    rwlock_write_lock_nested(&inode->lock, 1);
    if (dentry->flags & DENTRY_MOUNTED)
        error = -EBUSY;
    else if (!dentry_is_empty_directory(dentry))
        error = -ENOTEMPTY;
    else
        error = directory->ops->unlink(directory, dentry);
    if (error == 0) {
        inode->flags |= INODE_DEAD;
        dentry_remove(dentry);
    }
    rwlock_write_unlock(&inode->lock);
    return error;
}

int namei_rmdir(const struct name *name)
{
    struct path parent;
    struct walk_last last = {};
    struct dentry *dentry;
    int error = walk_parent(name->dirfd, name->text, name->len, &parent, &last);
    if (error != 0)
        return error;
    if (last.is_root)
        error = -EBUSY;
    else if (last.kind != PATH_COMPONENT_NAME)
        error = last.kind == PATH_COMPONENT_DOT ? -EINVAL : -ENOTEMPTY;
    else
        error = namei_remove_begin(name, &parent, &last, &dentry);
    if (error == 0) {
        struct inode *directory = parent.dentry->inode;
        error = namei_rmdir_locked(&parent, dentry);
        rwlock_write_unlock(&directory->lock);
        if (error == 0) {
            notify_name(directory, dentry->inode, IN_DELETE, dentry->name);
            notify_gone(dentry->inode);
        }
        dentry_put(dentry);
        mount_write_put(parent.mount);
    }
    path_put(&parent);
    return error;
}
