// SPDX-License-Identifier: MIT
// Opening files.
//
// An open without O_CREAT is a walk and a few checks. With O_CREAT the walk says either what is
// there, or the directory in which the last component is missing; then the file is made under the
// directory's lock, where the name is looked for once more, as somebody else may have been faster.
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/fs/device.h"
#include "kernel/fs/file.h"
#include "kernel/fs/file_private.h"
#include "kernel/fs/namei.h"
#include "kernel/fs/vfs.h"
#include "kernel/process/credentials.h"
#include "kernel/process/task.h"
#include "mm/slab.h"

#define OPEN_PATH_FLAGS ((uint32_t)(O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC))

uint32_t namei_apply_umask(uint32_t mode)
{
    if (thread_current()->flags & (THREAD_FLAG_KERNEL | THREAD_FLAG_IDLE))
        return mode;
    return mode & ~task_current()->fs->umask;
}

// What the access mode asks of the inode.
static uint32_t open_mask(uint32_t flags)
{
    static const uint8_t masks[4] = {
        MAY_READ, MAY_WRITE, MAY_READ | MAY_WRITE, MAY_READ | MAY_WRITE};
    return masks[flags & O_ACCMODE] | (flags & O_TRUNC ? MAY_WRITE : 0);
}

static int open_check(const struct path *path, uint32_t flags, bool created)
{
    struct inode *inode = path->dentry->inode;
    uint32_t type = inode->mode & S_IFMT;
    uint32_t mask = open_mask(flags);
    if (type == S_IFLNK)
        return -ELOOP;
    if (type == S_IFDIR && mask & MAY_WRITE)
        return -EISDIR;
    if ((type == S_IFCHR || type == S_IFBLK) && path->mount->flags & MOUNT_NODEV)
        return -EACCES;
    if (!created) {
        int error = inode_permission(inode, mask);
        if (error != 0)
            return error;
    }
    if (inode->flags & INODE_APPEND &&
        ((mask & MAY_WRITE && !(flags & O_APPEND)) || flags & O_TRUNC))
        return -EPERM;
    if (flags & O_NOATIME && !inode_owner_or_capable(inode))
        return -EPERM;
    return 0;
}

// Counts a writer of a file whose content belongs to the file system.
static int open_write_access(struct file *file)
{
    uint32_t type = file->inode->mode & S_IFMT;
    if (!(file->mode & FILE_WRITE) || (type != S_IFREG && type != S_IFDIR))
        return 0;
    int error = inode_write_access_get(file->inode);
    if (error != 0)
        return error;
    error = mount_write_get(file->path.mount);
    if (error != 0) {
        inode_write_access_put(file->inode);
        return error;
    }
    file->mode |= FILE_MOUNT_WRITER;
    return 0;
}

static int open_by_type(struct file *file)
{
    struct inode *inode = file->inode;
    if (unlikely(inode->flags & INODE_PSEUDO && inode->ops != NULL && inode->ops->open != NULL))
        return inode->ops->open(inode, file);
    switch (inode->mode & S_IFMT) {
    case S_IFCHR:
    case S_IFBLK:
        return device_open(file);
    case S_IFSOCK:
        return -ENXIO;
    case S_IFIFO:
        file->mode |= FILE_STREAM;
        if ((file->flags & O_ACCMODE) == O_ACCMODE)
            return -EINVAL;
        return vfs_fifo_open != NULL ? vfs_fifo_open(&inode->pipe, file) : -ENXIO;
    default:
        file->ops = inode->file_ops;
        if (file->ops == NULL)
            return -EACCES;
        file->mode |= FILE_SEEKABLE;
        return inode->ops->open != NULL ? inode->ops->open(inode, file) : 0;
    }
}

static int open_truncate(struct file *file)
{
    struct inode_change change = {.valid = INODE_CHANGE_SIZE, .size_bytes = 0};
    if (!S_ISREG(file->inode->mode))
        return 0;
    int error = file->mode & FILE_WRITE ? 0 : mount_write_get(file->path.mount);
    if (error != 0)
        return error;
    inode_remove_privileges(file->inode);
    error = inode_change(file->inode, &change);
    if (!(file->mode & FILE_WRITE))
        mount_write_put(file->path.mount);
    return error;
}

// A file that gives access to nothing but the place.
static int open_path_only(const struct path *path, uint32_t flags, struct file **result)
{
    static const struct file_ops path_ops = {};
    struct file *file = file_alloc(flags & OPEN_PATH_FLAGS);
    if (file == NULL)
        return -ENFILE;
    file->mode = FILE_PATH;
    file->ops = &path_ops;
    file->path = *path;
    path_get(path);
    file->inode = path->dentry->inode;
    *result = file;
    return 0;
}

int namei_open_path(const struct path *path, uint32_t flags, bool created, struct file **result)
{
    if (flags & O_PATH)
        return open_path_only(path, flags, result);
    int error = open_check(path, flags, created);
    if (error != 0)
        return error;
    struct file *file = file_alloc(flags);
    if (file == NULL)
        return -ENFILE;
    file->path = *path;
    path_get(path);
    file->inode = path->dentry->inode;
    file->flags |= flags & O_NOCTTY; // terminals look at it while they are opened
    error = open_write_access(file);
    if (error == 0)
        error = open_by_type(file);
    file->flags &= ~(uint32_t)O_NOCTTY;
    if (error != 0) {
        file->ops = NULL; // nothing to release
        file_put(file);
        return error;
    }
    assert(file->ops != NULL);
    file->flags &= ~(uint32_t)O_NOCTTY;
    if (flags & O_TRUNC && !created)
        error = open_truncate(file);
    if (error != 0) {
        file_put(file);
        return error;
    }
    file_notify(file, IN_OPEN);
    *result = file;
    return 0;
}

// Makes `last` in the directory `at`, or finds what somebody else has made: 0 and the entry in
// at->dentry; *created tells.
static int open_create(struct path *at, const struct walk_last *last,
    const struct open_how_checked *how, bool *created)
{
    struct dentry *directory = at->dentry;
    if (last->must_be_directory)
        return -EISDIR;
    int read_only = mount_write_get(at->mount);
    rwlock_write_lock(&directory->inode->lock);
    int error;
    struct dentry *dentry = walk_lookup_locked(directory, last->name, last->len, &error);
    if (dentry != NULL && dentry->inode == NULL) {
        uint32_t mode = S_IFREG | (namei_apply_umask(how->mode) & 07777);
        error = read_only;
        if (error == 0)
            error = namei_may_create(directory->inode);
        if (error == 0)
            error = namei_create_locked(directory, dentry, mode, (struct device_number){});
        *created = error == 0;
    }
    rwlock_write_unlock(&directory->inode->lock);
    if (read_only == 0)
        mount_write_put(at->mount);
    if (error != 0) {
        if (dentry != NULL)
            dentry_put(dentry);
        return error;
    }
    if (*created)
        notify_name(directory->inode, dentry->inode, IN_CREATE, dentry->name);
    at->dentry = dentry;
    dentry_put(directory);
    return 0;
}

static int open_tmpfile(
    const struct path *directory, const struct open_how_checked *how, struct file **result)
{
    struct inode *inode = directory->dentry->inode;
    if (!(how->flags & (O_WRONLY | O_RDWR)))
        return -EINVAL;
    int error = inode_permission(inode, MAY_WRITE | MAY_EXEC);
    if (error != 0)
        return error;
    if (inode->ops->tmpfile == NULL)
        return -EOPNOTSUPP;
    error = mount_write_get(directory->mount);
    if (error != 0)
        return error;
    struct inode *file_inode;
    error =
        inode->ops->tmpfile(inode, S_IFREG | (namei_apply_umask(how->mode) & 07777), &file_inode);
    if (error == 0 && !(how->flags & O_EXCL))
        file_inode->flags |= INODE_LINKABLE;
    if (error == 0) {
        // A dentry without place in the table: only linkat() can give the file a name.
        struct path path = {.mount = directory->mount};
        path.dentry = dentry_create(inode->superblock, directory->dentry, "#tmpfile", 8);
        if (path.dentry != NULL) {
            dentry_attach(path.dentry, file_inode);
            error = namei_open_path(
                &path, how->flags & ~(uint32_t)(O_DIRECTORY | O_TRUNC), true, result);
            dentry_put(path.dentry);
        } else {
            inode_put(file_inode);
            error = -ENOMEM;
        }
    }
    mount_write_put(directory->mount);
    return error;
}

// A link that dangles, found under the directory's lock just after the walk had seen nothing, is
// rare enough to start again.
#define OPEN_TRIES 8

static int open_creating(const struct name *name, const struct open_how_checked *how,
    uint32_t walk_flags, struct file **result)
{
    for (int tries = 0; tries < OPEN_TRIES; tries++) {
        struct path path;
        struct walk_last last = {};
        bool created = false;
        int error = walk_create(name->dirfd, name->text, name->len, walk_flags, &path, &last);
        if (error < 0)
            return error;
        if (error == 1) {
            error = open_create(&path, &last, how, &created);
            if (last.copied != NULL)
                kfree(last.copied);
            if (error == 0 && !created && S_ISLNK(path.dentry->inode->mode)) {
                path_put(&path);
                continue;
            }
        }
        if (error == 0) {
            struct inode *inode = path.dentry->inode;
            if (!created && how->flags & O_EXCL)
                error = -EEXIST;
            else if (inode_is_directory(inode))
                error = -EISDIR;
            else
                error = namei_open_path(&path, how->flags, created, result);
        }
        path_put(&path);
        return error;
    }
    return -ELOOP;
}

int namei_open(const struct name *name, const struct open_how_checked *how, struct file **result)
{
    uint32_t flags = how->flags;
    uint32_t walk_flags = how->walk_flags;
    bool temporary = (flags & O_TMPFILE) == O_TMPFILE;
    if (flags & O_PATH)
        flags &= OPEN_PATH_FLAGS;
    if (!(flags & O_NOFOLLOW) && (flags & (O_CREAT | O_EXCL)) != (O_CREAT | O_EXCL))
        walk_flags |= WALK_FOLLOW;
    if (flags & O_CREAT && !temporary)
        return open_creating(name, how, walk_flags, result);
    if (flags & O_DIRECTORY)
        walk_flags |= WALK_DIRECTORY;
    struct path path;
    int error = walk_path(name->dirfd, name->text, name->len, walk_flags, &path);
    if (error != 0)
        return error;
    if (temporary)
        error = open_tmpfile(&path, how, result);
    else
        error = namei_open_path(&path, flags, false, result);
    path_put(&path);
    return error;
}

int vfs_open(int dirfd, const char *path, uint32_t open_flags, uint32_t mode, struct file **result)
{
    struct name name = {.dirfd = dirfd, .text = path, .len = strlen(path)};
    struct open_how_checked how = {.flags = open_flags, .mode = mode};
    return namei_open(&name, &how, result);
}

int vfs_open_exec(int dirfd, const char *path, int flags, struct file **result)
{
    uint32_t walk_flags =
        (flags & AT_SYMLINK_NOFOLLOW ? 0 : WALK_FOLLOW) | (flags & AT_EMPTY_PATH ? WALK_EMPTY : 0);
    struct path place;
    int error = walk_path(dirfd, path, strlen(path), walk_flags, &place);
    if (error != 0)
        return error;
    struct inode *inode = place.dentry->inode;
    if (S_ISLNK(inode->mode))
        error = -ELOOP;
    else if (!S_ISREG(inode->mode) || place.mount->flags & MOUNT_NOEXEC)
        error = -EACCES;
    else
        error = inode_permission(inode, MAY_EXEC);
    if (error == 0)
        error = inode_write_deny(inode);
    struct file *file = error == 0 ? file_alloc(O_RDONLY) : NULL;
    if (error == 0 && file == NULL) {
        inode_write_allow(inode);
        error = -ENOMEM;
    }
    if (error == 0) {
        file->mode |= FILE_EXEC | FILE_SEEKABLE;
        file->path = place;
        file->inode = inode;
        file->ops = inode->file_ops;
        if (inode->ops->open != NULL)
            error = inode->ops->open(inode, file);
        if (error != 0) {
            file->ops = NULL; // nothing to release
            file_put(file);
            return error;
        }
        file_notify(file, IN_OPEN);
        *result = file;
        return 0; // the path's references are the file's now
    }
    path_put(&place);
    return error;
}

void vfs_exec_attributes(struct file *file, uint32_t *mode, uint32_t *uid, uint32_t *gid)
{
    struct inode *inode = file->inode;
    spin_lock(&inode->attribute_lock);
    *mode = inode->mode;
    *uid = inode->uid;
    *gid = inode->gid;
    spin_unlock(&inode->attribute_lock);
    if (file->path.mount != NULL && file->path.mount->flags & MOUNT_NOSUID)
        *mode &= ~(uint32_t)(S_ISUID | S_ISGID);
}

void vfs_identity(struct file *file, uint32_t *dev_major, uint32_t *dev_minor, uint64_t *inode)
{
    *dev_major = 0;
    *dev_minor = 0;
    *inode = file->inode != NULL ? file->inode->number : file->anonymous_number;
    if (file->inode != NULL && file->inode->superblock != NULL) {
        *dev_major = file->inode->superblock->device.major;
        *dev_minor = file->inode->superblock->device.minor;
    }
}
