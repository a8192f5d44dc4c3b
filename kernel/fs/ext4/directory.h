// SPDX-License-Identifier: MIT
// Directory blocks: what directory.c, htree.c and the checks share.
#pragma once

#include "kernel/fs/ext4/core.h"

#define EXT4_INDEX_INFO   24 // of struct ext2_dx_root_info: behind "." and ".."
#define EXT4_INDEX_LEVELS 2  // without `large_dir`

static inline uint32_t ext4_entry_bytes(uint32_t name_len)
{
    return (name_len + EXT2_DIR_ENTRY_HEADER_LEN + EXT2_DIR_ROUND) & ~(uint32_t)EXT2_DIR_ROUND;
}
// Where the entries of a block end: at its end, or at the checksum.
static inline uint32_t ext4_entries_end(const struct ext4_fs *fs)
{
    return fs->block_bytes -
           (fs->metadata_checksum ? (uint32_t)sizeof(struct ext2_dir_entry_tail) : 0);
}
// Where count, limit and the entries of an index block begin.
static inline size_t ext4_index_offset(const struct ext4_buffer *buffer)
{
    return buffer->kind == EXT4_KIND_INDEX_ROOT ? EXT4_INDEX_INFO + sizeof(struct ext2_dx_root_info)
                                                : EXT2_DIR_ENTRY_HEADER_LEN;
}
static inline uint32_t ext4_index_limit(const struct ext4_fs *fs, enum ext4_kind kind)
{
    uint32_t bytes = fs->block_bytes - (kind == EXT4_KIND_INDEX_ROOT ? 32 : 8);
    if (fs->metadata_checksum)
        bytes -= (uint32_t)sizeof(struct ext2_dx_tail);
    return bytes / (uint32_t)sizeof(struct ext2_dx_entry);
}
// An empty block of entries.
void ext4_entries_init(const struct ext4_fs *fs, uint8_t *data);
// Block `logical` of a directory. *result NULL: a hole.
[[nodiscard]] int ext4_directory_block(struct ext4_node *directory, uint32_t logical,
    enum ext4_kind kind, struct ext4_buffer **result);
// A new block at the end of the directory, whose size grows. The caller writes the node.
[[nodiscard]] int ext4_directory_grow(struct ext4_handle *handle, struct ext4_node *directory,
    enum ext4_kind kind, uint32_t *logical, struct ext4_buffer **result);
// The entry of that name in a block of entries; NULL.
struct ext2_dir_entry_2 *ext4_entry_find(
    const struct ext4_fs *fs, const struct ext4_buffer *buffer, const struct ext4_name *name);
// Room for a name of that length; NULL. Then put.
struct ext2_dir_entry_2 *ext4_entry_room(
    const struct ext4_fs *fs, const struct ext4_buffer *buffer, uint32_t name_len);
void ext4_entry_put(const struct ext4_fs *fs, struct ext2_dir_entry_2 *entry,
    const struct ext4_name *name, uint32_t number, uint32_t mode);

// htree.c
static inline bool ext4_directory_is_indexed(const struct ext4_node *directory)
{
    return directory->flags & EXT2_INDEX_FL &&
           directory->fs->compat & EXT2_FEATURE_COMPAT_DIR_INDEX;
}
// The block of entries that holds the name, and the entry. -ENOENT.
[[nodiscard]] int ext4_index_find(struct ext4_node *directory, const struct ext4_name *name,
    struct ext4_buffer **block, struct ext2_dir_entry_2 **entry);
[[nodiscard]] int ext4_index_add(struct ext4_handle *handle, struct ext4_node *directory,
    const struct ext4_name *name, uint32_t number, uint32_t mode);
// A directory of one full block gets an index.
[[nodiscard]] int ext4_index_create(struct ext4_handle *handle, struct ext4_node *directory);
