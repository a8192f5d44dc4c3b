// SPDX-License-Identifier: MIT
// Rings: memory, events, life.
//
// Everything in the shared memory can be changed by the program at any time: the kernel has its own
// positions and sizes, and uses what it reads once, after masking it. An entry is copied before it
// is looked at.
//
// A request may end in interrupt context. It puts its event into the ring, or, when the ring is
// full, waits on the overflow list for room, and is given back by the next call in task context.
#include "kernel/arch/x86/arch.h"
#include "kernel/base/assert.h"
#include "kernel/base/atomic.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/fs/poll.h"
#include "kernel/ipc/eventfd.h"
#include "kernel/ipc/io_uring/internal.h"
#include "mm/slab.h"

#define FEATURES                                                                                   \
    (IORING_FEAT_SINGLE_MMAP | IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE |                    \
        IORING_FEAT_RW_CUR_POS | IORING_FEAT_EXT_ARG)
#define SETUP_KNOWN                                                                                \
    (IORING_SETUP_IOPOLL | IORING_SETUP_SQPOLL | IORING_SETUP_SQ_AFF | IORING_SETUP_CQSIZE |       \
        IORING_SETUP_CLAMP | IORING_SETUP_R_DISABLED | IORING_SETUP_SUBMIT_ALL |                   \
        IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SINGLE_ISSUER)

// ---- the end of requests ----

static void request_free(struct uring_request *request)
{
    struct io_iter *iter = &request->io.iter;
    if (request->file != NULL)
        file_put(request->file);
    // A vector that did not fit lies in allocated memory; registered buffers are not ours.
    if (iter->segments != NULL && !iter->kernel && iter->single.iov_base != NULL &&
        iter->segments != &iter->single && iter->single.iov_len == 0)
        iter_release(iter, request->segments);
    kfree(request);
}

void uring_reap(struct uring *ring)
{
    if (list_is_empty(&ring->finished))
        return;
    for (;;) {
        uint64_t flags = spin_lock_irqsave(&ring->done_lock);
        struct uring_request *request =
            list_pop_head_entry_or_null(&ring->finished, struct uring_request, node);
        spin_unlock_irqrestore(&ring->done_lock, flags);
        if (request == NULL)
            return;
        request_free(request);
    }
}

static void release(struct work *work)
{
    struct uring *ring = container_of(work, struct uring, release);
    list_splice_tail(&ring->finished, &ring->overflow);
    uring_reap(ring);
    uring_unregister_all(ring);
    if (ring->eventfd != NULL)
        file_put(ring->eventfd);
    ring_memory_put(ring->rings);
    ring_memory_put(ring->entries);
    kfree(ring);
}

void uring_put(struct uring *ring)
{
    if (__atomic_sub_fetch(&ring->refcount, 1, __ATOMIC_ACQ_REL) == 0)
        (void)work_queue(&ring->release);
}

// Lock held. The ring has a place.
static bool post(struct uring *ring, uint64_t user_data, int32_t result)
{
    struct uring_shared *shared = ring->shared;
    const uint32_t used = ring->cq_tail - atomic_load_acquire(&shared->cq_head);
    if (used >= ring->cq_entries)
        return false;
    shared->cqes[ring->cq_tail & (ring->cq_entries - 1)] =
        (struct io_uring_cqe){.user_data = user_data, .res = result};
    atomic_store_release(&shared->cq_tail, ++ring->cq_tail);
    return true;
}

void uring_finish(struct uring_request *request, int64_t result)
{
    struct uring *ring = request->ring;
    request->result = (int32_t)result;
    uint64_t flags = spin_lock_irqsave(&ring->done_lock);
    const bool silent = (request->sqe_flags & IOSQE_CQE_SKIP_SUCCESS) && result >= 0;
    const bool posted = silent || (list_is_empty(&ring->overflow) &&
                                      post(ring, request->user_data, request->result));
    if (!posted)
        atomic_store(&ring->shared->sq_flags, ring->shared->sq_flags | IORING_SQ_CQ_OVERFLOW);
    list_add_tail(posted ? &ring->finished : &ring->overflow, &request->node);
    ring->under_way--;
    if (ring->eventfd != NULL && !(ring->shared->cq_flags & IORING_CQ_EVENTFD_DISABLED))
        eventfd_signal(ring->eventfd, 1);
    spin_unlock_irqrestore(&ring->done_lock, flags);
    wait_wake_all(&ring->wait);
    uring_put(ring);
}

// Events that wait for room. True: something was moved.
bool uring_flush_overflow(struct uring *ring)
{
    bool any = false;
    uint64_t flags = spin_lock_irqsave(&ring->done_lock);
    while (!list_is_empty(&ring->overflow)) {
        struct uring_request *request =
            list_first_entry(&ring->overflow, struct uring_request, node);
        if (!post(ring, request->user_data, request->result))
            break;
        list_move_tail(&ring->finished, &request->node);
        any = true;
    }
    if (list_is_empty(&ring->overflow))
        atomic_store(
            &ring->shared->sq_flags, ring->shared->sq_flags & ~(uint32_t)IORING_SQ_CQ_OVERFLOW);
    spin_unlock_irqrestore(&ring->done_lock, flags);
    return any;
}

uint32_t uring_ready(struct uring *ring)
{
    return atomic_load_acquire(&ring->cq_tail) - atomic_load_relaxed(&ring->shared->cq_head);
}

// ---- the file ----

static int uring_map(struct file *file, struct vm_map_request *request)
{
    struct uring *ring = uring_of(file);
    const uint64_t offset = request->cache_index << PAGE_SHIFT;
    if (offset == IORING_OFF_SQ_RING || offset == IORING_OFF_CQ_RING)
        return ring_memory_map(ring->rings, request);
    if (offset == IORING_OFF_SQES)
        return ring_memory_map(ring->entries, request);
    return -EINVAL;
}

static uint32_t uring_poll(struct file *file, struct poll_table *table)
{
    struct uring *ring = uring_of(file);
    poll_wait(table, file, &ring->wait);
    uint32_t events = 0;
    if (atomic_load_acquire(&ring->shared->sq_tail) - ring->sq_head != ring->sq_entries)
        events |= EPOLLOUT | EPOLLWRNORM;
    if (uring_ready(ring) != 0 || !list_is_empty(&ring->overflow))
        events |= EPOLLIN | EPOLLRDNORM;
    return events;
}

static void uring_release(struct file *file)
{
    struct uring *ring = uring_of(file);
    uring_poller_stop(ring);
    uring_put(ring);
}

static const struct file_ops uring_ops = {
    .map = uring_map, .poll = uring_poll, .release = uring_release};

int io_uring_check(const struct file *file)
{
    return file->ops == &uring_ops ? 0 : -EOPNOTSUPP;
}

static uint32_t power_of_two(uint32_t value)
{
    uint32_t result = 1;
    while (result < value)
        result <<= 1;
    return result;
}

// The sizes that are asked for. 0 or -EINVAL.
static int check_sizes(
    uint32_t entries, const struct io_uring_params *parameters, uint32_t *sq, uint32_t *cq)
{
    const bool clamp = parameters->flags & IORING_SETUP_CLAMP;
    if (entries == 0 || (entries > URING_ENTRIES_MAX && !clamp))
        return -EINVAL;
    *sq = power_of_two(MIN(entries, (uint32_t)URING_ENTRIES_MAX));
    *cq = 2 * *sq;
    if (parameters->flags & IORING_SETUP_CQSIZE) {
        if (parameters->cq_entries == 0 ||
            (parameters->cq_entries > 2 * URING_ENTRIES_MAX && !clamp))
            return -EINVAL;
        *cq = power_of_two(MIN(parameters->cq_entries, 2u * URING_ENTRIES_MAX));
        if (*cq < *sq)
            return -EINVAL;
    }
    return 0;
}

static struct uring *uring_alloc(uint32_t sq, uint32_t cq)
{
    struct uring *ring = kzalloc(sizeof(*ring));
    if (ring == NULL)
        return NULL;
    const size_t events_end = sizeof(struct uring_shared) + cq * sizeof(struct io_uring_cqe);
    ring->rings = ring_memory_create(events_end + sq * sizeof(uint32_t));
    ring->entries = ring_memory_create(sq * sizeof(struct io_uring_sqe));
    if (ring->rings == NULL || ring->entries == NULL) {
        if (ring->rings != NULL)
            ring_memory_put(ring->rings);
        if (ring->entries != NULL)
            ring_memory_put(ring->entries);
        kfree(ring);
        return NULL;
    }
    ring->refcount = 1;
    ring->sq_entries = sq;
    ring->cq_entries = cq;
    ring->shared = ring->rings->base;
    ring->array = (uint32_t *)((char *)ring->rings->base + events_end);
    ring->shared->sq_mask = sq - 1;
    ring->shared->cq_mask = cq - 1;
    ring->shared->sq_entries = sq;
    ring->shared->cq_entries = cq;
    mutex_init(&ring->lock);
    spin_lock_init(&ring->done_lock);
    list_init(&ring->overflow);
    list_init(&ring->finished);
    wait_queue_init(&ring->wait);
    work_init(&ring->release, release);
    return ring;
}

static void fill_parameters(const struct uring *ring, struct io_uring_params *parameters)
{
    parameters->sq_entries = ring->sq_entries;
    parameters->cq_entries = ring->cq_entries;
    parameters->features = FEATURES;
    parameters->sq_off = (struct io_sqring_offsets){
        .head = offsetof(struct uring_shared, sq_head),
        .tail = offsetof(struct uring_shared, sq_tail),
        .ring_mask = offsetof(struct uring_shared, sq_mask),
        .ring_entries = offsetof(struct uring_shared, sq_entries),
        .flags = offsetof(struct uring_shared, sq_flags),
        .dropped = offsetof(struct uring_shared, sq_dropped),
        .array = (uint32_t)((char *)ring->array - (char *)ring->shared),
    };
    parameters->cq_off = (struct io_cqring_offsets){
        .head = offsetof(struct uring_shared, cq_head),
        .tail = offsetof(struct uring_shared, cq_tail),
        .ring_mask = offsetof(struct uring_shared, cq_mask),
        .ring_entries = offsetof(struct uring_shared, cq_entries),
        .overflow = offsetof(struct uring_shared, cq_overflow),
        .cqes = offsetof(struct uring_shared, cqes),
        .flags = offsetof(struct uring_shared, cq_flags),
    };
}

int io_uring_create(uint32_t entries, struct io_uring_params *parameters, struct file **result)
{
    uint32_t sq, cq;
    for (size_t i = 0; i < ARRAY_SIZE(parameters->resv); i++)
        if (parameters->resv[i] != 0)
            return -EINVAL;
    if (parameters->flags & ~(uint32_t)SETUP_KNOWN)
        return -EINVAL;
    int error = check_sizes(entries, parameters, &sq, &cq);
    if (error != 0)
        return error;
    struct uring *ring = uring_alloc(sq, cq);
    if (ring == NULL)
        return -ENOMEM;
    ring->flags = parameters->flags;
    ring->enabled = !(parameters->flags & IORING_SETUP_R_DISABLED);
    fill_parameters(ring, parameters);
    if (parameters->flags & IORING_SETUP_SQPOLL)
        error = uring_poller_start(ring, parameters);
    if (error != 0) {
        uring_put(ring);
        return error;
    }
    *result = file_create_anonymous("[io_uring]", &uring_ops, ring, O_RDWR);
    if (*result == NULL) {
        uring_poller_stop(ring);
        uring_put(ring);
        return -ENOMEM;
    }
    return 0;
}

// ---- entering ----

// Polled rings: looks at the device itself until there is enough.
static int64_t wait_polled(struct uring *ring, uint32_t minimum)
{
    do {
        struct file *file;
        (void)uring_flush_overflow(ring);
        if (uring_ready(ring) >= minimum || ring->under_way == 0)
            return 0;
        mutex_lock(&ring->lock);
        file = ring->last_file;
        if (file != NULL)
            file_get(file);
        mutex_unlock(&ring->lock);
        if (file != NULL) {
            if (file->ops->harvest != NULL)
                file->ops->harvest(file);
            file_put(file);
        }
        if (thread_signal_pending(thread_current()))
            return -EINTR;
        arch_pause();
    } while (minimum != 0);
    return 0;
}

static bool is_enough(struct uring *ring, uint32_t minimum)
{
    return uring_ready(ring) >= minimum ||
           (!list_is_empty(&ring->overflow) && uring_flush_overflow(ring) &&
               uring_ready(ring) >= minimum);
}

static int64_t wait_events(struct uring *ring, uint32_t minimum, uint64_t deadline_ns)
{
    minimum = MIN(minimum, ring->cq_entries);
    (void)uring_flush_overflow(ring);
    if (ring->flags & IORING_SETUP_IOPOLL)
        return wait_polled(ring, minimum);
    if (uring_ready(ring) >= minimum)
        return 0;
    int error = wait_event_interruptible_until(&ring->wait, is_enough(ring, minimum), deadline_ns);
    return error == -ETIMEDOUT ? -ETIME : error;
}

int64_t io_uring_do_enter(
    struct file *file, uint32_t to_submit, uint32_t minimum, uint32_t flags, uint64_t deadline_ns)
{
    struct uring *ring = uring_of(file);
    int64_t submitted = 0;
    if (!ring->enabled)
        return -EBADFD;
    uring_reap(ring);
    if (ring->poller != NULL) {
        if (flags & IORING_ENTER_SQ_WAKEUP)
            uring_poller_wake(ring);
        submitted = to_submit;
    } else if (to_submit != 0) {
        mutex_lock(&ring->lock);
        submitted = uring_submit(ring, to_submit);
        mutex_unlock(&ring->lock);
        if (submitted != to_submit)
            return submitted;
    }
    int64_t error = 0;
    if (flags & IORING_ENTER_GETEVENTS)
        error = wait_events(ring, minimum, deadline_ns);
    uring_reap(ring);
    return submitted != 0 ? submitted : error;
}
