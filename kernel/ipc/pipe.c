// SPDX-License-Identifier: MIT
// Pipes (pipe(7)).
//
// A pipe is a ring of slots, each a stretch of a page. A write appends to the newest page where its
// last, partial page fits there whole, else it takes new slots; so a write of at most PIPE_BUF
// bytes needs at most one slot and is never interleaved with another.
//
// The mutex is held over the copies, which may fault; the mm locks nest inside it. Who has to wait
// drops it. Waiters are exclusive: a wake-up goes to one reader or writer, and one that leaves
// something for others (data, room) passes the wake-up on, so none is lost:
//   I1  head, tail and the counts change only under the lock;
//   I2  each change that can end a wait is followed by a wake-up of the queue in question;
//   I3  who was woken (that is, has waited) and does not use all of what it was woken for wakes the
//       next. Who has not waited took nobody's wake-up, and must not pretend an event to
//       edge-triggered watchers.
// One drained page is kept for the next write: a ping-pong of small messages allocates nothing.
#include "kernel/ipc/pipe.h"

#include "kernel/core/errno.h"
#include "kernel/core/user.h"
#include "kernel/fs/file.h"
#include "kernel/fs/poll.h"
#include "kernel/fs/vfs.h"
#include "kernel/fs/register.h"
#include "kernel/process/signal.h"
#include "kernel/process/task.h"
#include "mm/slab.h"
#include <asm/ioctls.h>

static struct mutex pipe_fifo_lock = MUTEX_INIT(pipe_fifo_lock, "pipe: fifo");

static const struct file_ops pipe_ops;

static struct pipe *pipe_new(void)
{
    struct pipe *pipe = kzalloc(sizeof(*pipe));
    if (pipe == NULL)
        return NULL;
    mutex_init(&pipe->lock);
    wait_queue_init(&pipe->read_wait);
    wait_queue_init(&pipe->write_wait);
    pipe->slots = pipe->inline_slots;
    pipe->slot_count = PIPE_SLOTS_DEFAULT;
    pipe->refcount = 1;
    return pipe;
}

static void pipe_put(struct pipe *pipe)
{
    if (__atomic_sub_fetch(&pipe->refcount, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    while (pipe_used(pipe) != 0)
        pipe_consume(pipe, pipe_slot(pipe, pipe->tail)->len_bytes);
    if (pipe->spare != NULL)
        page_put(pipe->spare);
    if (pipe->slots != pipe->inline_slots)
        kfree(pipe->slots);
    kfree(pipe);
}

struct pipe *pipe_of_file(const struct file *file)
{
    return file->ops == &pipe_ops ? file->private_data : NULL;
}

static bool pipe_is_full(const struct pipe *pipe)
{
    return pipe_used(pipe) >= __atomic_load_n(&pipe->slot_count, __ATOMIC_RELAXED);
}

void pipe_push(
    struct pipe *pipe, struct page *page, uint32_t offset, uint32_t len_bytes, uint32_t flags)
{
    debug_assert(mutex_is_held(&pipe->lock));
    debug_assert(!pipe_is_full(pipe));
    *pipe_slot(pipe, pipe->head) = (struct pipe_buffer){
        .page = page, .offset = offset, .len_bytes = len_bytes, .flags = flags};
    __atomic_store_n(&pipe->head, pipe->head + 1, __ATOMIC_RELAXED);
}

void pipe_consume(struct pipe *pipe, uint32_t len_bytes)
{
    struct pipe_buffer *buffer = pipe_slot(pipe, pipe->tail);
    debug_assert(len_bytes <= buffer->len_bytes);
    buffer->offset += len_bytes;
    buffer->len_bytes -= len_bytes;
    if (buffer->len_bytes != 0)
        return;
    struct page *page = buffer->page;
    bool own = (buffer->flags & PIPE_BUFFER_MERGE) != 0;
    if (own && pipe->spare == NULL && __atomic_load_n(&page->refcount, __ATOMIC_RELAXED) == 1)
        pipe->spare = page;
    else
        page_put(page);
    buffer->page = NULL;
    __atomic_store_n(&pipe->tail, pipe->tail + 1, __ATOMIC_RELAXED);
}

void pipe_wake_readers(struct pipe *pipe)
{
    wait_wake_sync(&pipe->read_wait, 1, EPOLLIN | EPOLLRDNORM);
}

void pipe_wake_writers(struct pipe *pipe)
{
    wait_wake_sync(&pipe->write_wait, 1, EPOLLOUT | EPOLLWRNORM);
}

static bool pipe_may_read(const struct pipe *pipe)
{
    return pipe_used(pipe) != 0 || __atomic_load_n(&pipe->writer_count, __ATOMIC_RELAXED) == 0;
}

static bool pipe_may_write(const struct pipe *pipe)
{
    return !pipe_is_full(pipe) || __atomic_load_n(&pipe->reader_count, __ATOMIC_RELAXED) == 0;
}

int pipe_wait_data(struct pipe *pipe, bool nonblocking)
{
    if (nonblocking)
        return -EAGAIN;
    mutex_unlock(&pipe->lock);
    int error = wait_event_interruptible_exclusive(&pipe->read_wait, pipe_may_read(pipe));
    mutex_lock(&pipe->lock);
    return error != 0 ? -ERESTARTSYS : 0;
}

int pipe_wait_room(struct pipe *pipe, bool nonblocking)
{
    if (nonblocking)
        return -EAGAIN;
    mutex_unlock(&pipe->lock);
    int error = wait_event_interruptible_exclusive(&pipe->write_wait, pipe_may_write(pipe));
    mutex_lock(&pipe->lock);
    return error != 0 ? -ERESTARTSYS : 0;
}

static int64_t pipe_read(struct file *file, struct io_iter *to, uint64_t *offset)
{
    struct pipe *pipe = file->private_data;
    int64_t done = 0;
    bool waited = false;
    (void)offset;
    if (to->count == 0)
        return 0;
    mutex_lock(&pipe->lock);
    for (;;) {
        if (pipe_used(pipe) != 0) {
            struct pipe_buffer *buffer = pipe_slot(pipe, pipe->tail);
            bool packet = (buffer->flags & PIPE_BUFFER_PACKET) != 0;
            size_t wanted = MIN((size_t)buffer->len_bytes, to->count);
            size_t copied =
                iter_copy_to(to, (char *)page_to_virt(buffer->page) + buffer->offset, wanted);
            done += (int64_t)copied;
            pipe_consume(pipe, packet && copied == wanted ? buffer->len_bytes : (uint32_t)copied);
            if (copied < wanted) {
                done = done != 0 ? done : -EFAULT;
                break;
            }
            if (packet || to->count == 0)
                break;
            continue;
        }
        if (done != 0 || pipe->writer_count == 0)
            break;
        waited = true;
        int error = pipe_wait_data(pipe, (file->flags & O_NONBLOCK) != 0);
        if (error != 0) {
            done = error;
            break;
        }
    }
    bool more = waited && pipe_used(pipe) != 0;
    mutex_unlock(&pipe->lock);
    if (done > 0)
        pipe_wake_writers(pipe);
    if (more)
        pipe_wake_readers(pipe); // I3
    return done;
}

// Appends the partial page of a write to the newest buffer if it fits there whole. Bytes, or
// -EFAULT.
static int64_t pipe_write_merge(struct pipe *pipe, struct io_iter *from)
{
    size_t partial = from->count % PAGE_SIZE;
    if (partial == 0 || pipe_used(pipe) == 0)
        return 0;
    struct pipe_buffer *buffer = pipe_slot(pipe, pipe->head - 1);
    uint32_t end = buffer->offset + buffer->len_bytes;
    if ((buffer->flags & PIPE_BUFFER_MERGE) == 0 || end + partial > PAGE_SIZE)
        return 0;
    size_t copied = iter_copy_from(from, (char *)page_to_virt(buffer->page) + end, partial);
    buffer->len_bytes += (uint32_t)copied;
    return copied < partial ? -EFAULT : (int64_t)copied;
}

// Fills one new slot. Bytes, -EFAULT or -ENOMEM.
static int64_t pipe_write_slot(struct pipe *pipe, struct io_iter *from, uint32_t flags)
{
    struct page *page = pipe->spare;
    pipe->spare = NULL;
    if (page == NULL)
        page = page_alloc(0, PAGE_ALLOC_USER);
    if (page == NULL)
        return -ENOMEM;
    size_t wanted = MIN(from->count, (size_t)PAGE_SIZE);
    size_t copied = iter_copy_from(from, page_to_virt(page), wanted);
    if (copied == 0) {
        pipe->spare = page;
        return -EFAULT;
    }
    pipe_push(pipe, page, 0, (uint32_t)copied, flags);
    return (int64_t)copied;
}

static int64_t pipe_write(struct file *file, struct io_iter *from, uint64_t *offset)
{
    struct pipe *pipe = file->private_data;
    uint32_t flags = (file->flags & O_DIRECT) != 0 ? PIPE_BUFFER_PACKET : PIPE_BUFFER_MERGE;
    int64_t done = 0;
    int64_t result = 0;
    bool waited = false;
    (void)offset;
    if (from->count == 0)
        return 0;
    mutex_lock(&pipe->lock);
    if (pipe->reader_count != 0 && flags == PIPE_BUFFER_MERGE) {
        result = pipe_write_merge(pipe, from);
        done = MAX(result, 0);
    }
    while (result >= 0 && from->count != 0) {
        if (pipe->reader_count == 0) {
            result = -EPIPE;
        } else if (!pipe_is_full(pipe)) {
            result = pipe_write_slot(pipe, from, flags);
            done += MAX(result, 0);
        } else {
            if (done != 0)
                pipe_wake_readers(pipe); // they make the room that we wait for
            waited = true;
            result = pipe_wait_room(pipe, (file->flags & O_NONBLOCK) != 0);
        }
    }
    bool room = waited && !pipe_is_full(pipe);
    mutex_unlock(&pipe->lock);
    if (result == -EPIPE)
        (void)signal_send_task(task_current(), SIGPIPE, NULL);
    if (done > 0)
        pipe_wake_readers(pipe);
    if (room)
        pipe_wake_writers(pipe); // I3
    return done > 0 ? done : result;
}

static uint32_t pipe_poll(struct file *file, struct poll_table *table)
{
    struct pipe *pipe = file->private_data;
    uint32_t events = 0;
    if ((file->mode & FILE_READ) != 0)
        poll_wait(table, file, &pipe->read_wait);
    if ((file->mode & FILE_WRITE) != 0)
        poll_wait(table, file, &pipe->write_wait);
    if ((file->mode & FILE_READ) != 0) {
        if (pipe_used(pipe) != 0)
            events |= EPOLLIN | EPOLLRDNORM;
        if (__atomic_load_n(&pipe->writer_count, __ATOMIC_RELAXED) == 0 && pipe->writer_opens != 0)
            events |= EPOLLHUP;
    }
    if ((file->mode & FILE_WRITE) != 0) {
        if (!pipe_is_full(pipe))
            events |= EPOLLOUT | EPOLLWRNORM;
        if (__atomic_load_n(&pipe->reader_count, __ATOMIC_RELAXED) == 0)
            events |= EPOLLERR;
    }
    return events;
}

static int64_t pipe_ioctl(struct file *file, uint32_t command, uintptr_t argument)
{
    struct pipe *pipe = file->private_data;
    if (command != FIONREAD)
        return -ENOTTY;
    uint32_t len_bytes = 0;
    mutex_lock(&pipe->lock);
    for (uint32_t position = pipe->tail; position != pipe->head; position++)
        len_bytes += pipe_slot(pipe, position)->len_bytes;
    mutex_unlock(&pipe->lock);
    return user_put_u32(argument, len_bytes);
}

static void pipe_release(struct file *file)
{
    struct pipe *pipe = file->private_data;
    mutex_lock(&pipe->lock);
    if ((file->mode & FILE_READ) != 0)
        __atomic_store_n(&pipe->reader_count, pipe->reader_count - 1, __ATOMIC_RELAXED);
    if ((file->mode & FILE_WRITE) != 0)
        __atomic_store_n(&pipe->writer_count, pipe->writer_count - 1, __ATOMIC_RELAXED);
    mutex_unlock(&pipe->lock);
    wait_wake(&pipe->read_wait, UINT32_MAX, EPOLLIN | EPOLLRDNORM | EPOLLHUP);
    wait_wake(&pipe->write_wait, UINT32_MAX, EPOLLOUT | EPOLLWRNORM | EPOLLERR);
    pipe_put(pipe);
}

static const struct file_ops pipe_ops = {
    .read = pipe_read,
    .write = pipe_write,
    .poll = pipe_poll,
    .ioctl = pipe_ioctl,
    .release = pipe_release,
};

int pipe_create(uint32_t open_flags, struct file **read_end, struct file **write_end)
{
    uint32_t status = open_flags & (O_NONBLOCK | O_DIRECT);
    struct pipe *pipe = pipe_new();
    if (pipe == NULL)
        return -ENOMEM;
    *read_end = file_create_anonymous("pipe", &pipe_ops, pipe, O_RDONLY | status);
    if (*read_end == NULL) {
        pipe_put(pipe);
        return -ENOMEM;
    }
    pipe->reader_count = pipe->reader_opens = 1;
    *write_end = file_create_anonymous("pipe", &pipe_ops, pipe, O_WRONLY | status);
    if (*write_end == NULL) {
        file_put(*read_end);
        return -ENOMEM;
    }
    pipe->writer_count = pipe->writer_opens = 1;
    pipe->refcount = 2;
    return 0;
}

int64_t pipe_size_get(struct pipe *pipe)
{
    return (int64_t)__atomic_load_n(&pipe->slot_count, __ATOMIC_RELAXED) * (int64_t)PAGE_SIZE;
}

int64_t pipe_size_set(struct pipe *pipe, uint64_t len_bytes)
{
    uint32_t slot_count = 1;
    if (len_bytes == 0 || len_bytes > UINT32_C(1) << 31)
        return -EINVAL;
    if (len_bytes > PIPE_SLOTS_MAX * PAGE_SIZE)
        return -EPERM;
    while (slot_count * PAGE_SIZE < len_bytes)
        slot_count *= 2;
    struct pipe_buffer *slots = kmalloc(slot_count * sizeof(*slots), 0);
    if (slots == NULL)
        return -ENOMEM;
    mutex_lock(&pipe->lock);
    uint32_t used = pipe_used(pipe);
    if (used > slot_count) {
        mutex_unlock(&pipe->lock);
        kfree(slots);
        return -EBUSY;
    }
    for (uint32_t i = 0; i < used; i++)
        slots[i] = *pipe_slot(pipe, pipe->tail + i);
    struct pipe_buffer *old = pipe->slots;
    pipe->slots = slots;
    pipe->tail = 0;
    pipe->head = used;
    __atomic_store_n(&pipe->slot_count, slot_count, __ATOMIC_RELAXED);
    mutex_unlock(&pipe->lock);
    if (old != pipe->inline_slots)
        kfree(old);
    wait_wake(&pipe->write_wait, UINT32_MAX, EPOLLOUT | EPOLLWRNORM);
    return (int64_t)(slot_count * PAGE_SIZE);
}

// Waits until the other side has been opened since `seen` opens. 0 or -ERESTARTSYS.
static int pipe_fifo_wait(struct wait_queue *queue, const uint32_t *opens, uint32_t seen)
{
    int error = wait_event_interruptible(queue, __atomic_load_n(opens, __ATOMIC_ACQUIRE) != seen);
    return error != 0 ? -ERESTARTSYS : 0;
}

static int pipe_fifo_open_side(struct pipe *pipe, struct file *file)
{
    bool reads = (file->mode & FILE_READ) != 0;
    bool writes = (file->mode & FILE_WRITE) != 0;
    bool nonblocking = (file->flags & O_NONBLOCK) != 0;
    mutex_lock(&pipe->lock);
    if (writes && !reads && nonblocking && pipe->reader_count == 0) {
        mutex_unlock(&pipe->lock);
        return -ENXIO;
    }
    uint32_t seen_writers = pipe->writer_opens;
    uint32_t seen_readers = pipe->reader_opens;
    bool wait_writer = reads && !writes && !nonblocking && pipe->writer_count == 0;
    bool wait_reader = writes && !reads && pipe->reader_count == 0;
    if (reads) {
        pipe->reader_count++;
        __atomic_store_n(&pipe->reader_opens, pipe->reader_opens + 1, __ATOMIC_RELEASE);
    }
    if (writes) {
        pipe->writer_count++;
        __atomic_store_n(&pipe->writer_opens, pipe->writer_opens + 1, __ATOMIC_RELEASE);
    }
    mutex_unlock(&pipe->lock);
    if (reads)
        wait_wake_all(&pipe->write_wait);
    if (writes)
        wait_wake_all(&pipe->read_wait);
    if (wait_writer)
        return pipe_fifo_wait(&pipe->read_wait, &pipe->writer_opens, seen_writers);
    if (wait_reader)
        return pipe_fifo_wait(&pipe->write_wait, &pipe->reader_opens, seen_readers);
    return 0;
}

int pipe_fifo_open(struct pipe **slot, struct file *file)
{
    mutex_lock(&pipe_fifo_lock);
    struct pipe *pipe = *slot;
    if (pipe == NULL) {
        pipe = *slot = pipe_new(); // the first reference is the inode's
        if (pipe == NULL) {
            mutex_unlock(&pipe_fifo_lock);
            return -ENOMEM;
        }
    }
    __atomic_fetch_add(&pipe->refcount, 1, __ATOMIC_RELAXED);
    mutex_unlock(&pipe_fifo_lock);
    int error = pipe_fifo_open_side(pipe, file);
    if (error == -ENXIO) {
        pipe_put(pipe);
        return error;
    }
    file->private_data = pipe;
    if (error != 0) {
        pipe_release(file); // it was counted as open
        return error;
    }
    file->ops = &pipe_ops;
    return 0;
}

void pipe_fifo_destroy(struct pipe *pipe)
{
    pipe_put(pipe);
}

void pipe_init(void)
{
    vfs_fifo_open = pipe_fifo_open;
    vfs_fifo_destroy = pipe_fifo_destroy;
}
