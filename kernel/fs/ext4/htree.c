// SPDX-License-Identifier: MIT
// Indexed directories: a tree of at most two levels, by the hash of the name, whose leaves are
// ordinary blocks of entries. The first block holds "." and ".." and, behind them, the root.
//
// A leaf holds the names whose hash is at least its own and below that of the next leaf. Names with
// the same hash can lie in two leaves: then the second one's hash has its lowest bit set, which no
// hash of a name has.
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/fs/ext4/directory.h"
#include "kernel/fs/ext4/name_hash.h"

#define ADD_TRIES 6 // a leaf, a node and the root may have to be split before there is room

struct frame {
    struct ext4_buffer *buffer;
    struct ext2_dx_entry *entries; // the first one's hash is count and limit
    uint32_t at;
};

struct probe {
    struct frame frames[EXT4_INDEX_LEVELS];
    uint32_t levels; // frames that are used
    uint32_t hash;
};

struct mapped { // an entry of a leaf that is being split
    uint32_t hash;
    uint16_t at, bytes;
};

static struct ext2_dx_countlimit *counts(struct frame *frame)
{
    return (struct ext2_dx_countlimit *)frame->entries;
}

static void probe_put(struct ext4_fs *fs, struct probe *probe)
{
    while (probe->levels != 0)
        ext4_buffer_put(fs, probe->frames[--probe->levels].buffer);
}

static uint32_t search(struct frame *frame, uint32_t hash)
{
    uint32_t low = 1, high = counts(frame)->count;
    while (low < high) {
        const uint32_t middle = (low + high) / 2;
        if (frame->entries[middle].hash <= hash)
            low = middle + 1;
        else
            high = middle;
    }
    return low - 1;
}

// Reads the block of the index into the next frame.
static int descend(
    struct ext4_node *directory, struct probe *probe, uint32_t logical, enum ext4_kind kind)
{
    struct frame *frame = &probe->frames[probe->levels];
    int error = ext4_directory_block(directory, logical, kind, &frame->buffer);
    if (error == 0 && frame->buffer == NULL)
        error =
            ext4_corrupted(directory->fs, "directory %u: a hole in the index", directory->number);
    if (error != 0)
        return error;
    frame->entries =
        (struct ext2_dx_entry *)(frame->buffer->data + ext4_index_offset(frame->buffer));
    probe->levels++;
    return 0;
}

static int hash_version(const struct ext4_fs *fs, const struct ext2_dx_root_info *info)
{
    return info->hash_version + (fs->hash_unsigned ? EXT2_HASH_LEGACY_UNSIGNED : 0);
}

static uint32_t leaf_of(const struct probe *probe)
{
    const struct frame *frame = &probe->frames[probe->levels - 1];
    return frame->entries[frame->at].block & EXT4_DX_BLOCK_MASK;
}

// From the root to the lowest level of the index.
static int probe_begin(
    struct ext4_node *directory, const struct ext4_name *name, struct probe *probe)
{
    uint32_t minor;
    *probe = (struct probe){};
    int error = descend(directory, probe, 0, EXT4_KIND_INDEX_ROOT);
    if (error != 0)
        return error;
    const struct ext2_dx_root_info *info =
        (const struct ext2_dx_root_info *)(probe->frames[0].buffer->data + EXT4_INDEX_INFO);
    error = ext4_name_hash(name->text, name->len, (uint32_t)hash_version(directory->fs, info),
        directory->fs->hash_seed, &probe->hash, &minor);
    probe->frames[0].at = search(&probe->frames[0], probe->hash);
    if (error == 0 && info->indirect_levels != 0) {
        error = descend(directory, probe, leaf_of(probe), EXT4_KIND_INDEX);
        if (error == 0)
            probe->frames[1].at = search(&probe->frames[1], probe->hash);
    }
    if (error != 0)
        probe_put(directory->fs, probe);
    return error;
}

// On to the next leaf if names with this hash go on there: 1. 0: they don't.
static int probe_next(struct ext4_node *directory, struct probe *probe)
{
    uint32_t level = probe->levels;
    struct frame *frame;
    do {
        if (level == 0)
            return 0;
        frame = &probe->frames[--level];
    } while (frame->at + 1 >= counts(frame)->count);
    if (frame->entries[frame->at + 1].hash != (probe->hash | 1))
        return 0;
    frame->at++;
    if (level + 1 == probe->levels)
        return 1;
    ext4_buffer_put(directory->fs, probe->frames[1].buffer);
    probe->levels = 1;
    int error = descend(directory, probe, leaf_of(probe), EXT4_KIND_INDEX);
    if (error != 0)
        return error;
    probe->frames[1].at = 0;
    return 1;
}

int ext4_index_find(struct ext4_node *directory, const struct ext4_name *name,
    struct ext4_buffer **block, struct ext2_dir_entry_2 **entry)
{
    struct probe probe;
    int error = probe_begin(directory, name, &probe);
    if (error != 0)
        return error;
    // Not more leaves than there are: a hostile index could go round.
    for (uint64_t tries = directory->size >> directory->fs->block_bits; tries != 0; tries--) {
        error = ext4_directory_block(directory, leaf_of(&probe), EXT4_KIND_ENTRIES, block);
        if (error == 0 && *block == NULL)
            error = ext4_corrupted(
                directory->fs, "directory %u: a hole in the index", directory->number);
        if (error != 0)
            break;
        *entry = ext4_entry_find(directory->fs, *block, name);
        if (*entry != NULL)
            break;
        ext4_buffer_put(directory->fs, *block);
        const int next = probe_next(directory, &probe);
        error = next < 0 ? next : -ENOENT;
        if (next != 1)
            break;
    }
    probe_put(directory->fs, &probe);
    return error;
}

// ---- growing the index ----

static void insert_index(
    struct ext4_handle *handle, struct frame *frame, uint32_t hash, uint32_t block)
{
    struct ext2_dx_countlimit *count = counts(frame);
    struct ext2_dx_entry *entry = &frame->entries[frame->at + 1];
    assert(count->count < count->limit);
    ext4_modify(handle, frame->buffer);
    memmove(entry + 1, entry, (count->count - (frame->at + 1)) * sizeof(*entry));
    *entry = (struct ext2_dx_entry){.hash = hash, .block = block};
    count->count++;
}

// A block of the index with `count` entries from `from` on.
static void fill_index(struct ext4_fs *fs, struct ext4_buffer *buffer,
    const struct ext2_dx_entry *from, uint32_t count)
{
    struct ext2_dir_entry_2 *entry = (struct ext2_dir_entry_2 *)buffer->data;
    struct ext2_dx_entry *entries =
        (struct ext2_dx_entry *)(buffer->data + ext4_index_offset(buffer));
    struct ext2_dx_countlimit *limit = (struct ext2_dx_countlimit *)entries;
    entry->rec_len = (uint16_t)fs->block_bytes;
    memcpy(entries, from, count * sizeof(*entries));
    limit->limit = (uint16_t)ext4_index_limit(fs, EXT4_KIND_INDEX);
    limit->count = (uint16_t)count;
}

// The root is full: what is in it moves into a block below.
static int grow_index(struct ext4_handle *handle, struct ext4_node *directory, struct frame *root)
{
    struct ext4_buffer *buffer;
    uint32_t logical;
    int error = ext4_directory_grow(handle, directory, EXT4_KIND_INDEX, &logical, &buffer);
    if (error != 0)
        return error;
    fill_index(directory->fs, buffer, root->entries, counts(root)->count);
    ext4_modify(handle, root->buffer);
    ((struct ext2_dx_root_info *)(root->buffer->data + EXT4_INDEX_INFO))->indirect_levels = 1;
    counts(root)->count = 1;
    root->entries[0].block = logical;
    ext4_buffer_put(directory->fs, buffer);
    return 0;
}

// The lower node is full: half of it moves into another.
static int split_index(struct ext4_handle *handle, struct ext4_node *directory, struct probe *probe)
{
    struct frame *node = &probe->frames[1];
    struct ext4_buffer *buffer;
    uint32_t logical;
    int error = ext4_directory_grow(handle, directory, EXT4_KIND_INDEX, &logical, &buffer);
    if (error != 0)
        return error;
    const uint32_t keep = counts(node)->count / 2u;
    const uint32_t hash = node->entries[keep].hash;
    fill_index(directory->fs, buffer, &node->entries[keep], counts(node)->count - keep);
    ext4_modify(handle, node->buffer);
    counts(node)->count = (uint16_t)keep;
    insert_index(handle, &probe->frames[0], hash, logical);
    ext4_buffer_put(directory->fs, buffer);
    return 0;
}

// ---- splitting leaves ----

static int map_leaf(struct ext4_node *directory, const struct ext4_buffer *leaf, int version,
    struct mapped *map, uint32_t *count)
{
    const uint32_t end = ext4_entries_end(directory->fs);
    uint32_t minor;
    *count = 0;
    for (uint32_t at = 0; at < end;) {
        const struct ext2_dir_entry_2 *entry = (const struct ext2_dir_entry_2 *)(leaf->data + at);
        if (entry->inode != 0) {
            struct mapped *mapped = &map[(*count)++];
            mapped->at = (uint16_t)at;
            mapped->bytes = (uint16_t)ext4_entry_bytes(entry->name_len);
            int error = ext4_name_hash(entry->name, entry->name_len, (uint32_t)version,
                directory->fs->hash_seed, &mapped->hash, &minor);
            if (error != 0)
                return error;
        }
        at += entry->rec_len;
    }
    return 0;
}

// A few hundred at most.
static void sort(struct mapped *map, uint32_t count)
{
    for (uint32_t i = 1; i < count; i++) {
        const struct mapped one = map[i];
        uint32_t at = i;
        for (; at != 0 && map[at - 1].hash > one.hash; at--)
            map[at] = map[at - 1];
        map[at] = one;
    }
}

// Puts the mapped entries of `from` into an empty block.
static void fill_leaf(const struct ext4_fs *fs, uint8_t *to, const uint8_t *from,
    const struct mapped *map, uint32_t count)
{
    uint32_t at = 0;
    struct ext2_dir_entry_2 *last = NULL;
    ext4_entries_init(fs, to);
    for (uint32_t i = 0; i < count; i++) {
        last = (struct ext2_dir_entry_2 *)(to + at);
        memcpy(last, from + map[i].at, map[i].bytes);
        last->rec_len = map[i].bytes;
        at += map[i].bytes;
    }
    if (last != NULL)
        last->rec_len = (uint16_t)(last->rec_len + ext4_entries_end(fs) - at);
}

// The first entry of the upper half, by bytes.
static uint32_t middle_of(const struct mapped *map, uint32_t count)
{
    uint32_t total = 0, below = 0;
    for (uint32_t i = 0; i < count; i++)
        total += map[i].bytes;
    for (uint32_t i = 0; i + 1 < count; i++) {
        below += map[i].bytes;
        if (2 * below >= total)
            return i + 1;
    }
    return count - 1;
}

static int split_leaf(struct ext4_handle *handle, struct ext4_node *directory, struct probe *probe,
    struct ext4_buffer *leaf, uint8_t *copy, struct mapped *map)
{
    struct ext4_fs *fs = directory->fs;
    const struct ext2_dx_root_info *info =
        (const struct ext2_dx_root_info *)(probe->frames[0].buffer->data + EXT4_INDEX_INFO);
    struct ext4_buffer *buffer;
    uint32_t count, logical;
    int error = map_leaf(directory, leaf, hash_version(fs, info), map, &count);
    if (error == 0 && count < 2)
        error = -ENOSPC;
    if (error == 0)
        error = ext4_directory_grow(handle, directory, EXT4_KIND_ENTRIES, &logical, &buffer);
    if (error != 0)
        return error;
    sort(map, count);
    const uint32_t keep = middle_of(map, count);
    const bool goes_on = map[keep - 1].hash == map[keep].hash;
    memcpy(copy, leaf->data, fs->block_bytes);
    ext4_modify(handle, leaf);
    fill_leaf(fs, buffer->data, copy, map + keep, count - keep);
    fill_leaf(fs, leaf->data, copy, map, keep);
    insert_index(handle, &probe->frames[probe->levels - 1], map[keep].hash | goes_on, logical);
    ext4_buffer_put(fs, buffer);
    return 0;
}

// Room in the leaf for one more: index first, then the leaf.
static int make_room(struct ext4_handle *handle, struct ext4_node *directory, struct probe *probe,
    struct ext4_buffer *leaf)
{
    struct ext4_fs *fs = directory->fs;
    struct frame *lowest = &probe->frames[probe->levels - 1];
    if (counts(lowest)->count == counts(lowest)->limit) {
        if (probe->levels == 1)
            return grow_index(handle, directory, lowest);
        if (counts(&probe->frames[0])->count == counts(&probe->frames[0])->limit)
            return -ENOSPC; // as large as it gets without `large_dir`
        return split_index(handle, directory, probe);
    }
    uint8_t *copy = base_alloc(fs->block_bytes);
    struct mapped *map = base_alloc(fs->block_bytes / EXT2_DIR_ENTRY_HEADER_LEN * sizeof(*map));
    int error = -ENOMEM;
    if (copy != NULL && map != NULL)
        error = split_leaf(handle, directory, probe, leaf, copy, map);
    base_free(copy);
    base_free(map);
    return error;
}

// One try: 0 done, 1 there was no room and something has been split, -errno.
static int try_add(struct ext4_handle *handle, struct ext4_node *directory,
    const struct ext4_name *name, uint32_t number, uint32_t mode)
{
    struct ext4_fs *fs = directory->fs;
    struct probe probe;
    struct ext4_buffer *leaf;
    int error = probe_begin(directory, name, &probe);
    if (error != 0)
        return error;
    error = ext4_directory_block(directory, leaf_of(&probe), EXT4_KIND_ENTRIES, &leaf);
    if (error == 0 && leaf == NULL)
        error = ext4_corrupted(fs, "directory %u: a hole in the index", directory->number);
    if (error == 0) {
        struct ext2_dir_entry_2 *entry = ext4_entry_room(fs, leaf, name->len);
        if (entry != NULL) {
            ext4_modify(handle, leaf);
            ext4_entry_put(fs, entry, name, number, mode);
        } else {
            error = make_room(handle, directory, &probe, leaf);
            error = error == 0 ? 1 : error;
        }
        ext4_buffer_put(fs, leaf);
    }
    probe_put(fs, &probe);
    return error;
}

int ext4_index_add(struct ext4_handle *handle, struct ext4_node *directory,
    const struct ext4_name *name, uint32_t number, uint32_t mode)
{
    for (int tries = 0; tries < ADD_TRIES; tries++) {
        int result = try_add(handle, directory, name, number, mode);
        if (result != 1)
            return result;
    }
    return -ENOSPC;
}

int ext4_index_create(struct ext4_handle *handle, struct ext4_node *directory)
{
    struct ext4_fs *fs = directory->fs;
    struct ext4_buffer *root, *leaf;
    uint32_t logical;
    int error = ext4_directory_block(directory, 0, EXT4_KIND_ENTRIES, &root);
    if (error != 0 || root == NULL)
        return error != 0 ? error : -EUCLEAN;
    struct ext2_dir_entry_2 *self = (struct ext2_dir_entry_2 *)root->data;
    struct ext2_dir_entry_2 *up = (struct ext2_dir_entry_2 *)(root->data + self->rec_len);
    if (self->rec_len != 12 || self->name_len != 1 || up->rec_len != 12 || up->name_len != 2)
        error = ext4_corrupted(fs, "directory %u: no dots", directory->number);
    if (error == 0)
        error = ext4_directory_grow(handle, directory, EXT4_KIND_ENTRIES, &logical, &leaf);
    if (error != 0) {
        ext4_buffer_put(fs, root);
        return error;
    }
    // Everything behind the dots moves by as much, into the new leaf.
    const uint32_t end = ext4_entries_end(fs), dots = 24;
    ext4_entries_init(fs, leaf->data);
    memcpy(leaf->data, root->data + dots, end - dots);
    uint32_t at = 0;
    struct ext2_dir_entry_2 *last = (struct ext2_dir_entry_2 *)leaf->data;
    for (; at < end - dots; at += last->rec_len)
        last = (struct ext2_dir_entry_2 *)(leaf->data + at);
    last->rec_len = (uint16_t)(last->rec_len + dots);
    ext4_buffer_put(fs, leaf);

    ext4_modify(handle, root);
    memset(root->data + dots, 0, fs->block_bytes - dots);
    up->rec_len = (uint16_t)(fs->block_bytes - 12);
    root->kind = EXT4_KIND_INDEX_ROOT;
    struct ext2_dx_root_info *info = (struct ext2_dx_root_info *)(root->data + EXT4_INDEX_INFO);
    info->hash_version = (uint8_t)fs->hash_version;
    info->info_length = sizeof(*info);
    struct ext2_dx_entry *entries = (struct ext2_dx_entry *)(root->data + ext4_index_offset(root));
    struct ext2_dx_countlimit *limit = (struct ext2_dx_countlimit *)entries;
    limit->limit = (uint16_t)ext4_index_limit(fs, EXT4_KIND_INDEX_ROOT);
    limit->count = 1;
    entries[0].block = logical;
    directory->flags |= EXT2_INDEX_FL;
    ext4_buffer_put(fs, root);
    return 0;
}
