// SPDX-License-Identifier: MIT
// The initial root: a cpio archive becomes a tree in rootfs.
//
// Only names and attributes are made; the bytes of files stay where the boot loader put the
// archive, and each page is made when it is first touched (tmpfs_file.c). The archive's memory is
// therefore never given back. Entries usually follow their directory, so the directory of the
// previous entry is tried first.
#include "kernel/base/assert.h"
#include "kernel/base/cpio.h"
#include "kernel/base/string.h"
#include "kernel/base/xarray.h"
#include "kernel/core/errno.h"
#include "kernel/core/log.h"
#include "kernel/core/time.h"
#include "kernel/fs/dentry.h"
#include "kernel/fs/kernel_tree.h"
#include "kernel/fs/mount.h"
#include "kernel/fs/namei.h"
#include "kernel/fs/tmpfs.h"
#include "kernel/fs/vfs.h"
#include <linux/limits.h>

struct unpack {
    struct dentry *root;
    const char *last_prefix; // directory part of the previous name
    size_t last_prefix_len;
    struct dentry *last_directory; // with a reference
    struct xarray links; // inode number → struct inode of files with several names in this archive
    uint32_t archive;
    uint64_t count;
};

// "." and ".." and empty components have no place in an archive's names, except a leading "./".
static int unpack_check_name(const char **name, size_t *len)
{
    const char *text = *name;
    while (text[0] == '/' || (text[0] == '.' && (text[1] == '/' || text[1] == 0)))
        text += text[1] == '/' && text[0] == '.' ? 2 : 1;
    size_t left = strlen(text);
    while (left > 0 && text[left - 1] == '/')
        left--;
    *name = text;
    *len = left;
    for (size_t i = 0; i < left;) {
        size_t end = i;
        while (end < left && text[end] != '/')
            end++;
        size_t size = end - i;
        if (size == 0 || size > NAME_MAX || (size <= 2 && memcmp(text + i, "..", size) == 0))
            return -EINVAL;
        i = end + 1;
    }
    return 0;
}

static int unpack_enter(struct dentry **at, const char *name, size_t len)
{
    struct dentry *found = dentry_lookup(*at, name, len);
    if (found == NULL)
        return -ENOENT;
    if (!inode_is_directory(found->inode)) {
        dentry_put(found);
        return -ENOTDIR;
    }
    dentry_put(*at);
    *at = found;
    return 0;
}

// The directory `prefix` of unpack->root, which the archive must have made before, into
// unpack->last_directory.
static int unpack_directory(struct unpack *unpack, const char *prefix, size_t len)
{
    if (unpack->last_directory != NULL && len == unpack->last_prefix_len &&
        memcmp(prefix, unpack->last_prefix, len) == 0)
        return 0;
    struct dentry *at = unpack->root;
    dentry_get(at);
    for (size_t i = 0; i < len;) {
        size_t end = i;
        while (end < len && prefix[end] != '/')
            end++;
        int error = unpack_enter(&at, prefix + i, end - i);
        if (error != 0) {
            dentry_put(at);
            return error;
        }
        i = end + 1;
    }
    if (unpack->last_directory != NULL)
        dentry_put(unpack->last_directory);
    unpack->last_directory = at;
    unpack->last_prefix = prefix;
    unpack->last_prefix_len = len;
    return 0;
}

static void unpack_attributes(struct inode *inode, const struct cpio_entry *entry)
{
    inode->mode = (inode->mode & S_IFMT) | (entry->mode & 07777);
    inode->uid = entry->uid;
    inode->gid = entry->gid;
    inode->atime_ns = inode->mtime_ns = inode->ctime_ns = (int64_t)(entry->mtime * NS_PER_SECOND);
}

// A second name of a file that has been unpacked: newc has the data with one of them.
static struct inode *unpack_find_link(struct unpack *unpack, const struct cpio_entry *entry)
{
    if (entry->nlink < 2 || !S_ISREG(entry->mode))
        return NULL;
    if (entry->archive != unpack->archive) { // numbers start anew
        xarray_destroy(&unpack->links);
        unpack->archive = entry->archive;
    }
    return xarray_load(&unpack->links, entry->ino);
}

static int unpack_new_inode(
    struct unpack *unpack, const struct cpio_entry *entry, struct inode **result)
{
    int error;
    struct device_number device = {.major = entry->rdev_major, .minor = entry->rdev_minor};
    struct inode *inode = tmpfs_inode_create(unpack->root->superblock, entry->mode, device, &error);
    if (inode == NULL)
        return error;
    unpack_attributes(inode, entry);
    if (S_ISLNK(entry->mode))
        error = tmpfs_link_set(inode, (const char *)entry->data, entry->size);
    if (error == 0 && S_ISREG(entry->mode) && entry->nlink > 1)
        error = xarray_store(&unpack->links, entry->ino, inode, NULL);
    if (error != 0) {
        inode_put(inode);
        return error;
    }
    *result = inode;
    return 0;
}

// Puts the entry under a name in unpack->last_directory.
static int unpack_add(
    struct unpack *unpack, const struct cpio_entry *entry, const char *name, size_t len)
{
    struct dentry *directory = unpack->last_directory;
    struct dentry *existing = NULL;
    int error;
    struct dentry *dentry = kernel_tree_new(directory, name, len, &existing, &error);
    if (error ==
        -EEXIST) { // a directory made twice (archives in a row), or a file in the place of another
        if (S_ISDIR(entry->mode) && inode_is_directory(existing->inode)) {
            unpack_attributes(existing->inode, entry);
            dentry_put(existing);
            return 0;
        }
        if (inode_is_directory(existing->inode)) {
            dentry_put(existing);
            return -EISDIR;
        }
        error = directory->inode->ops->unlink(directory->inode, existing);
        dentry_remove(existing);
        dentry_put(existing);
        dentry = error == 0 ? kernel_tree_new(directory, name, len, NULL, &error) : NULL;
    }
    if (dentry == NULL)
        return error;
    struct inode *inode = unpack_find_link(unpack, entry);
    if (inode != NULL) {
        inode_get(inode);
        inode->nlink++;
    } else {
        error = unpack_new_inode(unpack, entry, &inode);
    }
    if (error == 0) {
        if (S_ISREG(entry->mode) && entry->size != 0)
            tmpfs_file_set_archive(inode, entry->data, entry->size);
        if (S_ISDIR(entry->mode))
            directory->inode->nlink++;
        directory->inode->size_bytes += 20;
        dentry_attach(dentry, inode);
        dentry_add(dentry, true);
    }
    dentry_put(dentry);
    return error;
}

static int unpack_entry(struct unpack *unpack, const struct cpio_entry *entry)
{
    const char *name = entry->name;
    size_t len;
    int error = unpack_check_name(&name, &len);
    if (error != 0)
        return error;
    if (len == 0) { // "." is the root itself
        if (!S_ISDIR(entry->mode))
            return -EINVAL;
        unpack_attributes(unpack->root->inode, entry);
        return 0;
    }
    switch (entry->mode & S_IFMT) {
    case S_IFREG:
    case S_IFDIR:
    case S_IFLNK:
    case S_IFCHR:
    case S_IFBLK:
    case S_IFIFO:
    case S_IFSOCK:
        break;
    default:
        return -EINVAL;
    }
    if (S_ISLNK(entry->mode) && (entry->size == 0 || entry->size >= PATH_MAX))
        return -EINVAL;
    size_t slash = len;
    while (slash > 0 && name[slash - 1] != '/')
        slash--;
    error = unpack_directory(unpack, name, slash > 0 ? slash - 1 : 0);
    if (error != 0)
        return error;
    rwlock_write_lock(&unpack->last_directory->inode->lock);
    error = unpack_add(unpack, entry, name + slash, len - slash);
    rwlock_write_unlock(&unpack->last_directory->inode->lock);
    return error;
}

int vfs_unpack_initial(const void *archive, size_t len_bytes)
{
    struct unpack unpack = {.root = mount_root->root};
    struct cpio_reader reader;
    struct cpio_entry entry;
    int error;
    cpio_reader_init(&reader, archive, len_bytes);
    while ((error = cpio_next(&reader, &entry)) == 0) {
        error = unpack_entry(&unpack, &entry);
        if (error != 0) {
            log_error("initramfs: entry \"%s\": error %d", entry.name, -error);
            break;
        }
        unpack.count++;
    }
    if (error == -EINVAL || error == -ENODATA) {
        if (reader.reason != NULL)
            log_error("initramfs: %s at byte %lu of %lu", reader.reason,
                (unsigned long)reader.offset, (unsigned long)len_bytes);
        error = -EINVAL;
    }
    if (unpack.last_directory != NULL)
        dentry_put(unpack.last_directory);
    xarray_destroy(&unpack.links);
    if (error != -ENOENT) // the end of the archive
        return error;
    log_info("initramfs: %lu entries", (unsigned long)unpack.count);
    return 0;
}
