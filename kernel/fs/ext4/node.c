// SPDX-License-Identifier: MIT
// Nodes: inodes of the disk, taken apart and put together.
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/fs/ext4/checksum.h"
#include "kernel/fs/ext4/core.h"

#define NS_PER_S     INT64_C(1000000000)
#define SECTOR_BYTES 512u
// What a mounted file system can't have, because its feature would have refused the mount.
#define FLAGS_REFUSED                                                                              \
    (EXT4_INLINE_DATA_FL | EXT4_ENCRYPT_FL | EXT4_VERITY_FL | EXT4_EA_INODE_FL | EXT4_CASEFOLD_FL)

void ext4_node_seed(struct ext4_node *node)
{
    const uint32_t crc = ext4_crc32c(node->fs->checksum_seed, &node->number, sizeof(node->number));
    node->seed = ext4_crc32c(crc, &node->generation, sizeof(node->generation));
}

void ext4_node_init(struct ext4_fs *fs, uint32_t number, struct ext4_node *node)
{
    node->fs = fs;
    node->number = number;
    rwlock_init(&node->map_lock);
    mutex_init(&node->write_lock);
}

static int table_read(
    struct ext4_fs *fs, uint32_t number, struct ext4_buffer **buffer, uint8_t **raw)
{
    assert(number != 0);
    assert(number <= fs->inode_count);
    const struct ext4_group *group = &fs->groups[(number - 1) / fs->inodes_per_group];
    const uint64_t at = (uint64_t)((number - 1) % fs->inodes_per_group) * fs->inode_bytes;
    int error = ext4_buffer_read(
        fs, group->inode_table + (at >> fs->block_bits), EXT4_KIND_RAW, NULL, buffer);
    if (error == 0)
        *raw = (*buffer)->data + at % fs->block_bytes;
    return error;
}

// Bytes of the inode that mean something.
static uint32_t used_bytes(const struct ext4_fs *fs, const struct ext2_inode_large *raw)
{
    return fs->inode_bytes > EXT2_GOOD_OLD_INODE_SIZE
               ? EXT2_GOOD_OLD_INODE_SIZE + raw->i_extra_isize
               : EXT2_GOOD_OLD_INODE_SIZE;
}

static uint32_t checksum_of(const struct ext4_node *node, const struct ext2_inode_large *raw)
{
    const struct ext4_fs *fs = node->fs;
    const uint8_t *bytes = (const uint8_t *)raw;
    const size_t low = offsetof(struct ext2_inode_large, i_checksum_lo);
    const size_t high = offsetof(struct ext2_inode_large, i_checksum_hi);
    const uint16_t zero = 0;
    uint32_t crc = ext4_crc32c(node->seed, bytes, low);
    crc = ext4_crc32c(crc, &zero, sizeof(zero));
    size_t at = low + sizeof(zero);
    if (inode_includes(used_bytes(fs, raw), i_checksum_hi)) {
        crc = ext4_crc32c(crc, bytes + at, high - at);
        crc = ext4_crc32c(crc, &zero, sizeof(zero));
        at = high + sizeof(zero);
    }
    return ext4_crc32c(crc, bytes + at, fs->inode_bytes - at);
}

static bool checksum_is_valid(const struct ext4_node *node, const struct ext2_inode_large *raw)
{
    const uint32_t crc = checksum_of(node, raw);
    if (!inode_includes(used_bytes(node->fs, raw), i_checksum_hi))
        return (uint16_t)crc == raw->i_checksum_lo;
    return crc == (raw->i_checksum_lo | (uint32_t)raw->i_checksum_hi << 16);
}

// ---- times: 32 bits of seconds, 2 more and the nanoseconds behind ----

static int64_t time_join(uint32_t seconds, uint32_t extra)
{
    const int64_t whole = (int64_t)(int32_t)seconds + ((int64_t)(extra & EXT4_EPOCH_MASK) << 32);
    return whole * NS_PER_S + MIN(extra >> EXT4_EPOCH_BITS, UINT32_C(999999999));
}

static void time_split(int64_t ns, uint32_t *seconds, uint32_t *extra)
{
    int64_t whole = ns / NS_PER_S, rest = ns % NS_PER_S;
    if (rest < 0) {
        rest += NS_PER_S;
        whole--;
    }
    *seconds = (uint32_t)whole;
    if (extra != NULL)
        *extra = (uint32_t)((whole - (int32_t)whole) >> 32 & EXT4_EPOCH_MASK) |
                 (uint32_t)rest << EXT4_EPOCH_BITS;
}

static void take_times(struct ext4_node *node, const struct ext2_inode_large *raw)
{
    const uint32_t used = used_bytes(node->fs, raw);
    node->atime_ns =
        time_join(raw->i_atime, inode_includes(used, i_atime_extra) ? raw->i_atime_extra : 0);
    node->mtime_ns =
        time_join(raw->i_mtime, inode_includes(used, i_mtime_extra) ? raw->i_mtime_extra : 0);
    node->ctime_ns =
        time_join(raw->i_ctime, inode_includes(used, i_ctime_extra) ? raw->i_ctime_extra : 0);
    node->birth_ns =
        inode_includes(used, i_crtime_extra) ? time_join(raw->i_crtime, raw->i_crtime_extra) : 0;
}

static void put_times(const struct ext4_node *node, struct ext2_inode_large *raw)
{
    const uint32_t used = used_bytes(node->fs, raw);
    time_split(node->atime_ns, &raw->i_atime,
        inode_includes(used, i_atime_extra) ? &raw->i_atime_extra : NULL);
    time_split(node->mtime_ns, &raw->i_mtime,
        inode_includes(used, i_mtime_extra) ? &raw->i_mtime_extra : NULL);
    time_split(node->ctime_ns, &raw->i_ctime,
        inode_includes(used, i_ctime_extra) ? &raw->i_ctime_extra : NULL);
    if (inode_includes(used, i_crtime_extra))
        time_split(node->birth_ns, &raw->i_crtime, &raw->i_crtime_extra);
}

// ---- reading ----

static bool type_is_valid(uint32_t mode)
{
    return S_ISREG(mode) || S_ISDIR(mode) || S_ISLNK(mode) || S_ISCHR(mode) || S_ISBLK(mode) ||
           S_ISFIFO(mode) || S_ISSOCK(mode);
}

static void take_fields(struct ext4_node *node, const struct ext2_inode_large *raw)
{
    const struct ext4_fs *fs = node->fs;
    node->mode = raw->i_mode;
    node->uid = raw->i_uid | (uint32_t)raw->osd2.linux2.l_i_uid_high << 16;
    node->gid = raw->i_gid | (uint32_t)raw->osd2.linux2.l_i_gid_high << 16;
    node->links = raw->i_links_count;
    node->flags = raw->i_flags;
    node->size = raw->i_size;
    if (S_ISREG(node->mode) || S_ISDIR(node->mode))
        node->size |= (uint64_t)raw->i_size_high << 32;
    node->blocks = raw->i_blocks;
    if (fs->ro_compat & EXT4_FEATURE_RO_COMPAT_HUGE_FILE) {
        node->blocks |= (uint64_t)raw->osd2.linux2.l_i_blocks_hi << 32;
        if (node->flags & EXT4_HUGE_FILE_FL)
            node->blocks *= fs->block_bytes / SECTOR_BYTES;
    }
    node->xattr_block = raw->i_file_acl;
    if (fs->incompat & EXT4_FEATURE_INCOMPAT_64BIT)
        node->xattr_block |= (uint64_t)raw->osd2.linux2.l_i_file_acl_high << 32;
    node->extra_bytes = fs->inode_bytes > EXT2_GOOD_OLD_INODE_SIZE ? raw->i_extra_isize : 0;
    node->next_orphan = raw->i_dtime;
    memcpy(node->pointers, raw->i_block, sizeof(node->pointers));
    take_times(node, raw);
}

bool ext4_node_is_fast_link(const struct ext4_node *node)
{
    const uint64_t xattr = node->xattr_block != 0 ? node->fs->block_bytes / SECTOR_BYTES : 0;
    return S_ISLNK(node->mode) && !ext4_node_has_extents(node) && node->blocks == xattr;
}

// NULL: nothing is wrong.
static const char *what_is_wrong(const struct ext4_node *node)
{
    const struct ext4_fs *fs = node->fs;
    const uint64_t most =
        ext4_node_has_extents(node) ? fs->size_max_extents : fs->size_max_pointers;
    if (!type_is_valid(node->mode))
        return "no such type";
    if (node->flags & FLAGS_REFUSED)
        return "flags without their feature";
    if (node->size > most)
        return "bad size";
    if (S_ISDIR(node->mode) && (node->size % fs->block_bytes != 0 || node->size == 0 ||
                                   node->size >> fs->block_bits > INT32_MAX))
        return "bad size of a directory";
    if (S_ISLNK(node->mode) &&
        (node->size == 0 || node->size >= (ext4_node_is_fast_link(node) ? sizeof(node->pointers)
                                                                        : fs->block_bytes)))
        return "bad length of a link";
    if (node->xattr_block != 0 && !ext4_range_is_valid(fs, node->xattr_block, 1))
        return "bad block of extended attributes";
    if (ext4_node_has_extents(node)) {
        const struct ext3_extent_header *header = (const struct ext3_extent_header *)node->pointers;
        if (!ext4_extent_header_is_valid(fs, header, sizeof(node->pointers)))
            return "bad extents";
        if (header->eh_depth != 0 && header->eh_entries == 0)
            return "empty tree of extents";
    }
    return NULL;
}

int ext4_node_read(struct ext4_fs *fs, uint32_t number, struct ext4_node *node)
{
    struct ext4_buffer *buffer;
    uint8_t *raw_bytes;
    if (number == 0 || number > fs->inode_count)
        return ext4_corrupted(fs, "there is no inode %u", number);
    ext4_node_init(fs, number, node);
    int error = table_read(fs, number, &buffer, &raw_bytes);
    if (error != 0)
        return error;
    const struct ext2_inode_large *raw = (const struct ext2_inode_large *)raw_bytes;
    const uint32_t room = fs->inode_bytes - EXT2_GOOD_OLD_INODE_SIZE;
    node->generation = raw->i_generation;
    ext4_node_seed(node);
    if (room != 0 && (raw->i_extra_isize > room || raw->i_extra_isize % 4 != 0))
        error = ext4_corrupted(fs, "inode %u: bad size", number);
    else if (raw->i_mode == 0 && raw->i_links_count == 0)
        error = -ENOENT;
    else if (fs->metadata_checksum && !checksum_is_valid(node, raw))
        error = ext4_corrupted(fs, "inode %u: wrong checksum", number);
    if (error == 0) {
        take_fields(node, raw);
        const char *wrong = what_is_wrong(node);
        if (wrong != NULL)
            error = ext4_corrupted(fs, "inode %u: %s", number, wrong);
    }
    ext4_buffer_put(fs, buffer);
    return error;
}

// ---- writing ----

static void put_blocks(const struct ext4_node *node, struct ext2_inode_large *raw)
{
    const struct ext4_fs *fs = node->fs;
    uint64_t blocks = node->blocks;
    raw->i_flags = node->flags & ~(uint32_t)EXT4_HUGE_FILE_FL;
    if (blocks > UINT32_MAX && fs->ro_compat & EXT4_FEATURE_RO_COMPAT_HUGE_FILE) {
        if (blocks >> 48 != 0) {
            blocks /= fs->block_bytes / SECTOR_BYTES;
            raw->i_flags |= EXT4_HUGE_FILE_FL;
        }
        raw->osd2.linux2.l_i_blocks_hi = (uint16_t)(blocks >> 32);
    } else {
        raw->osd2.linux2.l_i_blocks_hi = 0;
    }
    raw->i_blocks = (uint32_t)blocks;
}

static void put_fields(const struct ext4_node *node, struct ext2_inode_large *raw)
{
    raw->i_mode = (uint16_t)node->mode;
    raw->i_uid = (uint16_t)node->uid;
    raw->osd2.linux2.l_i_uid_high = (uint16_t)(node->uid >> 16);
    raw->i_gid = (uint16_t)node->gid;
    raw->osd2.linux2.l_i_gid_high = (uint16_t)(node->gid >> 16);
    raw->i_links_count = (uint16_t)node->links;
    raw->i_generation = node->generation;
    raw->i_size = (uint32_t)node->size;
    if (S_ISREG(node->mode) || S_ISDIR(node->mode))
        raw->i_size_high = (uint32_t)(node->size >> 32);
    raw->i_file_acl = (uint32_t)node->xattr_block;
    raw->osd2.linux2.l_i_file_acl_high = (uint16_t)(node->xattr_block >> 32);
    raw->i_dtime = node->next_orphan;
    put_blocks(node, raw);
    memcpy(raw->i_block, node->pointers, sizeof(node->pointers));
    put_times(node, raw);
}

static void seal(const struct ext4_node *node, struct ext2_inode_large *raw)
{
    if (!node->fs->metadata_checksum)
        return;
    const uint32_t crc = checksum_of(node, raw);
    raw->i_checksum_lo = (uint16_t)crc;
    if (inode_includes(used_bytes(node->fs, raw), i_checksum_hi))
        raw->i_checksum_hi = (uint16_t)(crc >> 16);
}

static void note_change(struct ext4_node *node)
{
    __atomic_store_n(&node->change_id, node->fs->running_id, __ATOMIC_RELEASE);
}

int ext4_node_write(struct ext4_handle *handle, struct ext4_node *node)
{
    struct ext4_buffer *buffer;
    uint8_t *raw_bytes;
    int error = table_read(node->fs, node->number, &buffer, &raw_bytes);
    if (error != 0)
        return error;
    struct ext2_inode_large *raw = (struct ext2_inode_large *)raw_bytes;
    mutex_lock(&node->write_lock);
    ext4_modify(handle, buffer);
    put_fields(node, raw);
    seal(node, raw);
    mutex_unlock(&node->write_lock);
    ext4_buffer_put(node->fs, buffer);
    note_change(node);
    return 0;
}

// What was there before means nothing.
static int clear_place(struct ext4_handle *handle, struct ext4_node *node)
{
    struct ext4_buffer *buffer;
    uint8_t *raw_bytes;
    int error = table_read(node->fs, node->number, &buffer, &raw_bytes);
    if (error != 0)
        return error;
    ext4_modify(handle, buffer);
    memset(raw_bytes, 0, node->fs->inode_bytes);
    if (node->fs->inode_bytes > EXT2_GOOD_OLD_INODE_SIZE)
        ((struct ext2_inode_large *)raw_bytes)->i_extra_isize = node->fs->extra_bytes;
    ext4_buffer_put(node->fs, buffer);
    return 0;
}

int ext4_node_create(struct ext4_handle *handle, const struct ext4_node *parent, uint32_t mode,
    struct ext4_node *node)
{
    struct ext4_fs *fs = handle->fs;
    uint32_t number;
    int error = ext4_inode_allocate(handle, parent->number, S_ISDIR(mode), &number);
    if (error != 0)
        return error;
    ext4_node_init(fs, number, node);
    node->mode = mode;
    node->links = 1;
    node->extra_bytes = fs->extra_bytes;
    node->flags = parent->flags & (EXT2_SYNC_FL | EXT2_NODUMP_FL | EXT2_NOATIME_FL |
                                      (S_ISDIR(mode) ? EXT2_DIRSYNC_FL : 0));
    node->generation =
        (uint32_t)fs->device->ops->now_ns(fs->device->context) * UINT32_C(2654435761) ^ number;
    ext4_node_seed(node);
    if ((S_ISREG(mode) || S_ISDIR(mode) || S_ISLNK(mode)) &&
        fs->incompat & EXT3_FEATURE_INCOMPAT_EXTENTS)
        ext4_map_init(node);
    error = clear_place(handle, node);
    if (error != 0)
        (void)ext4_inode_free(handle, number, S_ISDIR(mode));
    return error;
}

int ext4_node_free(struct ext4_handle *handle, struct ext4_node *node)
{
    struct ext4_fs *fs = node->fs;
    const bool directory = S_ISDIR(node->mode);
    if (node->number < fs->first_inode)
        return ext4_corrupted(fs, "inode %u is reserved, but was in use", node->number);
    node->next_orphan = (uint32_t)(fs->device->ops->now_ns(fs->device->context) / NS_PER_S);
    node->links = 0;
    node->size = 0;
    int error = ext4_node_write(handle, node);
    return error == 0 ? ext4_inode_free(handle, node->number, directory) : error;
}
