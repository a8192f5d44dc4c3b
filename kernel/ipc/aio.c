// SPDX-License-Identifier: MIT
// Linux AIO.
//
// The ring has the layout that C libraries know (libaio takes events out of it itself): a header
// and events. The program may write anything into it: the kernel has its own tail, and takes the
// head modulo the ring's size. A request reserves a place for its event before it begins, so that
// an event always finds one: requests under way and events that are not taken yet are together
// fewer than the ring has places.
//
// A request may end in interrupt context, where a file can't be closed: finished requests are kept
// on a list that the next call in task context gives back.
#include "kernel/ipc/aio.h"
#include "kernel/base/assert.h"
#include "kernel/base/atomic.h"
#include "kernel/block/block.h"
#include "kernel/core/errno.h"
#include "kernel/core/user.h"
#include "kernel/core/wait.h"
#include "kernel/core/work.h"
#include "kernel/fs/file.h"
#include "kernel/ipc/eventfd.h"
#include "kernel/ipc/ring_memory.h"
#include "kernel/process/task.h"
#include "mm/slab.h"
#include <linux/aio_abi.h>
#include <linux/fs.h>

#define RING_MAGIC      0xa10a10a1u
#define RING_COMPATIBLE 1
#define EVENTS_MAX      65536

// What lies at the beginning of a context's ring.
struct aio_ring {
    uint32_t id, nr, head, tail, magic, compat_features, incompat_features, header_length;
    struct io_event events[];
};
static_assert(sizeof(struct aio_ring) == 32);
static_assert(sizeof(struct io_event) == 32);

struct aio_context {
    uint32_t refcount; // requests, calls, the mapping; atomic
    bool dead;         // no new requests; under lock
    struct ring_memory *memory;
    uint32_t places;           // of the ring
    struct spinlock lock;      // the rest; taken with interrupts off
    uint32_t tail;             // where the next event goes
    uint32_t head;             // where the program's head was last seen
    uint32_t reserved;         // places of requests under way
    struct list_node finished; // requests to be given back
    struct wait_queue wait;    // events
    struct work release;       // the last reference went in interrupt context
};

struct aio_request {
    struct file_io io;
    struct list_node node;
    struct aio_context *context;
    struct file *file;
    struct file *eventfd;  // IOCB_FLAG_RESFD; NULL: none
    uint64_t data, object; // as the event shows them
    struct iovec segments[ITER_INLINE_SEGMENTS];
};

static struct aio_ring *ring_of(const struct aio_context *context)
{
    return context->memory->base;
}

static void request_free(struct aio_request *request)
{
    if (request->file != NULL)
        file_put(request->file);
    if (request->eventfd != NULL)
        file_put(request->eventfd);
    if (request->io.iter.segments != NULL && request->io.iter.segments != &request->io.iter.single)
        iter_release(&request->io.iter, request->segments);
    kfree(request);
}

// Gives finished requests back. Task context.
static void reap(struct aio_context *context)
{
    for (;;) {
        uint64_t flags = spin_lock_irqsave(&context->lock);
        struct aio_request *request =
            list_pop_head_entry_or_null(&context->finished, struct aio_request, node);
        spin_unlock_irqrestore(&context->lock, flags);
        if (request == NULL)
            return;
        request_free(request);
    }
}

static void release(struct work *work)
{
    struct aio_context *context = container_of(work, struct aio_context, release);
    reap(context);
    ring_memory_put(context->memory);
    kfree(context);
}

void aio_put(struct aio_context *context)
{
    if (__atomic_sub_fetch(&context->refcount, 1, __ATOMIC_ACQ_REL) == 0)
        (void)work_queue(&context->release);
}

// Places that the program has not emptied yet. Lock held.
static uint32_t occupied(struct aio_context *context)
{
    context->head = atomic_load_relaxed(&ring_of(context)->head) % context->places;
    return (context->tail + context->places - context->head) % context->places;
}

static bool reserve(struct aio_context *context)
{
    uint64_t flags = spin_lock_irqsave(&context->lock);
    const bool fits = !context->dead && occupied(context) + context->reserved + 1 < context->places;
    context->reserved += fits;
    spin_unlock_irqrestore(&context->lock, flags);
    return fits;
}

static void unreserve(struct aio_context *context)
{
    uint64_t flags = spin_lock_irqsave(&context->lock);
    context->reserved--;
    spin_unlock_irqrestore(&context->lock, flags);
}

// The request is over: its event, and it waits to be given back. Any context.
static void finish(struct aio_request *request, int64_t result)
{
    struct aio_context *context = request->context;
    struct aio_ring *ring = ring_of(context);
    uint64_t flags = spin_lock_irqsave(&context->lock);
    ring->events[context->tail] =
        (struct io_event){.data = request->data, .obj = request->object, .res = result, .res2 = 0};
    context->tail = (context->tail + 1) % context->places;
    atomic_store_release(&ring->tail, context->tail);
    context->reserved--;
    // Before somebody else can give the request back, and the eventfd with it.
    if (request->eventfd != NULL)
        eventfd_signal(request->eventfd, 1);
    list_add_tail(&context->finished, &request->node);
    spin_unlock_irqrestore(&context->lock, flags);
    wait_wake_all(&context->wait);
    aio_put(context);
}

static void io_done(struct file_io *io, int64_t result)
{
    finish(container_of(io, struct aio_request, io), result);
}

// ---- contexts ----

// The ring is mapped no more: nobody can find the context again.
static void unmapped(struct ring_memory *memory)
{
    struct aio_context *context = __atomic_exchange_n(&memory->owner, NULL, __ATOMIC_ACQ_REL);
    if (context == NULL)
        return; // a part of the mapping
    uint64_t flags = spin_lock_irqsave(&context->lock);
    context->dead = true;
    spin_unlock_irqrestore(&context->lock, flags);
    aio_put(context);
}

int aio_create(uint32_t events, uintptr_t *address)
{
    if (events == 0)
        return -EINVAL;
    if (events > EVENTS_MAX)
        return -EAGAIN;
    const size_t len = sizeof(struct aio_ring) + ((size_t)events + 2) * sizeof(struct io_event);
    struct aio_context *context = kzalloc(sizeof(*context));
    struct ring_memory *memory = ring_memory_create(len);
    if (context == NULL || memory == NULL) {
        kfree(context);
        if (memory != NULL)
            ring_memory_put(memory);
        return -ENOMEM;
    }
    context->refcount = 1;
    context->memory = memory;
    context->places =
        (uint32_t)((ring_memory_bytes(memory) - sizeof(struct aio_ring)) / sizeof(struct io_event));
    spin_lock_init(&context->lock);
    list_init(&context->finished);
    wait_queue_init(&context->wait);
    work_init(&context->release, release);
    struct vm_map_request request = {
        .len_bytes = ring_memory_bytes(memory), .flags = VM_READ | VM_WRITE | VM_SHARED};
    int64_t result = ring_memory_map(memory, &request);
    assert(result == 0);
    *ring_of(context) = (struct aio_ring){.nr = context->places,
        .magic = RING_MAGIC,
        .compat_features = RING_COMPATIBLE,
        .header_length = sizeof(struct aio_ring)};
    memory->owner = context;
    memory->unmapped = unmapped;
    result = vm_map(thread_current()->space, &request);
    if (result < 0) {
        if (__atomic_exchange_n(&memory->owner, NULL, __ATOMIC_ACQ_REL) != NULL)
            aio_put(context);
        return (int)result;
    }
    ring_of(context)->id = (uint32_t)((uintptr_t)result >> PAGE_SHIFT);
    *address = (uintptr_t)result;
    return 0;
}

struct aio_context *aio_find(uintptr_t address)
{
    struct ring_memory *memory = ring_memory_find(address);
    if (memory == NULL)
        return NULL;
    // While it is mapped the owner stays; that can end only with the space's lock held for writing,
    // so a context that is found now and has references is kept by the one taken here.
    struct aio_context *context = NULL;
    rwlock_read_lock(&thread_current()->space->lock);
    if (memory->unmapped == unmapped)
        context = __atomic_load_n(&memory->owner, __ATOMIC_ACQUIRE);
    if (context != NULL)
        __atomic_fetch_add(&context->refcount, 1, __ATOMIC_RELAXED);
    rwlock_read_unlock(&thread_current()->space->lock);
    ring_memory_put(memory);
    return context;
}

int aio_destroy(struct aio_context *context, uintptr_t address)
{
    const size_t len = ring_memory_bytes(context->memory);
    uint64_t flags = spin_lock_irqsave(&context->lock);
    const bool first = !context->dead;
    context->dead = true;
    spin_unlock_irqrestore(&context->lock, flags);
    if (!first)
        return -EINVAL;
    wait_event(&context->wait, atomic_load_relaxed(&context->reserved) == 0);
    wait_wake_all(&context->wait);
    return vm_unmap(thread_current()->space, address, len);
}

// ---- requests ----

static int prepare_iter(struct aio_request *request, const struct iocb *iocb)
{
    struct io_iter *iter = &request->io.iter;
    const bool vector =
        iocb->aio_lio_opcode == IOCB_CMD_PREADV || iocb->aio_lio_opcode == IOCB_CMD_PWRITEV;
    int error =
        vector ? iter_init_user_vector(iter, iocb->aio_buf, iocb->aio_nbytes, request->segments)
               : iter_init_user(iter, iocb->aio_buf, iocb->aio_nbytes);
    if (error != 0) {
        iter->segments = NULL;
        return error;
    }
    iter->flags = (uint32_t)iocb->aio_rw_flags;
    iter->append = iocb->aio_rw_flags & RWF_APPEND;
    return 0;
}

// Begins a read or write. FILE_IO_QUEUED, or its result.
static int64_t transfer(struct aio_request *request, const struct iocb *iocb, bool write)
{
    struct file *file = request->file;
    if (!(file->mode & (write ? FILE_WRITE : FILE_READ)))
        return -EBADF;
    int error = prepare_iter(request, iocb);
    if (error != 0)
        return error;
    request->io.offset = (uint64_t)iocb->aio_offset;
    request->io.write = write;
    request->io.done = io_done;
    if (iocb->aio_offset < 0)
        return -EINVAL;
    int64_t result =
        file->ops->submit != NULL ? file->ops->submit(file, &request->io) : -EOPNOTSUPP;
    if (result != -EOPNOTSUPP)
        return result;
    uint64_t offset = request->io.offset;
    result = write ? file_write(file, &request->io.iter, &offset)
                   : file_read(file, &request->io.iter, &offset);
    return result == -ERESTARTSYS ? -EINTR : result;
}

static int64_t start(struct aio_request *request, const struct iocb *iocb)
{
    switch (iocb->aio_lio_opcode) {
    case IOCB_CMD_PREAD:
    case IOCB_CMD_PREADV:
        return transfer(request, iocb, false);
    case IOCB_CMD_PWRITE:
    case IOCB_CMD_PWRITEV:
        return transfer(request, iocb, true);
    case IOCB_CMD_FSYNC:
    case IOCB_CMD_FDSYNC:
        return request->file->ops->sync != NULL ? request->file->ops->sync(request->file,
                                                      iocb->aio_lio_opcode == IOCB_CMD_FDSYNC)
                                                : -EINVAL;
    default:
        return -EINVAL;
    }
}

static struct file *file_of_fd(uint32_t fd)
{
    bool borrowed;
    struct file *file = file_fd_get((int)fd, &borrowed);
    if (file != NULL && borrowed)
        file_get(file);
    return file;
}

// What makes io_submit(2) itself fail, rather than the request.
static bool is_refusal(int64_t result, const struct iocb *iocb)
{
    return result == -EBADF || (result == -EINVAL && iocb->aio_lio_opcode > IOCB_CMD_PWRITEV) ||
           result == -EFAULT || result == -EINVAL;
}

static int submit_one(struct aio_context *context, const struct iocb *iocb, uintptr_t user_iocb,
    struct block_plug *plug)
{
    if (iocb->aio_reserved2 != 0 || (int64_t)iocb->aio_nbytes < 0)
        return -EINVAL;
    if (iocb->aio_rw_flags & ~(RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_NOWAIT | RWF_APPEND))
        return -EOPNOTSUPP;
    if (!reserve(context))
        return -EAGAIN;
    struct aio_request *request = kzalloc(sizeof(*request));
    int error = request != NULL ? 0 : -EAGAIN;
    if (error == 0) {
        request->context = context;
        request->data = iocb->aio_data;
        request->object = user_iocb;
        request->io.plug = plug;
        request->file = file_of_fd(iocb->aio_fildes);
        if (request->file == NULL)
            error = -EBADF;
    }
    if (error == 0 && (iocb->aio_flags & IOCB_FLAG_RESFD)) {
        request->eventfd = file_of_fd(iocb->aio_resfd);
        error = request->eventfd == NULL ? -EBADF : eventfd_check(request->eventfd);
    }
    int64_t result = error;
    if (error == 0) {
        __atomic_fetch_add(&context->refcount, 1, __ATOMIC_RELAXED);
        result = start(request, iocb);
        if (result == FILE_IO_QUEUED)
            return 0;
        if (!is_refusal(result, iocb)) {
            finish(request, result);
            return 0;
        }
        aio_put(context);
    }
    if (request != NULL)
        request_free(request);
    unreserve(context);
    return (int)result;
}

// All that go to devices begin together: one notification.
int64_t aio_submit(struct aio_context *context, uintptr_t user_pointers, int64_t count)
{
    struct block_plug plug;
    int64_t done = 0;
    int error = 0;
    reap(context);
    block_plug_begin(&plug);
    while (done < count) {
        struct iocb iocb;
        uint64_t at;
        error = user_get_u64(&at, user_pointers + (uint64_t)done * sizeof(at));
        if (error == 0)
            error = copy_from_user(&iocb, at, sizeof(iocb));
        if (error == 0)
            error = submit_one(context, &iocb, at, &plug);
        if (error != 0)
            break;
        done++;
    }
    block_plug_end(&plug);
    return done != 0 ? done : error;
}

// ---- events ----

static bool enough(struct aio_context *context, uint32_t minimum)
{
    uint64_t flags = spin_lock_irqsave(&context->lock);
    const bool is = occupied(context) >= minimum || context->dead;
    spin_unlock_irqrestore(&context->lock, flags);
    return is;
}

// Takes events out, as the program could itself. Their number or -EFAULT.
static int64_t take(struct aio_context *context, uint32_t count, uintptr_t user)
{
    struct aio_ring *ring = ring_of(context);
    uint32_t done = 0;
    while (done < count) {
        uint64_t flags = spin_lock_irqsave(&context->lock);
        const uint32_t ready = occupied(context), at = context->head;
        spin_unlock_irqrestore(&context->lock, flags);
        const uint32_t piece = MIN(MIN(ready, count - done), context->places - at);
        if (piece == 0)
            break;
        if (copy_to_user(user + done * sizeof(struct io_event), &ring->events[at],
                piece * sizeof(struct io_event)) != 0)
            return done != 0 ? done : -EFAULT;
        atomic_store_release(&ring->head, (at + piece) % context->places);
        done += piece;
    }
    return done;
}

int64_t aio_events(struct aio_context *context, uint32_t minimum, uint32_t count, uintptr_t user,
    uint64_t deadline_ns)
{
    reap(context);
    int64_t done = take(context, count, user);
    while (done >= 0 && done < minimum) {
        int error = 0;
        if (deadline_ns != 0)
            error = wait_event_interruptible_until(
                &context->wait, enough(context, minimum - (uint32_t)done), deadline_ns);
        const int64_t more =
            take(context, count - (uint32_t)done, user + (uint64_t)done * sizeof(struct io_event));
        if (more < 0)
            return done != 0 ? done : more;
        done += more;
        if (error == -EINTR)
            return done != 0 ? done : -EINTR;
        if (error != 0 || deadline_ns == 0 || context->dead)
            break;
    }
    reap(context);
    return done;
}
