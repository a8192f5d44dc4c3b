// SPDX-License-Identifier: MIT
// Block maps of ext2 and ext3: 12 pointers in the inode, then blocks full of pointers, one, two and
// three levels deep.
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/fs/ext4/core.h"

#define LEVELS_MAX    3
#define REMOVE_BUDGET 8 // runs that are freed within one handle

// The way to a block: which pointer of the inode, then of each block below.
struct way {
    uint32_t levels; // blocks of pointers
    uint32_t index[LEVELS_MAX + 1];
};

static uint32_t per_block(const struct ext4_fs *fs)
{
    return fs->block_bytes / (uint32_t)sizeof(uint32_t);
}

// False: further than three levels reach.
static bool find_way(const struct ext4_fs *fs, uint32_t logical, struct way *way)
{
    const uint64_t width = per_block(fs);
    uint64_t rest = logical, reach = 1;
    *way = (struct way){};
    if (rest < EXT2_NDIR_BLOCKS) {
        way->index[0] = logical;
        return true;
    }
    rest -= EXT2_NDIR_BLOCKS;
    for (way->levels = 1; way->levels <= LEVELS_MAX; way->levels++) {
        reach *= width;
        if (rest < reach)
            break;
        rest -= reach;
    }
    if (way->levels > LEVELS_MAX)
        return false;
    way->index[0] = EXT2_NDIR_BLOCKS + way->levels - 1;
    for (uint32_t i = 1; i <= way->levels; i++) {
        reach /= width;
        way->index[i] = (uint32_t)(rest / reach);
        rest %= reach;
    }
    return true;
}

// The number of blocks from the way's last pointer on that are one run (or one hole).
static uint32_t run_length(const uint32_t *pointers, uint32_t at, uint32_t end, uint32_t max)
{
    uint32_t count = 1;
    while (count < max && at + count < end &&
           pointers[at + count] == (pointers[at] != 0 ? pointers[at] + count : 0))
        count++;
    return count;
}

int ext4_pointer_find(struct ext4_node *node, uint32_t logical, uint32_t max, struct ext4_run *run)
{
    struct ext4_fs *fs = node->fs;
    struct way way;
    struct ext4_buffer *buffer = NULL;
    uint32_t *pointers = node->pointers, end = EXT2_NDIR_BLOCKS;
    *run = (struct ext4_run){.logical = logical, .count = 1};
    if (!find_way(fs, logical, &way))
        return -EFBIG;
    for (uint32_t i = 0; i < way.levels; i++) {
        const uint32_t block = pointers[way.index[i]];
        if (buffer != NULL)
            ext4_buffer_put(fs, buffer);
        buffer = NULL;
        if (block == 0) {
            // A hole as long as what this pointer does not reach; the last level's will do.
            run->count = MIN(max, per_block(fs) - way.index[way.levels]);
            return 0;
        }
        if (!ext4_range_is_valid(fs, block, 1))
            return ext4_corrupted(fs, "inode %u: bad block number", node->number);
        int error = ext4_buffer_read(fs, block, EXT4_KIND_POINTERS, node, &buffer);
        if (error != 0)
            return error;
        pointers = (uint32_t *)buffer->data;
        end = per_block(fs);
    }
    const uint32_t at = way.index[way.levels];
    run->physical = pointers[at];
    run->count = run_length(pointers, at, end, max);
    int error = 0;
    if (run->physical != 0 && !ext4_range_is_valid(fs, run->physical, run->count))
        error = ext4_corrupted(fs, "inode %u: bad block number", node->number);
    if (buffer != NULL)
        ext4_buffer_put(fs, buffer);
    return error;
}

// ---- allocating ----

static void modify(struct ext4_handle *handle, struct ext4_buffer *buffer)
{
    if (buffer != NULL) // the inode itself is written by the caller
        ext4_modify(handle, buffer);
}

static int new_block(struct ext4_handle *handle, struct ext4_node *node, uint64_t goal,
    uint32_t flags, struct ext4_buffer **result)
{
    uint32_t count = 1;
    uint64_t block;
    int error = ext4_blocks_allocate(handle, goal, flags, &count, &block);
    if (error == 0 && block > UINT32_MAX)
        error = -ENOSPC;
    if (error != 0)
        return error;
    error = ext4_buffer_new(handle->fs, block, EXT4_KIND_POINTERS, node, result);
    if (error != 0) {
        (void)ext4_blocks_free(handle, block, 1, false);
        return error;
    }
    ext4_modify(handle, *result);
    node->blocks += handle->fs->block_bytes / 512;
    return 0;
}

// Follows the way, making what is missing. *buffer: the block with the last pointer, NULL: the
// inode.
static int make_way(struct ext4_handle *handle, struct ext4_node *node, const struct way *way,
    uint64_t goal, uint32_t flags, struct ext4_buffer **buffer)
{
    struct ext4_fs *fs = handle->fs;
    *buffer = NULL;
    for (uint32_t i = 0; i < way->levels; i++) {
        uint32_t *pointers = *buffer != NULL ? (uint32_t *)(*buffer)->data : node->pointers;
        struct ext4_buffer *next;
        int error;
        if (pointers[way->index[i]] != 0) {
            error = ext4_buffer_read(fs, pointers[way->index[i]], EXT4_KIND_POINTERS, node, &next);
        } else {
            error = new_block(handle, node, goal, flags, &next);
            if (error == 0) {
                modify(handle, *buffer);
                pointers[way->index[i]] = (uint32_t)next->block;
            }
        }
        if (*buffer != NULL)
            ext4_buffer_put(fs, *buffer);
        *buffer = NULL;
        if (error != 0)
            return error;
        *buffer = next;
    }
    return 0;
}

int ext4_pointer_allocate(struct ext4_handle *handle, struct ext4_node *node, uint32_t logical,
    uint32_t count, uint32_t flags, struct ext4_run *run)
{
    struct ext4_fs *fs = handle->fs;
    struct way way;
    struct ext4_buffer *buffer;
    struct ext4_run before = {};
    uint64_t block;
    if (!find_way(fs, logical, &way))
        return -EFBIG;
    int error = logical != 0 ? ext4_pointer_find(node, logical - 1, 1, &before) : 0;
    uint64_t goal = before.physical + 1;
    if (before.physical == 0)
        goal = ext4_group_start(fs, (node->number - 1) / fs->inodes_per_group);
    if (error == 0)
        error = make_way(handle, node, &way, goal, flags, &buffer);
    if (error != 0)
        return error;
    uint32_t *pointers = buffer != NULL ? (uint32_t *)buffer->data : node->pointers;
    const uint32_t at = way.index[way.levels];
    const uint32_t end = buffer != NULL ? per_block(fs) : EXT2_NDIR_BLOCKS;
    count = run_length(pointers, at, end, count);
    error = ext4_blocks_allocate(handle, goal, flags, &count, &block);
    if (error == 0 && block + count > UINT32_MAX)
        error = -ENOSPC;
    if (error == 0) {
        modify(handle, buffer);
        for (uint32_t i = 0; i < count; i++)
            pointers[at + i] = (uint32_t)(block + i);
        node->blocks += (uint64_t)count * (fs->block_bytes / 512);
        *run = (struct ext4_run){.logical = logical, .count = count, .physical = block};
    }
    if (buffer != NULL)
        ext4_buffer_put(fs, buffer);
    return error;
}

// ---- removing ----

struct removal {
    struct ext4_handle *handle;
    struct ext4_node *node;
    uint64_t first, last; // blocks of the file
    uint32_t budget;
};

static int free_blocks(struct removal *removal, uint32_t block, uint32_t count, bool metadata)
{
    struct ext4_node *node = removal->node;
    int error = ext4_blocks_free(removal->handle, block, count, metadata);
    if (error == 0)
        node->blocks -= MIN(node->blocks, (uint64_t)count * (node->fs->block_bytes / 512));
    removal->budget--;
    return error;
}

// The run of data that ends at pointers[*at]; *at moves to its beginning.
static int remove_run(struct removal *removal, struct ext4_buffer *buffer, uint32_t *pointers,
    uint64_t base, uint32_t *at)
{
    const uint32_t end = *at + 1;
    while (*at != 0 && base + *at - 1 >= removal->first && pointers[*at - 1] != 0 &&
           pointers[*at - 1] + 1 == pointers[*at])
        (*at)--;
    int error = free_blocks(removal, pointers[*at], end - *at, !S_ISREG(removal->node->mode));
    if (error != 0)
        return error;
    modify(removal->handle, buffer);
    memset(&pointers[*at], 0, (end - *at) * sizeof(*pointers));
    return 0;
}

static bool all_zero(const uint32_t *pointers, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (pointers[i] != 0)
            return false;
    return true;
}

// Frees what lies in range below `count` pointers, each of which stands for `reach` blocks from
// `base` on, `levels` blocks of pointers deep (at most three: recursion is bounded).
static int remove_below(struct removal *removal, struct ext4_buffer *buffer, uint32_t *pointers,
    uint32_t count, uint64_t base, uint64_t reach, uint32_t levels)
{
    struct ext4_fs *fs = removal->node->fs;
    for (uint32_t at = count; at-- != 0 && removal->budget != 0;) {
        const uint64_t start = base + at * reach;
        if (pointers[at] == 0 || start > removal->last || start + reach <= removal->first)
            continue;
        if (levels == 0) {
            int error = remove_run(removal, buffer, pointers, base, &at);
            if (error != 0)
                return error;
            continue;
        }
        struct ext4_buffer *child;
        if (!ext4_range_is_valid(fs, pointers[at], 1))
            return ext4_corrupted(fs, "inode %u: bad block number", removal->node->number);
        int error = ext4_buffer_read(fs, pointers[at], EXT4_KIND_POINTERS, removal->node, &child);
        if (error != 0)
            return error;
        uint32_t *below = (uint32_t *)child->data;
        error = remove_below(
            removal, child, below, per_block(fs), start, reach / per_block(fs), levels - 1);
        const bool empty = error == 0 && removal->budget != 0 && all_zero(below, per_block(fs));
        ext4_buffer_put(fs, child);
        if (empty) {
            error = free_blocks(removal, pointers[at], 1, true);
            if (error == 0) {
                modify(removal->handle, buffer);
                pointers[at] = 0;
            }
        }
        if (error != 0)
            return error;
    }
    return 0;
}

int ext4_pointer_remove(
    struct ext4_handle *handle, struct ext4_node *node, uint32_t first, uint32_t last, bool *more)
{
    struct removal removal = {
        .handle = handle, .node = node, .first = first, .last = last, .budget = REMOVE_BUDGET};
    const uint64_t width = per_block(node->fs);
    uint64_t base[LEVELS_MAX + 1] = {EXT2_NDIR_BLOCKS};
    uint64_t reach[LEVELS_MAX + 1] = {1};
    for (uint32_t i = 1; i <= LEVELS_MAX; i++) {
        reach[i] = reach[i - 1] * width;
        base[i] = base[i - 1] + reach[i];
    }
    int error = 0;
    for (uint32_t levels = LEVELS_MAX; levels != 0 && error == 0 && removal.budget != 0; levels--)
        error = remove_below(&removal, NULL, &node->pointers[EXT2_NDIR_BLOCKS + levels - 1], 1,
            base[levels - 1], reach[levels], levels);
    if (error == 0 && removal.budget != 0)
        error = remove_below(&removal, NULL, node->pointers, EXT2_NDIR_BLOCKS, 0, 1, 0);
    *more = error == 0 && removal.budget == 0;
    return error;
}
