// SPDX-License-Identifier: MIT
// splice, tee and vmsplice.
//
// Between two pipes whole buffers change hands by reference: no byte is copied. A file is read into
// fresh pages that then become the pipe's (one copy, from the page cache); the other way, the
// pipe's pages are the source of the file's own write. vmsplice copies: a page that the program can
// still write to must not change in the pipe.
//
// File operations are never called with the pipe's lock held: they may sleep for long. Data on its
// way to a file stays in the pipe, with its page referenced, until the file took it; the pipe's
// single consumer at that time is assured by taking the buffer out first and putting the rest back.
#include "kernel/ipc/splice.h"

#include "kernel/core/errno.h"
#include "kernel/fs/file.h"
#include "kernel/ipc/pipe.h"
#include "kernel/process/signal.h"
#include "kernel/process/task.h"
#include <linux/uio.h>

// Waits for room. 0, -EPIPE (SIGPIPE has been sent), -EAGAIN, -ERESTARTSYS. The pipe is locked.
static int splice_wait_room(struct pipe *pipe, bool nonblocking)
{
    while (pipe->reader_count != 0 && pipe_used(pipe) >= pipe->slot_count) {
        int error = pipe_wait_room(pipe, nonblocking);
        if (error != 0)
            return error;
    }
    if (pipe->reader_count != 0)
        return 0;
    (void)signal_send_task(task_current(), SIGPIPE, NULL);
    return -EPIPE;
}

// Appends a page that the caller owns; on success the pipe does.
static int splice_push(struct pipe *pipe, struct page *page, uint32_t len_bytes, bool nonblocking)
{
    mutex_lock(&pipe->lock);
    int error = splice_wait_room(pipe, nonblocking);
    if (error == 0)
        pipe_push(pipe, page, 0, len_bytes, PIPE_BUFFER_MERGE);
    mutex_unlock(&pipe->lock);
    if (error == 0)
        pipe_wake_readers(pipe);
    return error;
}

// Is there room, waiting for it if asked? Looked at before data is taken from a source that can't
// be put back.
static int splice_ensure_room(struct pipe *pipe, bool nonblocking)
{
    mutex_lock(&pipe->lock);
    int error = splice_wait_room(pipe, nonblocking);
    mutex_unlock(&pipe->lock);
    return error;
}

// One page from the file into the pipe.
static int64_t splice_page_from_file(
    struct file *file, uint64_t *offset, struct pipe *pipe, size_t len_bytes, bool nonblocking)
{
    struct io_iter iter;
    int error = splice_ensure_room(pipe, nonblocking);
    if (error != 0)
        return error;
    struct page *page = page_alloc(0, PAGE_ALLOC_USER);
    if (page == NULL)
        return -ENOMEM;
    iter_init_kernel(&iter, page_to_virt(page), MIN(len_bytes, (size_t)PAGE_SIZE));
    int64_t count = file->ops->read(file, &iter, offset);
    if (count > 0) {
        error = splice_push(pipe, page, (uint32_t)count, false);
        if (error == 0)
            return count;
        count = error;
    }
    page_put(page);
    return count;
}

int64_t splice_from_file(
    struct file *file, uint64_t *offset, struct pipe *pipe, size_t len_bytes, bool nonblocking)
{
    int64_t done = 0;
    if (file->ops->read == NULL)
        return -EINVAL;
    while ((size_t)done < len_bytes) {
        // What has been moved is reported rather than waiting for more room.
        int64_t count = splice_page_from_file(
            file, offset, pipe, len_bytes - (size_t)done, nonblocking || done != 0);
        if (count <= 0)
            return done != 0 ? done : count;
        done += count;
        if (count < (int64_t)PAGE_SIZE)
            break; // end of the file, or all that a stream had
    }
    return done;
}

// Takes a reference to up to len_bytes of the oldest buffer, out of the pipe. 0 bytes: no data and
// no writer.
static int splice_take(
    struct pipe *pipe, size_t len_bytes, bool nonblocking, struct pipe_buffer *taken)
{
    int error = 0;
    mutex_lock(&pipe->lock);
    while (pipe_used(pipe) == 0 && pipe->writer_count != 0 && error == 0)
        error = pipe_wait_data(pipe, nonblocking);
    taken->len_bytes = 0;
    if (error == 0 && pipe_used(pipe) != 0) {
        *taken = *pipe_slot(pipe, pipe->tail);
        taken->len_bytes = (uint32_t)MIN((size_t)taken->len_bytes, len_bytes);
        page_get(taken->page);
        pipe_consume(pipe, taken->len_bytes);
    }
    mutex_unlock(&pipe->lock);
    if (taken->len_bytes != 0)
        pipe_wake_writers(pipe);
    return error;
}

// Gives back, at the front, what a file did not take: into the buffer that it was cut from, or into
// the slot that it left. If a writer filled that slot meanwhile there is no room at the front, and
// the bytes are lost (docs/limits.md).
static void splice_give_back(struct pipe *pipe, struct pipe_buffer rest)
{
    mutex_lock(&pipe->lock);
    struct pipe_buffer *front = pipe_slot(pipe, pipe->tail);
    if (pipe_used(pipe) != 0 && front->page == rest.page &&
        front->offset == rest.offset + rest.len_bytes) {
        front->offset = rest.offset;
        front->len_bytes += rest.len_bytes;
        page_put(rest.page);
    } else if (pipe_used(pipe) < pipe->slot_count) {
        __atomic_store_n(&pipe->tail, pipe->tail - 1, __ATOMIC_RELAXED);
        *pipe_slot(pipe, pipe->tail) = rest;
    } else {
        page_put(rest.page);
    }
    mutex_unlock(&pipe->lock);
    pipe_wake_readers(pipe);
}

int64_t splice_to_file(
    struct pipe *pipe, struct file *file, uint64_t *offset, size_t len_bytes, bool nonblocking)
{
    int64_t done = 0;
    if (file->ops->write == NULL)
        return -EINVAL;
    while ((size_t)done < len_bytes) {
        struct pipe_buffer taken;
        struct io_iter iter;
        int error = splice_take(pipe, len_bytes - (size_t)done, nonblocking || done != 0, &taken);
        if (error != 0)
            return done != 0 ? done : error;
        if (taken.len_bytes == 0)
            break;
        iter_init_kernel(&iter, (char *)page_to_virt(taken.page) + taken.offset, taken.len_bytes);
        int64_t count = file->ops->write(file, &iter, offset);
        if (count < (int64_t)taken.len_bytes) {
            uint32_t written = (uint32_t)MAX(count, INT64_C(0));
            taken.offset += written;
            taken.len_bytes -= written;
            splice_give_back(pipe, taken);
            done += written;
            return done != 0 ? done : count;
        }
        page_put(taken.page);
        done += count;
    }
    return done;
}

// Both pipes' locks in the order of their addresses.
static void splice_lock_both(struct pipe *a, struct pipe *b)
{
    struct pipe *first = (uintptr_t)a < (uintptr_t)b ? a : b;
    struct pipe *second = first == a ? b : a;
    mutex_lock(&first->lock);
    mutex_lock_nested(&second->lock, 1);
}

static void splice_unlock_both(struct pipe *a, struct pipe *b)
{
    mutex_unlock(&a->lock);
    mutex_unlock(&b->lock);
}

// Moves or duplicates what fits now. Both locked.
static int64_t splice_transfer(struct pipe *from, struct pipe *to, size_t len_bytes, bool consume)
{
    uint32_t position = from->tail;
    int64_t done = 0;
    while ((size_t)done < len_bytes && position != from->head && pipe_used(to) < to->slot_count) {
        struct pipe_buffer *buffer = pipe_slot(from, position);
        uint32_t count = (uint32_t)MIN((size_t)buffer->len_bytes, len_bytes - (size_t)done);
        page_get(buffer->page);
        // Shared pages are not appended to: each pipe sees its own stretch of them.
        pipe_push(to, buffer->page, buffer->offset, count, buffer->flags & PIPE_BUFFER_PACKET);
        buffer->flags &= ~PIPE_BUFFER_MERGE;
        position++;
        if (consume)
            pipe_consume(from, count);
        done += count;
    }
    return done;
}

int64_t splice_pipe_to_pipe(
    struct pipe *from, struct pipe *to, size_t len_bytes, bool consume, bool nonblocking)
{
    if (from == to)
        return -EINVAL;
    for (;;) {
        // Wait for data, then for room, each with only its own lock.
        int error = 0;
        mutex_lock(&from->lock);
        while (pipe_used(from) == 0 && from->writer_count != 0 && error == 0)
            error = pipe_wait_data(from, nonblocking);
        bool ended = pipe_used(from) == 0;
        mutex_unlock(&from->lock);
        if (error != 0 || ended)
            return error;
        error = splice_ensure_room(to, nonblocking);
        if (error != 0)
            return error;
        splice_lock_both(from, to);
        int64_t done = splice_transfer(from, to, len_bytes, consume);
        splice_unlock_both(from, to);
        if (done == 0)
            continue; // somebody else took the data or the room
        if (consume)
            pipe_wake_writers(from);
        pipe_wake_readers(to);
        return done;
    }
}

int64_t splice_from_memory(struct io_iter *from, struct pipe *pipe, bool nonblocking)
{
    int64_t done = 0;
    while (from->count != 0) {
        int error = splice_ensure_room(pipe, nonblocking || done != 0);
        if (error != 0)
            return done != 0 ? done : error;
        struct page *page = page_alloc(0, PAGE_ALLOC_USER);
        if (page == NULL)
            return done != 0 ? done : -ENOMEM;
        size_t count = iter_copy_from(from, page_to_virt(page), PAGE_SIZE);
        if (count == 0)
            error = -EFAULT;
        else
            error = splice_push(pipe, page, (uint32_t)count, false);
        if (error != 0) {
            page_put(page);
            return done != 0 ? done : error;
        }
        done += (int64_t)count;
    }
    return done;
}
