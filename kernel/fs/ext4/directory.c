// SPDX-License-Identifier: MIT
// Directories: their blocks, one entry after another. Those with an index are in htree.c.
//
// A position in a listing is the offset of an entry in bytes. In an indexed directory the blocks of
// the index are left out; an entry that is moved by the split of its block while somebody lists
// can come twice.
#include "kernel/fs/ext4/directory.h"
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"

static struct ext2_dir_entry_2 *entry_at(const struct ext4_buffer *buffer, size_t at)
{
    return (struct ext2_dir_entry_2 *)(buffer->data + at);
}

static uint8_t type_of(const struct ext4_fs *fs, uint32_t mode)
{
    static const uint8_t types[16] = {
        [S_IFREG >> 12] = EXT2_FT_REG_FILE,
        [S_IFDIR >> 12] = EXT2_FT_DIR,
        [S_IFCHR >> 12] = EXT2_FT_CHRDEV,
        [S_IFBLK >> 12] = EXT2_FT_BLKDEV,
        [S_IFIFO >> 12] = EXT2_FT_FIFO,
        [S_IFSOCK >> 12] = EXT2_FT_SOCK,
        [S_IFLNK >> 12] = EXT2_FT_SYMLINK,
    };
    return fs->incompat & EXT2_FEATURE_INCOMPAT_FILETYPE ? types[mode >> 12 & 15] : 0;
}

void ext4_entries_init(const struct ext4_fs *fs, uint8_t *data)
{
    struct ext2_dir_entry_2 *entry = (struct ext2_dir_entry_2 *)data;
    const uint32_t end = ext4_entries_end(fs);
    memset(data, 0, fs->block_bytes);
    entry->rec_len = (uint16_t)end;
    if (fs->metadata_checksum) {
        struct ext2_dir_entry_tail *tail = (struct ext2_dir_entry_tail *)(data + end);
        tail->det_rec_len = sizeof(*tail);
        tail->det_reserved_name_len = EXT2_DIR_NAME_LEN_CSUM;
    }
}

// ---- blocks ----

static uint32_t block_count(const struct ext4_node *directory)
{
    return (uint32_t)(directory->size >> directory->fs->block_bits);
}

int ext4_directory_block(
    struct ext4_node *directory, uint32_t logical, enum ext4_kind kind, struct ext4_buffer **result)
{
    struct ext4_run run;
    *result = NULL;
    if (logical >= block_count(directory))
        return ext4_corrupted(
            directory->fs, "directory %u: no block %u", directory->number, logical);
    int error = ext4_map_find(directory, logical, 1, &run);
    if (error != 0 || run.physical == 0)
        return error;
    if (run.unwritten)
        return ext4_corrupted(directory->fs, "directory %u: not written", directory->number);
    return ext4_buffer_read(directory->fs, run.physical, kind, directory, result);
}

int ext4_directory_grow(struct ext4_handle *handle, struct ext4_node *directory,
    enum ext4_kind kind, uint32_t *logical, struct ext4_buffer **result)
{
    struct ext4_fs *fs = directory->fs;
    struct ext4_run run;
    bool more;
    *logical = block_count(directory);
    if (*logical >= INT32_MAX)
        return -ENOSPC;
    rwlock_write_lock(&directory->map_lock);
    int error = ext4_map_allocate(handle, directory, *logical, 1, false, EXT4_ALLOC_ROOT, &run);
    if (error == 0) {
        error = ext4_buffer_new(fs, run.physical, kind, directory, result);
        if (error != 0)
            (void)ext4_map_remove(handle, directory, *logical, *logical, &more);
    }
    if (error == 0) {
        ext4_modify(handle, *result);
        directory->size += fs->block_bytes;
    }
    rwlock_write_unlock(&directory->map_lock);
    return error;
}

// Is a block of an indexed directory part of the index?
static int kind_of(struct ext4_node *directory, uint32_t logical, enum ext4_kind *kind)
{
    struct ext4_buffer *root;
    *kind = EXT4_KIND_ENTRIES;
    if (!ext4_directory_is_indexed(directory))
        return 0;
    if (logical == 0)
        *kind = EXT4_KIND_INDEX_ROOT;
    int error = ext4_directory_block(directory, 0, EXT4_KIND_INDEX_ROOT, &root);
    if (error != 0 || root == NULL)
        return error != 0 ? error : -EUCLEAN;
    const struct ext2_dx_root_info *info =
        (const struct ext2_dx_root_info *)(root->data + EXT4_INDEX_INFO);
    const size_t at = ext4_index_offset(root);
    const struct ext2_dx_countlimit *limit = (struct ext2_dx_countlimit *)(root->data + at);
    const struct ext2_dx_entry *entries = (const struct ext2_dx_entry *)limit;
    for (uint32_t i = 0; info->indirect_levels != 0 && i < limit->count; i++)
        if ((entries[i].block & EXT4_DX_BLOCK_MASK) == logical)
            *kind = EXT4_KIND_INDEX;
    ext4_buffer_put(directory->fs, root);
    return 0;
}

// ---- entries of one block ----

struct ext2_dir_entry_2 *ext4_entry_find(
    const struct ext4_fs *fs, const struct ext4_buffer *buffer, const struct ext4_name *name)
{
    const uint32_t end = ext4_entries_end(fs);
    for (uint32_t at = 0; at < end; at += entry_at(buffer, at)->rec_len) {
        struct ext2_dir_entry_2 *entry = entry_at(buffer, at);
        if (entry->inode != 0 && entry->name_len == name->len &&
            memcmp(entry->name, name->text, name->len) == 0)
            return entry;
    }
    return NULL;
}

static uint32_t entry_used(const struct ext2_dir_entry_2 *entry)
{
    return entry->inode != 0 ? ext4_entry_bytes(entry->name_len) : 0;
}

struct ext2_dir_entry_2 *ext4_entry_room(
    const struct ext4_fs *fs, const struct ext4_buffer *buffer, uint32_t name_len)
{
    const uint32_t end = ext4_entries_end(fs);
    for (uint32_t at = 0; at < end; at += entry_at(buffer, at)->rec_len) {
        struct ext2_dir_entry_2 *entry = entry_at(buffer, at);
        if (entry->rec_len - entry_used(entry) >= ext4_entry_bytes(name_len))
            return entry;
    }
    return NULL;
}

void ext4_entry_put(const struct ext4_fs *fs, struct ext2_dir_entry_2 *entry,
    const struct ext4_name *name, uint32_t number, uint32_t mode)
{
    const uint32_t used = entry_used(entry);
    assert(entry->rec_len - used >= ext4_entry_bytes(name->len));
    if (used != 0) { // what the entry has too much becomes one of its own
        struct ext2_dir_entry_2 *next = (struct ext2_dir_entry_2 *)((uint8_t *)entry + used);
        next->rec_len = (uint16_t)(entry->rec_len - used);
        entry->rec_len = (uint16_t)used;
        entry = next;
    }
    entry->inode = number;
    entry->name_len = (uint8_t)name->len;
    entry->file_type = type_of(fs, mode);
    memcpy(entry->name, name->text, name->len);
}

static void entry_delete(
    const struct ext4_fs *fs, struct ext4_buffer *buffer, struct ext2_dir_entry_2 *entry)
{
    const uint32_t end = ext4_entries_end(fs);
    struct ext2_dir_entry_2 *before = NULL;
    for (uint32_t at = 0; at < end; at += entry_at(buffer, at)->rec_len) {
        if (entry_at(buffer, at) == entry)
            break;
        before = entry_at(buffer, at);
    }
    if (before != NULL)
        before->rec_len = (uint16_t)(before->rec_len + entry->rec_len);
    entry->inode = 0;
}

// ---- names ----

static bool is_dots(const struct ext4_name *name)
{
    return name->len <= 2 && name->text[0] == '.' && (name->len == 1 || name->text[1] == '.');
}

// "." and "..", which are where they always are.
static int find_dots(struct ext4_node *directory, const struct ext4_name *name,
    struct ext4_buffer **buffer, struct ext2_dir_entry_2 **entry)
{
    enum ext4_kind kind;
    int error = kind_of(directory, 0, &kind);
    if (error == 0)
        error = ext4_directory_block(directory, 0, kind, buffer);
    if (error != 0 || *buffer == NULL)
        return error != 0 ? error : -ENOENT;
    *entry = entry_at(*buffer, 0);
    if (name->len == 2 && (*entry)->rec_len < ext4_entries_end(directory->fs))
        *entry = entry_at(*buffer, (*entry)->rec_len);
    if ((*entry)->inode != 0 && (*entry)->name_len == name->len &&
        memcmp((*entry)->name, name->text, name->len) == 0)
        return 0;
    ext4_buffer_put(directory->fs, *buffer);
    return -ENOENT;
}

static int find_linear(struct ext4_node *directory, const struct ext4_name *name,
    struct ext4_buffer **buffer, struct ext2_dir_entry_2 **entry)
{
    for (uint32_t logical = 0; logical < block_count(directory); logical++) {
        int error = ext4_directory_block(directory, logical, EXT4_KIND_ENTRIES, buffer);
        if (error != 0)
            return error;
        if (*buffer == NULL)
            continue;
        *entry = ext4_entry_find(directory->fs, *buffer, name);
        if (*entry != NULL)
            return 0;
        ext4_buffer_put(directory->fs, *buffer);
    }
    return -ENOENT;
}

static int find(struct ext4_node *directory, const struct ext4_name *name,
    struct ext4_buffer **buffer, struct ext2_dir_entry_2 **entry)
{
    if (name->len == 0 || name->len > EXT4_NAME_MAX)
        return -ENAMETOOLONG;
    if (is_dots(name))
        return find_dots(directory, name, buffer, entry);
    if (ext4_directory_is_indexed(directory))
        return ext4_index_find(directory, name, buffer, entry);
    return find_linear(directory, name, buffer, entry);
}

int ext4_directory_find(struct ext4_node *directory, const struct ext4_name *name, uint32_t *number)
{
    struct ext4_buffer *buffer;
    struct ext2_dir_entry_2 *entry;
    int error = find(directory, name, &buffer, &entry);
    if (error != 0)
        return error;
    *number = entry->inode;
    ext4_buffer_put(directory->fs, buffer);
    return 0;
}

static int add_linear(struct ext4_handle *handle, struct ext4_node *directory,
    const struct ext4_name *name, uint32_t number, uint32_t mode)
{
    struct ext4_fs *fs = directory->fs;
    struct ext4_buffer *buffer;
    uint32_t logical;
    directory->flags &= ~(uint32_t)EXT2_INDEX_FL; // nobody keeps it up to date
    for (logical = 0; logical < block_count(directory); logical++) {
        int error = ext4_directory_block(directory, logical, EXT4_KIND_ENTRIES, &buffer);
        if (error != 0)
            return error;
        struct ext2_dir_entry_2 *entry =
            buffer != NULL ? ext4_entry_room(fs, buffer, name->len) : NULL;
        if (entry != NULL) {
            ext4_modify(handle, buffer);
            ext4_entry_put(fs, entry, name, number, mode);
        }
        if (buffer != NULL)
            ext4_buffer_put(fs, buffer);
        if (entry != NULL)
            return 0;
    }
    if (logical == 1 && fs->compat & EXT2_FEATURE_COMPAT_DIR_INDEX) {
        int error = ext4_index_create(handle, directory);
        return error == 0 ? ext4_index_add(handle, directory, name, number, mode) : error;
    }
    int error = ext4_directory_grow(handle, directory, EXT4_KIND_ENTRIES, &logical, &buffer);
    if (error != 0)
        return error;
    ext4_entries_init(fs, buffer->data);
    ext4_entry_put(fs, entry_at(buffer, 0), name, number, mode);
    ext4_buffer_put(fs, buffer);
    return 0;
}

int ext4_directory_add(struct ext4_handle *handle, struct ext4_node *directory,
    const struct ext4_name *name, uint32_t number, uint32_t mode)
{
    if (name->len == 0 || name->len > EXT4_NAME_MAX)
        return -ENAMETOOLONG;
    if (ext4_directory_is_indexed(directory))
        return ext4_index_add(handle, directory, name, number, mode);
    return add_linear(handle, directory, name, number, mode);
}

int ext4_directory_remove(
    struct ext4_handle *handle, struct ext4_node *directory, const struct ext4_name *name)
{
    struct ext4_buffer *buffer;
    struct ext2_dir_entry_2 *entry;
    int error = find(directory, name, &buffer, &entry);
    if (error != 0)
        return error;
    ext4_modify(handle, buffer);
    entry_delete(directory->fs, buffer, entry);
    ext4_buffer_put(directory->fs, buffer);
    return 0;
}

int ext4_directory_replace(struct ext4_handle *handle, struct ext4_node *directory,
    const struct ext4_name *name, uint32_t number, uint32_t mode)
{
    struct ext4_buffer *buffer;
    struct ext2_dir_entry_2 *entry;
    int error = find(directory, name, &buffer, &entry);
    if (error != 0)
        return error;
    ext4_modify(handle, buffer);
    entry->inode = number;
    entry->file_type = type_of(directory->fs, mode);
    ext4_buffer_put(directory->fs, buffer);
    return 0;
}

int ext4_directory_init(struct ext4_handle *handle, struct ext4_node *directory, uint32_t parent)
{
    struct ext4_fs *fs = directory->fs;
    struct ext4_buffer *buffer;
    uint32_t logical;
    const struct ext4_name self = {.text = ".", .len = 1}, up = {.text = "..", .len = 2};
    int error = ext4_directory_grow(handle, directory, EXT4_KIND_ENTRIES, &logical, &buffer);
    if (error != 0)
        return error;
    assert(logical == 0);
    ext4_entries_init(fs, buffer->data);
    ext4_entry_put(fs, entry_at(buffer, 0), &self, directory->number, S_IFDIR);
    ext4_entry_put(fs, entry_at(buffer, 0), &up, parent, S_IFDIR);
    ext4_buffer_put(fs, buffer);
    return 0;
}

// ---- listing ----

// Entries of one block from byte `from` on. 1: the visitor wants no more.
static int list_block(struct ext4_node *directory, uint32_t logical, uint32_t from,
    uint64_t *position, ext4_visit *visit, void *context)
{
    struct ext4_fs *fs = directory->fs;
    struct ext4_buffer *buffer;
    enum ext4_kind kind;
    int error = kind_of(directory, logical, &kind);
    if (error != 0 || kind == EXT4_KIND_INDEX)
        return error;
    error = ext4_directory_block(directory, logical, kind, &buffer);
    if (error != 0 || buffer == NULL)
        return error;
    const uint32_t end = kind == EXT4_KIND_INDEX_ROOT ? 24 : ext4_entries_end(fs);
    uint32_t at = 0;
    while (at < end && error == 0) {
        const struct ext2_dir_entry_2 *entry = entry_at(buffer, at);
        const uint64_t next = ((uint64_t)logical << fs->block_bits) + at + entry->rec_len;
        const struct ext4_name name = {.text = entry->name, .len = entry->name_len};
        if (at >= from && entry->inode != 0) {
            if (!visit(context, &name, entry->inode, entry->file_type, next))
                error = 1;
            else
                *position = next;
        }
        at += entry->rec_len;
    }
    ext4_buffer_put(fs, buffer);
    return error;
}

int ext4_directory_list(
    struct ext4_node *directory, uint64_t *position, ext4_visit *visit, void *context)
{
    struct ext4_fs *fs = directory->fs;
    while (*position < directory->size) {
        const uint32_t logical = (uint32_t)(*position >> fs->block_bits);
        int error = list_block(directory, logical, (uint32_t)*position & (fs->block_bytes - 1),
            position, visit, context);
        if (error != 0)
            return error < 0 ? error : 0;
        *position = ((uint64_t)logical + 1) << fs->block_bits;
    }
    return 0;
}

static bool visit_any(
    void *context, const struct ext4_name *name, uint32_t number, uint32_t file_type, uint64_t next)
{
    bool *found = context;
    *found = !is_dots(name);
    return !*found;
}

int ext4_directory_check_empty(struct ext4_node *directory)
{
    bool found = false;
    uint64_t position = 0;
    int error = ext4_directory_list(directory, &position, visit_any, &found);
    return error == 0 && found ? -ENOTEMPTY : error;
}
