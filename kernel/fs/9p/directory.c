// SPDX-License-Identifier: MIT
// Directories of a folder that a 9P server shows: names, and what is done to them.
#include "kernel/fs/directory.h"

#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/fs/9p/internal.h"
#include "kernel/fs/dentry.h"
#include "kernel/process/credentials.h"
#include "mm/slab.h"

#include <linux/fcntl.h>

// ---- looking ----

// Gives the dentry what the server has under its name, which is there.
static int attach(struct inode *directory, struct dentry *dentry)
{
    struct inode *inode;
    uint32_t fid;
    int error = p9_walk(p9_client_of(directory), p9_inode_of(directory)->fid, dentry->name,
        dentry->name_len, &fid, NULL);
    if (error == 0)
        error = p9_inode_create(directory->superblock, fid, &inode);
    if (error == 0)
        dentry_attach(dentry, inode);
    return error;
}

static int lookup(struct inode *directory, struct dentry *dentry)
{
    if (!p9_superblock_of(directory)->is_cached)
        dentry->flags |= DENTRY_REVALIDATE;
    const int error = attach(directory, dentry);
    return error == -ENOENT ? 0 : error;
}

// Does the name still lead to the same file?
static bool revalidate(struct dentry *dentry)
{
    char name[P9_NAME_MAX];
    struct inode *inode = dentry->inode;
    if (inode == NULL || dentry->name_len > sizeof(name))
        return false; // it may have come into being
    struct dentry *parent = dentry_parent_get(dentry);
    struct p9_client *client = p9_client_of(inode);
    struct p9_qid qid;
    uint32_t fid;
    spin_lock(&dentry->lock); // against a rename
    const size_t len = MIN(dentry->name_len, (uint32_t)sizeof(name));
    memcpy(name, dentry->name, len);
    spin_unlock(&dentry->lock);
    const int error = p9_walk(client, p9_inode_of(parent->inode)->fid, name, len, &fid, &qid);
    dentry_put(parent);
    if (error != 0)
        return error != -ENOENT; // a server that is ill has not removed anything
    p9_clunk(client, fid);
    return qid.path == inode->number &&
           !!(qid.type & P9_QID_DIRECTORY) == !!inode_is_directory(inode) &&
           !!(qid.type & P9_QID_LINK) == !!S_ISLNK(inode->mode);
}

// ---- changing ----

static uint32_t new_group(void)
{
    return credentials_current()->fsgid;
}

static int create_file(struct inode *directory, struct dentry *dentry, uint32_t mode)
{
    struct p9_client *client = p9_client_of(directory);
    uint32_t fid;
    int error = p9_walk(client, p9_inode_of(directory)->fid, NULL, 0, &fid, NULL);
    if (error != 0)
        return error;
    error = p9_create(client, fid, dentry->name, dentry->name_len, O_CREAT | O_EXCL | O_RDWR,
        mode & 07777, new_group());
    if (error == 0)
        error = attach(directory, dentry);
    if (error == 0)
        __atomic_store_n(&p9_inode_of(dentry->inode)->created, fid, __ATOMIC_RELEASE);
    else
        p9_clunk(client, fid);
    return error;
}

static int create(
    struct inode *directory, struct dentry *dentry, uint32_t mode, struct device_number device)
{
    struct p9_client *client = p9_client_of(directory);
    const uint32_t fid = p9_inode_of(directory)->fid;
    int error;
    if (S_ISREG(mode))
        return create_file(directory, dentry, mode);
    if (S_ISDIR(mode))
        error = p9_make_directory(
            client, fid, dentry->name, dentry->name_len, mode & 07777, new_group());
    else
        error = p9_make_node(client, fid, dentry->name, dentry->name_len, mode, device.major,
            device.minor, new_group());
    return error != 0 ? error : attach(directory, dentry);
}

static int make_link(
    struct inode *directory, struct dentry *dentry, const char *target, size_t len_bytes)
{
    const int error = p9_make_link(p9_client_of(directory), p9_inode_of(directory)->fid,
        dentry->name, dentry->name_len, target, len_bytes, new_group());
    return error != 0 ? error : attach(directory, dentry);
}

static int link(struct inode *inode, struct inode *directory, struct dentry *dentry)
{
    const int error = p9_link(p9_client_of(directory), p9_inode_of(directory)->fid,
        p9_inode_of(inode)->fid, dentry->name, dentry->name_len);
    // An inode of its own: the server may know a fid by the name that it was found under, which the
    // old name's inode could lose.
    return error != 0 ? error : attach(directory, dentry);
}

static int unlink(struct inode *directory, struct dentry *dentry)
{
    struct inode *inode = dentry->inode;
    const int error = p9_unlink(p9_client_of(directory), p9_inode_of(directory)->fid, dentry->name,
        dentry->name_len, inode_is_directory(inode));
    if (error == 0)
        inode_nlink_add(inode, inode_is_directory(inode) ? -(int32_t)inode->nlink : -1);
    return error;
}

static int rename(struct inode *old_directory, struct dentry *old_dentry,
    struct inode *new_directory, struct dentry *new_dentry, bool exchange)
{
    if (exchange)
        return -EINVAL; // the protocol has no message for it
    return p9_rename(p9_client_of(old_directory), p9_inode_of(old_directory)->fid, old_dentry->name,
        old_dentry->name_len, p9_inode_of(new_directory)->fid, new_dentry->name,
        new_dentry->name_len);
}

const struct inode_ops p9_directory_inode_ops = {
    .lookup = lookup,
    .revalidate = revalidate,
    .create = create,
    .symlink = make_link,
    .link = link,
    .unlink = unlink,
    .rename = rename,
    .change = p9_inode_change,
    .refresh = p9_inode_refresh,
    .pages = p9_inode_pages,
    .open = p9_inode_open,
    .evict = p9_inode_evict,
};

// ---- listing ----

// Offers the entries of one answer. 1: go on; 0: no more room; -EIO.
static int emit_entries(struct directory_emitter *emitter, const uint8_t *data, uint32_t left)
{
    struct p9_entry entry;
    while (left != 0) {
        const int64_t len = p9_entry_read(data, left, &entry);
        if (len < 0)
            return (int)len;
        if (!emitter->emit(
                emitter, entry.name, entry.name_len, entry.next, entry.qid.path, entry.type))
            return 0;
        emitter->position = entry.next;
        data += len;
        left -= (uint32_t)len;
    }
    return 1;
}

static int iterate(struct file *file, struct directory_emitter *emitter)
{
    struct p9_client *client = p9_client_of(file->inode);
    uint8_t *buffer = kmalloc(PAGE_SIZE, 0);
    if (buffer == NULL)
        return -ENOMEM;
    int result = 1;
    while (result == 1) {
        const int64_t len =
            p9_read_directory(client, p9_file_fid(file), emitter->position, buffer, PAGE_SIZE);
        if (len <= 0)
            result = (int)len;
        else
            result = emit_entries(emitter, buffer, (uint32_t)len);
        // A server whose listing has no end is left by the kill that ends everything.
        if (result == 1 && thread_kill_pending(thread_current()))
            result = -EINTR;
    }
    kfree(buffer);
    return result;
}

static void release(struct file *file)
{
    p9_clunk(p9_client_of(file->inode), p9_file_fid(file));
}

static int sync_directory(struct file *file, bool data_only)
{
    return p9_sync(p9_client_of(file->inode), p9_file_fid(file), data_only);
}

const struct file_ops p9_directory_ops = {
    .iterate = iterate,
    .seek = directory_seek,
    .sync = sync_directory,
    .release = release,
};
