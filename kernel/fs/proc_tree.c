// SPDX-License-Identifier: MIT
// File systems that consist of directories and generated text files which the kernel registers:
// /proc (its fixed part) and /sys. Names are persistent dentries; programs can't make or remove
// any.
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/fs/dentry.h"
#include "kernel/fs/kernel_tree.h"
#include "kernel/fs/proc.h"
#include "mm/slab.h"

struct superblock *proc_superblock;

// Files that were registered before /proc was made.
struct proc_waiting {
    struct list_node node;
    struct proc_file file;
};
static struct list_node waiting = LIST_INIT(waiting);
static struct mutex waiting_lock =
    MUTEX_INIT(waiting_lock, "proc: waiting"); // waiting, and proc_superblock's first store

// Held for reading while the function of a file runs, for writing while files are removed.
static struct rwlock functions_lock;

int proc_change_refused(struct inode *inode, const struct inode_change *change)
{
    return change->valid & (INODE_CHANGE_ATIME | INODE_CHANGE_MTIME | INODE_CHANGE_SIZE) &&
                   !(change->valid & (INODE_CHANGE_MODE | INODE_CHANGE_UID | INODE_CHANGE_GID))
               ? 0
               : -EPERM;
}

static int proc_tree_make(
    struct inode *directory, struct dentry *dentry, uint32_t mode, struct device_number device)
{
    struct inode *inode = inode_create(directory->superblock, mode);
    if (inode == NULL)
        return -ENOMEM;
    inode->uid = inode->gid = 0;
    if (S_ISDIR(mode)) {
        inode->ops = &proc_directory_inode_ops;
        inode->file_ops = &proc_directory_ops;
        inode->mode = S_IFDIR | 0555;
        inode->nlink = 2;
        directory->nlink++;
    } else {
        inode->ops = &proc_file_inode_ops;
        inode->file_ops = &proc_reader_ops;
    }
    dentry_attach(dentry, inode);
    return 0;
}

static int proc_tree_symlink(
    struct inode *directory, struct dentry *dentry, const char *target, size_t len)
{
    struct inode *inode = inode_create(directory->superblock, S_IFLNK | 0777);
    if (inode == NULL)
        return -ENOMEM;
    inode->ops = &proc_file_inode_ops;
    inode->uid = inode->gid = 0;
    inode->link_target = kstrdup(target);
    inode->link_target_len = (uint32_t)len;
    if (inode->link_target == NULL) {
        inode_put(inode);
        return -ENOMEM;
    }
    dentry_attach(dentry, inode);
    return 0;
}

int proc_tree_link(
    struct dentry *directory, const char *name, const char *target, const struct inode_ops *ops)
{
    int error;
    rwlock_write_lock(&directory->inode->lock);
    struct dentry *dentry = kernel_tree_new(directory, name, strlen(name), NULL, &error);
    if (dentry != NULL) {
        error = proc_tree_symlink(directory->inode, dentry, target, strlen(target));
        if (error == 0 && ops != NULL) {
            dentry->inode->ops = ops;
            kfree(dentry->inode->link_target);
            dentry->inode->link_target = NULL;
        }
        if (error == 0)
            dentry_add(dentry, true);
        dentry_put(dentry);
    }
    rwlock_write_unlock(&directory->inode->lock);
    return error;
}

static int proc_tree_show(struct proc_buffer *buffer, struct inode *inode)
{
    const struct proc_file *file = inode->private_data;
    rwlock_read_lock(&functions_lock);
    int error = file->show != NULL ? file->show(buffer, file->context) : -EIO;
    rwlock_read_unlock(&functions_lock);
    return error;
}

static int64_t proc_tree_write(struct file *file, struct io_iter *from, uint64_t *offset)
{
    const struct proc_file *description = file->inode->private_data;
    size_t len;
    int error;
    if (description->store == NULL)
        return -EIO;
    char *text = proc_copy_written(from, &len, &error);
    if (text == NULL)
        return error;
    rwlock_read_lock(&functions_lock);
    error = description->store != NULL ? description->store(text, len, description->context) : -EIO;
    rwlock_read_unlock(&functions_lock);
    kfree(text);
    if (error != 0)
        return error;
    *offset += len;
    return (int64_t)len;
}

static const struct file_ops proc_tree_file_ops = {
    .read = proc_reader_read,
    .write = proc_tree_write,
    .seek = proc_reader_seek,
    .release = proc_reader_release,
};

static int proc_tree_open(struct inode *inode, struct file *file)
{
    if (inode->private_data == NULL)
        return -EIO;
    return proc_reader_open(file, proc_tree_show);
}

const struct inode_ops proc_directory_inode_ops = {.change = proc_change_refused};
static void proc_tree_evict(struct inode *inode)
{
    inode->free_later = inode->private_data;
}

const struct inode_ops proc_file_inode_ops = {
    .change = proc_change_refused, .open = proc_tree_open, .evict = proc_tree_evict};
const struct file_ops proc_directory_ops = {
    .seek = directory_seek, .iterate = directory_iterate_children};

int proc_tree_register(struct superblock *superblock, const struct proc_file *file)
{
    struct proc_file *copy = kmalloc(sizeof(*copy), 0);
    const char *name;
    int error = -ENOMEM;
    if (copy == NULL)
        return error;
    *copy = *file;
    copy->path = NULL; // the caller's
    struct dentry *directory = kernel_tree_parent(superblock->root, file->path, &name, &error);
    if (directory == NULL) {
        kfree(copy);
        return error;
    }
    rwlock_write_lock(&directory->inode->lock);
    struct dentry *dentry = kernel_tree_new(directory, name, strlen(name), NULL, &error);
    if (dentry != NULL) {
        error = proc_tree_make(
            directory->inode, dentry, S_IFREG | (file->mode & 0777), (struct device_number){});
        if (error == 0) {
            dentry->inode->private_data = copy;
            dentry->inode->file_ops = &proc_tree_file_ops;
            dentry_add(dentry, true);
        }
        dentry_put(dentry);
    }
    rwlock_write_unlock(&directory->inode->lock);
    dentry_put(directory);
    if (error != 0)
        kfree(copy);
    return error;
}

// Takes a name out of its directory, and everything below it. The directory's lock and
// functions_lock are held for writing.
static void proc_tree_remove_locked(struct dentry *dentry, uint32_t depth)
{
    struct inode *inode = dentry->inode;
    if (inode_is_directory(inode)) {
        rwlock_write_lock_nested(&inode->lock, MIN(depth, LOCK_SUBCLASSES - 1u));
        struct rbtree_node *node;
        while ((node = rbtree_first(&dentry->children)) != NULL) {
            struct dentry *child = container_of(node, struct dentry, sibling);
            dentry_get(child);
            proc_tree_remove_locked(child, depth + 1);
            dentry_put(child);
        }
        rwlock_write_unlock(&inode->lock);
    } else if (inode->private_data != NULL) {
        struct proc_file *file = inode->private_data;
        file->show = NULL;
        file->store = NULL;
    }
    dentry_remove(dentry);
}

void proc_tree_remove(struct superblock *superblock, const char *path)
{
    const char *name;
    int error;
    struct dentry *directory = kernel_tree_parent(superblock->root, path, &name, &error);
    if (directory == NULL)
        return;
    rwlock_write_lock(&functions_lock);
    rwlock_write_lock(&directory->inode->lock);
    struct dentry *dentry = dentry_lookup(directory, name, strlen(name));
    if (dentry != NULL) {
        proc_tree_remove_locked(dentry, 1);
        dentry_put(dentry);
    }
    rwlock_write_unlock(&directory->inode->lock);
    rwlock_write_unlock(&functions_lock);
    dentry_put(directory);
}

int proc_register(const struct proc_file *file)
{
    int error = 0;
    mutex_lock(&waiting_lock);
    if (proc_superblock == NULL) {
        struct proc_waiting *entry = kzalloc(sizeof(*entry));
        if (entry != NULL) {
            entry->file = *file;
            list_add_tail(&waiting, &entry->node);
        } else {
            error = -ENOMEM;
        }
    } else {
        error = proc_tree_register(proc_superblock, file);
    }
    mutex_unlock(&waiting_lock);
    return error;
}

static const struct superblock_ops proc_tree_superblock_ops = {.create = proc_tree_make};

struct superblock *proc_tree_create(const struct filesystem_type *type, uint64_t magic)
{
    if (proc_superblock == NULL)
        rwlock_init(&functions_lock);
    struct superblock *superblock = superblock_create(type, &proc_tree_superblock_ops, magic);
    if (superblock == NULL)
        return NULL;
    superblock->flags |= SUPERBLOCK_PERSISTENT;
    struct inode *root = inode_create(superblock, S_IFDIR | 0555);
    if (root != NULL) {
        root->ops = &proc_directory_inode_ops;
        root->file_ops = &proc_directory_ops;
        root->nlink = 2;
        superblock->root = dentry_create_root(superblock, root);
    }
    if (superblock->root == NULL) {
        superblock_put(superblock);
        return NULL;
    }
    return superblock;
}

void proc_tree_publish(struct superblock *superblock)
{
    struct proc_waiting *entry, *following;
    mutex_lock(&waiting_lock);
    list_for_each_entry_safe (entry, following, &waiting, node) {
        int error = proc_tree_register(superblock, &entry->file);
        assert(error == 0); // at boot
        list_remove(&entry->node);
        kfree(entry);
    }
    proc_superblock = superblock;
    mutex_unlock(&waiting_lock);
}
