// SPDX-License-Identifier: MIT
// Allocating and freeing inodes: files near their directory, directories spread over the groups.
#include "kernel/base/assert.h"
#include "kernel/base/bitmap.h"
#include "kernel/core/errno.h"
#include "kernel/fs/ext4/core.h"

static bool has_room_for_directory(const struct ext4_fs *fs, const struct ext4_group *group)
{
    return group->free_inodes != 0 && group->free_inodes >= fs->free_inodes / fs->group_count &&
           group->free_blocks >= fs->free_blocks / fs->group_count;
}

// The group to try first. alloc_lock is held.
static uint32_t choose_group(const struct ext4_fs *fs, uint32_t parent, bool directory)
{
    const uint32_t home = (parent - 1) / fs->inodes_per_group;
    if (!directory)
        return home;
    // A directory of the root goes to the group with the fewest directories; others stay near if
    // there is more than the average room.
    uint32_t best = home;
    if (parent == EXT4_ROOT_INODE) {
        uint32_t fewest = UINT32_MAX;
        for (uint32_t i = 0; i < fs->group_count; i++) {
            if (has_room_for_directory(fs, &fs->groups[i]) && fs->groups[i].directories < fewest) {
                fewest = fs->groups[i].directories;
                best = i;
            }
        }
        return best;
    }
    for (uint32_t i = 0; i < fs->group_count; i++) {
        best = (home + i) % fs->group_count;
        if (has_room_for_directory(fs, &fs->groups[best]))
            return best;
    }
    return home;
}

// The blocks of a group with inodes are no longer taken for unused as a whole.
static int use_block_bitmap(struct ext4_handle *handle, uint32_t number)
{
    struct ext4_fs *fs = handle->fs;
    struct ext4_buffer *bitmap;
    if (!(fs->groups[number].flags & EXT2_BG_BLOCK_UNINIT))
        return 0;
    int error = ext4_bitmap_read(fs, number, false, &bitmap);
    if (error != 0)
        return error;
    ext4_modify(handle, bitmap);
    fs->groups[number].flags &= (uint16_t)~EXT2_BG_BLOCK_UNINIT;
    ext4_buffer_put(fs, bitmap);
    return 0;
}

static int take_inode(struct ext4_handle *handle, uint32_t number, struct ext4_buffer *bitmap,
    uint32_t bit, bool directory)
{
    struct ext4_fs *fs = handle->fs;
    struct ext4_group *group = &fs->groups[number];
    int error = use_block_bitmap(handle, number);
    if (error != 0)
        return error;
    ext4_modify(handle, bitmap);
    bitmap_set((uint64_t *)bitmap->data, bit);
    group->flags &= (uint16_t)~EXT2_BG_INODE_UNINIT;
    group->free_inodes--;
    group->directories += directory;
    fs->free_inodes--;
    if (fs->group_checksum)
        group->unused_inodes = MIN(group->unused_inodes, fs->inodes_per_group - (bit + 1));
    return ext4_group_store(handle, number);
}

static int allocate_locked(
    struct ext4_handle *handle, uint32_t first, bool directory, uint32_t *result)
{
    struct ext4_fs *fs = handle->fs;
    for (uint32_t i = 0; i < fs->group_count; i++) {
        const uint32_t number = (first + i) % fs->group_count;
        struct ext4_buffer *bitmap;
        if (fs->groups[number].free_inodes == 0)
            continue;
        int error = ext4_bitmap_read(fs, number, true, &bitmap);
        if (error != 0)
            return error;
        const uint64_t *map = (const uint64_t *)bitmap->data;
        uint32_t bit = number == 0 ? fs->first_inode - 1 : 0;
        while (bit < fs->inodes_per_group && bitmap_test(map, bit))
            bit = map[bit / 64] == UINT64_MAX ? (bit / 64 + 1) * 64 : bit + 1;
        if (bit < fs->inodes_per_group) {
            *result = number * fs->inodes_per_group + bit + 1;
            error = take_inode(handle, number, bitmap, bit, directory);
            ext4_buffer_put(fs, bitmap);
            return error;
        }
        ext4_buffer_put(fs, bitmap);
        return ext4_corrupted(fs, "group %u has no free inode where it should", number);
    }
    return -ENOSPC;
}

int ext4_inode_allocate(
    struct ext4_handle *handle, uint32_t parent, bool directory, uint32_t *number)
{
    struct ext4_fs *fs = handle->fs;
    assert(parent >= 1);
    mutex_lock(&fs->alloc_lock);
    const uint32_t first = choose_group(fs, parent, directory);
    int error = allocate_locked(handle, first, directory, number);
    mutex_unlock(&fs->alloc_lock);
    return error;
}

int ext4_inode_free(struct ext4_handle *handle, uint32_t inode, bool directory)
{
    struct ext4_fs *fs = handle->fs;
    const uint32_t number = (inode - 1) / fs->inodes_per_group;
    const uint32_t bit = (inode - 1) % fs->inodes_per_group;
    struct ext4_group *group = &fs->groups[number];
    struct ext4_buffer *bitmap;
    assert(inode >= fs->first_inode);
    mutex_lock(&fs->alloc_lock);
    int error = ext4_bitmap_read(fs, number, true, &bitmap);
    if (error == 0) {
        uint64_t *map = (uint64_t *)bitmap->data;
        if (!bitmap_test(map, bit) || group->free_inodes >= fs->inodes_per_group ||
            (directory && group->directories == 0)) {
            error = ext4_corrupted(fs, "inode %u is freed, but was not used", inode);
        } else {
            ext4_modify(handle, bitmap);
            bitmap_clear(map, bit);
            group->free_inodes++;
            group->directories -= directory;
            fs->free_inodes++;
            error = ext4_group_store(handle, number);
        }
        ext4_buffer_put(fs, bitmap);
    }
    mutex_unlock(&fs->alloc_lock);
    return error;
}
