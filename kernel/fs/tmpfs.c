// SPDX-License-Identifier: MIT
// tmpfs: superblocks, directories and inodes. Files are in tmpfs_file.c.
//
// Directories have no form of their own: the persistent dentries (see dentry.h) are their content.
// What remains is to make inodes, count links and keep to the limits that were given at mounting
// (size=, nr_blocks=, nr_inodes=).
#include "kernel/fs/tmpfs.h"
#include "kernel/base/assert.h"
#include "kernel/base/fmt.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/fs/dentry.h"
#include "kernel/fs/mount_options.h"
#include "mm/slab.h"
#include <linux/magic.h>

#define ENTRY_BYTES 20 // what an entry adds to the size of its directory, as in Linux

// The directory is locked.
static void tmpfs_touch_directory(struct inode *directory, int32_t entries)
{
    directory->size_bytes += (uint64_t)((int64_t)entries * ENTRY_BYTES);
    inode_touch_modified(directory);
}

static int tmpfs_inode_charge(struct tmpfs *tmpfs)
{
    int error = 0;
    spin_lock(&tmpfs->lock);
    if (tmpfs->inode_limit != 0 && tmpfs->inode_count >= tmpfs->inode_limit)
        error = -ENOSPC;
    else
        tmpfs->inode_count++;
    spin_unlock(&tmpfs->lock);
    return error;
}

static void tmpfs_inode_uncharge(struct tmpfs *tmpfs)
{
    spin_lock(&tmpfs->lock);
    assert(tmpfs->inode_count > 0);
    tmpfs->inode_count--;
    spin_unlock(&tmpfs->lock);
}

struct inode *tmpfs_inode_create(
    struct superblock *superblock, uint32_t mode, struct device_number device, int *error)
{
    struct tmpfs *tmpfs = superblock->private_data;
    *error = tmpfs_inode_charge(tmpfs);
    if (*error != 0)
        return NULL;
    struct inode *inode = inode_create(superblock, mode);
    *error = -ENOMEM;
    if (inode == NULL) {
        tmpfs_inode_uncharge(tmpfs);
        return NULL;
    }
    inode->ops = &tmpfs_special_inode_ops;
    switch (mode & S_IFMT) {
    case S_IFDIR:
        inode->ops = &tmpfs_directory_inode_ops;
        inode->file_ops = &tmpfs_directory_ops;
        inode->nlink = 2;
        inode->size_bytes = 2 * ENTRY_BYTES;
        break;
    case S_IFREG:
        inode->ops = &tmpfs_file_inode_ops;
        inode->file_ops = &tmpfs_file_ops;
        if (tmpfs_file_init(inode, tmpfs) != 0) {
            inode_put(inode);
            return NULL;
        }
        break;
    case S_IFLNK:
        inode->ops = &tmpfs_link_inode_ops;
        break;
    default:
        inode->device = device;
    }
    *error = 0;
    return inode;
}

int tmpfs_link_set(struct inode *inode, const char *target, size_t len)
{
    char *text = kmalloc(len + 1, 0);
    if (text == NULL)
        return -ENOMEM;
    memcpy(text, target, len);
    text[len] = 0;
    inode->link_target = text;
    inode->link_target_len = (uint32_t)len;
    inode->size_bytes = len;
    return 0;
}

void tmpfs_evict(struct inode *inode)
{
    if (S_ISREG(inode->mode) && inode->private_data != NULL)
        tmpfs_file_destroy(inode);
    tmpfs_inode_uncharge(inode->superblock->private_data);
}

static int tmpfs_create(
    struct inode *directory, struct dentry *dentry, uint32_t mode, struct device_number device)
{
    int error;
    struct inode *inode = tmpfs_inode_create(directory->superblock, mode, device, &error);
    if (inode == NULL)
        return error;
    inode_init_owner(inode, directory);
    dentry_attach(dentry, inode);
    if (S_ISDIR(mode))
        inode_nlink_add(directory, 1);
    tmpfs_touch_directory(directory, 1);
    return 0;
}

static int tmpfs_symlink(
    struct inode *directory, struct dentry *dentry, const char *target, size_t len)
{
    int error;
    struct inode *inode =
        tmpfs_inode_create(directory->superblock, S_IFLNK | 0777, (struct device_number){}, &error);
    if (inode == NULL)
        return error;
    error = tmpfs_link_set(inode, target, len);
    if (error != 0) {
        inode_put(inode);
        return error;
    }
    inode_init_owner(inode, directory);
    dentry_attach(dentry, inode);
    tmpfs_touch_directory(directory, 1);
    return 0;
}

static int tmpfs_link(struct inode *inode, struct inode *directory, struct dentry *dentry)
{
    inode_nlink_add(inode, 1);
    inode_get(inode);
    dentry_attach(dentry, inode);
    tmpfs_touch_directory(directory, 1);
    return 0;
}

// Also for directories, whose emptiness the caller has checked.
static int tmpfs_unlink(struct inode *directory, struct dentry *dentry)
{
    struct inode *inode = dentry->inode;
    if (inode_is_directory(inode)) {
        inode_nlink_add(inode, -2);
        inode_nlink_add(directory, -1);
    } else {
        inode_nlink_add(inode, -1);
    }
    tmpfs_touch_directory(directory, -1);
    return 0;
}

static int tmpfs_rename(struct inode *old_directory, struct dentry *old_dentry,
    struct inode *new_directory, struct dentry *new_dentry, bool exchange)
{
    bool old_is_directory = inode_is_directory(old_dentry->inode);
    if (exchange) {
        int32_t change = inode_is_directory(new_dentry->inode) - old_is_directory;
        if (old_directory != new_directory && change != 0) {
            inode_nlink_add(old_directory, change);
            inode_nlink_add(new_directory, -change);
        }
        inode_touch_changed(new_dentry->inode);
    } else {
        if (new_dentry->inode != NULL)
            (void)tmpfs_unlink(new_directory, new_dentry);
        if (old_is_directory && old_directory != new_directory) {
            inode_nlink_add(old_directory, -1);
            inode_nlink_add(new_directory, 1);
        }
    }
    inode_touch_changed(old_dentry->inode);
    tmpfs_touch_directory(old_directory, exchange ? 0 : -1);
    tmpfs_touch_directory(new_directory, exchange ? 0 : 1);
    return 0;
}

static int tmpfs_tmpfile(struct inode *directory, uint32_t mode, struct inode **result)
{
    int error;
    struct inode *inode =
        tmpfs_inode_create(directory->superblock, mode, (struct device_number){}, &error);
    if (inode == NULL)
        return error;
    inode_init_owner(inode, directory);
    inode->nlink = 0;
    *result = inode;
    return 0;
}

static int tmpfs_change(struct inode *inode, const struct inode_change *change)
{
    return change->valid & INODE_CHANGE_SIZE ? -EINVAL : 0;
}

const struct inode_ops tmpfs_directory_inode_ops = {
    .create = tmpfs_create,
    .symlink = tmpfs_symlink,
    .link = tmpfs_link,
    .unlink = tmpfs_unlink,
    .rename = tmpfs_rename,
    .tmpfile = tmpfs_tmpfile,
    .change = tmpfs_change,
    .evict = tmpfs_evict,
};
const struct inode_ops tmpfs_link_inode_ops = {.change = tmpfs_change, .evict = tmpfs_evict};
const struct inode_ops tmpfs_special_inode_ops = {.change = tmpfs_change, .evict = tmpfs_evict};

// ---- superblocks ----

static void tmpfs_statfs(struct superblock *superblock, struct statfs_info *info)
{
    struct tmpfs *tmpfs = superblock->private_data;
    spin_lock(&tmpfs->lock);
    info->blocks = tmpfs->page_limit;
    info->blocks_free = tmpfs->page_limit - MIN(tmpfs->page_limit, tmpfs->page_count);
    info->files = tmpfs->inode_limit;
    info->files_free = tmpfs->inode_limit - MIN(tmpfs->inode_limit, tmpfs->inode_count);
    spin_unlock(&tmpfs->lock);
}

// size=N[kmg%], nr_blocks=N, nr_inodes=N, mode=OCTAL, uid=N, gid=N.
static int tmpfs_parse_option(struct tmpfs *tmpfs, const struct mount_option *option)
{
    struct page_statistics statistics;
    uint64_t value;
    if (mount_option_is(option, "size") || mount_option_is(option, "nr_blocks"))
        tmpfs->page_limit_given = true;
    if (mount_option_is(option, "nr_inodes"))
        tmpfs->inode_limit_given = true;
    if (mount_option_is(option, "size")) {
        if (option->value_len != 0 && option->value[option->value_len - 1] == '%') {
            if (parse_u64(option->value, option->value_len - 1, 10, &value) != 0)
                return -EINVAL;
            page_statistics_read(&statistics);
            tmpfs->page_limit = statistics.total_pages * MIN(value, UINT64_C(100000)) / 100;
            return 0;
        }
        if (mount_option_size(option, &value) != 0)
            return -EINVAL;
        tmpfs->page_limit = DIV_ROUND_UP(value, PAGE_SIZE);
        return 0;
    }
    if (mount_option_is(option, "nr_blocks"))
        return mount_option_size(option, &tmpfs->page_limit);
    if (mount_option_is(option, "nr_inodes"))
        return mount_option_size(option, &tmpfs->inode_limit);
    if (mount_option_is(option, "mode"))
        return mount_option_u32(option, 8, &tmpfs->root_mode);
    if (mount_option_is(option, "uid"))
        return mount_option_u32(option, 10, &tmpfs->root_uid);
    if (mount_option_is(option, "gid"))
        return mount_option_u32(option, 10, &tmpfs->root_gid);
    if (mount_option_is(option, "huge") || mount_option_is(option, "mpol") ||
        mount_option_is(option, "inode32") || mount_option_is(option, "inode64"))
        return 0; // hints
    return -EINVAL;
}

static int tmpfs_parse_options(struct tmpfs *tmpfs, const char *options)
{
    struct mount_option option;
    while (mount_option_next(&options, &option)) {
        int error = tmpfs_parse_option(tmpfs, &option);
        if (error != 0)
            return error;
    }
    return 0;
}

static int tmpfs_remount(struct superblock *superblock, const struct mount_request *request)
{
    struct tmpfs *tmpfs = superblock->private_data;
    struct tmpfs wanted = *tmpfs;
    int error = tmpfs_parse_options(&wanted, request->options);
    if (error != 0)
        return error;
    spin_lock(&tmpfs->lock);
    if ((wanted.page_limit != 0 && wanted.page_limit < tmpfs->page_count) ||
        (wanted.inode_limit != 0 && wanted.inode_limit < tmpfs->inode_count)) {
        error = -EINVAL;
    } else {
        tmpfs->page_limit = wanted.page_limit;
        tmpfs->inode_limit = wanted.inode_limit;
        tmpfs->page_limit_given = wanted.page_limit_given;
        tmpfs->inode_limit_given = wanted.inode_limit_given;
    }
    spin_unlock(&tmpfs->lock);
    return error;
}

static void tmpfs_show_options(struct superblock *superblock, char *buffer, size_t size)
{
    const struct tmpfs *tmpfs = superblock->private_data;
    struct fmt_buffer text;
    fmt_buffer_init(&text, buffer, size);
    if (tmpfs->page_limit_given && tmpfs->page_limit != 0)
        fmt_append(&text, ",size=%luk", (unsigned long)(tmpfs->page_limit * (PAGE_SIZE / 1024)));
    if (tmpfs->inode_limit_given && tmpfs->inode_limit != 0)
        fmt_append(&text, ",nr_inodes=%lu", (unsigned long)tmpfs->inode_limit);
    if (tmpfs->root_mode != 01777)
        fmt_append(&text, ",mode=%o", tmpfs->root_mode);
    if (tmpfs->root_uid != 0)
        fmt_append(&text, ",uid=%u", tmpfs->root_uid);
    if (tmpfs->root_gid != 0)
        fmt_append(&text, ",gid=%u", tmpfs->root_gid);
}

static void tmpfs_destroy(struct superblock *superblock)
{
    kfree(superblock->private_data);
}

static const struct superblock_ops tmpfs_superblock_ops = {
    .statfs = tmpfs_statfs,
    .remount = tmpfs_remount,
    .show_options = tmpfs_show_options,
    .destroy = tmpfs_destroy,
};

static int tmpfs_mount_with(const struct filesystem_type *type, struct tmpfs *tmpfs,
    const char *options, struct superblock **result)
{
    int error = tmpfs_parse_options(tmpfs, options);
    struct superblock *superblock = NULL;
    if (error == 0) {
        superblock = superblock_create(type, &tmpfs_superblock_ops, TMPFS_MAGIC);
        error = superblock != NULL ? 0 : -ENOMEM;
    }
    if (error != 0) {
        kfree(tmpfs);
        return error;
    }
    superblock->private_data = tmpfs;
    superblock->flags |= SUPERBLOCK_PERSISTENT | SUPERBLOCK_XATTR;
    struct inode *root = tmpfs_inode_create(
        superblock, S_IFDIR | (tmpfs->root_mode & 07777), (struct device_number){}, &error);
    if (root != NULL) {
        root->uid = tmpfs->root_uid;
        root->gid = tmpfs->root_gid;
        superblock->root = dentry_create_root(superblock, root);
        error = superblock->root != NULL ? 0 : -ENOMEM;
    }
    if (error != 0) {
        superblock_put(superblock);
        return error;
    }
    *result = superblock;
    return 0;
}

static struct tmpfs *tmpfs_create_limits(void)
{
    struct tmpfs *tmpfs = kzalloc(sizeof(*tmpfs));
    if (tmpfs != NULL)
        spin_lock_init(&tmpfs->lock);
    return tmpfs;
}

// As Linux: half of memory, unless the options say otherwise.
static int tmpfs_mount(const struct filesystem_type *type, const struct mount_request *request,
    struct superblock **result)
{
    struct page_statistics statistics;
    struct tmpfs *tmpfs = tmpfs_create_limits();
    if (tmpfs == NULL)
        return -ENOMEM;
    page_statistics_read(&statistics);
    tmpfs->page_limit = tmpfs->inode_limit = statistics.total_pages / 2;
    tmpfs->root_mode = 01777;
    return tmpfs_mount_with(type, tmpfs, request->options, result);
}

// The initial root: without limits.
static int rootfs_mount(const struct filesystem_type *type, const struct mount_request *request,
    struct superblock **result)
{
    struct tmpfs *tmpfs = tmpfs_create_limits();
    if (tmpfs == NULL)
        return -ENOMEM;
    tmpfs->root_mode = 0755;
    return tmpfs_mount_with(type, tmpfs, request->options, result);
}

void tmpfs_init(void)
{
    static struct filesystem_type tmpfs = {
        .name = "tmpfs", .user_mountable = true, .mount = tmpfs_mount};
    static struct filesystem_type rootfs = {.name = "rootfs", .mount = rootfs_mount};
    filesystem_register(&rootfs);
    filesystem_register(&tmpfs);
}
