// SPDX-License-Identifier: MIT
// Requests: from an entry of the ring to the operation.
//
// Transfers that a device can end later (O_DIRECT) are begun and end by themselves. Everything else
// is done when it is submitted, in the caller's context, so that it needs no other thread that
// would have to look like the caller. Entries that are linked are done one after the other; one
// that fails cancels those behind it.
#include "kernel/base/assert.h"
#include "kernel/base/atomic.h"
#include "kernel/base/string.h"
#include "kernel/block/block.h"
#include "kernel/core/errno.h"
#include "kernel/core/user.h"
#include "kernel/fs/inode.h"
#include "kernel/fs/vfs.h"
#include "kernel/ipc/io_uring/internal.h"
#include "kernel/process/task.h"
#include "mm/slab.h"
#include <linux/fs.h>

#define RWF_KNOWN (RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_NOWAIT | RWF_APPEND)
#define SQE_KNOWN                                                                                  \
    (IOSQE_FIXED_FILE | IOSQE_IO_DRAIN | IOSQE_IO_LINK | IOSQE_IO_HARDLINK | IOSQE_ASYNC |         \
        IOSQE_CQE_SKIP_SUCCESS)
#define LINKED     (IOSQE_IO_LINK | IOSQE_IO_HARDLINK)
#define PATH_BYTES 4096

static void io_done(struct file_io *io, int64_t result)
{
    uring_finish(container_of(io, struct uring_request, io), result);
}

// ---- memory ----

// A part of a registered buffer.
static int fixed_iter(
    const struct uring *ring, struct io_iter *iter, uint32_t index, uint64_t address, uint32_t len)
{
    if (index >= ring->buffer_count || ring->buffers[index] == NULL)
        return -EFAULT;
    const struct uring_buffer *buffer = ring->buffers[index];
    if (address < buffer->address || len > buffer->len_bytes ||
        address - buffer->address > buffer->len_bytes - len)
        return -EFAULT;
    const uintptr_t base = ALIGN_DOWN(buffer->address, PAGE_SIZE);
    const size_t first = (address - base) / PAGE_SIZE;
    iter_init_kernel(iter, NULL, 0);
    iter->segments = &buffer->segments[first];
    iter->segment_count = buffer->pages - first;
    iter->offset = first == 0 ? address - buffer->address : address % PAGE_SIZE;
    iter->count = len;
    iter->pinned = true;
    return 0;
}

static int make_iter(const struct uring *ring, struct uring_request *request,
    const struct io_uring_sqe *sqe, uint8_t opcode)
{
    struct io_iter *iter = &request->io.iter;
    int error;
    switch (opcode) {
    case IORING_OP_READ_FIXED:
    case IORING_OP_WRITE_FIXED:
        error = fixed_iter(ring, iter, sqe->buf_index, sqe->addr, sqe->len);
        break;
    case IORING_OP_READV:
    case IORING_OP_WRITEV:
        error = iter_init_user_vector(iter, sqe->addr, sqe->len, request->segments);
        iter->single.iov_len = 0; // a mark for request_free()
        break;
    default:
        error = iter_init_user(iter, sqe->addr, sqe->len);
        break;
    }
    if (error != 0)
        iter->segments = NULL;
    iter->flags = (uint32_t)sqe->rw_flags;
    iter->append = sqe->rw_flags & RWF_APPEND;
    if (ring->flags & IORING_SETUP_IOPOLL)
        iter->flags |= RWF_HIPRI;
    return error;
}

// ---- operations ----

static bool is_write(uint8_t opcode)
{
    return opcode == IORING_OP_WRITE || opcode == IORING_OP_WRITEV ||
           opcode == IORING_OP_WRITE_FIXED;
}

// A transfer at the file's position, or at a given one, done now.
static int64_t transfer_now(struct file *file, struct file_io *io, bool positioned)
{
    uint64_t unused = 0;
    uint64_t *offset = positioned ? &io->offset : &unused;
    const bool own = !positioned && (file->mode & FILE_SEEKABLE);
    const bool locked = own && file_position_lock(file);
    if (own)
        offset = &file->offset;
    int64_t result =
        io->write ? file_write(file, &io->iter, offset) : file_read(file, &io->iter, offset);
    if (own)
        file_position_unlock(file, locked);
    return result == -ERESTARTSYS ? -EINTR : result;
}

static int64_t do_transfer(struct uring *ring, struct uring_request *request, struct file *file,
    const struct io_uring_sqe *sqe, bool wait)
{
    const bool write = is_write(sqe->opcode);
    const bool positioned = sqe->off != UINT64_MAX && (file->mode & FILE_SEEKABLE);
    if (!(file->mode & (write ? FILE_WRITE : FILE_READ)))
        return -EBADF;
    if ((uint32_t)sqe->rw_flags & ~(uint32_t)RWF_KNOWN)
        return -EOPNOTSUPP;
    if (positioned && (int64_t)sqe->off < 0)
        return -EINVAL;
    int error = make_iter(ring, request, sqe, sqe->opcode);
    if (error != 0)
        return error;
    request->expected = (int64_t)request->io.iter.count;
    request->io.offset = positioned ? sqe->off : 0;
    request->io.write = write;
    request->io.done = io_done;
    if (positioned && !wait && file->ops->submit != NULL) {
        int64_t result = file->ops->submit(file, &request->io);
        if (result != -EOPNOTSUPP) {
            if (result == FILE_IO_QUEUED && (ring->flags & IORING_SETUP_IOPOLL) &&
                ring->last_file != file) {
                if (ring->last_file != NULL)
                    file_put(ring->last_file);
                ring->last_file = file;
                file_get(file);
            }
            return result;
        }
    }
    if (ring->flags & IORING_SETUP_IOPOLL && (file->ops->harvest == NULL || !positioned))
        return -EOPNOTSUPP;
    return transfer_now(file, &request->io, positioned);
}

static int64_t do_sync(struct file *file, const struct io_uring_sqe *sqe)
{
    if (sqe->fsync_flags & ~(uint32_t)IORING_FSYNC_DATASYNC)
        return -EINVAL;
    return file->ops->sync != NULL ? file->ops->sync(file, sqe->fsync_flags & IORING_FSYNC_DATASYNC)
                                   : -EINVAL;
}

static int64_t do_fallocate(struct file *file, const struct io_uring_sqe *sqe)
{
    const uint64_t offset = sqe->off, len = sqe->addr;
    if ((int64_t)offset < 0 || (int64_t)len <= 0 || (int64_t)(offset + len) < 0)
        return -EINVAL;
    if (!(file->mode & FILE_WRITE))
        return -EBADF;
    if (file->ops->fallocate == NULL)
        return -EOPNOTSUPP;
    return file->ops->fallocate(file, (int)sqe->len, offset, len);
}

static int64_t do_open(const struct io_uring_sqe *sqe)
{
    char *path = kmalloc(PATH_BYTES, 0);
    if (path == NULL)
        return -ENOMEM;
    int64_t result = user_copy_string(path, sqe->addr, PATH_BYTES);
    struct file *file = NULL;
    if (result >= 0)
        result = vfs_open(sqe->fd, path, (uint32_t)sqe->open_flags, sqe->len, &file);
    kfree(path);
    if (result >= 0)
        result = file_fd_add(file, sqe->open_flags & O_CLOEXEC);
    return result;
}

const uint8_t uring_operations[] = {IORING_OP_NOP, IORING_OP_READV, IORING_OP_WRITEV,
    IORING_OP_FSYNC, IORING_OP_READ_FIXED, IORING_OP_WRITE_FIXED, IORING_OP_SYNC_FILE_RANGE,
    IORING_OP_FALLOCATE, IORING_OP_OPENAT, IORING_OP_CLOSE, IORING_OP_READ, IORING_OP_WRITE,
    IORING_OP_FADVISE};
const size_t uring_operation_count = ARRAY_SIZE(uring_operations);

// With a file. FILE_IO_QUEUED, or the result.
static int64_t run_on_file(struct uring *ring, struct uring_request *request, struct file *file,
    const struct io_uring_sqe *sqe, bool wait)
{
    switch (sqe->opcode) {
    case IORING_OP_FSYNC:
    case IORING_OP_SYNC_FILE_RANGE: // more than is asked for
        return do_sync(file, sqe);
    case IORING_OP_FALLOCATE:
        return do_fallocate(file, sqe);
    case IORING_OP_FADVISE:
        file->advice = sqe->fadvise_advice;
        return 0;
    default:
        return do_transfer(ring, request, file, sqe, wait);
    }
}

static bool needs_file(uint8_t opcode)
{
    switch (opcode) {
    case IORING_OP_READV:
    case IORING_OP_WRITEV:
    case IORING_OP_READ:
    case IORING_OP_WRITE:
    case IORING_OP_READ_FIXED:
    case IORING_OP_WRITE_FIXED:
    case IORING_OP_FSYNC:
    case IORING_OP_SYNC_FILE_RANGE:
    case IORING_OP_FALLOCATE:
    case IORING_OP_FADVISE:
        return true;
    default:
        return false;
    }
}

// The entry's file. A registered one can't go while a request uses it: it has a reference of its
// own.
static struct file *get_file(
    struct uring *ring, struct uring_request *request, const struct io_uring_sqe *sqe)
{
    struct file *file = NULL;
    if (sqe->flags & IOSQE_FIXED_FILE) {
        if ((uint32_t)sqe->fd < ring->file_count)
            file = ring->files[sqe->fd];
        if (file != NULL)
            file_get(file);
    } else if (!(thread_current()->flags & THREAD_FLAG_KERNEL)) {
        bool borrowed;
        file = file_fd_get(sqe->fd, &borrowed);
        if (file != NULL && borrowed)
            file_get(file);
    }
    request->file = file;
    return file;
}

// `wait`: the result is needed before this returns.
static int64_t run(
    struct uring *ring, struct uring_request *request, const struct io_uring_sqe *sqe, bool wait)
{
    if (sqe->flags & ~(uint8_t)SQE_KNOWN)
        return -EINVAL;
    if (needs_file(sqe->opcode)) {
        struct file *file = get_file(ring, request, sqe);
        return file != NULL ? run_on_file(ring, request, file, sqe, wait) : -EBADF;
    }
    // The thread that submits for others has neither descriptors nor a directory.
    const bool kernel = thread_current()->flags & THREAD_FLAG_KERNEL;
    switch (sqe->opcode) {
    case IORING_OP_NOP:
        return 0;
    case IORING_OP_OPENAT:
        return kernel ? -EOPNOTSUPP : do_open(sqe);
    case IORING_OP_CLOSE:
        return kernel ? -EOPNOTSUPP : file_fd_close(sqe->fd);
    default:
        return -EINVAL;
    }
}

static void drain(struct uring *ring, struct block_plug *plug)
{
    block_plug_end(plug); // or it would wait for ever
    wait_event(&ring->wait, atomic_load_relaxed(&ring->under_way) == 0);
}

// One entry. False: no memory, and nothing was taken.
static bool submit_one(
    struct uring *ring, const struct io_uring_sqe *sqe, bool *cancel, struct block_plug *plug)
{
    struct uring_request *request = kmalloc(sizeof(*request), 0);
    if (request == NULL)
        return false;
    memset(request, 0, offsetof(struct uring_request, segments));
    request->ring = ring;
    request->io.plug = plug;
    request->user_data = sqe->user_data;
    request->sqe_flags = sqe->flags;
    if (sqe->flags & IOSQE_IO_DRAIN)
        drain(ring, plug);
    uint64_t flags = spin_lock_irqsave(&ring->done_lock);
    ring->under_way++;
    spin_unlock_irqrestore(&ring->done_lock, flags);
    __atomic_fetch_add(&ring->refcount, 1, __ATOMIC_RELAXED);
    const bool linked = sqe->flags & LINKED;
    int64_t result = -ECANCELED;
    if (!*cancel)
        result = run(ring, request, sqe, linked);
    // A short transfer breaks a chain as well.
    const bool failed = result < 0 || (request->expected != 0 && result != request->expected);
    if (linked)
        *cancel = *cancel || (failed && !(sqe->flags & IOSQE_IO_HARDLINK));
    else
        *cancel = false; // the last of its chain
    if (result != FILE_IO_QUEUED)
        uring_finish(request, result);
    return true;
}

int64_t uring_submit(struct uring *ring, uint32_t count)
{
    struct uring_shared *shared = ring->shared;
    const struct io_uring_sqe *entries = ring->entries->base;
    const uint32_t available = atomic_load_acquire(&shared->sq_tail) - ring->sq_head;
    count = MIN(MIN(count, available), ring->sq_entries);
    bool cancel = false;
    uint32_t done = 0;
    struct block_plug plug; // what goes to devices begins together
    block_plug_begin(&plug);
    while (done < count) {
        const uint32_t index =
            atomic_load_relaxed(&ring->array[ring->sq_head & (ring->sq_entries - 1)]);
        if (index >= ring->sq_entries) {
            shared->sq_dropped++;
        } else {
            struct io_uring_sqe sqe; // the program may change it at any time
            memcpy(&sqe, &entries[index], sizeof(sqe));
            if (!submit_one(ring, &sqe, &cancel, &plug))
                break;
        }
        ring->sq_head++;
        atomic_store_release(&shared->sq_head, ring->sq_head);
        done++;
    }
    block_plug_end(&plug);
    return done != 0 || count == 0 ? (int64_t)done : -EAGAIN;
}
