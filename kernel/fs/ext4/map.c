// SPDX-License-Identifier: MIT
// Block maps: extents or pointers.
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/fs/ext4/extent.h"

int ext4_map_find(struct ext4_node *node, uint32_t logical, uint32_t max, struct ext4_run *run)
{
    if (ext4_node_has_extents(node))
        return ext4_extent_find(node, logical, max, run);
    return ext4_pointer_find(node, logical, max, run);
}

// Where the blocks at `logical` had best lie: behind the one before, else in the inode's group.
static int goal_of(struct ext4_node *node, uint32_t logical, uint64_t *goal)
{
    struct ext4_fs *fs = node->fs;
    struct ext4_run before;
    *goal = ext4_group_start(fs, (node->number - 1) / fs->inodes_per_group);
    if (logical == 0)
        return 0;
    int error = ext4_map_find(node, logical - 1, 1, &before);
    if (error == 0 && before.physical != 0)
        *goal = before.physical + 1;
    return error;
}

static int allocate_extent(struct ext4_handle *handle, struct ext4_node *node, uint32_t logical,
    uint32_t count, bool unwritten, uint32_t flags, struct ext4_run *run)
{
    uint64_t goal, block;
    count = MIN(count, ext4_extent_len_max(unwritten));
    int error = goal_of(node, logical, &goal);
    if (error == 0)
        error = ext4_blocks_allocate(handle, goal, flags, &count, &block);
    if (error != 0)
        return error;
    *run = (struct ext4_run){
        .logical = logical, .count = count, .physical = block, .unwritten = unwritten};
    error = ext4_extent_insert(handle, node, run);
    if (error != 0)
        (void)ext4_blocks_free(handle, block, count, false);
    else
        node->blocks += (uint64_t)count * (node->fs->block_bytes / 512);
    return error;
}

int ext4_map_allocate(struct ext4_handle *handle, struct ext4_node *node, uint32_t logical,
    uint32_t count, bool unwritten, uint32_t flags, struct ext4_run *run)
{
    int error = ext4_map_find(node, logical, count, run);
    if (error != 0)
        return error;
    assert(run->physical == 0); // a hole
    count = run->count;
    if (ext4_node_has_extents(node))
        return allocate_extent(handle, node, logical, count, unwritten, flags, run);
    return ext4_pointer_allocate(handle, node, logical, count, flags, run);
}

int ext4_map_convert(
    struct ext4_handle *handle, struct ext4_node *node, uint32_t logical, uint32_t count)
{
    return ext4_node_has_extents(node) ? ext4_extent_convert(handle, node, logical, count) : 0;
}

int ext4_map_remove(
    struct ext4_handle *handle, struct ext4_node *node, uint32_t first, uint32_t last, bool *more)
{
    assert(first <= last);
    if (ext4_node_has_extents(node))
        return ext4_extent_remove(handle, node, first, last, more);
    return ext4_pointer_remove(handle, node, first, last, more);
}

// No write of data is under way to blocks of the map then: they may be freed.
static void lock_without_writes(struct ext4_node *node)
{
    for (;;) {
        rwlock_write_lock(&node->map_lock);
        if (__atomic_load_n(&node->in_flight, __ATOMIC_ACQUIRE) == 0)
            return;
        rwlock_write_unlock(&node->map_lock);
        wait_event(&node->fs->data_queue, __atomic_load_n(&node->in_flight, __ATOMIC_SEQ_CST) == 0);
    }
}

int ext4_map_remove_all(struct ext4_node *node, uint32_t first, uint32_t last)
{
    bool more = first <= last;
    int error = 0;
    while (more && error == 0) {
        struct ext4_handle handle;
        error = ext4_begin(node->fs, EXT4_CREDITS, &handle);
        if (error != 0)
            break;
        lock_without_writes(node);
        error = ext4_map_remove(&handle, node, first, last, &more);
        rwlock_write_unlock(&node->map_lock);
        const int written = ext4_node_write(&handle, node);
        error = error != 0 ? error : written;
        ext4_end(&handle);
    }
    return error;
}

void ext4_map_init(struct ext4_node *node)
{
    struct ext3_extent_header *header = (struct ext3_extent_header *)node->pointers;
    memset(node->pointers, 0, sizeof(node->pointers));
    node->flags |= EXT4_EXTENTS_FL;
    header->eh_magic = EXT3_EXT_MAGIC;
    header->eh_max = (sizeof(node->pointers) - sizeof(*header)) / sizeof(struct ext3_extent);
}
