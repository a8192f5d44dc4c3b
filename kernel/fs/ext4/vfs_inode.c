// SPDX-License-Identifier: MIT
// Inodes of the VFS for nodes: one for each inode of the disk that is in use. Attributes are the
// inode's; links, size on the disk and the map are the node's.
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/core/log.h"
#include "kernel/fs/ext4/vfs.h"
#include "kernel/process/credentials.h"
#include "mm/slab.h"
#include <linux/capability.h>

uint32_t ext4_alloc_flags(void)
{
    return capable(CAP_SYS_RESOURCE) ? EXT4_ALLOC_ROOT : 0;
}

// ---- attributes ----

void ext4_inode_to_node(struct inode *inode)
{
    struct ext4_node *node = ext4_node_of(inode);
    spin_lock(&inode->attribute_lock);
    node->mode = inode->mode;
    node->uid = inode->uid;
    node->gid = inode->gid;
    node->atime_ns = inode->atime_ns;
    node->mtime_ns = inode->mtime_ns;
    node->ctime_ns = inode->ctime_ns;
    spin_unlock(&inode->attribute_lock);
}

void ext4_node_to_inode(struct inode *inode)
{
    const struct ext4_node *node = ext4_node_of(inode);
    spin_lock(&inode->attribute_lock);
    inode->nlink = node->links;
    inode->mtime_ns = node->mtime_ns;
    inode->ctime_ns = node->ctime_ns;
    spin_unlock(&inode->attribute_lock);
    if (S_ISDIR(node->mode))
        inode->size_bytes = node->size;
}

void ext4_inode_changed(struct inode *inode)
{
    struct ext4_mount *mount = ext4_mount_of(inode->superblock);
    struct ext4_inode *ext4 = ext4_inode_of(inode);
    if (list_is_linked(&ext4->dirty)) // racy: who takes it off the list reads the attributes later
        return;
    spin_lock(&mount->lock);
    if (!list_is_linked(&ext4->dirty) && ext4->counted)
        list_add_tail(&mount->dirty, &ext4->dirty);
    spin_unlock(&mount->lock);
}

static bool take_off(struct ext4_mount *mount, struct ext4_inode *ext4)
{
    spin_lock(&mount->lock);
    const bool was = list_is_linked(&ext4->dirty);
    if (was)
        list_remove(&ext4->dirty);
    spin_unlock(&mount->lock);
    return was;
}

int ext4_inode_write(struct inode *inode)
{
    struct ext4_handle handle;
    struct ext4_mount *mount = ext4_mount_of(inode->superblock);
    if (!take_off(mount, ext4_inode_of(inode)))
        return 0;
    int error = ext4_begin(mount->fs, EXT4_CREDITS, &handle);
    if (error != 0)
        return error;
    ext4_inode_to_node(inode);
    error = ext4_node_write(&handle, ext4_node_of(inode));
    ext4_end(&handle);
    return error;
}

static bool inode_get_unless_dead(struct inode *inode)
{
    uint32_t count = __atomic_load_n(&inode->refcount, __ATOMIC_RELAXED);
    while (count != 0)
        if (__atomic_compare_exchange_n(
                &inode->refcount, &count, count + 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
            return true;
    return false;
}

int ext4_inodes_write(struct ext4_mount *mount)
{
    int result = 0;
    // Those that are on the list now; what becomes dirty meanwhile comes behind.
    spin_lock(&mount->lock);
    size_t count = list_length(&mount->dirty);
    while (count-- != 0 && !list_is_empty(&mount->dirty)) {
        struct ext4_inode *ext4 = list_first_entry(&mount->dirty, struct ext4_inode, dirty);
        struct inode *inode = ext4->vfs;
        list_move_tail(&mount->dirty, &ext4->dirty);
        if (!inode_get_unless_dead(inode))
            continue; // it is being evicted, which writes it
        spin_unlock(&mount->lock);
        int error = ext4_inode_write(inode);
        result = error != 0 ? error : result;
        inode_put(inode);
        spin_lock(&mount->lock);
    }
    spin_unlock(&mount->lock);
    return result;
}

// ---- making ----

static struct ext4_inode *inode_alloc(struct superblock *superblock, uint32_t mode)
{
    struct ext4_inode *ext4 = kzalloc(sizeof(*ext4));
    struct inode *inode = ext4 != NULL ? inode_create(superblock, mode) : NULL;
    if (inode == NULL) {
        kfree(ext4);
        return NULL;
    }
    inode->private_data = ext4;
    inode->free_later = ext4; // stat may look at the size under RCU until then
    ext4->vfs = inode;
    return ext4;
}

static void set_operations(struct ext4_inode *ext4)
{
    struct inode *inode = ext4->vfs;
    switch (inode->mode & S_IFMT) {
    case S_IFREG:
        inode->ops = &ext4_file_inode_ops;
        inode->file_ops = &ext4_file_ops;
        page_cache_init(&ext4->cache, &ext4_cache_ops, inode);
        ext4->cache.size_bytes = ext4->node.size;
        inode->cache = &ext4->cache;
        break;
    case S_IFDIR:
        inode->ops = &ext4_directory_inode_ops;
        inode->file_ops = &ext4_directory_ops;
        break;
    case S_IFLNK:
        inode->ops = &ext4_link_inode_ops;
        break;
    default:
        inode->ops = &ext4_special_inode_ops;
    }
    inode->flags |= INODE_NOTES_CHANGES;
}

static int read_target(struct ext4_inode *ext4)
{
    struct ext4_node *node = &ext4->node;
    struct inode *inode = ext4->vfs;
    struct ext4_buffer *buffer = NULL;
    const void *from = node->pointers;
    if (!ext4_node_is_fast_link(node)) {
        struct ext4_run run;
        int error = ext4_map_find(node, 0, 1, &run);
        if (error == 0 && run.physical == 0)
            error = ext4_corrupted(node->fs, "inode %u: a link without text", node->number);
        if (error == 0)
            error = ext4_buffer_read(node->fs, run.physical, EXT4_KIND_RAW, NULL, &buffer);
        if (error != 0)
            return error;
        from = buffer->data;
    }
    char *text = kmalloc(node->size + 1, 0);
    if (text != NULL) {
        memcpy(text, from, node->size);
        text[node->size] = 0;
        inode->link_target = text;
        inode->link_target_len = (uint32_t)strlen(text);
    }
    if (buffer != NULL)
        ext4_buffer_put(node->fs, buffer);
    return text != NULL ? 0 : -ENOMEM;
}

static struct device_number device_of(const struct ext4_node *node)
{
    const uint32_t old = node->pointers[0], new = node->pointers[1];
    if (old != 0)
        return (struct device_number){.major = old >> 8 & 0xff, .minor = old & 0xff};
    return (struct device_number){
        .major = new >> 8 & 0xfff, .minor = (new & 0xff) | (new >> 12 & 0xfff00)};
}

// The node has been read.
static int fill(struct ext4_inode *ext4)
{
    struct inode *inode = ext4->vfs;
    const struct ext4_node *node = &ext4->node;
    inode->number = node->number;
    inode->mode = node->mode;
    inode->uid = node->uid;
    inode->gid = node->gid;
    inode->nlink = node->links;
    inode->size_bytes = node->size;
    inode->atime_ns = node->atime_ns;
    inode->mtime_ns = node->mtime_ns;
    inode->ctime_ns = node->ctime_ns;
    inode->birth_ns = node->birth_ns;
    if (node->flags & EXT2_APPEND_FL)
        inode->flags |= INODE_APPEND;
    if (node->flags & EXT2_NOATIME_FL)
        inode->flags |= INODE_NO_ATIME;
    if (S_ISCHR(node->mode) || S_ISBLK(node->mode))
        inode->device = device_of(node);
    set_operations(ext4);
    return S_ISLNK(node->mode) ? read_target(ext4) : 0;
}

// ---- finding ----

// Takes it out of the table, so that the next one who asks reads it anew.
static void leave(struct ext4_mount *mount, struct ext4_inode *ext4)
{
    spin_lock(&mount->lock);
    if (list_is_linked(&ext4->dirty))
        list_remove(&ext4->dirty);
    if (ext4->counted)
        (void)xarray_erase(&mount->inodes, ext4->node.number);
    ext4->counted = false;
    spin_unlock(&mount->lock);
    wait_wake_all(&mount->inode_queue);
}

// Neither being read nor being evicted.
static bool is_settled(struct ext4_mount *mount, uint32_t number)
{
    spin_lock(&mount->lock);
    const struct ext4_inode *ext4 = xarray_load(&mount->inodes, number);
    const bool settled = ext4 == NULL || (ext4->ready && __atomic_load_n(&ext4->vfs->refcount,
                                                             __ATOMIC_RELAXED) != 0);
    spin_unlock(&mount->lock);
    return settled;
}

// The inode in memory with a reference, else NULL: then `fresh` is in the table.
static struct inode *find_or_enter(
    struct ext4_mount *mount, uint32_t number, struct ext4_inode *fresh, int *error)
{
    for (;;) {
        spin_lock(&mount->lock);
        struct ext4_inode *ext4 = xarray_load(&mount->inodes, number);
        struct inode *inode = NULL;
        if (ext4 == NULL) {
            *error = xarray_insert(&mount->inodes, number, fresh);
            fresh->counted = *error == 0;
        } else if (ext4->ready && inode_get_unless_dead(ext4->vfs)) {
            inode = ext4->vfs;
        }
        spin_unlock(&mount->lock);
        if (ext4 == NULL || inode != NULL)
            return inode;
        wait_event(&mount->inode_queue, is_settled(mount, number));
    }
}

int ext4_inode_get(struct ext4_mount *mount, uint32_t number, struct inode **result)
{
    struct ext4_inode *fresh = inode_alloc(mount->superblock, 0);
    int error = 0;
    if (fresh == NULL)
        return -ENOMEM;
    fresh->node.number = number;
    struct inode *found = find_or_enter(mount, number, fresh, &error);
    if (found != NULL || error != 0) {
        inode_put(fresh->vfs);
        *result = found;
        return error;
    }
    error = ext4_node_read(mount->fs, number, &fresh->node);
    if (error == -ENOENT || (error == 0 && fresh->node.links == 0))
        error = ext4_corrupted(mount->fs, "inode %u has a name, but is not in use", number);
    if (error == 0)
        error = fill(fresh);
    if (error != 0) {
        leave(mount, fresh);
        fresh->vfs->ops = NULL; // nothing to evict
        if (fresh->vfs->cache != NULL)
            page_cache_destroy(&fresh->cache);
        inode_put(fresh->vfs);
        return error;
    }
    spin_lock(&mount->lock);
    fresh->ready = true;
    spin_unlock(&mount->lock);
    wait_wake_all(&mount->inode_queue);
    *result = fresh->vfs;
    return 0;
}

int ext4_inode_new(struct inode *directory, uint32_t mode, struct inode **result)
{
    struct ext4_inode *ext4 = inode_alloc(directory->superblock, mode);
    if (ext4 == NULL)
        return -ENOMEM;
    inode_init_owner(ext4->vfs, directory);
    *result = ext4->vfs;
    return 0;
}

int ext4_inode_enter(struct inode *inode)
{
    struct ext4_mount *mount = ext4_mount_of(inode->superblock);
    struct ext4_inode *ext4 = ext4_inode_of(inode);
    int error = fill(ext4);
    spin_lock(&mount->lock);
    if (error == 0)
        error = xarray_insert(&mount->inodes, ext4->node.number, ext4);
    ext4->counted = ext4->ready = error == 0;
    spin_unlock(&mount->lock);
    return error;
}

// ---- the end ----

static void drop_orphan(struct ext4_node *node)
{
    mutex_lock(&node->fs->orphan_lock);
    if (node->orphan)
        list_remove(&node->orphan_node);
    node->orphan = false;
    mutex_unlock(&node->fs->orphan_lock);
}

void ext4_inode_evict(struct inode *inode)
{
    struct ext4_mount *mount = ext4_mount_of(inode->superblock);
    struct ext4_inode *ext4 = ext4_inode_of(inode);
    const bool gone = ext4->node.links == 0;
    int error = 0;
    if (!gone && inode->cache != NULL && page_cache_sync(&ext4->cache) != 0)
        log_error("ext4: %s: data of inode %u could not be written", mount->device.name,
            ext4->node.number);
    if (!gone)
        error = ext4_inode_write(inode);
    if (inode->cache != NULL)
        page_cache_destroy(&ext4->cache);
    // Before the number can be given to another.
    leave(mount, ext4);
    if (gone)
        error = ext4_remove(&ext4->node);
    if (error != 0 && error != -EROFS)
        log_error("ext4: %s: inode %u: error %d at its end", mount->device.name, ext4->node.number,
            -error);
    drop_orphan(&ext4->node);
}
