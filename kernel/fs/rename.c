// SPDX-License-Identifier: MIT
// rename(2), renameat2(2).
//
// Locks: a rename between two directories holds the superblock's rename_lock, so that the shape of
// the tree stands still while it is asked who lies below whom. Then both directories, the one that
// lies above the other first, else the one with the lower address; then, if an existing directory
// is replaced, that one.
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/fs/file_private.h"
#include "kernel/fs/namei_private.h"
#include <linux/fs.h>

struct rename {
    struct path old_parent, new_parent;
    struct walk_last old_last, new_last;
    struct dentry *old, *new; // with references
    uint32_t flags;           // RENAME_*
};

static void rename_lock_directories(struct rename *rename)
{
    struct dentry *a = rename->old_parent.dentry;
    struct dentry *b = rename->new_parent.dentry;
    if (a == b) {
        rwlock_write_lock(&a->inode->lock);
        return;
    }
    mutex_lock(&a->superblock->rename_lock);
    bool b_first = dentry_is_below(a, b) || (!dentry_is_below(b, a) && b < a);
    rwlock_write_lock(b_first ? &b->inode->lock : &a->inode->lock);
    rwlock_write_lock_nested(b_first ? &a->inode->lock : &b->inode->lock, 1);
}

static void rename_unlock_directories(struct rename *rename)
{
    struct dentry *a = rename->old_parent.dentry;
    struct dentry *b = rename->new_parent.dentry;
    rwlock_write_unlock(&a->inode->lock);
    if (a == b)
        return;
    rwlock_write_unlock(&b->inode->lock);
    mutex_unlock(&a->superblock->rename_lock);
}

// Finds both entries and checks how they lie to each other.
static int rename_lookup(struct rename *rename)
{
    int error;
    struct dentry *old_directory = rename->old_parent.dentry;
    struct dentry *new_directory = rename->new_parent.dentry;
    rename->old =
        walk_lookup_locked(old_directory, rename->old_last.name, rename->old_last.len, &error);
    if (rename->old == NULL)
        return error;
    if (rename->old->inode == NULL)
        return -ENOENT;
    rename->new =
        walk_lookup_locked(new_directory, rename->new_last.name, rename->new_last.len, &error);
    if (rename->new == NULL)
        return error;
    bool exchange = rename->flags & RENAME_EXCHANGE;
    if (rename->flags & RENAME_NOREPLACE && rename->new->inode != NULL)
        return -EEXIST;
    if (exchange && rename->new->inode == NULL)
        return -ENOENT;
    if (exchange && rename->new_last.must_be_directory && !inode_is_directory(rename->new->inode))
        return -ENOTDIR;
    if (!inode_is_directory(rename->old->inode)) {
        if (rename->old_last.must_be_directory)
            return -ENOTDIR;
        if (!exchange && rename->new_last.must_be_directory)
            return -ENOTDIR;
    }
    if (dentry_is_below(new_directory, rename->old))
        return -EINVAL; // into itself
    if (dentry_is_below(old_directory, rename->new))
        return exchange ? -EINVAL : -ENOTEMPTY;
    return 0;
}

// A directory that gets another parent is itself changed.
static int rename_check_parent_change(const struct rename *rename, struct dentry *moved)
{
    if (rename->old_parent.dentry == rename->new_parent.dentry || !inode_is_directory(moved->inode))
        return 0;
    return inode_permission(moved->inode, MAY_WRITE);
}

static int rename_check(struct rename *rename)
{
    struct inode *old_directory = rename->old_parent.dentry->inode;
    struct inode *new_directory = rename->new_parent.dentry->inode;
    bool is_directory = inode_is_directory(rename->old->inode);
    bool exchange = rename->flags & RENAME_EXCHANGE;
    int error = namei_may_delete(old_directory, rename->old, is_directory);
    if (error != 0)
        return error;
    if (rename->new->inode == NULL)
        error = namei_may_create(new_directory);
    else
        error = namei_may_delete(new_directory, rename->new,
            exchange ? inode_is_directory(rename->new->inode) : is_directory);
    if (error == 0)
        error = rename_check_parent_change(rename, rename->old);
    if (error == 0 && exchange)
        error = rename_check_parent_change(rename, rename->new);
    if (error == 0 && old_directory->ops->rename == NULL)
        error = -EPERM;
    if (error == 0 && (rename->old->flags & DENTRY_MOUNTED || rename->new->flags &DENTRY_MOUNTED))
        error = -EBUSY;
    return error;
}

static int rename_commit(struct rename *rename)
{
    struct inode *old_directory = rename->old_parent.dentry->inode;
    struct inode *new_directory = rename->new_parent.dentry->inode;
    struct inode *victim = rename->new->inode;
    bool exchange = rename->flags & RENAME_EXCHANGE;
    bool replaces = victim != NULL && !exchange && inode_is_directory(victim);
    int error = 0;
    if (replaces) {
        rwlock_write_lock_nested(&victim->lock, 2);
        if (!dentry_is_empty_directory(rename->new))
            error = -ENOTEMPTY;
    }
    if (error == 0)
        error = old_directory->ops->rename(
            old_directory, rename->old, new_directory, rename->new, exchange);
    if (error == 0)
        error = exchange ? dentry_exchange(rename->old, rename->new)
                         : dentry_move(rename->old, rename->new);
    if (error == 0 && replaces)
        victim->flags |= INODE_DEAD;
    if (replaces)
        rwlock_write_unlock(&victim->lock);
    return error;
}

static int rename_between(struct rename *rename)
{
    if (rename->old_parent.mount != rename->new_parent.mount)
        return -EXDEV;
    if (rename->old_last.is_root || rename->old_last.kind != PATH_COMPONENT_NAME)
        return -EBUSY;
    if (rename->new_last.is_root || rename->new_last.kind != PATH_COMPONENT_NAME)
        return rename->flags & RENAME_NOREPLACE ? -EEXIST : -EBUSY;
    int error = mount_write_get(rename->old_parent.mount);
    if (error != 0)
        return error;
    rename_lock_directories(rename);
    error = rename_lookup(rename);
    bool same = error == 0 && rename->old->inode == rename->new->inode;
    bool notify = false;
    struct inode *replaced = NULL;
    char old_name[256];
    if (error == 0 && !same) { // two names of one file: nothing happens, says POSIX
        error = rename_check(rename);
        if (error == 0) {
            string_copy_bytes(old_name, sizeof(old_name), rename->old->name, rename->old->name_len);
            replaced = rename->flags & RENAME_EXCHANGE ? NULL : rename->new->inode;
            error = rename_commit(rename);
        }
        notify = error == 0;
    }
    rename_unlock_directories(rename);
    if (notify)
        notify_move(rename->old_parent.dentry->inode, old_name, rename->new_parent.dentry->inode,
            rename->old->name, rename->old->inode);
    if (notify && replaced != NULL)
        notify_gone(replaced);
    if (rename->old != NULL)
        dentry_put(rename->old);
    if (rename->new != NULL)
        dentry_put(rename->new);
    mount_write_put(rename->old_parent.mount);
    return error;
}

int namei_rename(const struct name *old_name, const struct name *new_name, uint32_t flags)
{
    struct rename rename = {.flags = flags};
    if (flags & ~(uint32_t)(RENAME_NOREPLACE | RENAME_EXCHANGE) ||
        flags == (RENAME_NOREPLACE | RENAME_EXCHANGE))
        return -EINVAL;
    int error = walk_parent(
        old_name->dirfd, old_name->text, old_name->len, &rename.old_parent, &rename.old_last);
    if (error != 0)
        return error;
    error = walk_parent(
        new_name->dirfd, new_name->text, new_name->len, &rename.new_parent, &rename.new_last);
    if (error == 0) {
        error = rename_between(&rename);
        path_put(&rename.new_parent);
    }
    path_put(&rename.old_parent);
    return error;
}
