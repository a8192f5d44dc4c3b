// SPDX-License-Identifier: MIT
// read, write and their relatives; lseek.
//
// The plain calls use the position of the open file, which is locked only if somebody else may use
// it at the same time. The p-calls bring their own, and are refused for files that have none.
#include "kernel/core/errno.h"
#include "kernel/fs/file.h"
#include "kernel/fs/inode.h"
#include "kernel/process/signal.h"
#include "kernel/process/task.h"
#include "kernel/syscall/syscall.h"
#include <linux/fs.h>

enum direction { DIRECTION_READ, DIRECTION_WRITE };

static inline int64_t transfer_file(
    struct file *file, struct io_iter *iter, uint64_t *offset, enum direction direction)
{
    int64_t done = direction == DIRECTION_READ ? file_read(file, iter, offset)
                                               : file_write(file, iter, offset);
    if (unlikely(done == -EINTR))
        done = -ERESTARTSYS;
    return done;
}

static inline int64_t transfer(struct file *file, struct io_iter *iter, enum direction direction)
{
    if (!(file->mode & FILE_SEEKABLE)) {
        uint64_t unused = 0;
        return transfer_file(file, iter, &unused, direction);
    }
    bool locked = file_position_lock(file);
    int64_t done = transfer_file(file, iter, &file->offset, direction);
    file_position_unlock(file, locked);
    return done;
}

static inline int64_t transfer_fd(
    int fd, uintptr_t buffer, size_t len_bytes, enum direction direction)
{
    bool borrowed;
    struct io_iter iter __attribute__((uninitialized));
    struct file *file = file_fd_get(fd, &borrowed);
    if (unlikely(file == NULL))
        return -EBADF;
    int64_t done = file->mode & (direction == DIRECTION_READ ? FILE_READ : FILE_WRITE) ? 0 : -EBADF;
    if (likely(done == 0))
        done = iter_init_user(&iter, buffer, len_bytes);
    if (likely(done == 0))
        done = transfer(file, &iter, direction);
    file_fd_put(file, borrowed);
    return done;
}

SYSCALL3(read, int, fd, uintptr_t, buffer, size_t, len_bytes)
{
    return transfer_fd(fd, buffer, len_bytes, DIRECTION_READ);
}

SYSCALL3(write, int, fd, uintptr_t, buffer, size_t, len_bytes)
{
    return transfer_fd(fd, buffer, len_bytes, DIRECTION_WRITE);
}

static int64_t transfer_at(
    struct file *file, struct io_iter *iter, int64_t offset, enum direction direction)
{
    if (!(file->mode & (direction == DIRECTION_READ ? FILE_READ : FILE_WRITE)))
        return -EBADF;
    if (!(file->mode & FILE_SEEKABLE))
        return -ESPIPE;
    uint64_t at = (uint64_t)offset;
    return transfer_file(file, iter, &at, direction);
}

static int64_t transfer_fd_at(
    int fd, uintptr_t buffer, size_t len_bytes, int64_t offset, enum direction direction)
{
    bool borrowed;
    struct io_iter iter;
    if (offset < 0)
        return -EINVAL;
    struct file *file = file_fd_get(fd, &borrowed);
    if (file == NULL)
        return -EBADF;
    int64_t done = file->mode & FILE_SEEKABLE ? iter_init_user(&iter, buffer, len_bytes) : -ESPIPE;
    if (done == 0)
        done = transfer_at(file, &iter, offset, direction);
    file_fd_put(file, borrowed);
    return done;
}

SYSCALL4(pread64, int, fd, uintptr_t, buffer, size_t, len_bytes, int64_t, offset)
{
    return transfer_fd_at(fd, buffer, len_bytes, offset, DIRECTION_READ);
}

SYSCALL4(pwrite64, int, fd, uintptr_t, buffer, size_t, len_bytes, int64_t, offset)
{
    return transfer_fd_at(fd, buffer, len_bytes, offset, DIRECTION_WRITE);
}

static int64_t transfer_vector(int fd, uintptr_t vector, size_t vector_count, int64_t offset,
    bool positioned, uint32_t flags, enum direction direction)
{
    bool borrowed;
    struct iovec inline_segments[ITER_INLINE_SEGMENTS];
    struct io_iter iter;
    struct file *file = file_fd_get(fd, &borrowed);
    if (file == NULL)
        return -EBADF;
    int64_t done = file->mode & (direction == DIRECTION_READ ? FILE_READ : FILE_WRITE) ? 0 : -EBADF;
    if (done == 0 && positioned && !(file->mode & FILE_SEEKABLE))
        done = -ESPIPE;
    if (done == 0)
        done = iter_init_user_vector(&iter, vector, vector_count, inline_segments);
    if (done == 0) {
        iter.flags = flags;
        iter.append = flags & RWF_APPEND;
        done = positioned ? transfer_at(file, &iter, offset, direction)
                          : transfer(file, &iter, direction);
        iter_release(&iter, inline_segments);
    }
    file_fd_put(file, borrowed);
    return done;
}

SYSCALL3(readv, int, fd, uintptr_t, vector, size_t, vector_count)
{
    return transfer_vector(fd, vector, vector_count, 0, false, 0, DIRECTION_READ);
}

SYSCALL3(writev, int, fd, uintptr_t, vector, size_t, vector_count)
{
    return transfer_vector(fd, vector, vector_count, 0, false, 0, DIRECTION_WRITE);
}

SYSCALL4(preadv, int, fd, uintptr_t, vector, size_t, vector_count, int64_t, offset)
{
    if (offset < 0)
        return -EINVAL;
    return transfer_vector(fd, vector, vector_count, offset, true, 0, DIRECTION_READ);
}

SYSCALL4(pwritev, int, fd, uintptr_t, vector, size_t, vector_count, int64_t, offset)
{
    if (offset < 0)
        return -EINVAL;
    return transfer_vector(fd, vector, vector_count, offset, true, 0, DIRECTION_WRITE);
}

// The flags travel with the iterator. For files in memory RWF_HIPRI and the sync flags change
// nothing, and reading those never waits (RWF_NOWAIT).
static int64_t transfer_vector_flags(int fd, uintptr_t vector, size_t vector_count, int64_t offset,
    uint32_t flags, enum direction direction)
{
    uint32_t known = RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_NOWAIT;
    if (direction == DIRECTION_WRITE)
        known = RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_APPEND;
    if (flags & ~known)
        return -EOPNOTSUPP;
    if (offset < -1)
        return -EINVAL;
    return transfer_vector(fd, vector, vector_count, offset, offset != -1, flags, direction);
}

SYSCALL6(preadv2, int, fd, uintptr_t, vector, size_t, vector_count, int64_t, offset, uint64_t,
    offset_high, uint32_t, flags)
{
    return transfer_vector_flags(fd, vector, vector_count, offset, flags, DIRECTION_READ);
}

SYSCALL6(pwritev2, int, fd, uintptr_t, vector, size_t, vector_count, int64_t, offset, uint64_t,
    offset_high, uint32_t, flags)
{
    return transfer_vector_flags(fd, vector, vector_count, offset, flags, DIRECTION_WRITE);
}

SYSCALL3(lseek, int, fd, int64_t, offset, uint32_t, whence)
{
    bool borrowed;
    struct file *file = file_fd_get(fd, &borrowed);
    if (file == NULL)
        return -EBADF;
    int64_t result = -ESPIPE;
    if (whence > SEEK_HOLE) {
        result = -EINVAL;
    } else if (file->mode & FILE_SEEKABLE && file->ops->seek != NULL) {
        bool locked = file_position_lock(file);
        result = file->ops->seek(file, offset, (int)whence);
        file_position_unlock(file, locked);
    }
    file_fd_put(file, borrowed);
    return result;
}
