// SPDX-License-Identifier: MIT
// Allocating and freeing blocks.
//
// A search begins at the goal, where the file would go on, and takes the first run that is long
// enough (or WANTED_MIN blocks); where no group has one, the first free block is good enough. A
// block that the running transaction has freed counts as free but is not given out: the group's
// `pending` bitmap has it until the commit. One mutex covers all groups, because neighbouring
// groups share the block of their descriptors anyway.
#include "kernel/base/assert.h"
#include "kernel/base/bitmap.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/fs/ext4/core.h"

#define WANTED_MIN 64 // blocks: a run of that many is always taken

static uint64_t taken_word(const uint64_t *map, const uint64_t *pending, uint32_t word)
{
    return map[word] | (pending != NULL ? pending[word] : 0);
}

// The first run of free blocks at or after bit `from` that has `wanted` of them, else the longest.
// Its length, and where.
static uint32_t find_run(const uint64_t *map, const uint64_t *pending, uint32_t from, uint32_t bits,
    uint32_t wanted, uint32_t *start)
{
    uint32_t best = 0, len = 0;
    for (uint32_t bit = from; bit < bits;) {
        const uint64_t word = taken_word(map, pending, bit / 64);
        if (word == UINT64_MAX) {
            len = 0;
            bit = (bit / 64 + 1) * 64;
            continue;
        }
        len = word >> bit % 64 & 1 ? 0 : len + 1;
        bit++;
        if (len > best) {
            best = len;
            *start = bit - len;
        }
        if (best == wanted)
            break;
    }
    return best;
}

struct request {
    uint64_t goal;
    uint32_t count;  // most
    uint32_t wanted; // a run that long is taken
};

// Looks in one group. *count 0: nothing that fits.
static int search_group(struct ext4_fs *fs, uint32_t number, const struct request *request,
    struct ext4_buffer **bitmap, uint32_t *bit, uint32_t *count)
{
    const struct ext4_group *group = &fs->groups[number];
    const uint64_t start = ext4_group_start(fs, number);
    *count = 0;
    if (group->free_blocks == 0)
        return 0;
    int error = ext4_bitmap_read(fs, number, false, bitmap);
    if (error != 0)
        return error;
    const uint64_t *map = (const uint64_t *)(*bitmap)->data;
    const uint32_t bits = ext4_group_blocks(fs, number);
    const uint32_t most = MIN(request->count, group->free_blocks);
    if (request->goal >= start && request->goal < start + bits) {
        const uint32_t goal = (uint32_t)(request->goal - start);
        const uint32_t len = find_run(map, group->pending, goal, MIN(goal + most, bits), most, bit);
        if (len != 0 && *bit == goal) // it goes on where it should
            *count = len;
        else
            *count = find_run(map, group->pending, goal, bits, most, bit);
    }
    if (*count < request->wanted) {
        uint32_t at = 0;
        const uint32_t len = find_run(map, group->pending, 0, bits, most, &at);
        if (len > *count) {
            *count = len;
            *bit = at;
        }
    }
    *count = MIN(*count, most);
    if (*count < request->wanted) {
        ext4_buffer_put(fs, *bitmap);
        *count = 0;
    }
    return 0;
}

// How many blocks may be used under these flags.
static uint64_t usable(const struct ext4_fs *fs, uint32_t flags)
{
    uint64_t kept = fs->pending_blocks;
    if (!(flags & EXT4_ALLOC_INTERNAL))
        kept += fs->internal_blocks;
    if (!(flags & (EXT4_ALLOC_INTERNAL | EXT4_ALLOC_ROOT)))
        kept += fs->reserved_blocks;
    return fs->free_blocks > kept ? fs->free_blocks - kept : 0;
}

// The metadata of the group lies in `count` blocks from `bit` on: nobody else's.
static bool hits_metadata(const struct ext4_fs *fs, uint32_t number, uint64_t block, uint32_t count)
{
    const struct ext4_group *group = &fs->groups[number];
    const uint64_t tables = fs->inodes_per_group / (fs->block_bytes / fs->inode_bytes);
    return (group->block_bitmap >= block && group->block_bitmap < block + count) ||
           (group->inode_bitmap >= block && group->inode_bitmap < block + count) ||
           (group->inode_table < block + count && block < group->inode_table + tables) ||
           block < ext4_group_start(fs, number) + ext4_group_base_blocks(fs, number);
}

static int take(struct ext4_handle *handle, uint32_t number, struct ext4_buffer *bitmap,
    uint32_t bit, uint32_t count)
{
    struct ext4_fs *fs = handle->fs;
    struct ext4_group *group = &fs->groups[number];
    uint64_t *map = (uint64_t *)bitmap->data;
    assert(count != 0);
    assert(count <= group->free_blocks);
    if (hits_metadata(fs, number, ext4_group_start(fs, number) + bit, count))
        return ext4_corrupted(fs, "metadata of group %u is marked as free", number);
    ext4_modify(handle, bitmap);
    for (uint32_t i = 0; i < count; i++)
        bitmap_set(map, bit + i);
    group->flags &= (uint16_t)~EXT2_BG_BLOCK_UNINIT;
    group->free_blocks -= count;
    fs->free_blocks -= count;
    return ext4_group_store(handle, number);
}

static int allocate_locked(
    struct ext4_handle *handle, const struct request *request, uint32_t *count, uint64_t *block)
{
    struct ext4_fs *fs = handle->fs;
    const uint32_t first = ext4_group_of(fs, request->goal);
    for (uint32_t i = 0; i < fs->group_count; i++) {
        const uint32_t number = (first + i) % fs->group_count;
        struct ext4_buffer *bitmap = NULL;
        uint32_t bit = 0;
        int error = search_group(fs, number, request, &bitmap, &bit, count);
        if (error != 0)
            return error;
        if (*count == 0)
            continue;
        error = take(handle, number, bitmap, bit, *count);
        ext4_buffer_put(fs, bitmap);
        *block = ext4_group_start(fs, number) + bit;
        return error;
    }
    return -ENOSPC;
}

int ext4_blocks_allocate(
    struct ext4_handle *handle, uint64_t goal, uint32_t flags, uint32_t *count, uint64_t *block)
{
    struct ext4_fs *fs = handle->fs;
    assert(*count != 0);
    if (goal <= fs->first_data_block || goal >= fs->block_count)
        goal = fs->first_data_block + 1;
    mutex_lock(&fs->alloc_lock);
    int error = -ENOSPC;
    const uint64_t most = MIN(usable(fs, flags), (uint64_t)*count);
    if (most != 0) {
        struct request request = {.goal = goal, .count = (uint32_t)most};
        request.wanted = MIN(request.count, (uint32_t)WANTED_MIN);
        error = allocate_locked(handle, &request, count, block);
        request.wanted = 1;
        if (error == -ENOSPC)
            error = allocate_locked(handle, &request, count, block);
    }
    mutex_unlock(&fs->alloc_lock);
    return error;
}

// ---- freeing ----

// All within one group. alloc_lock is held.
static int free_in_group(
    struct ext4_handle *handle, uint32_t number, uint64_t block, uint32_t count)
{
    struct ext4_fs *fs = handle->fs;
    struct ext4_group *group = &fs->groups[number];
    const uint32_t bit = (uint32_t)(block - ext4_group_start(fs, number));
    struct ext4_buffer *bitmap;
    if (group->pending == NULL)
        group->pending = base_alloc(fs->block_bytes);
    if (group->pending == NULL)
        return -ENOMEM;
    int error = ext4_bitmap_read(fs, number, false, &bitmap);
    if (error != 0)
        return error;
    uint64_t *map = (uint64_t *)bitmap->data;
    bool all = !hits_metadata(fs, number, block, count);
    for (uint32_t i = 0; i < count && all; i++)
        all = bitmap_test(map, bit + i);
    if (!all || group->free_blocks + count > ext4_group_blocks(fs, number)) {
        ext4_buffer_put(fs, bitmap);
        return ext4_corrupted(
            fs, "blocks %lu + %u are freed, but were not used", (unsigned long)block, count);
    }
    ext4_modify(handle, bitmap);
    for (uint32_t i = 0; i < count; i++) {
        bitmap_clear(map, bit + i);
        bitmap_set(group->pending, bit + i);
    }
    ext4_buffer_put(fs, bitmap);
    group->free_blocks += count;
    fs->free_blocks += count;
    fs->pending_blocks += count;
    return ext4_group_store(handle, number);
}

int ext4_blocks_free(struct ext4_handle *handle, uint64_t block, uint32_t count, bool metadata)
{
    struct ext4_fs *fs = handle->fs;
    if (!ext4_range_is_valid(fs, block, count))
        return ext4_corrupted(fs, "bad block %lu is freed", (unsigned long)block);
    int error = 0;
    for (uint32_t i = 0; metadata && i < count && error == 0; i++)
        error = ext4_forget(handle, block + i);
    mutex_lock(&fs->alloc_lock);
    while (count != 0 && error == 0) {
        const uint32_t number = ext4_group_of(fs, block);
        const uint64_t end = ext4_group_start(fs, number) + ext4_group_blocks(fs, number);
        const uint32_t part = (uint32_t)MIN((uint64_t)count, end - block);
        error = free_in_group(handle, number, block, part);
        block += part;
        count -= part;
    }
    mutex_unlock(&fs->alloc_lock);
    return error;
}

void ext4_pending_clear(struct ext4_fs *fs)
{
    if (fs->pending_blocks == 0)
        return;
    for (uint32_t i = 0; i < fs->group_count; i++) {
        base_free(fs->groups[i].pending);
        fs->groups[i].pending = NULL;
    }
    fs->pending_blocks = 0;
}
