// SPDX-License-Identifier: MIT
// What a metadata block must look like, and its checksum. After this check the code that walks a
// block may trust lengths and counts in it; block numbers in it are checked where they are used.
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/fs/ext4/checksum.h"
#include "kernel/fs/ext4/core.h"
#include "kernel/fs/ext4/directory.h"

#define EXTENT_TAIL(header)                                                                        \
    (sizeof(struct ext3_extent_header) + (header)->eh_max * sizeof(struct ext3_extent))

static int bad(struct ext4_fs *fs, const struct ext4_buffer *buffer, const char *what)
{
    return ext4_corrupted(fs, "block %lu: %s", (unsigned long)buffer->block, what);
}

// ---- extents ----

bool ext4_extent_header_is_valid(
    const struct ext4_fs *fs, const struct ext3_extent_header *header, size_t bytes)
{
    const size_t room = (bytes - sizeof(*header)) / sizeof(struct ext3_extent);
    if (header->eh_magic != EXT3_EXT_MAGIC || header->eh_max > room || header->eh_max < 4 ||
        header->eh_entries > header->eh_max || header->eh_depth > EXT4_EXTENT_DEPTH)
        return false;
    uint64_t next = 0;
    const struct ext3_extent *extent = (const struct ext3_extent *)(header + 1);
    for (unsigned i = 0; i < header->eh_entries; i++, extent++) {
        if (extent->ee_block < next)
            return false;
        if (header->eh_depth != 0) {
            const struct ext3_extent_idx *index = (const struct ext3_extent_idx *)extent;
            next = (uint64_t)index->ei_block + 1;
            const uint64_t leaf = index->ei_leaf | (uint64_t)index->ei_leaf_hi << 32;
            if (!ext4_range_is_valid(fs, leaf, 1))
                return false;
            continue;
        }
        const uint32_t len =
            extent->ee_len > EXT_INIT_MAX_LEN ? extent->ee_len - EXT_INIT_MAX_LEN : extent->ee_len;
        const uint64_t start = extent->ee_start | (uint64_t)extent->ee_start_hi << 32;
        next = (uint64_t)extent->ee_block + len;
        if (len == 0 || next > EXT4_BLOCKS_MAX || !ext4_range_is_valid(fs, start, len))
            return false;
    }
    return true;
}

static int check_extents(struct ext4_fs *fs, const struct ext4_buffer *buffer)
{
    const struct ext3_extent_header *header = (const struct ext3_extent_header *)buffer->data;
    if (!ext4_extent_header_is_valid(fs, header, fs->block_bytes) || header->eh_entries == 0)
        return bad(fs, buffer, "bad extents");
    if (!fs->metadata_checksum)
        return 0;
    const size_t tail = EXTENT_TAIL(header);
    if (tail + sizeof(uint32_t) > fs->block_bytes)
        return bad(fs, buffer, "no room for the checksum of extents");
    if (load_unaligned_u32(buffer->data + tail) != ext4_crc32c(buffer->owner, buffer->data, tail))
        return bad(fs, buffer, "wrong checksum of extents");
    return 0;
}

static int check_pointers(struct ext4_fs *fs, const struct ext4_buffer *buffer)
{
    const uint32_t *pointer = (const uint32_t *)buffer->data;
    for (uint32_t i = 0; i < fs->block_bytes / sizeof(*pointer); i++)
        if (pointer[i] != 0 && !ext4_range_is_valid(fs, pointer[i], 1))
            return bad(fs, buffer, "bad block number");
    return 0;
}

// ---- directories ----

// Entries from `at` to `end` exactly.
static bool entries_are_valid(const struct ext4_fs *fs, const uint8_t *data, size_t at, size_t end)
{
    while (at < end) {
        const struct ext2_dir_entry_2 *entry = (const struct ext2_dir_entry_2 *)(data + at);
        if (end - at < EXT2_DIR_ENTRY_HEADER_LEN)
            return false;
        if (entry->rec_len < EXT2_DIR_ENTRY_HEADER_LEN || entry->rec_len % 4 != 0 ||
            entry->rec_len > end - at || entry->inode > fs->inode_count)
            return false;
        if (entry->inode != 0 &&
            (entry->name_len == 0 || ext4_entry_bytes(entry->name_len) > entry->rec_len))
            return false;
        at += entry->rec_len;
    }
    return at == end;
}

static struct ext2_dir_entry_tail *entry_tail(const struct ext4_fs *fs, uint8_t *data)
{
    return (
        struct ext2_dir_entry_tail *)(data + fs->block_bytes - sizeof(struct ext2_dir_entry_tail));
}

static int check_entries(struct ext4_fs *fs, const struct ext4_buffer *buffer)
{
    const size_t end = ext4_entries_end(fs);
    if (!entries_are_valid(fs, buffer->data, 0, end))
        return bad(fs, buffer, "bad directory entries");
    if (!fs->metadata_checksum)
        return 0;
    const struct ext2_dir_entry_tail *tail = entry_tail(fs, buffer->data);
    if (tail->det_reserved_zero1 != 0 || tail->det_rec_len != sizeof(*tail) ||
        tail->det_reserved_name_len != EXT2_DIR_NAME_LEN_CSUM)
        return bad(fs, buffer, "no checksum of directory entries");
    if (tail->det_checksum != ext4_crc32c(buffer->owner, buffer->data, end))
        return bad(fs, buffer, "wrong checksum of directory entries");
    return 0;
}

// With index blocks the checksum covers what is used, and its own first word.
static uint32_t index_checksum(
    const struct ext4_fs *fs, const struct ext4_buffer *buffer, struct ext2_dx_tail **tail)
{
    const size_t at = ext4_index_offset(buffer);
    const struct ext2_dx_countlimit *limit = (struct ext2_dx_countlimit *)(buffer->data + at);
    const uint32_t zero = 0;
    (void)fs;
    *tail =
        (struct ext2_dx_tail *)(buffer->data + at + limit->limit * sizeof(struct ext2_dx_entry));
    uint32_t crc =
        ext4_crc32c(buffer->owner, buffer->data, at + limit->count * sizeof(struct ext2_dx_entry));
    crc = ext4_crc32c(crc, *tail, offsetof(struct ext2_dx_tail, dt_checksum));
    return ext4_crc32c(crc, &zero, sizeof(zero));
}

static int check_index(struct ext4_fs *fs, const struct ext4_buffer *buffer)
{
    const struct ext2_dir_entry_2 *entry = (const struct ext2_dir_entry_2 *)buffer->data;
    const size_t at = ext4_index_offset(buffer);
    if (buffer->kind == EXT4_KIND_INDEX_ROOT) {
        const struct ext2_dx_root_info *info =
            (const struct ext2_dx_root_info *)(buffer->data + EXT4_INDEX_INFO);
        const struct ext2_dir_entry_2 *up = (const struct ext2_dir_entry_2 *)(buffer->data + 12);
        if (entry->rec_len != 12 || entry->name_len != 1 || up->name_len != 2 ||
            up->rec_len != fs->block_bytes - 12 || entry->inode > fs->inode_count ||
            up->inode > fs->inode_count || info->info_length != sizeof(*info) ||
            info->reserved_zero != 0 || info->indirect_levels > EXT4_INDEX_LEVELS - 1 ||
            info->hash_version > EXT2_HASH_TEA)
            return bad(fs, buffer, "bad root of a directory's index");
    } else if (entry->inode != 0 || entry->rec_len != fs->block_bytes) {
        return bad(fs, buffer, "bad block of a directory's index");
    }
    const struct ext2_dx_countlimit *limit = (struct ext2_dx_countlimit *)(buffer->data + at);
    if (limit->limit != ext4_index_limit(fs, buffer->kind) || limit->count > limit->limit ||
        limit->count == 0)
        return bad(fs, buffer, "bad count in a directory's index");
    const struct ext2_dx_entry *entries = (const struct ext2_dx_entry *)limit;
    for (unsigned i = 2; i < limit->count; i++)
        if (entries[i].hash < entries[i - 1].hash)
            return bad(fs, buffer, "a directory's index is not sorted");
    struct ext2_dx_tail *tail;
    if (fs->metadata_checksum && index_checksum(fs, buffer, &tail) != tail->dt_checksum)
        return bad(fs, buffer, "wrong checksum of a directory's index");
    return 0;
}

// ---- extended attributes ----

static uint32_t xattr_checksum(const struct ext4_fs *fs, const struct ext4_buffer *buffer)
{
    const size_t at = offsetof(struct ext2_ext_attr_header, h_checksum);
    const uint64_t block = buffer->block;
    const uint32_t zero = 0;
    uint32_t crc = ext4_crc32c(fs->checksum_seed, &block, sizeof(block));
    crc = ext4_crc32c(crc, buffer->data, at);
    crc = ext4_crc32c(crc, &zero, sizeof(zero));
    return ext4_crc32c(crc, buffer->data + at + sizeof(zero), fs->block_bytes - at - sizeof(zero));
}

static int check_xattr(struct ext4_fs *fs, const struct ext4_buffer *buffer)
{
    const struct ext2_ext_attr_header *header = (const struct ext2_ext_attr_header *)buffer->data;
    if (header->h_magic != EXT2_EXT_ATTR_MAGIC || header->h_blocks != 1)
        return bad(fs, buffer, "bad extended attributes");
    if (fs->metadata_checksum && header->h_checksum != xattr_checksum(fs, buffer))
        return bad(fs, buffer, "wrong checksum of extended attributes");
    return 0;
}

int ext4_block_check(struct ext4_fs *fs, const struct ext4_buffer *buffer)
{
    switch (buffer->kind) {
    case EXT4_KIND_RAW:
        return 0;
    case EXT4_KIND_EXTENTS:
        return check_extents(fs, buffer);
    case EXT4_KIND_POINTERS:
        return check_pointers(fs, buffer);
    case EXT4_KIND_ENTRIES:
        return check_entries(fs, buffer);
    case EXT4_KIND_INDEX_ROOT:
    case EXT4_KIND_INDEX:
        return check_index(fs, buffer);
    case EXT4_KIND_XATTR:
        return check_xattr(fs, buffer);
    }
    assert_unreachable();
}

void ext4_block_seal(const struct ext4_fs *fs, struct ext4_buffer *buffer)
{
    struct ext2_dx_tail *tail;
    const struct ext3_extent_header *header = (const struct ext3_extent_header *)buffer->data;
    if (!fs->metadata_checksum)
        return;
    switch (buffer->kind) {
    case EXT4_KIND_EXTENTS: {
        const uint32_t crc = ext4_crc32c(buffer->owner, buffer->data, EXTENT_TAIL(header));
        memcpy(buffer->data + EXTENT_TAIL(header), &crc, sizeof(crc));
        break;
    }
    case EXT4_KIND_ENTRIES:
        entry_tail(fs, buffer->data)->det_checksum =
            ext4_crc32c(buffer->owner, buffer->data, ext4_entries_end(fs));
        break;
    case EXT4_KIND_INDEX_ROOT:
    case EXT4_KIND_INDEX: {
        const uint32_t crc = index_checksum(fs, buffer, &tail);
        tail->dt_checksum = crc;
        break;
    }
    case EXT4_KIND_XATTR:
        ((struct ext2_ext_attr_header *)buffer->data)->h_checksum = xattr_checksum(fs, buffer);
        break;
    case EXT4_KIND_RAW:
    case EXT4_KIND_POINTERS:
        break;
    }
}
