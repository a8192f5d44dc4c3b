// SPDX-License-Identifier: MIT
// splice, tee and vmsplice: which files may be joined, and where their offsets lie.
#include "kernel/fs/file.h"
#include "kernel/ipc/pipe.h"
#include "kernel/ipc/splice.h"
#include "kernel/syscall/syscall.h"

#define SPLICE_F_MOVE     1
#define SPLICE_F_NONBLOCK 2
#define SPLICE_F_MORE     4
#define SPLICE_F_GIFT     8
#define SPLICE_F_ALL      (SPLICE_F_MOVE | SPLICE_F_NONBLOCK | SPLICE_F_MORE | SPLICE_F_GIFT)
#define SPLICE_LENGTH_MAX (INT32_MAX & ~(PAGE_SIZE - 1))

struct splice_side {
    struct file *file;
    struct pipe *pipe; // NULL: not a pipe
    bool borrowed;
    uintptr_t user_offset;
    uint64_t offset;
};

static int splice_side_get(struct splice_side *side, int fd, uintptr_t user_offset)
{
    side->file = file_fd_get(fd, &side->borrowed);
    if (side->file == NULL)
        return -EBADF;
    side->pipe = pipe_of_file(side->file);
    side->user_offset = user_offset;
    return 0;
}

static void splice_side_put(struct splice_side *side)
{
    if (side->file != NULL)
        file_fd_put(side->file, side->borrowed);
}

// The offset to use: the program's if it gave one, else the file's own position (locked meanwhile).
static int splice_offset_begin(struct splice_side *side)
{
    if (side->user_offset == 0) {
        mutex_lock(&side->file->offset_lock);
        side->offset = side->file->offset;
        return 0;
    }
    if ((side->file->mode & FILE_SEEKABLE) == 0)
        return -EINVAL;
    if (user_get_u64(&side->offset, side->user_offset) != 0)
        return -EFAULT;
    return (int64_t)side->offset < 0 ? -EINVAL : 0;
}

static int splice_offset_end(struct splice_side *side)
{
    if (side->user_offset != 0)
        return user_put_u64(side->user_offset, side->offset);
    side->file->offset = side->offset;
    mutex_unlock(&side->file->offset_lock);
    return 0;
}

static int64_t splice_sides(
    struct splice_side *in, struct splice_side *out, size_t len_bytes, uint32_t flags)
{
    bool nonblocking = (flags & SPLICE_F_NONBLOCK) != 0;
    if ((in->file->mode & FILE_READ) == 0 || (out->file->mode & FILE_WRITE) == 0)
        return -EBADF;
    if ((in->pipe != NULL && in->user_offset != 0) || (out->pipe != NULL && out->user_offset != 0))
        return -ESPIPE;
    if (in->pipe != NULL && out->pipe != NULL) {
        nonblocking |= ((in->file->flags | out->file->flags) & O_NONBLOCK) != 0;
        return splice_pipe_to_pipe(in->pipe, out->pipe, len_bytes, true, nonblocking);
    }
    if (in->pipe == NULL && out->pipe == NULL)
        return -EINVAL;
    struct splice_side *other = in->pipe == NULL ? in : out;
    if (other == out && (out->file->flags & O_APPEND) != 0)
        return -EINVAL;
    int64_t result = splice_offset_begin(other);
    if (result != 0)
        return result;
    if (other == in) {
        nonblocking |= (out->file->flags & O_NONBLOCK) != 0;
        result = splice_from_file(in->file, &in->offset, out->pipe, len_bytes, nonblocking);
    } else {
        nonblocking |= (in->file->flags & O_NONBLOCK) != 0;
        result = splice_to_file(in->pipe, out->file, &out->offset, len_bytes, nonblocking);
    }
    int error = splice_offset_end(other);
    return error != 0 ? error : result;
}

SYSCALL6(splice, int, fd_in, uintptr_t, offset_in, int, fd_out, uintptr_t, offset_out, size_t,
    len_bytes, uint32_t, flags)
{
    struct splice_side in = {}, out = {};
    if ((flags & ~SPLICE_F_ALL) != 0)
        return -EINVAL;
    if (len_bytes == 0)
        return 0;
    int64_t result = splice_side_get(&in, fd_in, offset_in);
    if (result == 0)
        result = splice_side_get(&out, fd_out, offset_out);
    if (result == 0)
        result = splice_sides(&in, &out, MIN(len_bytes, (size_t)SPLICE_LENGTH_MAX), flags);
    splice_side_put(&in);
    splice_side_put(&out);
    return result;
}

SYSCALL4(tee, int, fd_in, int, fd_out, size_t, len_bytes, uint32_t, flags)
{
    struct splice_side in = {}, out = {};
    if ((flags & ~SPLICE_F_ALL) != 0)
        return -EINVAL;
    if (len_bytes == 0)
        return 0;
    int64_t result = splice_side_get(&in, fd_in, 0);
    if (result == 0)
        result = splice_side_get(&out, fd_out, 0);
    if (result == 0 && ((in.file->mode & FILE_READ) == 0 || (out.file->mode & FILE_WRITE) == 0))
        result = -EBADF;
    if (result == 0 && (in.pipe == NULL || out.pipe == NULL))
        result = -EINVAL;
    if (result == 0) {
        bool nonblocking = (flags & SPLICE_F_NONBLOCK) != 0 ||
                           ((in.file->flags | out.file->flags) & O_NONBLOCK) != 0;
        result = splice_pipe_to_pipe(
            in.pipe, out.pipe, MIN(len_bytes, (size_t)SPLICE_LENGTH_MAX), false, nonblocking);
    }
    splice_side_put(&in);
    splice_side_put(&out);
    return result;
}

SYSCALL4(vmsplice, int, fd, uintptr_t, vector, size_t, vector_count, uint32_t, flags)
{
    struct iovec inline_segments[ITER_INLINE_SEGMENTS];
    struct splice_side side = {};
    struct io_iter iter;
    if ((flags & ~SPLICE_F_ALL) != 0)
        return -EINVAL;
    int64_t result = splice_side_get(&side, fd, 0);
    if (result != 0)
        return result;
    if (side.pipe == NULL) {
        splice_side_put(&side);
        return -EBADF;
    }
    result = iter_init_user_vector(&iter, vector, vector_count, inline_segments);
    if (result == 0) {
        bool nonblocking =
            ((flags & SPLICE_F_NONBLOCK) != 0) || (side.file->flags & O_NONBLOCK) != 0;
        uint64_t offset = 0;
        if (iter.count == 0)
            result = 0;
        else if ((side.file->mode & FILE_WRITE) != 0)
            result = splice_from_memory(&iter, side.pipe, nonblocking);
        else
            result = side.file->ops->read(side.file, &iter, &offset);
        iter_release(&iter, inline_segments);
    }
    splice_side_put(&side);
    return result;
}
