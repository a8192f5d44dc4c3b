// SPDX-License-Identifier: MIT
// Operations on names: making, linking, removing and renaming, each in one transaction.
//
// What can fail comes first. Where something fails after the first change, that change is taken
// back within the same transaction.
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/fs/ext4/core.h"
#include "kernel/fs/ext4/xattr.h"

static const struct ext4_name dotdot = {.text = "..", .len = 2};

// ---- counts of links ----

// More directories than the count can say: it stays at 1 (dir_nlink).
static int directory_links_check(const struct ext4_node *directory)
{
    const bool unlimited = directory->fs->ro_compat & EXT4_FEATURE_RO_COMPAT_DIR_NLINK;
    return directory->links >= EXT4_LINK_MAX - 1 && !unlimited ? -EMLINK : 0;
}

static void directory_links_add(struct ext4_node *directory)
{
    if (directory->links != 1 && ++directory->links >= EXT4_LINK_MAX)
        directory->links = 1;
}

static void directory_links_drop(struct ext4_node *directory)
{
    if (directory->links > 2)
        directory->links--;
}

static void touch(struct ext4_node *node, int64_t now_ns)
{
    node->mtime_ns = node->ctime_ns = now_ns;
}

// ---- making ----

static int put_target(
    struct ext4_handle *handle, struct ext4_node *node, const struct ext4_new *new)
{
    struct ext4_buffer *buffer;
    struct ext4_run run;
    if (new->target_len < sizeof(node->pointers)) {
        node->flags &= ~(uint32_t)EXT4_EXTENTS_FL;
        memset(node->pointers, 0, sizeof(node->pointers));
        memcpy(node->pointers, new->target, new->target_len);
    } else {
        if (new->target_len >= node->fs->block_bytes)
            return -ENAMETOOLONG;
        int error = ext4_map_allocate(handle, node, 0, 1, false, EXT4_ALLOC_ROOT, &run);
        if (error == 0)
            error = ext4_buffer_new(node->fs, run.physical, EXT4_KIND_RAW, NULL, &buffer);
        if (error != 0)
            return error;
        ext4_modify(handle, buffer);
        memcpy(buffer->data, new->target, new->target_len);
        ext4_buffer_put(node->fs, buffer);
    }
    node->size = new->target_len;
    return 0;
}

static int fill_new(struct ext4_handle *handle, struct ext4_node *directory, struct ext4_node *node,
    const struct ext4_new *new)
{
    node->uid = new->uid;
    node->gid = new->gid;
    node->atime_ns = node->mtime_ns = node->ctime_ns = node->birth_ns = new->now_ns;
    if (S_ISDIR(new->mode)) {
        node->links = 2;
        return ext4_directory_init(handle, node, directory->number);
    }
    if (S_ISLNK(new->mode))
        return put_target(handle, node, new);
    if (S_ISCHR(new->mode) || S_ISBLK(new->mode)) {
        node->pointers[0] = new->device[0];
        node->pointers[1] = new->device[1];
    }
    return 0;
}

// A node that was made in this transaction goes again.
static void unmake(struct ext4_handle *handle, struct ext4_node *node)
{
    bool more;
    if (!ext4_node_is_fast_link(node) && (S_ISDIR(node->mode) || S_ISLNK(node->mode)))
        (void)ext4_map_remove(handle, node, 0, EXT4_BLOCKS_MAX - 1, &more);
    (void)ext4_node_free(handle, node);
}

static int create_within(struct ext4_handle *handle, struct ext4_node *directory,
    const struct ext4_name *name, const struct ext4_new *new, struct ext4_node *node)
{
    const bool is_directory = S_ISDIR(new->mode);
    int error = is_directory ? directory_links_check(directory) : 0;
    if (error == 0)
        error = ext4_node_create(handle, directory, new->mode, node);
    if (error != 0)
        return error;
    error = fill_new(handle, directory, node, new);
    if (error == 0 && name != NULL)
        error = ext4_directory_add(handle, directory, name, node->number, new->mode);
    if (error != 0) {
        unmake(handle, node);
        return error;
    }
    if (name == NULL) {
        node->links = 0;
        return ext4_orphan_add(handle, node);
    }
    touch(directory, new->now_ns);
    if (is_directory)
        directory_links_add(directory);
    error = ext4_node_write(handle, node);
    return error == 0 ? ext4_node_write(handle, directory) : error;
}

int ext4_create(struct ext4_node *directory, const struct ext4_name *name,
    const struct ext4_new *new, struct ext4_node *node)
{
    struct ext4_handle handle;
    int error = ext4_begin(directory->fs, EXT4_CREDITS, &handle);
    if (error != 0)
        return error;
    error = create_within(&handle, directory, name, new, node);
    ext4_end(&handle);
    return error;
}

int ext4_link(struct ext4_node *node, struct ext4_node *directory, const struct ext4_name *name,
    int64_t now_ns)
{
    struct ext4_handle handle;
    if (node->links >= EXT4_LINK_MAX)
        return -EMLINK;
    int error = ext4_begin(directory->fs, EXT4_CREDITS, &handle);
    if (error != 0)
        return error;
    error = ext4_directory_add(&handle, directory, name, node->number, node->mode);
    if (error == 0 && node->links == 0)
        error = ext4_orphan_remove(&handle, node);
    if (error == 0) {
        node->links++;
        node->ctime_ns = now_ns;
        touch(directory, now_ns);
        error = ext4_node_write(&handle, node);
    }
    if (error == 0)
        error = ext4_node_write(&handle, directory);
    ext4_end(&handle);
    return error;
}

// ---- removing ----

// The node has a name less.
static int drop_link(struct ext4_handle *handle, struct ext4_node *node, int64_t now_ns)
{
    node->ctime_ns = now_ns;
    if (S_ISDIR(node->mode))
        node->links = 0;
    else if (node->links != 0)
        node->links--;
    int error = node->links == 0 ? ext4_orphan_add(handle, node) : 0;
    return error == 0 ? ext4_node_write(handle, node) : error;
}

int ext4_unlink(struct ext4_node *directory, const struct ext4_name *name, struct ext4_node *node,
    int64_t now_ns)
{
    struct ext4_handle handle;
    int error = S_ISDIR(node->mode) ? ext4_directory_check_empty(node) : 0;
    if (error == 0)
        error = ext4_begin(directory->fs, EXT4_CREDITS, &handle);
    if (error != 0)
        return error;
    error = ext4_directory_remove(&handle, directory, name);
    if (error == 0)
        error = drop_link(&handle, node, now_ns);
    if (error == 0) {
        touch(directory, now_ns);
        if (S_ISDIR(node->mode))
            directory_links_drop(directory);
        error = ext4_node_write(&handle, directory);
    }
    ext4_end(&handle);
    return error;
}

static bool has_map(const struct ext4_node *node)
{
    return S_ISREG(node->mode) || S_ISDIR(node->mode) ||
           (S_ISLNK(node->mode) && !ext4_node_is_fast_link(node));
}

int ext4_remove(struct ext4_node *node)
{
    struct ext4_handle handle;
    int error = has_map(node) ? ext4_map_remove_all(node, 0, EXT4_BLOCKS_MAX - 1) : 0;
    if (error == 0)
        error = ext4_begin(node->fs, EXT4_CREDITS, &handle);
    if (error != 0)
        return error;
    error = ext4_orphan_remove(&handle, node);
    if (error == 0 && node->xattr_block != 0)
        error = ext4_xattr_block_release(&handle, node);
    if (error == 0)
        error = ext4_node_free(&handle, node);
    ext4_end(&handle);
    return error;
}

// ---- renaming ----

// A directory that is moved: its ".." and both parents' counts.
static int move_parent(struct ext4_handle *handle, struct ext4_node *node, struct ext4_node *from,
    struct ext4_node *to)
{
    if (!S_ISDIR(node->mode) || from == to)
        return 0;
    int error = ext4_directory_replace(handle, node, &dotdot, to->number, S_IFDIR);
    if (error == 0) {
        directory_links_drop(from);
        directory_links_add(to);
    }
    return error;
}

static int exchange(struct ext4_handle *handle, const struct ext4_rename *rename)
{
    int error = ext4_directory_replace(
        handle, rename->new_directory, &rename->new_name, rename->node->number, rename->node->mode);
    if (error == 0)
        error = ext4_directory_replace(handle, rename->old_directory, &rename->old_name,
            rename->replaced->number, rename->replaced->mode);
    if (error == 0)
        error = move_parent(handle, rename->node, rename->old_directory, rename->new_directory);
    if (error == 0)
        error = move_parent(handle, rename->replaced, rename->new_directory, rename->old_directory);
    rename->replaced->ctime_ns = rename->now_ns;
    return error == 0 ? ext4_node_write(handle, rename->replaced) : error;
}

static int move(struct ext4_handle *handle, const struct ext4_rename *rename)
{
    struct ext4_node *node = rename->node, *replaced = rename->replaced;
    int error;
    if (replaced != NULL)
        error = ext4_directory_replace(
            handle, rename->new_directory, &rename->new_name, node->number, node->mode);
    else
        error = ext4_directory_add(
            handle, rename->new_directory, &rename->new_name, node->number, node->mode);
    if (error == 0)
        error = ext4_directory_remove(handle, rename->old_directory, &rename->old_name);
    if (error == 0)
        error = move_parent(handle, node, rename->old_directory, rename->new_directory);
    if (error == 0 && replaced != NULL) {
        if (S_ISDIR(replaced->mode))
            directory_links_drop(rename->new_directory);
        error = drop_link(handle, replaced, rename->now_ns);
    }
    return error;
}

int ext4_rename(const struct ext4_rename *rename)
{
    struct ext4_handle handle;
    int error = 0;
    if (rename->replaced != NULL && !rename->exchange && S_ISDIR(rename->replaced->mode))
        error = ext4_directory_check_empty(rename->replaced);
    if (error == 0 && S_ISDIR(rename->node->mode) && rename->old_directory != rename->new_directory)
        error = directory_links_check(rename->new_directory);
    if (error == 0)
        error = ext4_begin(rename->node->fs, 2 * EXT4_CREDITS, &handle);
    if (error != 0)
        return error;
    error = rename->exchange ? exchange(&handle, rename) : move(&handle, rename);
    rename->node->ctime_ns = rename->now_ns;
    touch(rename->old_directory, rename->now_ns);
    touch(rename->new_directory, rename->now_ns);
    if (error == 0)
        error = ext4_node_write(&handle, rename->node);
    if (error == 0)
        error = ext4_node_write(&handle, rename->old_directory);
    if (error == 0 && rename->new_directory != rename->old_directory)
        error = ext4_node_write(&handle, rename->new_directory);
    ext4_end(&handle);
    return error;
}
