// SPDX-License-Identifier: MIT
// Files in memory without a directory: memfd_create(2), System V shared memory; seals.
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/fs/dentry.h"
#include "kernel/fs/file.h"
#include "kernel/fs/mount.h"
#include "kernel/fs/tmpfs.h"
#include "mm/address_space.h"

#define SEALS_ALL                                                                                  \
    ((uint32_t)(F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))

static struct mount *unnamed_mount; // a tmpfs that is attached nowhere; written once at boot

void memfd_init(void)
{
    struct superblock *superblock;
    const struct filesystem_type *type = filesystem_find("rootfs"); // without limits
    assert(type != NULL);
    const struct mount_request request = {"tmpfs", "mode=1777", false};
    int error = type->mount(type, &request, &superblock);
    assert(error == 0); // at boot
    unnamed_mount = mount_create(superblock, superblock->root, 0, "tmpfs");
    assert(unnamed_mount != NULL);
    superblock_put(superblock);
}

struct file *tmpfs_unnamed_create(const char *name, uint64_t size_bytes, uint32_t seals)
{
    int error;
    struct superblock *superblock = unnamed_mount->superblock;
    struct inode *inode =
        tmpfs_inode_create(superblock, S_IFREG | 0777, (struct device_number){}, &error);
    if (inode == NULL)
        return NULL;
    inode->nlink = 0;
    tmpfs_file_of(inode)->seals = seals;
    inode->cache->size_bytes = size_bytes;
    struct dentry *dentry = dentry_create(superblock, superblock->root, name, strlen(name));
    if (dentry == NULL) {
        inode_put(inode);
        return NULL;
    }
    dentry_attach(dentry, inode);
    struct file *file = file_alloc(O_RDWR | O_LARGEFILE);
    if (file == NULL) {
        dentry_put(dentry);
        return NULL;
    }
    file->mode |= FILE_SEEKABLE;
    file->ops = &tmpfs_file_ops;
    file->inode = inode;
    file->path.mount = unnamed_mount;
    file->path.dentry = dentry;
    mount_get(unnamed_mount);
    return file;
}

int tmpfs_unnamed_place(const char *name, struct inode *inode, struct path *result)
{
    struct superblock *superblock = unnamed_mount->superblock;
    struct dentry *dentry = dentry_create(superblock, superblock->root, name, strlen(name));
    if (dentry == NULL) {
        inode_put(inode);
        return -ENOMEM;
    }
    dentry_attach(dentry, inode);
    mount_get(unnamed_mount);
    result->mount = unnamed_mount;
    result->dentry = dentry;
    return 0;
}

// Does a shared mapping exist that may write?
static bool memfd_is_mapped_writable(struct page_cache *cache)
{
    struct vm_area *area;
    bool found = false;
    spin_lock(&cache->lock);
    list_for_each_entry (area, &cache->areas, cache_node) {
        if ((area->flags & (VM_SHARED | VM_MAYWRITE)) == (VM_SHARED | VM_MAYWRITE)) {
            found = true;
            break;
        }
    }
    spin_unlock(&cache->lock);
    return found;
}

static bool memfd_is(const struct file *file)
{
    return file->inode != NULL && file->inode->file_ops == &tmpfs_file_ops;
}

int tmpfs_seals_add(struct file *file, uint32_t seals)
{
    if (!memfd_is(file) || seals & ~SEALS_ALL)
        return -EINVAL;
    if (!(file->mode & FILE_WRITE))
        return -EPERM;
    struct inode *inode = file->inode;
    struct tmpfs_file *tmpfs_file = tmpfs_file_of(inode);
    rwlock_write_lock(&inode->lock);
    int error = 0;
    if (tmpfs_file->seals & F_SEAL_SEAL)
        error = -EPERM;
    else if (seals & F_SEAL_WRITE && !(tmpfs_file->seals & F_SEAL_WRITE) &&
             memfd_is_mapped_writable(inode->cache))
        error = -EBUSY;
    else
        tmpfs_file->seals |= seals;
    rwlock_write_unlock(&inode->lock);
    return error;
}

int tmpfs_seals_get(struct file *file)
{
    return memfd_is(file) ? (int)tmpfs_file_of(file->inode)->seals : -EINVAL;
}
