// SPDX-License-Identifier: MIT
// sendfile, copy_file_range, fallocate, and the calls about caching and durability.
//
// Copies between files go from the source's page cache straight into the destination where there is
// one: one copy, because the destination's pages are its own. Other sources are read into a page of
// the kernel first, as nobody knows where their bytes lie.
#include "kernel/core/errno.h"
#include "kernel/fs/file.h"
#include "kernel/fs/inode.h"
#include "kernel/ipc/pipe.h"
#include "kernel/ipc/splice.h"
#include "kernel/process/task.h"
#include "kernel/syscall/user_path.h"
#include "mm/page_cache.h"
#include <linux/fadvise.h>
#include <linux/falloc.h>
#include <linux/fs.h>

#define TRANSFER_MAX ((size_t)0x7ffff000)

// One piece of at most a page from `in` at *in_offset to `out` at *out_offset. Bytes, 0 at the end,
// or -errno.
static int64_t transfer_piece(struct file *in, uint64_t *in_offset, struct file *out,
    uint64_t *out_offset, size_t len, void *bounce)
{
    struct io_iter iter;
    size_t piece = MIN(len, PAGE_SIZE - *in_offset % PAGE_SIZE);
    struct page *page = NULL;
    const void *from = bounce;
    if (in->inode != NULL && in->inode->cache != NULL) {
        uint64_t size = inode_size(in->inode);
        if (*in_offset >= size)
            return 0;
        piece = MIN(piece, size - *in_offset);
        page = page_cache_lookup(in->inode->cache, *in_offset / PAGE_SIZE);
        if (page != NULL)
            from = (char *)page_to_virt(page) + *in_offset % PAGE_SIZE;
    }
    if (page == NULL) {
        uint64_t at = *in_offset;
        iter_init_kernel(&iter, bounce, piece);
        int64_t count = file_read(in, &iter, &at);
        if (count <= 0)
            return count;
        piece = (size_t)count;
    }
    iter_init_kernel(&iter, (void *)(uintptr_t)from, piece);
    int64_t done = file_write(out, &iter, out_offset);
    if (page != NULL)
        page_put(page);
    if (done > 0)
        *in_offset += (uint64_t)done;
    return done;
}

static int64_t transfer_all(
    struct file *in, uint64_t *in_offset, struct file *out, uint64_t *out_offset, size_t len)
{
    void *bounce = page_alloc_kernel(0, 0);
    int64_t done = 0;
    int64_t error = 0;
    if (bounce == NULL)
        return -ENOMEM;
    while ((size_t)done < len) {
        error = transfer_piece(in, in_offset, out, out_offset, len - (size_t)done, bounce);
        if (error <= 0)
            break;
        done += error;
        if (thread_signal_pending(thread_current())) {
            error = -ERESTARTSYS;
            break;
        }
    }
    page_free_kernel(bounce, 0);
    return done != 0 ? done : error;
}

static int64_t sendfile_files(struct file *in, struct file *out, uint64_t *in_offset, size_t len)
{
    struct pipe *pipe = pipe_of_file(out);
    if (pipe != NULL) // pages are handed over, not copied
        return splice_from_file(in, in_offset, pipe, len, out->flags & O_NONBLOCK);
    if (!(out->mode & FILE_SEEKABLE)) {
        uint64_t unused = 0;
        return transfer_all(in, in_offset, out, &unused, len);
    }
    bool locked = file_position_lock(out);
    int64_t done = transfer_all(in, in_offset, out, &out->offset, len);
    file_position_unlock(out, locked);
    return done;
}

static int64_t do_sendfile(struct file *in, struct file *out, uintptr_t user_offset, size_t len)
{
    uint64_t offset = in->offset;
    if (!(in->mode & FILE_READ) || !(out->mode & FILE_WRITE))
        return -EBADF;
    if (in->ops->read == NULL || out->ops->write == NULL || out->flags & O_APPEND)
        return -EINVAL;
    if (!(in->mode & FILE_SEEKABLE))
        return user_offset != 0 ? -ESPIPE : -EINVAL;
    if (user_offset != 0) {
        if (user_get_u64(&offset, user_offset) != 0)
            return -EFAULT;
        if ((int64_t)offset < 0)
            return -EINVAL;
    }
    int64_t done = sendfile_files(in, out, &offset, MIN(len, TRANSFER_MAX));
    if (done >= 0) {
        if (user_offset == 0)
            in->offset = offset;
        else if (user_put_u64(user_offset, offset) != 0)
            done = -EFAULT;
    }
    return done;
}

SYSCALL4(sendfile, int, out_fd, int, in_fd, uintptr_t, user_offset, size_t, len)
{
    bool in_borrowed, out_borrowed;
    struct file *in = file_fd_get(in_fd, &in_borrowed);
    if (in == NULL)
        return -EBADF;
    struct file *out = file_fd_get(out_fd, &out_borrowed);
    int64_t result = -EBADF;
    if (out != NULL) {
        result = do_sendfile(in, out, user_offset, len);
        file_fd_put(out, out_borrowed);
    }
    file_fd_put(in, in_borrowed);
    return result;
}

struct copy_side {
    struct file *file;
    bool borrowed;
    uintptr_t user_offset;
    uint64_t offset;
};

static int copy_side_get(struct copy_side *side, int fd, uintptr_t user_offset)
{
    side->file = file_fd_get(fd, &side->borrowed);
    if (side->file == NULL)
        return -EBADF;
    side->user_offset = user_offset;
    side->offset = side->file->offset;
    if (user_offset != 0 && user_get_u64(&side->offset, user_offset) != 0)
        return -EFAULT;
    return (int64_t)side->offset < 0 ? -EINVAL : 0;
}

static int copy_side_put(struct copy_side *side, bool store)
{
    int error = 0;
    if (side->file == NULL)
        return 0;
    if (store && side->user_offset != 0)
        error = user_put_u64(side->user_offset, side->offset);
    else if (store)
        side->file->offset = side->offset;
    file_fd_put(side->file, side->borrowed);
    return error;
}

static int64_t copy_range_check(
    const struct copy_side *in, const struct copy_side *out, size_t *len)
{
    const struct inode *in_inode = in->file->inode;
    const struct inode *out_inode = out->file->inode;
    if (!(in->file->mode & FILE_READ) || !(out->file->mode & FILE_WRITE) ||
        out->file->flags & O_APPEND)
        return -EBADF;
    if (in_inode == NULL || out_inode == NULL)
        return -EINVAL;
    if (inode_is_directory(in_inode) || inode_is_directory(out_inode))
        return -EISDIR;
    if (!S_ISREG(in_inode->mode) || !S_ISREG(out_inode->mode))
        return -EINVAL;
    *len = MIN(*len, TRANSFER_MAX);
    uint64_t size = inode_size(in_inode);
    *len = in->offset >= size ? 0 : MIN(*len, size - in->offset);
    if (in_inode == out_inode && out->offset + *len > in->offset && out->offset < in->offset + *len)
        return -EINVAL; // overlapping
    return 0;
}

SYSCALL6(copy_file_range, int, in_fd, uintptr_t, in_offset, int, out_fd, uintptr_t, out_offset,
    size_t, len, uint32_t, flags)
{
    struct copy_side in = {}, out = {};
    if (flags != 0)
        return -EINVAL;
    int64_t result = copy_side_get(&in, in_fd, in_offset);
    if (result == 0)
        result = copy_side_get(&out, out_fd, out_offset);
    if (result == 0)
        result = copy_range_check(&in, &out, &len);
    if (result == 0)
        result = transfer_all(in.file, &in.offset, out.file, &out.offset, len);
    int error = copy_side_put(&in, result > 0);
    int out_error = copy_side_put(&out, result > 0);
    if (error != 0 || out_error != 0)
        return -EFAULT;
    return result;
}

// ---- space ----

static int64_t do_fallocate(struct file *file, int mode, int64_t offset, int64_t len)
{
    if (offset < 0 || len <= 0)
        return -EINVAL;
    if ((mode & FALLOC_FL_PUNCH_HOLE && !(mode & FALLOC_FL_KEEP_SIZE)) ||
        (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) ==
            (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
        return -EOPNOTSUPP;
    if (!(file->mode & FILE_WRITE))
        return -EBADF;
    if (file->inode == NULL || S_ISFIFO(file->inode->mode))
        return -ESPIPE;
    if (inode_is_directory(file->inode))
        return -EISDIR;
    if (!S_ISREG(file->inode->mode) && !S_ISBLK(file->inode->mode))
        return -ENODEV;
    int64_t end;
    if (__builtin_add_overflow(offset, len, &end) ||
        (uint64_t)end > file->inode->superblock->max_file_bytes)
        return -EFBIG;
    if (file->ops->fallocate == NULL)
        return -EOPNOTSUPP;
    return file->ops->fallocate(file, mode, (uint64_t)offset, (uint64_t)len);
}

SYSCALL4(fallocate, int, fd, int, mode, int64_t, offset, int64_t, len)
{
    bool borrowed;
    struct file *file = file_fd_get(fd, &borrowed);
    if (file == NULL)
        return -EBADF;
    int64_t result = do_fallocate(file, mode, offset, len);
    file_fd_put(file, borrowed);
    return result == -EINTR ? -ERESTARTSYS : result;
}

// ---- durability and advice ----

static int64_t do_fsync(int fd, bool data_only)
{
    bool borrowed;
    struct file *file = file_fd_get(fd, &borrowed);
    if (file == NULL)
        return -EBADF;
    int64_t result = file->ops->sync != NULL ? file->ops->sync(file, data_only) : -EINVAL;
    file_fd_put(file, borrowed);
    return result;
}

SYSCALL1(fsync, int, fd)
{
    return do_fsync(fd, false);
}

SYSCALL1(fdatasync, int, fd)
{
    return do_fsync(fd, true);
}

// What the file system keeps beside the content of files. 0 or -errno.
static int sync_superblock(struct superblock *superblock)
{
    if (superblock->ops == NULL || superblock->ops->sync == NULL)
        return 0;
    return superblock->ops->sync(superblock);
}

SYSCALL0(sync)
{
    page_cache_write_all();
    for (struct superblock *superblock = superblock_next_get(NULL); superblock != NULL;
         superblock = superblock_next_get(superblock))
        (void)sync_superblock(superblock); // sync(2) tells nothing
    return 0;
}

SYSCALL1(syncfs, int, fd)
{
    bool borrowed;
    struct file *file = file_fd_get(fd, &borrowed);
    if (file == NULL)
        return -EBADF;
    int64_t result = 0;
    if (file->inode != NULL && file->inode->superblock != NULL) {
        page_cache_write_all();
        result = sync_superblock(file->inode->superblock);
    }
    file_fd_put(file, borrowed);
    return result;
}

// Checks of calls that only give hints: a file with pages, else `error`.
static int64_t advise_check(int fd, int64_t error)
{
    bool borrowed;
    struct file *file = file_fd_get(fd, &borrowed);
    if (file == NULL)
        return -EBADF;
    int64_t result = 0;
    if (pipe_of_file(file) != NULL || (file->inode != NULL && S_ISFIFO(file->inode->mode)))
        result = -ESPIPE;
    else if (file->inode == NULL || !S_ISREG(file->inode->mode))
        result = error;
    file_fd_put(file, borrowed);
    return result;
}

SYSCALL4(fadvise64, int, fd, int64_t, offset, int64_t, len, int, advice)
{
    int64_t error = advise_check(fd, 0);
    if (error != 0)
        return error;
    return len < 0 || advice < POSIX_FADV_NORMAL || advice > POSIX_FADV_NOREUSE ? -EINVAL : 0;
}

SYSCALL3(readahead, int, fd, int64_t, offset, size_t, len)
{
    return advise_check(fd, -EINVAL) == 0 ? 0 : -EINVAL;
}

SYSCALL4(sync_file_range, int, fd, int64_t, offset, int64_t, len, uint32_t, flags)
{
    if (flags & ~(uint32_t)(SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
                            SYNC_FILE_RANGE_WAIT_AFTER) ||
        offset < 0 || len < 0)
        return -EINVAL;
    return advise_check(fd, -ESPIPE);
}
