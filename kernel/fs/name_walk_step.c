// SPDX-License-Identifier: MIT
// The moves of a path walk: start, one step down, over mounts, up. Each in RCU mode and in
// reference mode (see name_walk.c).
#include "kernel/base/assert.h"
#include "kernel/core/errno.h"
#include "kernel/fs/file.h"
#include "kernel/fs/name_walk_private.h"

// ---- start ----

int walk_start_rcu(
    struct walk *walk, struct fs_context *fs, const struct file *directory, bool absolute)
{
    uint32_t sequence;
    do {
        sequence = seqcount_read_begin(&fs->sequence);
        walk->root = fs->root;
        walk->path = absolute ? fs->root : fs->cwd;
    } while (seqcount_read_retry(&fs->sequence, sequence));
    if (directory != NULL)
        walk->path = directory->path;
    if (walk->flags & (WALK_IN_ROOT | WALK_BENEATH))
        walk->root = walk->path;
    walk->mount_sequence = seqcount_read_begin(&mount_sequence);
    walk->rename_sequence = seqcount_read_begin(&dentry_rename_sequence);
    walk->sequence = seqcount_read_begin(&walk->path.dentry->sequence);
    walk->inode = walk->path.dentry->inode;
    return walk->inode != NULL ? 0 : -ECHILD;
}

int walk_start_reference(
    struct walk *walk, struct fs_context *fs, const struct file *directory, bool absolute)
{
    fs_context_path_get(fs, true, &walk->root);
    if (directory != NULL) {
        walk->path = directory->path;
        path_get(&walk->path);
    } else if (absolute) {
        walk->path = walk->root;
        path_get(&walk->path);
    } else {
        fs_context_path_get(fs, false, &walk->path);
    }
    if (walk->flags & (WALK_IN_ROOT | WALK_BENEATH)) {
        path_get(&walk->path);
        path_put(&walk->root);
        walk->root = walk->path;
    }
    walk->inode = walk->path.dentry->inode;
    return 0;
}

// To the root, for an absolute path in the middle (a link).
int walk_jump_root(struct walk *walk)
{
    if (walk->flags & WALK_BENEATH)
        return -EXDEV;
    if (walk->rcu) {
        walk->path = walk->root;
        walk->sequence = seqcount_read_begin(&walk->path.dentry->sequence);
    } else {
        path_get(&walk->root);
        path_put(&walk->path);
        walk->path = walk->root;
    }
    walk->inode = walk->path.dentry->inode;
    return walk->inode != NULL ? 0 : -ECHILD;
}

// ---- one step down ----

static int walk_mounts_rcu(struct walk *walk)
{
    while (unlikely(walk->path.dentry->flags & DENTRY_MOUNTED)) {
        struct mount *mount = mount_lookup(walk->path.mount, walk->path.dentry);
        if (seqcount_read_retry(&mount_sequence, walk->mount_sequence))
            return -ECHILD;
        if (mount == NULL)
            return 0;
        if (walk->flags & WALK_NO_XDEV)
            return -EXDEV;
        walk->path.mount = mount;
        walk->path.dentry = mount->root;
        walk->sequence = seqcount_read_begin(&mount->root->sequence);
        walk->inode = mount->root->inode;
    }
    return 0;
}

static int walk_step_rcu(
    struct walk *walk, const struct path_component *component, struct walk_entry *entry)
{
    struct dentry *parent = walk->path.dentry;
    uint32_t sequence;
    struct dentry *found = dentry_lookup_rcu(parent, component->name, component->len, &sequence);
    if (found == NULL) {
        if (walk->inode->ops->lookup != NULL)
            return -ECHILD;
        if (seqcount_read_retry(&dentry_rename_sequence, walk->rename_sequence) ||
            seqcount_read_retry(&parent->sequence, walk->sequence))
            return -ECHILD;
        return -ENOENT;
    }
    struct inode *inode = __atomic_load_n(&found->inode, __ATOMIC_ACQUIRE);
    if (unlikely(found->flags & DENTRY_REVALIDATE))
        return -ECHILD;
    if (seqcount_read_retry(&found->sequence, sequence) ||
        seqcount_read_retry(&parent->sequence, walk->sequence))
        return -ECHILD;
    if (inode == NULL)
        return -ENOENT;
    entry->dentry = found;
    entry->inode = inode;
    entry->sequence = sequence;
    return 0;
}

// The entry of a directory: cached, or looked up under the directory's lock. With a reference,
// perhaps negative.
static struct dentry *walk_lookup(
    struct dentry *directory, const char *name, size_t len, int *error)
{
    struct dentry *found = dentry_lookup(directory, name, len);
    struct inode *inode = directory->inode;
    if (found != NULL && found->flags & DENTRY_REVALIDATE && inode->ops->revalidate != NULL &&
        !inode->ops->revalidate(found)) {
        rwlock_write_lock(&inode->lock);
        dentry_remove(found);
        rwlock_write_unlock(&inode->lock);
        dentry_put(found);
        found = NULL;
    }
    if (found != NULL || inode->ops->lookup == NULL) {
        *error = found == NULL ? -ENOENT : 0;
        return found;
    }
    rwlock_write_lock(&inode->lock);
    found = walk_lookup_locked(directory, name, len, error);
    rwlock_write_unlock(&inode->lock);
    return found;
}

struct dentry *walk_lookup_locked(
    struct dentry *directory, const char *name, size_t len, int *error)
{
    *error = 0;
    struct dentry *found = dentry_lookup(directory, name, len);
    if (found != NULL)
        return found;
    found = dentry_create(directory->superblock, directory, name, len);
    if (found == NULL) {
        *error = -ENOMEM;
        return NULL;
    }
    const struct inode_ops *ops = directory->inode->ops;
    if (ops->lookup == NULL)
        return found;
    *error = directory->inode->flags & INODE_DEAD ? -ENOENT : ops->lookup(directory->inode, found);
    if (*error != 0) {
        dentry_put(found);
        return NULL;
    }
    if (!(found->flags & DENTRY_HASHED))
        dentry_add(found, false);
    return found;
}

static int walk_step_reference(
    struct walk *walk, const struct path_component *component, struct walk_entry *entry)
{
    int error;
    struct dentry *found = walk_lookup(walk->path.dentry, component->name, component->len, &error);
    if (found == NULL)
        return error;
    struct inode *inode = __atomic_load_n(&found->inode, __ATOMIC_ACQUIRE);
    if (inode == NULL) {
        dentry_put(found);
        return -ENOENT;
    }
    entry->dentry = found;
    entry->inode = inode;
    return 0;
}

int walk_step(struct walk *walk, const struct path_component *component, struct walk_entry *entry)
{
    return walk->rcu ? walk_step_rcu(walk, component, entry)
                     : walk_step_reference(walk, component, entry);
}

void walk_enter(struct walk *walk, const struct walk_entry *entry)
{
    if (!walk->rcu)
        dentry_put(walk->path.dentry);
    walk->path.dentry = entry->dentry;
    walk->inode = entry->inode;
    walk->sequence = entry->sequence;
}

int walk_mounts(struct walk *walk)
{
    if (likely(!(walk->path.dentry->flags & DENTRY_MOUNTED)))
        return 0;
    if (walk->rcu)
        return walk_mounts_rcu(walk);
    struct mount *before = walk->path.mount;
    mount_follow(&walk->path);
    walk->inode = walk->path.dentry->inode;
    return walk->path.mount != before && walk->flags & WALK_NO_XDEV ? -EXDEV : 0;
}

// ---- up ----

static int walk_up_rcu(struct walk *walk)
{
    while (walk->path.dentry == walk->path.mount->root) {
        if (path_equal(&walk->path, &walk->root))
            return walk->flags & WALK_BENEATH ? -EXDEV : 0;
        struct mount *mount = walk->path.mount;
        struct mount *parent = mount->parent;
        struct dentry *mountpoint = mount->mountpoint;
        if (seqcount_read_retry(&mount_sequence, walk->mount_sequence))
            return -ECHILD;
        if (parent == mount)
            return 0;
        if (walk->flags & WALK_NO_XDEV)
            return -EXDEV;
        walk->path.mount = parent;
        walk->path.dentry = mountpoint;
        walk->sequence = seqcount_read_begin(&mountpoint->sequence);
    }
    if (path_equal(&walk->path, &walk->root))
        return walk->flags & WALK_BENEATH ? -EXDEV : 0;
    struct dentry *parent = __atomic_load_n(&walk->path.dentry->parent, __ATOMIC_ACQUIRE);
    uint32_t sequence = seqcount_read_begin(&parent->sequence);
    if (seqcount_read_retry(&walk->path.dentry->sequence, walk->sequence))
        return -ECHILD;
    walk->path.dentry = parent;
    walk->sequence = sequence;
    walk->inode = parent->inode;
    return walk->inode != NULL ? walk_mounts_rcu(walk) : -ECHILD;
}

int walk_up(struct walk *walk)
{
    if (walk->rcu)
        return walk_up_rcu(walk);
    if (walk->flags & WALK_BENEATH && path_equal(&walk->path, &walk->root))
        return -EXDEV;
    while (walk->path.dentry == walk->path.mount->root && !path_equal(&walk->path, &walk->root)) {
        if (walk->flags & WALK_NO_XDEV)
            return -EXDEV;
        if (!mount_follow_up(&walk->path))
            break;
    }
    if (!path_equal(&walk->path, &walk->root) && walk->path.dentry != walk->path.mount->root) {
        struct dentry *parent = dentry_parent_get(walk->path.dentry);
        dentry_put(walk->path.dentry);
        walk->path.dentry = parent;
        mount_follow(&walk->path);
    }
    walk->inode = walk->path.dentry->inode;
    return 0;
}
