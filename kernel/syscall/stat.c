// SPDX-License-Identifier: MIT
// The stat family and statfs.
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/core/time.h"
#include "kernel/fs/file.h"
#include "kernel/fs/inode.h"
#include "kernel/process/credentials.h"
#include "kernel/syscall/user_path.h"
#include <asm/stat.h>
#include <asm/statfs.h>
#include <linux/magic.h>
#include <linux/stat.h>

#define SECTOR_BYTES 512

// What all forms of stat are made from.
struct attributes {
    uint64_t number, size_bytes, sectors;
    uint32_t mode, nlink, uid, gid;
    struct device_number device, special;
    int64_t atime_ns, mtime_ns, ctime_ns, birth_ns;
    uint32_t mount_id;
    bool is_mount_root;
};

static uint64_t device_encode(struct device_number device)
{
    return (device.minor & 0xff) | (uint64_t)device.major << 8 |
           (uint64_t)(device.minor & ~0xffu) << 12;
}

static __always_inline void attributes_of_inode(struct inode *inode, struct attributes *attributes)
{
    if (unlikely(inode->ops != NULL && inode->ops->refresh != NULL))
        inode->ops->refresh(inode);
    attributes->number = inode->number;
    attributes->size_bytes = inode_size(inode);
    attributes->sectors = 0;
    if (inode->ops != NULL && inode->ops->pages != NULL)
        attributes->sectors = inode->ops->pages(inode) * (PAGE_SIZE / SECTOR_BYTES);
    attributes->device = (struct device_number){};
    if (inode->superblock != NULL)
        attributes->device = inode->superblock->device;
    attributes->special = inode->device;
    spin_lock(&inode->attribute_lock);
    attributes->mode = inode->mode;
    attributes->nlink = inode->nlink;
    attributes->uid = inode->uid;
    attributes->gid = inode->gid;
    attributes->atime_ns = inode->atime_ns;
    attributes->mtime_ns = inode->mtime_ns;
    attributes->ctime_ns = inode->ctime_ns;
    attributes->birth_ns = inode->birth_ns;
    spin_unlock(&inode->attribute_lock);
}

// What walk_visit() calls: does not sleep.
static void attributes_visit(const struct path *path, struct inode *inode, void *context)
{
    struct attributes *attributes = context;
    attributes_of_inode(inode, attributes);
    attributes->mount_id = path->mount->id;
    attributes->is_mount_root = path->dentry == path->mount->root;
}

static void attributes_of_path(const struct path *path, struct attributes *attributes)
{
    attributes_visit(path, path->dentry->inode, attributes);
}

// A file without inode: a pipe, or something like eventfd.
static void attributes_of_anonymous(const struct file *file, struct attributes *attributes)
{
    bool pipe = file->anonymous_name != NULL && strcmp(file->anonymous_name, "pipe") == 0;
    bool socket = file->anonymous_name != NULL && strcmp(file->anonymous_name, "socket") == 0;
    *attributes = (struct attributes){.number = file->anonymous_number,
        .mode = pipe ? S_IFIFO | 0600 : (socket ? S_IFSOCK | 0777 : 0600),
        .nlink = 1,
        .uid = file->cred->fsuid,
        .gid = file->cred->fsgid,
        .device = {.minor = pipe ? 14 : 15}};
    attributes->atime_ns = attributes->mtime_ns = attributes->ctime_ns = attributes->birth_ns =
        time_realtime_ns();
}

[[gnu::noinline]] static void attributes_of_file(struct file *file, struct attributes *attributes)
{
    if (file->path.dentry != NULL && file->path.mount != NULL)
        attributes_of_path(&file->path, attributes);
    else if (file->inode != NULL)
        attributes_of_inode(file->inode, attributes);
    else
        attributes_of_anonymous(file, attributes);
}

static int64_t stat_to_user(const struct attributes *attributes, uintptr_t user)
{
    struct stat stat = {
        .st_dev = device_encode(attributes->device),
        .st_ino = attributes->number,
        .st_nlink = attributes->nlink,
        .st_mode = attributes->mode,
        .st_uid = attributes->uid,
        .st_gid = attributes->gid,
        .st_rdev = device_encode(attributes->special),
        .st_size = (long)attributes->size_bytes,
        .st_blksize = PAGE_SIZE,
        .st_blocks = (long)attributes->sectors,
        .st_atime = (uint64_t)(attributes->atime_ns / (int64_t)NS_PER_SECOND),
        .st_atime_nsec = (uint64_t)(attributes->atime_ns % (int64_t)NS_PER_SECOND),
        .st_mtime = (uint64_t)(attributes->mtime_ns / (int64_t)NS_PER_SECOND),
        .st_mtime_nsec = (uint64_t)(attributes->mtime_ns % (int64_t)NS_PER_SECOND),
        .st_ctime = (uint64_t)(attributes->ctime_ns / (int64_t)NS_PER_SECOND),
        .st_ctime_nsec = (uint64_t)(attributes->ctime_ns % (int64_t)NS_PER_SECOND),
    };
    return copy_to_user(user, &stat, sizeof(stat));
}

static int64_t stat_fd(int fd, uintptr_t user)
{
    bool borrowed;
    struct attributes attributes;
    struct file *file = file_fd_get_any(fd, &borrowed);
    if (file == NULL)
        return -EBADF;
    attributes_of_file(file, &attributes);
    file_fd_put(file, borrowed);
    return stat_to_user(&attributes, user);
}

static __always_inline int stat_path(
    int dirfd, uintptr_t path_user, uint32_t walk_flags, struct attributes *attributes)
{
    USER_PATH(name);
    int error = user_path_get(&name, path_user);
    if (error != 0)
        return error;
    if (name.len == 0 && walk_flags & WALK_EMPTY && dirfd != AT_FDCWD) {
        bool borrowed; // any kind of file, unlike a walk
        struct file *file = file_fd_get_any(dirfd, &borrowed);
        if (file == NULL)
            return -EBADF;
        attributes_of_file(file, attributes);
        file_fd_put(file, borrowed);
        return 0;
    }
    error = walk_visit(dirfd, name.text, name.len, walk_flags, attributes_visit, attributes);
    user_path_put(&name);
    return error;
}

static inline int64_t stat_path_to_user(
    int dirfd, uintptr_t path, uint32_t walk_flags, uintptr_t user)
{
    struct attributes attributes __attribute__((uninitialized));
    int error = stat_path(dirfd, path, walk_flags, &attributes);
    return error != 0 ? error : stat_to_user(&attributes, user);
}

SYSCALL2(stat, uintptr_t, path, uintptr_t, user)
{
    return stat_path_to_user(AT_FDCWD, path, WALK_FOLLOW, user);
}

SYSCALL2(lstat, uintptr_t, path, uintptr_t, user)
{
    return stat_path_to_user(AT_FDCWD, path, 0, user);
}

SYSCALL2(fstat, int, fd, uintptr_t, user)
{
    return stat_fd(fd, user);
}

static uint32_t stat_walk_flags(uint32_t flags)
{
    return (flags & AT_SYMLINK_NOFOLLOW ? 0 : WALK_FOLLOW) |
           (flags & AT_EMPTY_PATH ? WALK_EMPTY : 0);
}

SYSCALL4(newfstatat, int, dirfd, uintptr_t, path, uintptr_t, user, uint32_t, flags)
{
    if (flags & ~(uint32_t)(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH))
        return -EINVAL;
    return stat_path_to_user(dirfd, path, stat_walk_flags(flags), user);
}

static struct statx_timestamp statx_time(int64_t ns)
{
    return (struct statx_timestamp){
        .tv_sec = ns / (int64_t)NS_PER_SECOND, .tv_nsec = (uint32_t)(ns % (int64_t)NS_PER_SECOND)};
}

SYSCALL5(statx, int, dirfd, uintptr_t, path, uint32_t, flags, uint32_t, mask, uintptr_t, user)
{
    struct attributes attributes = {};
    if (flags & ~(uint32_t)(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH |
                            AT_STATX_SYNC_TYPE) ||
        (flags & AT_STATX_SYNC_TYPE) == AT_STATX_SYNC_TYPE || mask & STATX__RESERVED)
        return -EINVAL;
    int error = stat_path(dirfd, path, stat_walk_flags(flags), &attributes);
    if (error != 0)
        return error;
    struct statx statx = {
        .stx_mask = STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID,
        .stx_blksize = PAGE_SIZE,
        .stx_attributes = attributes.is_mount_root ? STATX_ATTR_MOUNT_ROOT : 0,
        .stx_attributes_mask = STATX_ATTR_MOUNT_ROOT,
        .stx_nlink = attributes.nlink,
        .stx_uid = attributes.uid,
        .stx_gid = attributes.gid,
        .stx_mode = (uint16_t)attributes.mode,
        .stx_ino = attributes.number,
        .stx_size = attributes.size_bytes,
        .stx_blocks = attributes.sectors,
        .stx_atime = statx_time(attributes.atime_ns),
        .stx_btime = statx_time(attributes.birth_ns),
        .stx_ctime = statx_time(attributes.ctime_ns),
        .stx_mtime = statx_time(attributes.mtime_ns),
        .stx_rdev_major = attributes.special.major,
        .stx_rdev_minor = attributes.special.minor,
        .stx_dev_major = attributes.device.major,
        .stx_dev_minor = attributes.device.minor,
        .stx_mnt_id = attributes.mount_id,
    };
    return copy_to_user(user, &statx, sizeof(statx));
}

// ---- statfs ----

#define ST_RDONLY     0x0001
#define ST_NOSUID     0x0002
#define ST_NODEV      0x0004
#define ST_NOEXEC     0x0008
#define ST_VALID      0x0020
#define ST_NOATIME    0x0400
#define ST_NODIRATIME 0x0800
#define ST_RELATIME   0x1000

static long statfs_flags(const struct mount *mount)
{
    static const struct {
        uint32_t mount;
        long flag;
    } flags[] = {
        {MOUNT_READ_ONLY, ST_RDONLY},
        {MOUNT_NOSUID, ST_NOSUID},
        {MOUNT_NODEV, ST_NODEV},
        {MOUNT_NOEXEC, ST_NOEXEC},
        {MOUNT_NOATIME, ST_NOATIME},
        {MOUNT_NODIRATIME, ST_NODIRATIME},
        {MOUNT_RELATIME, ST_RELATIME},
    };
    long result = ST_VALID | (mount->superblock->flags & SUPERBLOCK_READ_ONLY ? ST_RDONLY : 0);
    for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
        if (mount->flags & flags[i].mount)
            result |= flags[i].flag;
    return result;
}

static int64_t statfs_to_user(const struct path *path, uintptr_t user)
{
    struct superblock *superblock = path->dentry->superblock;
    struct statfs_info info = {.block_size = PAGE_SIZE};
    if (superblock->ops != NULL && superblock->ops->statfs != NULL)
        superblock->ops->statfs(superblock, &info);
    struct statfs statfs = {
        .f_type = (long)superblock->magic,
        .f_bsize = (long)info.block_size,
        .f_blocks = (long)info.blocks,
        .f_bfree = (long)info.blocks_free,
        .f_bavail = (long)(info.blocks_free - MIN(info.blocks_free, info.blocks_reserved)),
        .f_files = (long)info.files,
        .f_ffree = (long)info.files_free,
        .f_fsid = {.val = {(int)superblock->device.minor, 0}},
        .f_namelen = 255,
        .f_frsize = (long)info.block_size,
        .f_flags = statfs_flags(path->mount),
    };
    return copy_to_user(user, &statfs, sizeof(statfs));
}

SYSCALL2(statfs, uintptr_t, path_user, uintptr_t, user)
{
    struct path path;
    int error = user_path_walk(AT_FDCWD, path_user, WALK_FOLLOW, &path);
    if (error != 0)
        return error;
    int64_t result = statfs_to_user(&path, user);
    path_put(&path);
    return result;
}

SYSCALL2(fstatfs, int, fd, uintptr_t, user)
{
    bool borrowed;
    struct file *file = file_fd_get_any(fd, &borrowed);
    if (file == NULL)
        return -EBADF;
    int64_t result;
    if (file->path.mount != NULL) {
        result = statfs_to_user(&file->path, user);
    } else {
        struct statfs statfs = {.f_type = ANON_INODE_FS_MAGIC,
            .f_bsize = PAGE_SIZE,
            .f_frsize = PAGE_SIZE,
            .f_namelen = 255,
            .f_flags = ST_VALID};
        if (file->anonymous_name != NULL && strcmp(file->anonymous_name, "pipe") == 0)
            statfs.f_type = PIPEFS_MAGIC;
        if (file->anonymous_name != NULL && strcmp(file->anonymous_name, "socket") == 0)
            statfs.f_type = SOCKFS_MAGIC;
        result = copy_to_user(user, &statfs, sizeof(statfs));
    }
    file_fd_put(file, borrowed);
    return result;
}
