// SPDX-License-Identifier: MIT
// Directories for the VFS: looking up, making, removing, renaming, listing.
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/core/time.h"
#include "kernel/fs/dentry.h"
#include "kernel/fs/directory.h"
#include "kernel/fs/ext4/vfs.h"
#include "kernel/fs/file.h"

#define DIRECTORY_TRIES 1000

static struct ext4_name name_of(const struct dentry *dentry)
{
    return (struct ext4_name){.text = dentry->name, .len = dentry->name_len};
}

// A directory has one name. If it is in use under another, either that one is just going away, or
// the disk is wrong: nothing good would come of a tree with a ring in it.
static int check_directory(struct ext4_mount *mount, struct inode *inode)
{
    if (!S_ISDIR(inode->mode))
        return 0;
    for (int tries = 0; tries < DIRECTORY_TRIES; tries++) {
        if (__atomic_load_n(&inode->refcount, __ATOMIC_ACQUIRE) == 1)
            return 0;
        sched_yield();
    }
    return ext4_corrupted(mount->fs, "directory %lu has two names", (unsigned long)inode->number);
}

static int lookup(struct inode *directory, struct dentry *dentry)
{
    struct ext4_mount *mount = ext4_mount_of(directory->superblock);
    const struct ext4_name name = name_of(dentry);
    uint32_t number;
    struct inode *inode;
    if (name.len > EXT4_NAME_MAX)
        return -ENAMETOOLONG;
    int error = ext4_directory_find(ext4_node_of(directory), &name, &number);
    if (error == -ENOENT)
        return 0;
    if (error == 0)
        error = ext4_inode_get(mount, number, &inode);
    if (error != 0)
        return error;
    error = check_directory(mount, inode);
    if (error == 0)
        dentry_attach(dentry, inode);
    else
        inode_put(inode);
    return error;
}

// ---- making ----

// The inode is made on the disk; dentry NULL: without a name. Takes the inode over.
static int make(
    struct inode *directory, struct dentry *dentry, struct inode *inode, struct ext4_new *new)
{
    struct ext4_node *node = ext4_node_of(inode);
    struct ext4_name name = {};
    if (dentry != NULL)
        name = name_of(dentry);
    new->mode = inode->mode;
    new->uid = inode->uid;
    new->gid = inode->gid;
    new->now_ns = inode->ctime_ns;
    ext4_inode_to_node(directory);
    int error = ext4_create(ext4_node_of(directory), dentry != NULL ? &name : NULL, new, node);
    if (error != 0) {
        inode_put(inode); // it has no operations yet: nothing is evicted
        return error;
    }
    error = ext4_inode_enter(inode);
    if (error != 0) { // no memory: it goes again
        if (dentry != NULL)
            (void)ext4_unlink(ext4_node_of(directory), &name, node, new->now_ns);
        (void)ext4_remove(node);
        inode->ops = NULL;
        if (inode->cache != NULL)
            page_cache_destroy(inode->cache);
        inode_put(inode);
        return error;
    }
    if (dentry != NULL) {
        ext4_node_to_inode(directory);
        dentry_attach(dentry, inode);
    }
    return 0;
}

static int create(
    struct inode *directory, struct dentry *dentry, uint32_t mode, struct device_number device)
{
    struct inode *inode;
    struct ext4_new new = {};
    if (device.major < 256 && device.minor < 256)
        new.device[0] = device.major << 8 | device.minor;
    else
        new.device[1] = (device.minor & 0xff) | device.major << 8 | (device.minor & ~0xffu) << 12;
    int error = ext4_inode_new(directory, mode, &inode);
    return error == 0 ? make(directory, dentry, inode, &new) : error;
}

static int symlink(struct inode *directory, struct dentry *dentry, const char *target, size_t len)
{
    struct inode *inode;
    struct ext4_new new = {.target = target, .target_len = (uint32_t)len};
    if (len >= ext4_mount_of(directory->superblock)->fs->block_bytes)
        return -ENAMETOOLONG;
    int error = ext4_inode_new(directory, S_IFLNK | 0777, &inode);
    return error == 0 ? make(directory, dentry, inode, &new) : error;
}

static int tmpfile(struct inode *directory, uint32_t mode, struct inode **result)
{
    struct ext4_new new = {};
    int error = ext4_inode_new(directory, mode, result);
    return error == 0 ? make(directory, NULL, *result, &new) : error;
}

static int link(struct inode *inode, struct inode *directory, struct dentry *dentry)
{
    const struct ext4_name name = name_of(dentry);
    ext4_inode_to_node(inode);
    ext4_inode_to_node(directory);
    int error = ext4_link(ext4_node_of(inode), ext4_node_of(directory), &name, time_realtime_ns());
    if (error != 0)
        return error;
    ext4_node_to_inode(inode);
    ext4_node_to_inode(directory);
    inode_get(inode);
    dentry_attach(dentry, inode);
    return 0;
}

// ---- removing and renaming ----

static int unlink(struct inode *directory, struct dentry *dentry)
{
    struct inode *inode = dentry->inode;
    const struct ext4_name name = name_of(dentry);
    ext4_inode_to_node(directory);
    ext4_inode_to_node(inode);
    int error =
        ext4_unlink(ext4_node_of(directory), &name, ext4_node_of(inode), time_realtime_ns());
    if (error == 0) {
        ext4_node_to_inode(directory);
        ext4_node_to_inode(inode);
    }
    return error;
}

static int rename_entry(struct inode *old_directory, struct dentry *old_dentry,
    struct inode *new_directory, struct dentry *new_dentry, bool exchange)
{
    struct inode *replaced = new_dentry->inode;
    const struct ext4_rename rename = {
        .old_directory = ext4_node_of(old_directory),
        .new_directory = ext4_node_of(new_directory),
        .old_name = name_of(old_dentry),
        .new_name = name_of(new_dentry),
        .node = ext4_node_of(old_dentry->inode),
        .replaced = replaced != NULL ? ext4_node_of(replaced) : NULL,
        .exchange = exchange,
        .now_ns = time_realtime_ns(),
    };
    ext4_inode_to_node(old_directory);
    ext4_inode_to_node(new_directory);
    ext4_inode_to_node(old_dentry->inode);
    if (replaced != NULL)
        ext4_inode_to_node(replaced);
    int error = ext4_rename(&rename);
    if (error != 0)
        return error;
    ext4_node_to_inode(old_directory);
    ext4_node_to_inode(new_directory);
    ext4_node_to_inode(old_dentry->inode);
    if (replaced != NULL)
        ext4_node_to_inode(replaced);
    return 0;
}

static int change(struct inode *inode, const struct inode_change *change)
{
    return change->valid & INODE_CHANGE_SIZE ? -EINVAL : 0;
}

static uint64_t pages(const struct inode *inode)
{
    return DIV_ROUND_UP(ext4_node_of(inode)->blocks, PAGE_SIZE / BLOCK_SECTOR_BYTES);
}

const struct inode_ops ext4_directory_inode_ops = {
    .lookup = lookup,
    .create = create,
    .symlink = symlink,
    .link = link,
    .unlink = unlink,
    .rename = rename_entry,
    .tmpfile = tmpfile,
    .change = change,
    .pages = pages,
    .changed = ext4_inode_changed,
    .evict = ext4_inode_evict,
};
const struct inode_ops ext4_link_inode_ops = {
    .change = change,
    .pages = pages,
    .changed = ext4_inode_changed,
    .evict = ext4_inode_evict,
};
const struct inode_ops ext4_special_inode_ops = {
    .change = change,
    .changed = ext4_inode_changed,
    .evict = ext4_inode_evict,
};

// ---- listing ----

static bool emit(
    void *context, const struct ext4_name *name, uint32_t number, uint32_t file_type, uint64_t next)
{
    static const uint8_t types[EXT2_FT_MAX] = {
        [EXT2_FT_REG_FILE] = S_IFREG >> 12,
        [EXT2_FT_DIR] = S_IFDIR >> 12,
        [EXT2_FT_CHRDEV] = S_IFCHR >> 12,
        [EXT2_FT_BLKDEV] = S_IFBLK >> 12,
        [EXT2_FT_FIFO] = S_IFIFO >> 12,
        [EXT2_FT_SOCK] = S_IFSOCK >> 12,
        [EXT2_FT_SYMLINK] = S_IFLNK >> 12,
    };
    struct directory_emitter *emitter = context;
    return emitter->emit(emitter, name->text, name->len, next, number,
        file_type < EXT2_FT_MAX ? types[file_type] : 0);
}

static int iterate(struct file *file, struct directory_emitter *emitter)
{
    return ext4_directory_list(ext4_node_of(file->inode), &emitter->position, emit, emitter);
}

static int directory_sync(struct file *file, bool data_only)
{
    struct ext4_node *node = ext4_node_of(file->inode);
    int error = ext4_inode_write(file->inode);
    if (error != 0 || node->fs->read_only)
        return error == -EROFS ? 0 : error;
    return ext4_commit(node->fs, __atomic_load_n(&node->change_id, __ATOMIC_ACQUIRE));
}

const struct file_ops ext4_directory_ops = {
    .seek = directory_seek,
    .iterate = iterate,
    .sync = directory_sync,
};
