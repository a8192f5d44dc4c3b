// SPDX-License-Identifier: MIT
// Calls that check or change attributes: access, chmod, chown, utimes, truncate.
#include "kernel/core/errno.h"
#include "kernel/core/time.h"
#include "kernel/core/timespec.h"
#include "kernel/fs/file.h"
#include "kernel/fs/inode.h"
#include "kernel/process/credentials.h"
#include "kernel/process/task.h"
#include "kernel/syscall/user_path.h"
#include <linux/capability.h>
#include <linux/securebits.h>

// ---- access ----

#define R_OK 4
#define W_OK 2
#define X_OK 1

static_assert(R_OK == MAY_READ && W_OK == MAY_WRITE && X_OK == MAY_EXEC);

// The running task's credentials with its real ids in the place of the effective ones.
static struct credentials access_credentials(void)
{
    struct credentials cred = *credentials_current();
    cred.fsuid = cred.uid;
    cred.fsgid = cred.gid;
    if (!(cred.securebits & (1u << SECURE_NO_SETUID_FIXUP)))
        cred.cap_effective = cred.uid == 0 ? cred.cap_permitted : 0;
    return cred;
}

static int access_inode(const struct path *path, uint32_t mask, bool effective)
{
    struct inode *inode = path->dentry->inode;
    if (inode->ops != NULL && inode->ops->refresh != NULL)
        inode->ops->refresh(inode);
    if (mask & MAY_EXEC && S_ISREG(inode->mode) && path->mount->flags & MOUNT_NOEXEC)
        return -EACCES;
    int error = inode_permission(inode, mask);
    if (!effective && error != -EROFS) {
        struct credentials cred = access_credentials();
        error = inode_permission_for(inode, mask, &cred);
    }
    uint32_t type = inode->mode & S_IFMT;
    if (error == 0 && mask & MAY_WRITE && path->mount->flags & MOUNT_READ_ONLY &&
        (type == S_IFREG || type == S_IFDIR || type == S_IFLNK))
        error = -EROFS;
    return error;
}

static int64_t do_access(int dirfd, uintptr_t user, uint32_t mode, uint32_t flags)
{
    struct path path;
    if (mode & ~(uint32_t)(R_OK | W_OK | X_OK) ||
        flags & ~(uint32_t)(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
        return -EINVAL;
    uint32_t walk_flags =
        (flags & AT_SYMLINK_NOFOLLOW ? 0 : WALK_FOLLOW) | (flags & AT_EMPTY_PATH ? WALK_EMPTY : 0);
    int error = user_path_walk(dirfd, user, walk_flags, &path);
    if (error != 0)
        return error;
    if (mode != 0)
        error = access_inode(&path, mode, flags & AT_EACCESS);
    path_put(&path);
    return error;
}

SYSCALL2(access, uintptr_t, path, uint32_t, mode)
{
    return do_access(AT_FDCWD, path, mode, 0);
}

SYSCALL3(faccessat, int, dirfd, uintptr_t, path, uint32_t, mode)
{
    return do_access(dirfd, path, mode, 0);
}

SYSCALL4(faccessat2, int, dirfd, uintptr_t, path, uint32_t, mode, uint32_t, flags)
{
    return do_access(dirfd, path, mode, flags);
}

// ---- changes ----

static int64_t change_path(const struct path *path, struct inode_change *change)
{
    int error = mount_write_get(path->mount);
    if (error != 0)
        return error;
    error = inode_change(path->dentry->inode, change);
    mount_write_put(path->mount);
    if (error == 0)
        vfs_notify_attributes(path->dentry, change->valid);
    return error;
}

static int64_t change_user_path(
    int dirfd, uintptr_t user, uint32_t walk_flags, struct inode_change *change)
{
    struct path path;
    int64_t error = user_path_walk(dirfd, user, walk_flags, &path);
    if (error == 0) {
        error = change_path(&path, change);
        path_put(&path);
    }
    return error;
}

static int64_t change_fd(int fd, struct inode_change *change)
{
    bool borrowed;
    struct file *file = file_fd_get(fd, &borrowed);
    if (file == NULL)
        return -EBADF;
    int64_t error;
    if (file->path.mount != NULL)
        error = change_path(&file->path, change);
    else
        error = file->inode != NULL ? inode_change(file->inode, change) : -EINVAL;
    file_fd_put(file, borrowed);
    return error;
}

SYSCALL2(chmod, uintptr_t, path, uint32_t, mode)
{
    struct inode_change change = {.valid = INODE_CHANGE_MODE, .mode = mode & 07777};
    return change_user_path(AT_FDCWD, path, WALK_FOLLOW, &change);
}

SYSCALL3(fchmodat, int, dirfd, uintptr_t, path, uint32_t, mode)
{
    struct inode_change change = {.valid = INODE_CHANGE_MODE, .mode = mode & 07777};
    return change_user_path(dirfd, path, WALK_FOLLOW, &change);
}

SYSCALL2(fchmod, int, fd, uint32_t, mode)
{
    struct inode_change change = {.valid = INODE_CHANGE_MODE, .mode = mode & 07777};
    return change_fd(fd, &change);
}

static struct inode_change change_owner(uint32_t uid, uint32_t gid)
{
    struct inode_change change = {.uid = uid, .gid = gid};
    change.valid =
        (uid != UINT32_MAX ? INODE_CHANGE_UID : 0) | (gid != UINT32_MAX ? INODE_CHANGE_GID : 0);
    return change;
}

SYSCALL3(chown, uintptr_t, path, uint32_t, uid, uint32_t, gid)
{
    struct inode_change change = change_owner(uid, gid);
    return change_user_path(AT_FDCWD, path, WALK_FOLLOW, &change);
}

SYSCALL3(lchown, uintptr_t, path, uint32_t, uid, uint32_t, gid)
{
    struct inode_change change = change_owner(uid, gid);
    return change_user_path(AT_FDCWD, path, 0, &change);
}

SYSCALL3(fchown, int, fd, uint32_t, uid, uint32_t, gid)
{
    struct inode_change change = change_owner(uid, gid);
    return change_fd(fd, &change);
}

SYSCALL5(fchownat, int, dirfd, uintptr_t, path, uint32_t, uid, uint32_t, gid, int, flags)
{
    struct inode_change change = change_owner(uid, gid);
    if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
        return -EINVAL;
    uint32_t walk_flags =
        (flags & AT_SYMLINK_NOFOLLOW ? 0 : WALK_FOLLOW) | (flags & AT_EMPTY_PATH ? WALK_EMPTY : 0);
    return change_user_path(dirfd, path, walk_flags, &change);
}

// ---- times ----

#define UTIME_NOW  0x3fffffff
#define UTIME_OMIT 0x3ffffffe

// What utimensat was asked for. Each time is ns since 1970, or its tv_nsec is one of the special
// values.
struct times_request {
    struct __kernel_timespec times[2]; // access, modification
};

static int times_check(const struct times_request *request)
{
    for (int i = 0; i < 2; i++) {
        int64_t nsec = request->times[i].tv_nsec;
        if (nsec != UTIME_NOW && nsec != UTIME_OMIT && (nsec < 0 || nsec >= (int64_t)NS_PER_SECOND))
            return -EINVAL;
    }
    return 0;
}

static int64_t times_value(const struct __kernel_timespec *time, int64_t now)
{
    if (time->tv_nsec == UTIME_NOW)
        return now;
    int64_t limit = INT64_MAX / (int64_t)NS_PER_SECOND - 1;
    return CLAMP((int64_t)time->tv_sec, -limit, limit) * (int64_t)NS_PER_SECOND + time->tv_nsec;
}

// Setting both times to now needs no more than the right to write; all else is the owner's.
static int64_t times_change(
    struct inode *inode, const struct times_request *request, struct inode_change *change)
{
    int64_t now = time_realtime_ns();
    bool both_now =
        request->times[0].tv_nsec == UTIME_NOW && request->times[1].tv_nsec == UTIME_NOW;
    *change = (struct inode_change){};
    if (request->times[0].tv_nsec != UTIME_OMIT) {
        change->valid |= INODE_CHANGE_ATIME;
        change->atime_ns = times_value(&request->times[0], now);
    }
    if (request->times[1].tv_nsec != UTIME_OMIT) {
        change->valid |= INODE_CHANGE_MTIME;
        change->mtime_ns = times_value(&request->times[1], now);
    }
    if (inode_owner_or_capable(inode))
        return 0;
    return both_now ? inode_permission(inode, MAY_WRITE) : -EPERM;
}

static int64_t times_path(const struct path *path, const struct times_request *request)
{
    struct inode_change change;
    int64_t error = mount_write_get(path->mount);
    if (error != 0)
        return error;
    mount_write_put(path->mount);
    error = times_change(path->dentry->inode, request, &change);
    return error != 0 ? error : change_path(path, &change);
}

static int64_t do_utimes(int dirfd, uintptr_t user, const struct times_request *request, int flags)
{
    struct path path;
    if (request->times[0].tv_nsec == UTIME_OMIT && request->times[1].tv_nsec == UTIME_OMIT)
        return 0;
    if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
        return -EINVAL;
    if (user == 0 && dirfd != AT_FDCWD) { // futimens
        bool borrowed;
        if (flags != 0)
            return -EINVAL;
        struct file *file = file_fd_get(dirfd, &borrowed);
        if (file == NULL)
            return -EBADF;
        int64_t result = file->path.mount != NULL ? times_path(&file->path, request) : -EINVAL;
        file_fd_put(file, borrowed);
        return result;
    }
    uint32_t walk_flags =
        (flags & AT_SYMLINK_NOFOLLOW ? 0 : WALK_FOLLOW) | (flags & AT_EMPTY_PATH ? WALK_EMPTY : 0);
    int64_t error = user_path_walk(dirfd, user, walk_flags, &path);
    if (error == 0) {
        error = times_path(&path, request);
        path_put(&path);
    }
    return error;
}

static const struct times_request times_now = {
    .times = {{.tv_nsec = UTIME_NOW}, {.tv_nsec = UTIME_NOW}}};

SYSCALL4(utimensat, int, dirfd, uintptr_t, path, uintptr_t, user_times, int, flags)
{
    struct times_request request = times_now;
    if (user_times != 0 && copy_from_user(&request.times, user_times, sizeof(request.times)) != 0)
        return -EFAULT;
    int error = times_check(&request);
    return error != 0 ? error : do_utimes(dirfd, path, &request, flags);
}

static int64_t do_utimes_micro(int dirfd, uintptr_t path, uintptr_t user_times)
{
    struct times_request request = times_now;
    struct __kernel_old_timeval times[2];
    if (user_times != 0) {
        if (copy_from_user(times, user_times, sizeof(times)) != 0)
            return -EFAULT;
        for (int i = 0; i < 2; i++) {
            if (times[i].tv_usec < 0 || times[i].tv_usec >= 1000000)
                return -EINVAL;
            request.times[i].tv_sec = times[i].tv_sec;
            request.times[i].tv_nsec = times[i].tv_usec * 1000;
        }
    }
    return do_utimes(dirfd, path, &request, 0);
}

SYSCALL2(utimes, uintptr_t, path, uintptr_t, times)
{
    return do_utimes_micro(AT_FDCWD, path, times);
}

SYSCALL3(futimesat, int, dirfd, uintptr_t, path, uintptr_t, times)
{
    return do_utimes_micro(dirfd, path, times);
}

SYSCALL2(utime, uintptr_t, path, uintptr_t, user_times)
{
    struct times_request request = times_now;
    int64_t times[2];
    if (user_times != 0) {
        if (copy_from_user(times, user_times, sizeof(times)) != 0)
            return -EFAULT;
        for (int i = 0; i < 2; i++)
            request.times[i] = (struct __kernel_timespec){.tv_sec = times[i]};
    }
    return do_utimes(AT_FDCWD, path, &request, 0);
}

// ---- truncate ----

static int64_t truncate_inode(struct inode *inode, int64_t size)
{
    struct inode_change change = {.valid = INODE_CHANGE_SIZE, .size_bytes = (uint64_t)size};
    if ((uint64_t)size > process_limit(RLIMIT_FSIZE) && (uint64_t)size > inode_size(inode)) {
        (void)signal_send_task(task_current(), SIGXFSZ, NULL);
        return -EFBIG;
    }
    inode_remove_privileges(inode);
    return inode_change(inode, &change);
}

static int64_t truncate_path(const struct path *path, int64_t size)
{
    struct inode *inode = path->dentry->inode;
    if (inode_is_directory(inode))
        return -EISDIR;
    if (!S_ISREG(inode->mode))
        return -EINVAL;
    int64_t error = mount_write_get(path->mount);
    if (error != 0)
        return error;
    error = inode_permission(inode, MAY_WRITE);
    if (error == 0)
        error = inode->flags & INODE_APPEND ? -EPERM : inode_write_access_get(inode);
    if (error == 0) {
        error = truncate_inode(inode, size);
        inode_write_access_put(inode);
    }
    mount_write_put(path->mount);
    return error;
}

SYSCALL2(truncate, uintptr_t, user, int64_t, size)
{
    struct path path;
    if (size < 0)
        return -EINVAL;
    int64_t error = user_path_walk(AT_FDCWD, user, WALK_FOLLOW, &path);
    if (error == 0) {
        error = truncate_path(&path, size);
        if (error == 0)
            vfs_notify_attributes(path.dentry, INODE_CHANGE_SIZE);
        path_put(&path);
    }
    return error;
}

SYSCALL2(ftruncate, int, fd, int64_t, size)
{
    bool borrowed;
    if (size < 0)
        return -EINVAL;
    struct file *file = file_fd_get(fd, &borrowed);
    if (file == NULL)
        return -EBADF;
    int64_t error = -EINVAL;
    if (file->inode != NULL && S_ISREG(file->inode->mode) && file->mode & FILE_WRITE)
        error = file->inode->flags & INODE_APPEND ? -EPERM : truncate_inode(file->inode, size);
    if (error == 0 && file->path.dentry != NULL)
        vfs_notify_attributes(file->path.dentry, INODE_CHANGE_SIZE);
    file_fd_put(file, borrowed);
    return error;
}
