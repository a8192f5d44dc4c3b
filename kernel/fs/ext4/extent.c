// SPDX-License-Identifier: MIT
// Looking things up in trees of extents.
#include "kernel/fs/ext4/extent.h"
#include "kernel/base/assert.h"
#include "kernel/core/errno.h"

// The last entry whose first block is at most `logical`; -1. Extents and indices both begin with
// that number.
static int32_t position_of(const struct ext3_extent_header *header, uint32_t logical)
{
    const struct ext3_extent *entries = (const struct ext3_extent *)(header + 1);
    int32_t low = 0, high = header->eh_entries;
    static_assert(sizeof(struct ext3_extent) == sizeof(struct ext3_extent_idx));
    while (low < high) {
        const int32_t middle = (low + high) / 2;
        if (entries[middle].ee_block <= logical)
            low = middle + 1;
        else
            high = middle;
    }
    return low - 1;
}

void ext4_extent_path_put(struct ext4_fs *fs, struct ext4_extent_path *path)
{
    for (uint32_t i = 1; i <= path->depth; i++)
        if (path->level[i].buffer != NULL)
            ext4_buffer_put(fs, path->level[i].buffer);
    path->depth = 0;
}

int ext4_extent_path_find(struct ext4_node *node, uint32_t logical, struct ext4_extent_path *path)
{
    struct ext3_extent_header *header = (struct ext3_extent_header *)node->pointers;
    const uint32_t depth = header->eh_depth;
    *path = (struct ext4_extent_path){};
    assert(depth <= EXT4_EXTENT_DEPTH);
    for (uint32_t i = 0;; i++) {
        path->level[i].header = header;
        path->level[i].position = position_of(header, logical);
        if (i == depth)
            return 0;
        const int32_t at = MAX(path->level[i].position, 0);
        path->level[i].position = at;
        const struct ext3_extent_idx *index = &ext4_indices(header)[at];
        struct ext4_buffer *buffer;
        int error =
            ext4_buffer_read(node->fs, ext4_index_leaf(index), EXT4_KIND_EXTENTS, node, &buffer);
        if (error == 0) {
            header = (struct ext3_extent_header *)buffer->data;
            path->depth = i + 1;
            path->level[i + 1].buffer = buffer;
            if (header->eh_depth + i + 1 != depth || header->eh_entries == 0 ||
                ext4_extents(header)->ee_block < index->ei_block)
                error = ext4_corrupted(node->fs, "inode %u: bad tree of extents", node->number);
        }
        if (error != 0) {
            ext4_extent_path_put(node->fs, path);
            return error;
        }
    }
}

// The first block behind the path's position that another extent begins at.
static uint32_t next_start(const struct ext4_extent_path *path)
{
    for (uint32_t i = path->depth + 1; i-- != 0;) {
        const struct ext3_extent *entries = (const struct ext3_extent *)(path->level[i].header + 1);
        const int32_t next = path->level[i].position + 1;
        if (next < path->level[i].header->eh_entries)
            return entries[next].ee_block;
    }
    return EXT4_BLOCKS_MAX;
}

int ext4_extent_find(struct ext4_node *node, uint32_t logical, uint32_t max, struct ext4_run *run)
{
    struct ext4_extent_path path;
    assert(max != 0);
    int error = ext4_extent_path_find(node, logical, &path);
    if (error != 0)
        return error;
    const int32_t at = path.level[path.depth].position;
    *run = (struct ext4_run){.logical = logical};
    if (at >= 0) {
        const struct ext3_extent *extent = &ext4_extents(path.level[path.depth].header)[at];
        const uint32_t within = logical - extent->ee_block;
        if (within < ext4_extent_len(extent)) {
            run->physical = ext4_extent_start(extent) + within;
            run->count = MIN(max, ext4_extent_len(extent) - within);
            run->unwritten = ext4_extent_is_unwritten(extent);
        }
    }
    if (run->physical == 0) {
        const uint32_t next = next_start(&path);
        run->count = next > logical ? MIN(max, next - logical) : 0;
        if (run->count == 0)
            error = ext4_corrupted(node->fs, "inode %u: extents overlap", node->number);
    }
    ext4_extent_path_put(node->fs, &path);
    return error;
}
