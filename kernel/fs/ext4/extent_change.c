// SPDX-License-Identifier: MIT
// Changing trees of extents.
//
// A change of a leaf that needs more entries than there is room for first makes room: one full
// node whose parent is not full is split, or the root moves into a block of its own and the tree
// gets a level more; then it is looked up again. So every step leaves a valid tree, and what can
// fail (no block free) fails before the leaf is changed.
//
// The entry of a node in its parent always has the number of the node's first block: e2fsck
// insists on it.
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/fs/ext4/extent.h"

#define ROOT_ENTRIES                                                                               \
    ((sizeof(uint32_t[EXT2_N_BLOCKS]) - sizeof(struct ext3_extent_header)) /                       \
        sizeof(struct ext3_extent))
#define REMOVE_STEPS 4 // extents that are freed within one handle

static void touch(struct ext4_handle *handle, struct ext4_extent_path *path, uint32_t level)
{
    if (path->level[level].buffer != NULL) // the root is written with its inode
        ext4_modify(handle, path->level[level].buffer);
}

static void fix_indices(struct ext4_handle *handle, struct ext4_extent_path *path)
{
    for (uint32_t i = path->depth; i != 0; i--) {
        const uint32_t first = ext4_extents(path->level[i].header)->ee_block;
        struct ext3_extent_idx *index =
            &ext4_indices(path->level[i - 1].header)[path->level[i - 1].position];
        if (path->level[i].header->eh_entries == 0 || index->ei_block == first)
            return;
        touch(handle, path, i - 1);
        index->ei_block = first;
        if (path->level[i - 1].position != 0)
            return;
    }
}

// ---- room ----

static int new_block(
    struct ext4_handle *handle, struct ext4_node *node, struct ext4_buffer **result)
{
    struct ext4_fs *fs = handle->fs;
    const uint32_t group = (node->number - 1) / fs->inodes_per_group;
    uint32_t count = 1;
    uint64_t block;
    int error = ext4_blocks_allocate(
        handle, ext4_group_start(fs, group), EXT4_ALLOC_INTERNAL, &count, &block);
    if (error != 0)
        return error;
    error = ext4_buffer_new(fs, block, EXT4_KIND_EXTENTS, node, result);
    if (error != 0) {
        (void)ext4_blocks_free(handle, block, 1, false);
        return error;
    }
    ext4_modify(handle, *result);
    node->blocks += fs->block_bytes / 512;
    struct ext3_extent_header *header = (struct ext3_extent_header *)(*result)->data;
    header->eh_magic = EXT3_EXT_MAGIC;
    header->eh_max = (uint16_t)((fs->block_bytes - sizeof(*header)) / sizeof(struct ext3_extent));
    return 0;
}

static void set_index(struct ext3_extent_idx *index, uint32_t logical, uint64_t block)
{
    *index = (struct ext3_extent_idx){
        .ei_block = logical, .ei_leaf = (uint32_t)block, .ei_leaf_hi = (uint16_t)(block >> 32)};
}

// What is in the root moves to a block; the root points to it.
static int grow(struct ext4_handle *handle, struct ext4_node *node)
{
    struct ext3_extent_header *root = (struct ext3_extent_header *)node->pointers;
    struct ext4_buffer *buffer;
    if (root->eh_depth >= EXT4_EXTENT_DEPTH)
        return -ENOSPC;
    int error = new_block(handle, node, &buffer);
    if (error != 0)
        return error;
    struct ext3_extent_header *header = (struct ext3_extent_header *)buffer->data;
    header->eh_entries = root->eh_entries;
    header->eh_depth = root->eh_depth;
    memcpy(header + 1, root + 1, root->eh_entries * sizeof(struct ext3_extent));
    set_index(ext4_indices(root), ext4_extents(header)->ee_block, buffer->block);
    root->eh_entries = 1;
    root->eh_depth++;
    ext4_buffer_put(node->fs, buffer);
    return 0;
}

// The upper part of a node goes to a new one beside it; the parent has room.
static int split(struct ext4_handle *handle, struct ext4_node *node, struct ext4_extent_path *path,
    uint32_t level)
{
    struct ext3_extent_header *from = path->level[level].header;
    struct ext3_extent_header *parent = path->level[level - 1].header;
    struct ext4_buffer *buffer;
    assert(parent->eh_entries < parent->eh_max);
    int error = new_block(handle, node, &buffer);
    if (error != 0)
        return error;
    struct ext3_extent_header *to = (struct ext3_extent_header *)buffer->data;
    // A file that grows at its end leaves full nodes behind.
    const bool at_end = path->level[level].position + 1 == from->eh_entries;
    const uint16_t keep = (uint16_t)(at_end ? from->eh_entries - 1 : from->eh_entries / 2);
    assert(keep != 0);
    to->eh_depth = from->eh_depth;
    to->eh_entries = (uint16_t)(from->eh_entries - keep);
    touch(handle, path, level);
    memcpy(to + 1, ext4_extents(from) + keep, to->eh_entries * sizeof(struct ext3_extent));
    from->eh_entries = keep;
    touch(handle, path, level - 1);
    struct ext3_extent_idx *index = &ext4_indices(parent)[path->level[level - 1].position + 1];
    const size_t behind = parent->eh_entries - (size_t)(path->level[level - 1].position + 1);
    memmove(index + 1, index, behind * sizeof(*index));
    set_index(index, ext4_extents(to)->ee_block, buffer->block);
    parent->eh_entries++;
    ext4_buffer_put(node->fs, buffer);
    return 0;
}

// One step towards room in the leaf of the path, which is not to be used afterwards.
static int make_room(
    struct ext4_handle *handle, struct ext4_node *node, struct ext4_extent_path *path)
{
    uint32_t level = path->depth;
    while (level != 0 &&
           path->level[level - 1].header->eh_entries == path->level[level - 1].header->eh_max)
        level--;
    return level == 0 ? grow(handle, node) : split(handle, node, path, level);
}

// The path to `logical`, in whose leaf there is room for `need` more entries.
static int find_with_room(struct ext4_handle *handle, struct ext4_node *node, uint32_t logical,
    uint32_t need, struct ext4_extent_path *path)
{
    for (int tries = 0; tries < 3 * (EXT4_EXTENT_DEPTH + 1); tries++) {
        int error = ext4_extent_path_find(node, logical, path);
        if (error != 0)
            return error;
        const struct ext3_extent_header *leaf = path->level[path->depth].header;
        if (leaf->eh_entries + need <= leaf->eh_max)
            return 0;
        error = make_room(handle, node, path);
        ext4_extent_path_put(node->fs, path);
        if (error != 0)
            return error;
    }
    return -ENOSPC;
}

// ---- entries of a leaf ----

static void entry_insert(struct ext3_extent_header *leaf, uint32_t at)
{
    struct ext3_extent *extent = &ext4_extents(leaf)[at];
    assert(leaf->eh_entries < leaf->eh_max);
    memmove(extent + 1, extent, (leaf->eh_entries - at) * sizeof(*extent));
    leaf->eh_entries++;
}

static void entry_remove(struct ext3_extent_header *leaf, uint32_t at)
{
    struct ext3_extent *extent = &ext4_extents(leaf)[at];
    assert(at < leaf->eh_entries);
    memmove(extent, extent + 1, (leaf->eh_entries - at - 1) * sizeof(*extent));
    leaf->eh_entries--;
}

static bool can_merge(const struct ext3_extent *a, const struct ext3_extent *b)
{
    const bool unwritten = ext4_extent_is_unwritten(a);
    return unwritten == ext4_extent_is_unwritten(b) &&
           a->ee_block + ext4_extent_len(a) == b->ee_block &&
           ext4_extent_start(a) + ext4_extent_len(a) == ext4_extent_start(b) &&
           ext4_extent_len(a) + ext4_extent_len(b) <= ext4_extent_len_max(unwritten);
}

// Joins the entry with those beside it where it can.
static void merge_around(struct ext3_extent_header *leaf, uint32_t at)
{
    struct ext3_extent *extents = ext4_extents(leaf);
    for (uint32_t left = at == 0 ? 0 : at - 1; left < at + 1 && left + 1 < leaf->eh_entries;) {
        if (!can_merge(&extents[left], &extents[left + 1])) {
            left++;
            continue;
        }
        extents[left].ee_len =
            (uint16_t)(extents[left].ee_len + ext4_extent_len(&extents[left + 1]));
        entry_remove(leaf, left + 1);
        if (left < at)
            at--;
    }
}

int ext4_extent_insert(
    struct ext4_handle *handle, struct ext4_node *node, const struct ext4_run *run)
{
    struct ext4_extent_path path;
    assert(run->count != 0);
    assert(run->count <= ext4_extent_len_max(run->unwritten));
    int error = ext4_extent_path_find(node, run->logical, &path);
    if (error != 0)
        return error;
    struct ext3_extent_header *leaf = path.level[path.depth].header;
    int32_t at = path.level[path.depth].position;
    struct ext3_extent new;
    ext4_extent_set(&new, run->logical, run->physical, run->count, run->unwritten);
    if (at >= 0 && can_merge(&ext4_extents(leaf)[at], &new)) {
        struct ext3_extent *left = &ext4_extents(leaf)[at];
        touch(handle, &path, path.depth);
        left->ee_len = (uint16_t)(left->ee_len + run->count);
        merge_around(leaf, (uint32_t)at);
        ext4_extent_path_put(node->fs, &path);
        return 0;
    }
    ext4_extent_path_put(node->fs, &path);
    error = find_with_room(handle, node, run->logical, 1, &path);
    if (error != 0)
        return error;
    leaf = path.level[path.depth].header;
    at = path.level[path.depth].position + 1;
    touch(handle, &path, path.depth);
    entry_insert(leaf, (uint32_t)at);
    ext4_extents(leaf)[at] = new;
    merge_around(leaf, (uint32_t)at);
    fix_indices(handle, &path);
    ext4_extent_path_put(node->fs, &path);
    return 0;
}

// ---- unwritten to written ----

// How many entries more the leaf gets when [logical, end) of the extent at `at` is written.
static uint32_t entries_more(
    struct ext3_extent_header *leaf, int32_t at, uint32_t logical, uint32_t end)
{
    const struct ext3_extent *extent = &ext4_extents(leaf)[at];
    const uint32_t extent_end = extent->ee_block + ext4_extent_len(extent);
    return (logical > extent->ee_block) + (end < extent_end);
}

static void write_part(struct ext3_extent_header *leaf, uint32_t at, uint32_t logical, uint32_t end)
{
    const struct ext3_extent old = ext4_extents(leaf)[at];
    const uint32_t start = old.ee_block, old_end = start + ext4_extent_len(&old);
    const uint64_t physical = ext4_extent_start(&old);
    if (end < old_end) {
        entry_insert(leaf, at + 1);
        ext4_extent_set(
            &ext4_extents(leaf)[at + 1], end, physical + (end - start), old_end - end, true);
    }
    if (logical > start) {
        entry_insert(leaf, at + 1);
        ext4_extent_set(&ext4_extents(leaf)[at], start, physical, logical - start, true);
        at++;
    }
    ext4_extent_set(
        &ext4_extents(leaf)[at], logical, physical + (logical - start), end - logical, false);
    merge_around(leaf, at);
}

// The frequent case: what goes before is written already, and takes the part over. No entry more.
static bool extend_left(struct ext3_extent_header *leaf, int32_t at, uint32_t logical, uint32_t end)
{
    struct ext3_extent *extent = &ext4_extents(leaf)[at];
    const uint32_t count = end - logical, len = ext4_extent_len(extent);
    struct ext3_extent part;
    if (at == 0 || logical != extent->ee_block || count == len)
        return false;
    ext4_extent_set(&part, logical, ext4_extent_start(extent), count, false);
    if (!can_merge(extent - 1, &part))
        return false;
    extent[-1].ee_len = (uint16_t)(extent[-1].ee_len + count);
    ext4_extent_set(extent, end, ext4_extent_start(extent) + count, len - count, true);
    return true;
}

int ext4_extent_convert(
    struct ext4_handle *handle, struct ext4_node *node, uint32_t logical, uint32_t count)
{
    const uint32_t last = logical + count;
    while (logical < last) {
        struct ext4_extent_path path;
        int error = ext4_extent_path_find(node, logical, &path);
        if (error != 0)
            return error;
        struct ext3_extent_header *leaf = path.level[path.depth].header;
        int32_t at = path.level[path.depth].position;
        const struct ext3_extent *extent = at >= 0 ? &ext4_extents(leaf)[at] : NULL;
        if (extent == NULL || logical - extent->ee_block >= ext4_extent_len(extent)) {
            ext4_extent_path_put(node->fs, &path);
            return -EIO; // a hole: the caller has seen to it that there is none
        }
        const uint32_t end = MIN(last, extent->ee_block + ext4_extent_len(extent));
        if (ext4_extent_is_unwritten(extent)) {
            const uint32_t more = entries_more(leaf, at, logical, end);
            touch(handle, &path, path.depth);
            if (!extend_left(leaf, at, logical, end)) {
                ext4_extent_path_put(node->fs, &path);
                error = find_with_room(handle, node, logical, more, &path);
                if (error != 0)
                    return error;
                touch(handle, &path, path.depth);
                write_part(path.level[path.depth].header, (uint32_t)path.level[path.depth].position,
                    logical, end);
            }
        }
        ext4_extent_path_put(node->fs, &path);
        logical = end;
    }
    return 0;
}

// ---- removing ----

// The leaf is empty: it goes, and what becomes empty above it.
static int drop_empty(
    struct ext4_handle *handle, struct ext4_node *node, struct ext4_extent_path *path)
{
    struct ext3_extent_header *root = path->level[0].header;
    uint32_t level = path->depth;
    while (level != 0 && path->level[level].header->eh_entries == 0) {
        const uint64_t block = path->level[level].buffer->block;
        ext4_buffer_put(node->fs, path->level[level].buffer);
        path->level[level].buffer = NULL;
        int error = ext4_blocks_free(handle, block, 1, true);
        if (error != 0)
            return error;
        node->blocks -= MIN(node->blocks, (uint64_t)node->fs->block_bytes / 512);
        level--;
        touch(handle, path, level);
        entry_remove(path->level[level].header, (uint32_t)path->level[level].position);
    }
    if (root->eh_entries == 0) {
        root->eh_depth = 0;
        return 0;
    }
    // Keys above may have to follow.
    path->depth = level;
    if (level != 0)
        fix_indices(handle, path);
    return 0;
}

// A leaf that fits into the inode goes there.
static int collapse(struct ext4_handle *handle, struct ext4_node *node)
{
    struct ext3_extent_header *root = (struct ext3_extent_header *)node->pointers;
    struct ext4_extent_path path;
    if (root->eh_depth != 1 || root->eh_entries != 1)
        return 0;
    int error = ext4_extent_path_find(node, 0, &path);
    if (error != 0)
        return error;
    const struct ext3_extent_header *leaf = path.level[1].header;
    const uint64_t block = path.level[1].buffer->block;
    const bool fits = leaf->eh_entries <= ROOT_ENTRIES;
    if (fits) {
        root->eh_entries = leaf->eh_entries;
        root->eh_depth = 0;
        memcpy(root + 1, leaf + 1, leaf->eh_entries * sizeof(struct ext3_extent));
        node->blocks -= MIN(node->blocks, (uint64_t)node->fs->block_bytes / 512);
    }
    ext4_extent_path_put(node->fs, &path);
    return fits ? ext4_blocks_free(handle, block, 1, true) : 0;
}

// Takes [start, end), which lies within the extent of the path, out of the leaf.
static int cut(struct ext4_handle *handle, struct ext4_node *node, struct ext4_extent_path *path,
    uint32_t start, uint32_t end)
{
    struct ext3_extent_header *leaf = path->level[path->depth].header;
    const uint32_t at = (uint32_t)path->level[path->depth].position;
    struct ext3_extent *extent = &ext4_extents(leaf)[at];
    const struct ext3_extent old = *extent;
    const uint32_t old_end = old.ee_block + ext4_extent_len(&old);
    const bool unwritten = ext4_extent_is_unwritten(&old);
    touch(handle, path, path->depth);
    if (start == old.ee_block && end == old_end) {
        entry_remove(leaf, at);
        if (leaf->eh_entries == 0 && path->depth != 0)
            return drop_empty(handle, node, path);
        fix_indices(handle, path);
        return 0;
    }
    if (end < old_end && start > old.ee_block)
        entry_insert(leaf, at + 1);
    if (end < old_end)
        ext4_extent_set(&ext4_extents(leaf)[start > old.ee_block ? at + 1 : at], end,
            ext4_extent_start(&old) + (end - old.ee_block), old_end - end, unwritten);
    if (start > old.ee_block)
        ext4_extent_set(
            extent, old.ee_block, ext4_extent_start(&old), start - old.ee_block, unwritten);
    fix_indices(handle, path);
    return 0;
}

// Removes a piece at the end of [first, *last]; *last moves before it. *done: nothing is left.
static int remove_step(
    struct ext4_handle *handle, struct ext4_node *node, uint32_t first, uint32_t *last, bool *done)
{
    struct ext4_extent_path path;
    int error = ext4_extent_path_find(node, *last, &path);
    if (error != 0)
        return error;
    const struct ext3_extent *extent = NULL;
    if (path.level[path.depth].position >= 0)
        extent = &ext4_extents(path.level[path.depth].header)[path.level[path.depth].position];
    const uint64_t old_end = extent != NULL ? extent->ee_block + ext4_extent_len(extent) : 0;
    *done = extent == NULL || old_end <= first;
    if (*done) {
        ext4_extent_path_put(node->fs, &path);
        return 0;
    }
    const uint32_t end = (uint32_t)MIN(old_end, (uint64_t)*last + 1);
    uint32_t start = MAX(first, extent->ee_block);
    if (end - start > node->fs->blocks_per_group)
        start = end - node->fs->blocks_per_group; // not more groups than there are credits for
    const uint64_t physical = ext4_extent_start(extent) + (start - extent->ee_block);
    if (start > extent->ee_block && end < old_end) {
        ext4_extent_path_put(node->fs, &path);
        error = find_with_room(handle, node, *last, 1, &path);
    }
    if (error == 0) {
        error = ext4_blocks_free(handle, physical, end - start, !S_ISREG(node->mode));
        if (error == 0)
            error = cut(handle, node, &path, start, end);
        ext4_extent_path_put(node->fs, &path);
    }
    if (error != 0)
        return error;
    node->blocks -= MIN(node->blocks, (uint64_t)(end - start) * (node->fs->block_bytes / 512));
    *done = start == first || start == 0;
    *last = start - 1;
    return 0;
}

int ext4_extent_remove(
    struct ext4_handle *handle, struct ext4_node *node, uint32_t first, uint32_t last, bool *more)
{
    bool done = false;
    int error = 0;
    for (int steps = 0; steps < REMOVE_STEPS && !done && error == 0; steps++)
        error = remove_step(handle, node, first, &last, &done);
    if (error == 0)
        error = collapse(handle, node);
    *more = !done;
    return error;
}
