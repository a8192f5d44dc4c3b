// SPDX-License-Identifier: MIT
// Orphans: inodes that have no name any more but are still in use, and those that are being
// truncated in several transactions. On the disk they are a list that begins in the superblock and
// goes on in each inode's i_dtime; a mount after a crash finishes them.
#include "kernel/base/assert.h"
#include "kernel/core/errno.h"
#include "kernel/core/log.h"
#include "kernel/fs/ext4/core.h"
#include "kernel/fs/ext4/xattr.h"

static void set_first(struct ext4_handle *handle, uint32_t number)
{
    struct ext4_fs *fs = handle->fs;
    ext4_modify(handle, fs->super);
    fs->last_orphan = number;
    ext4_super(fs)->s_last_orphan = number;
}

int ext4_orphan_add(struct ext4_handle *handle, struct ext4_node *node)
{
    struct ext4_fs *fs = handle->fs;
    int error = 0;
    mutex_lock(&fs->orphan_lock);
    if (!node->orphan) {
        node->next_orphan = fs->last_orphan;
        error = ext4_node_write(handle, node);
        if (error == 0) {
            set_first(handle, node->number);
            list_add_head(&fs->orphans, &node->orphan_node);
            node->orphan = true;
        }
    }
    mutex_unlock(&fs->orphan_lock);
    return error;
}

int ext4_orphan_remove(struct ext4_handle *handle, struct ext4_node *node)
{
    struct ext4_fs *fs = handle->fs;
    int error = 0;
    mutex_lock(&fs->orphan_lock);
    if (node->orphan) {
        if (node->orphan_node.prev == &fs->orphans) {
            set_first(handle, node->next_orphan);
        } else {
            struct ext4_node *before =
                list_entry(node->orphan_node.prev, struct ext4_node, orphan_node);
            before->next_orphan = node->next_orphan;
            error = ext4_node_write(handle, before);
        }
        list_remove(&node->orphan_node);
        node->orphan = false;
        node->next_orphan = 0;
    }
    mutex_unlock(&fs->orphan_lock);
    return error;
}

// One of the list on the disk: is removed, or truncated to its size.
static int clean_one(struct ext4_fs *fs, struct ext4_node *node, uint32_t number, uint32_t *next)
{
    struct ext4_handle handle;
    int error = ext4_node_read(fs, number, node);
    if (error != 0)
        return error;
    *next = node->next_orphan;
    const bool gone = node->links == 0;
    if (!gone && !S_ISREG(node->mode))
        return ext4_corrupted(fs, "inode %u is on the list of orphans", number);
    const uint64_t keep = gone ? 0 : DIV_ROUND_UP(node->size, fs->block_bytes);
    if (S_ISREG(node->mode) || S_ISDIR(node->mode) ||
        (S_ISLNK(node->mode) && !ext4_node_is_fast_link(node)))
        error = ext4_map_remove_all(node, (uint32_t)keep, EXT4_BLOCKS_MAX - 1);
    if (error == 0)
        error = ext4_begin(fs, EXT4_CREDITS, &handle);
    if (error != 0)
        return error;
    set_first(&handle, *next);
    node->next_orphan = 0;
    if (gone && node->xattr_block != 0)
        error = ext4_xattr_block_release(&handle, node);
    if (error == 0)
        error = gone ? ext4_node_free(&handle, node) : ext4_node_write(&handle, node);
    ext4_end(&handle);
    return error;
}

int ext4_orphans_clean(struct ext4_fs *fs)
{
    uint32_t done = 0;
    int error = 0;
    // A hostile list may be a ring: it can't be longer than there are inodes.
    while (fs->last_orphan != 0 && done < fs->inode_count && error == 0) {
        struct ext4_node *node = base_alloc(sizeof(*node));
        uint32_t next = 0;
        if (node == NULL)
            return -ENOMEM;
        error = clean_one(fs, node, fs->last_orphan, &next);
        base_free(node);
        done++;
    }
    if (done != 0)
        log_info("ext4: %s: %u orphans removed", fs->device->name, done);
    return error;
}
