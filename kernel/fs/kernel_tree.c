// SPDX-License-Identifier: MIT
// Names that the kernel itself makes in file systems in memory.
#include "kernel/fs/kernel_tree.h"
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/fs/dentry.h"
#include "kernel/fs/namei.h"

struct dentry *kernel_tree_new(
    struct dentry *directory, const char *name, size_t len, struct dentry **existing, int *error)
{
    struct dentry *found = dentry_lookup(directory, name, len);
    if (found != NULL) {
        *error = -EEXIST;
        if (existing != NULL)
            *existing = found;
        else
            dentry_put(found);
        return NULL;
    }
    found = dentry_create(directory->superblock, directory, name, len);
    *error = found != NULL ? 0 : -ENOMEM;
    return found;
}

static int kernel_tree_create(
    struct dentry *directory, struct dentry *dentry, uint32_t mode, struct device_number device)
{
    const struct superblock_ops *ops = directory->superblock->ops;
    if (ops->create == NULL)
        return namei_create_locked(directory, dentry, mode, device);
    int error = ops->create(directory->inode, dentry, mode, device);
    if (error == 0)
        namei_enter(dentry);
    return error;
}

static int kernel_tree_step(struct dentry **at, const char *name, size_t len, uint32_t mode)
{
    struct dentry *directory = *at;
    struct dentry *existing = NULL;
    int error;
    if (!inode_is_directory(directory->inode))
        return -ENOTDIR;
    rwlock_write_lock(&directory->inode->lock);
    struct dentry *dentry = kernel_tree_new(directory, name, len, &existing, &error);
    if (dentry != NULL)
        error = kernel_tree_create(directory, dentry, S_IFDIR | mode, (struct device_number){});
    rwlock_write_unlock(&directory->inode->lock);
    if (error == -EEXIST) {
        dentry = existing;
        error = 0;
    }
    if (error != 0) {
        if (dentry != NULL)
            dentry_put(dentry);
        return error;
    }
    *at = dentry;
    dentry_put(directory);
    return 0;
}

struct dentry *kernel_tree_parent(
    struct dentry *root, const char *path, const char **last, int *error)
{
    struct dentry *at = root;
    dentry_get(at);
    for (;;) {
        const char *slash = strchr(path, '/');
        if (slash == NULL)
            break;
        *error = kernel_tree_step(&at, path, (size_t)(slash - path), 0755);
        if (*error != 0) {
            dentry_put(at);
            return NULL;
        }
        path = slash + 1;
    }
    *last = path;
    *error = 0;
    return at;
}

int kernel_tree_node(
    struct dentry *root, const char *path, uint32_t mode, struct device_number device)
{
    const char *name;
    int error;
    struct dentry *directory = kernel_tree_parent(root, path, &name, &error);
    if (directory == NULL)
        return error;
    rwlock_write_lock(&directory->inode->lock);
    struct dentry *dentry = kernel_tree_new(directory, name, strlen(name), NULL, &error);
    if (dentry != NULL) {
        error = kernel_tree_create(directory, dentry, mode, device);
        dentry_put(dentry);
    }
    rwlock_write_unlock(&directory->inode->lock);
    dentry_put(directory);
    return error;
}

int kernel_tree_directory(struct dentry *root, const char *path, uint32_t mode)
{
    int error = kernel_tree_node(root, path, S_IFDIR | mode, (struct device_number){});
    return error == -EEXIST ? 0 : error;
}

int kernel_tree_link(struct dentry *root, const char *path, const char *target)
{
    const char *name;
    int error;
    struct dentry *directory = kernel_tree_parent(root, path, &name, &error);
    if (directory == NULL)
        return error;
    struct inode *inode = directory->inode;
    rwlock_write_lock(&inode->lock);
    struct dentry *dentry = kernel_tree_new(directory, name, strlen(name), NULL, &error);
    if (dentry != NULL) {
        error = inode->ops->symlink(inode, dentry, target, strlen(target));
        if (error == 0)
            dentry_add(dentry, true);
        dentry_put(dentry);
    }
    rwlock_write_unlock(&inode->lock);
    dentry_put(directory);
    return error;
}

int kernel_tree_remove(struct dentry *root, const char *path)
{
    const char *name;
    int error;
    struct dentry *directory = kernel_tree_parent(root, path, &name, &error);
    if (directory == NULL)
        return error;
    struct inode *inode = directory->inode;
    rwlock_write_lock(&inode->lock);
    struct dentry *dentry = dentry_lookup(directory, name, strlen(name));
    error = dentry != NULL ? inode->ops->unlink(inode, dentry) : -ENOENT;
    if (error == 0)
        dentry_remove(dentry);
    if (dentry != NULL)
        dentry_put(dentry);
    rwlock_write_unlock(&inode->lock);
    dentry_put(directory);
    return error;
}

int kernel_tree_chown(struct dentry *root, const char *path, uint32_t uid, uint32_t gid)
{
    const char *name;
    int error;
    struct dentry *directory = kernel_tree_parent(root, path, &name, &error);
    if (directory == NULL)
        return error;
    struct dentry *dentry = dentry_lookup(directory, name, strlen(name));
    dentry_put(directory);
    if (dentry == NULL)
        return -ENOENT;
    spin_lock(&dentry->inode->attribute_lock);
    dentry->inode->uid = uid;
    dentry->inode->gid = gid;
    spin_unlock(&dentry->inode->attribute_lock);
    dentry_put(dentry);
    return 0;
}
