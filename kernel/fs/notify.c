// SPDX-License-Identifier: MIT
// Tells inotify (kernel/ipc) what happened to a file. Where no watch exists this is a look at two
// pointers.
#include "kernel/fs/dentry.h"
#include "kernel/fs/file_private.h"
#include "kernel/fs/inode.h"
#include "kernel/fs/vfs.h"

static uint32_t next_cookie; // pairs IN_MOVED_FROM and IN_MOVED_TO; atomic

void notify_name(struct inode *directory, struct inode *inode, uint32_t mask, const char *name)
{
    if (likely(directory == NULL || directory->watches == NULL) || vfs_notify == NULL)
        return;
    if (inode != NULL && inode_is_directory(inode))
        mask |= IN_ISDIR;
    vfs_notify(directory, mask, 0, name);
}

void notify_dentry(struct dentry *dentry, uint32_t mask)
{
    if (likely(vfs_notify == NULL))
        return;
    struct inode *inode = dentry->inode;
    struct dentry *parent = dentry_parent_get(dentry);
    if (parent != dentry)
        notify_name(parent->inode, inode, mask, dentry->name);
    dentry_put(parent);
    if (inode->watches != NULL)
        vfs_notify(inode, inode_is_directory(inode) ? mask | IN_ISDIR : mask, 0, NULL);
}

void file_notify(struct file *file, uint32_t mask)
{
    if (likely(vfs_notify == NULL))
        return;
    notify_dentry(file->path.dentry, mask);
}

void file_notify_close(struct file *file)
{
    if (file->path.dentry != NULL)
        file_notify(file, file->mode & FILE_WRITE ? IN_CLOSE_WRITE : IN_CLOSE_NOWRITE);
}

void notify_move(struct inode *old_directory, const char *old_name, struct inode *new_directory,
    const char *new_name, struct inode *inode)
{
    if (likely(vfs_notify == NULL))
        return;
    uint32_t cookie = __atomic_add_fetch(&next_cookie, 1, __ATOMIC_RELAXED);
    uint32_t directory = inode_is_directory(inode) ? IN_ISDIR : 0;
    if (old_directory->watches != NULL)
        vfs_notify(old_directory, IN_MOVED_FROM | directory, cookie, old_name);
    if (new_directory->watches != NULL)
        vfs_notify(new_directory, IN_MOVED_TO | directory, cookie, new_name);
    if (inode->watches != NULL)
        vfs_notify(inode, IN_MOVE_SELF, 0, NULL);
}

void notify_gone(struct inode *inode)
{
    if (vfs_notify == NULL || inode->watches == NULL)
        return;
    if (!inode_is_directory(inode))
        vfs_notify(inode, IN_ATTRIB, 0, NULL); // its link count
    if (inode->nlink == 0 || inode_is_directory(inode))
        vfs_notify(inode, IN_DELETE_SELF, 0, NULL);
}

void vfs_notify_attributes(struct dentry *dentry, uint32_t change)
{
    notify_dentry(dentry, change & INODE_CHANGE_SIZE ? IN_MODIFY : IN_ATTRIB);
}
