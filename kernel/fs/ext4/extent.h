// SPDX-License-Identifier: MIT
// Trees of extents: what extent.c (looking) and extent_change.c share.
#pragma once

#include "kernel/fs/ext4/core.h"

// The way from the root (in the inode) to a leaf. Buffers hold references.
struct ext4_extent_path {
    uint32_t depth; // levels below the root; the leaf is level[depth]
    struct {
        struct ext4_buffer *buffer; // NULL: the root
        struct ext3_extent_header *header;
        int32_t position; // the last entry that begins at or before what was looked for; in a leaf
                          // -1: none
    } level[EXT4_EXTENT_DEPTH + 1];
};

[[nodiscard]] int ext4_extent_path_find(
    struct ext4_node *node, uint32_t logical, struct ext4_extent_path *path);
void ext4_extent_path_put(struct ext4_fs *fs, struct ext4_extent_path *path);

static inline struct ext3_extent *ext4_extents(struct ext3_extent_header *header)
{
    return (struct ext3_extent *)(header + 1);
}
static inline struct ext3_extent_idx *ext4_indices(struct ext3_extent_header *header)
{
    return (struct ext3_extent_idx *)(header + 1);
}
static inline bool ext4_extent_is_unwritten(const struct ext3_extent *extent)
{
    return extent->ee_len > EXT_INIT_MAX_LEN;
}
static inline uint32_t ext4_extent_len(const struct ext3_extent *extent)
{
    return ext4_extent_is_unwritten(extent) ? extent->ee_len - (uint32_t)EXT_INIT_MAX_LEN
                                            : extent->ee_len;
}
static inline uint64_t ext4_extent_start(const struct ext3_extent *extent)
{
    return extent->ee_start | (uint64_t)extent->ee_start_hi << 32;
}
static inline uint64_t ext4_index_leaf(const struct ext3_extent_idx *index)
{
    return index->ei_leaf | (uint64_t)index->ei_leaf_hi << 32;
}
static inline uint32_t ext4_extent_len_max(bool unwritten)
{
    return unwritten ? (uint32_t)EXT_UNINIT_MAX_LEN : (uint32_t)EXT_INIT_MAX_LEN;
}
static inline void ext4_extent_set(
    struct ext3_extent *extent, uint32_t logical, uint64_t physical, uint32_t len, bool unwritten)
{
    extent->ee_block = logical;
    extent->ee_len = (uint16_t)(len + (unwritten ? EXT_INIT_MAX_LEN : 0));
    extent->ee_start = (uint32_t)physical;
    extent->ee_start_hi = (uint16_t)(physical >> 32);
}
