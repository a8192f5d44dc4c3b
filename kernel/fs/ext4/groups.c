// SPDX-License-Identifier: MIT
// Group descriptors: where the bitmaps and inode tables lie, and how much of each group is free.
// All of them are in memory; what changes is written through to the buffer of its block.
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/fs/ext4/checksum.h"
#include "kernel/fs/ext4/core.h"

static bool is_power(uint32_t number, uint32_t base)
{
    while (number % base == 0)
        number /= base;
    return number == 1;
}

bool ext4_group_has_super(const struct ext4_fs *fs, uint32_t group)
{
    if (fs->compat & EXT4_FEATURE_COMPAT_SPARSE_SUPER2)
        return group == 0 || group == fs->backup_groups[0] || group == fs->backup_groups[1];
    if (group <= 1 || !(fs->ro_compat & EXT2_FEATURE_RO_COMPAT_SPARSE_SUPER))
        return true;
    return is_power(group, 3) || is_power(group, 5) || is_power(group, 7);
}

static uint32_t per_block(const struct ext4_fs *fs)
{
    return fs->block_bytes / fs->descriptor_bytes;
}

uint32_t ext4_group_base_blocks(const struct ext4_fs *fs, uint32_t group)
{
    const bool has_super = ext4_group_has_super(fs, group);
    const uint32_t meta = group / per_block(fs);
    uint32_t blocks = has_super;
    if (fs->incompat & EXT2_FEATURE_INCOMPAT_META_BG && meta >= fs->first_meta_group) {
        const uint32_t within = group % per_block(fs);
        return blocks + (within == 0 || within == 1 || within == per_block(fs) - 1);
    }
    if (has_super) {
        blocks += fs->incompat & EXT2_FEATURE_INCOMPAT_META_BG
                      ? fs->first_meta_group
                      : DIV_ROUND_UP(fs->group_count, per_block(fs));
        blocks += fs->reserved_descriptors;
    }
    return blocks;
}

static uint64_t descriptor_block(const struct ext4_fs *fs, uint32_t group)
{
    const uint32_t index = group / per_block(fs);
    if (!(fs->incompat & EXT2_FEATURE_INCOMPAT_META_BG) || index < fs->first_meta_group)
        return fs->first_data_block + 1 + index;
    const uint32_t first = index * per_block(fs);
    return ext4_group_start(fs, first) + ext4_group_has_super(fs, first);
}

static uint16_t checksum_of(
    const struct ext4_fs *fs, uint32_t group, const struct ext4_group_desc *descriptor)
{
    const uint8_t *bytes = (const uint8_t *)descriptor;
    const size_t at = offsetof(struct ext4_group_desc, bg_checksum);
    const uint16_t zero = 0;
    if (fs->metadata_checksum) {
        uint32_t crc = ext4_crc32c(fs->checksum_seed, &group, sizeof(group));
        crc = ext4_crc32c(crc, bytes, at);
        crc = ext4_crc32c(crc, &zero, sizeof(zero));
        crc = ext4_crc32c(crc, bytes + at + 2, fs->descriptor_bytes - at - 2);
        return (uint16_t)crc;
    }
    uint16_t crc = ext4_crc16(0xffff, fs->uuid, sizeof(fs->uuid));
    crc = ext4_crc16(crc, &group, sizeof(group));
    crc = ext4_crc16(crc, bytes, at);
    if (fs->descriptor_bytes > at + 2)
        crc = ext4_crc16(crc, bytes + at + 2, fs->descriptor_bytes - at - 2);
    return crc;
}

static bool is_wide(const struct ext4_fs *fs)
{
    return fs->descriptor_bytes >= EXT2_MIN_DESC_SIZE_64BIT;
}

static uint32_t join(const struct ext4_fs *fs, uint16_t low, uint16_t high)
{
    return low | (is_wide(fs) ? (uint32_t)high << 16 : 0);
}

static int take(
    struct ext4_fs *fs, uint32_t number, const struct ext4_group_desc *from, bool lenient)
{
    struct ext4_group *group = &fs->groups[number];
    const uint64_t high = is_wide(fs) ? ~UINT64_C(0) : 0;
    const uint32_t table_blocks = fs->inodes_per_group / (fs->block_bytes / fs->inode_bytes);
    if (!lenient && fs->group_checksum && from->bg_checksum != checksum_of(fs, number, from))
        return ext4_corrupted(fs, "wrong checksum of group %u", number);
    group->block_bitmap = from->bg_block_bitmap | (high & (uint64_t)from->bg_block_bitmap_hi << 32);
    group->inode_bitmap = from->bg_inode_bitmap | (high & (uint64_t)from->bg_inode_bitmap_hi << 32);
    group->inode_table = from->bg_inode_table | (high & (uint64_t)from->bg_inode_table_hi << 32);
    group->free_blocks = join(fs, from->bg_free_blocks_count, from->bg_free_blocks_count_hi);
    group->free_inodes = join(fs, from->bg_free_inodes_count, from->bg_free_inodes_count_hi);
    group->directories = join(fs, from->bg_used_dirs_count, from->bg_used_dirs_count_hi);
    group->unused_inodes =
        fs->group_checksum ? join(fs, from->bg_itable_unused, from->bg_itable_unused_hi) : 0;
    group->flags = fs->group_checksum ? from->bg_flags : 0;
    if (!ext4_range_is_valid(fs, group->block_bitmap, 1) ||
        !ext4_range_is_valid(fs, group->inode_bitmap, 1) ||
        !ext4_range_is_valid(fs, group->inode_table, table_blocks))
        return ext4_corrupted(fs, "bad descriptor of group %u", number);
    if (lenient)
        return 0;
    if (group->free_blocks > ext4_group_blocks(fs, number) ||
        group->free_inodes > fs->inodes_per_group || group->unused_inodes > fs->inodes_per_group ||
        group->directories > fs->inodes_per_group ||
        ext4_group_base_blocks(fs, number) > ext4_group_blocks(fs, number))
        return ext4_corrupted(fs, "bad counts of group %u", number);
    fs->free_blocks += group->free_blocks;
    fs->free_inodes += group->free_inodes;
    return 0;
}

int ext4_groups_load(struct ext4_fs *fs, bool lenient)
{
    struct ext4_buffer *buffer = NULL;
    int error = 0;
    base_free(fs->groups);
    fs->free_blocks = 0;
    fs->free_inodes = 0;
    fs->groups = base_alloc(sizeof(*fs->groups) * fs->group_count);
    if (fs->groups == NULL)
        return -ENOMEM;
    for (uint32_t group = 0; group < fs->group_count && error == 0; group++) {
        const uint32_t within = group % per_block(fs);
        if (within == 0) {
            if (buffer != NULL)
                ext4_buffer_put(fs, buffer);
            buffer = NULL;
            error = ext4_buffer_read(fs, descriptor_block(fs, group), EXT4_KIND_RAW, NULL, &buffer);
        }
        if (error == 0)
            error = take(fs, group,
                (const struct ext4_group_desc *)(buffer->data + within * fs->descriptor_bytes),
                lenient);
    }
    if (buffer != NULL)
        ext4_buffer_put(fs, buffer);
    return error;
}

static void put_counts(
    const struct ext4_fs *fs, const struct ext4_group *group, struct ext4_group_desc *to)
{
    to->bg_free_blocks_count = (uint16_t)group->free_blocks;
    to->bg_free_inodes_count = (uint16_t)group->free_inodes;
    to->bg_used_dirs_count = (uint16_t)group->directories;
    if (fs->group_checksum) {
        to->bg_itable_unused = (uint16_t)group->unused_inodes;
        to->bg_flags = group->flags;
    }
    if (!is_wide(fs))
        return;
    to->bg_free_blocks_count_hi = (uint16_t)(group->free_blocks >> 16);
    to->bg_free_inodes_count_hi = (uint16_t)(group->free_inodes >> 16);
    to->bg_used_dirs_count_hi = (uint16_t)(group->directories >> 16);
    if (fs->group_checksum)
        to->bg_itable_unused_hi = (uint16_t)(group->unused_inodes >> 16);
}

int ext4_group_store(struct ext4_handle *handle, uint32_t number)
{
    struct ext4_fs *fs = handle->fs;
    struct ext4_buffer *buffer;
    assert(mutex_is_held(&fs->alloc_lock));
    int error = ext4_buffer_read(fs, descriptor_block(fs, number), EXT4_KIND_RAW, NULL, &buffer);
    if (error != 0)
        return error;
    ext4_modify(handle, buffer);
    struct ext4_group_desc *to =
        (struct ext4_group_desc *)(buffer->data + number % per_block(fs) * fs->descriptor_bytes);
    put_counts(fs, &fs->groups[number], to);
    fs->groups[number].touched = true;
    fs->counts_changed = true;
    ext4_buffer_put(fs, buffer);
    return 0;
}

static uint32_t bitmap_checksum(struct ext4_fs *fs, uint64_t block, uint32_t bits, bool *found)
{
    struct ext4_buffer *buffer;
    *found = ext4_buffer_read(fs, block, EXT4_KIND_RAW, NULL, &buffer) == 0;
    if (!*found)
        return 0;
    const uint32_t crc = ext4_crc32c(fs->checksum_seed, buffer->data, bits / 8);
    ext4_buffer_put(fs, buffer);
    return crc;
}

static void seal_bitmaps(struct ext4_fs *fs, uint32_t number, struct ext4_group_desc *to)
{
    struct ext4_group *group = &fs->groups[number];
    bool found;
    if (group->block_bitmap_checked) {
        const uint32_t crc = bitmap_checksum(fs, group->block_bitmap, fs->blocks_per_group, &found);
        if (found) {
            to->bg_block_bitmap_csum_lo = (uint16_t)crc;
            if (is_wide(fs))
                to->bg_block_bitmap_csum_hi = (uint16_t)(crc >> 16);
        }
    }
    if (group->inode_bitmap_checked) {
        const uint32_t crc = bitmap_checksum(fs, group->inode_bitmap, fs->inodes_per_group, &found);
        if (found) {
            to->bg_inode_bitmap_csum_lo = (uint16_t)crc;
            if (is_wide(fs))
                to->bg_inode_bitmap_csum_hi = (uint16_t)(crc >> 16);
        }
    }
}

void ext4_groups_seal(struct ext4_fs *fs)
{
    for (uint32_t number = 0; fs->group_checksum && number < fs->group_count; number++) {
        struct ext4_buffer *buffer;
        if (!fs->groups[number].touched)
            continue;
        // It is part of the running transaction, so this reads nothing.
        if (ext4_buffer_read(fs, descriptor_block(fs, number), EXT4_KIND_RAW, NULL, &buffer) != 0)
            continue;
        struct ext4_group_desc *to =
            (struct ext4_group_desc *)(buffer->data +
                                       number % per_block(fs) * fs->descriptor_bytes);
        if (fs->metadata_checksum)
            seal_bitmaps(fs, number, to);
        to->bg_checksum = checksum_of(fs, number, to);
        fs->groups[number].touched = false;
        ext4_buffer_put(fs, buffer);
    }
}

// The bitmap of a group that has never been used, as the descriptor's flags say.
static void make_bitmap(struct ext4_fs *fs, uint32_t number, bool inodes, uint8_t *data)
{
    const struct ext4_group *group = &fs->groups[number];
    const uint64_t start = ext4_group_start(fs, number);
    const uint32_t table_blocks = fs->inodes_per_group / (fs->block_bytes / fs->inode_bytes);
    uint64_t *map = (uint64_t *)data;
    memset(data, 0, fs->block_bytes);
    const uint32_t bits = inodes ? fs->inodes_per_group : ext4_group_blocks(fs, number);
    for (uint32_t bit = bits; bit < fs->block_bytes * 8; bit++)
        map[bit / 64] |= UINT64_C(1) << bit % 64;
    if (inodes)
        return;
    for (uint32_t bit = 0; bit < ext4_group_base_blocks(fs, number); bit++)
        map[bit / 64] |= UINT64_C(1) << bit % 64;
    for (uint32_t i = 0; i < table_blocks + 2; i++) {
        uint64_t block = group->inode_table + i - 2;
        if (i == 0)
            block = group->block_bitmap;
        else if (i == 1)
            block = group->inode_bitmap;
        if (block >= start && block < start + bits)
            map[(block - start) / 64] |= UINT64_C(1) << (block - start) % 64;
    }
}

static int check_bitmap(
    struct ext4_fs *fs, uint32_t number, bool inodes, const struct ext4_buffer *bitmap)
{
    struct ext4_buffer *buffer;
    if (!fs->metadata_checksum)
        return 0;
    int error = ext4_buffer_read(fs, descriptor_block(fs, number), EXT4_KIND_RAW, NULL, &buffer);
    if (error != 0)
        return error;
    const struct ext4_group_desc *from =
        (const struct ext4_group_desc *)(buffer->data +
                                         number % per_block(fs) * fs->descriptor_bytes);
    uint32_t crc = ext4_crc32c(fs->checksum_seed, bitmap->data,
        (inodes ? fs->inodes_per_group : fs->blocks_per_group) / 8);
    const uint32_t stored =
        inodes ? join(fs, from->bg_inode_bitmap_csum_lo, from->bg_inode_bitmap_csum_hi)
               : join(fs, from->bg_block_bitmap_csum_lo, from->bg_block_bitmap_csum_hi);
    if (!is_wide(fs))
        crc &= 0xffff;
    ext4_buffer_put(fs, buffer);
    return crc == stored ? 0 : ext4_corrupted(fs, "wrong checksum of a bitmap of group %u", number);
}

int ext4_bitmap_read(struct ext4_fs *fs, uint32_t number, bool inodes, struct ext4_buffer **result)
{
    struct ext4_group *group = &fs->groups[number];
    const uint64_t block = inodes ? group->inode_bitmap : group->block_bitmap;
    bool *checked = inodes ? &group->inode_bitmap_checked : &group->block_bitmap_checked;
    const uint16_t unused = inodes ? EXT2_BG_INODE_UNINIT : EXT2_BG_BLOCK_UNINIT;
    assert(mutex_is_held(&fs->alloc_lock));
    int error;
    if (group->flags & unused) { // what lies on the disk means nothing yet
        error = ext4_buffer_new(fs, block, EXT4_KIND_RAW, NULL, result);
        if (error != 0)
            return error;
        make_bitmap(fs, number, inodes, (*result)->data);
    } else {
        error = ext4_buffer_read(fs, block, EXT4_KIND_RAW, NULL, result);
        if (error == 0 && !*checked)
            error = check_bitmap(fs, number, inodes, *result);
        if (error != 0)
            return error;
    }
    *checked = true;
    return 0;
}
