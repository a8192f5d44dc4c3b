// SPDX-License-Identifier: MIT
// io_uring: what the files of this folder share.
#pragma once

#include "kernel/core/mutex.h"
#include "kernel/core/wait.h"
#include "kernel/core/work.h"
#include "kernel/fs/file.h"
#include "kernel/ipc/io_uring/io_uring.h"
#include "kernel/ipc/ring_memory.h"

#define URING_ENTRIES_MAX 32768
#define URING_FILES_MAX   32768
#define URING_BUFFERS_MAX 16384

// What lies at the beginning of the memory of both rings, in the order that the offsets of
// io_uring_params name; the array of submissions follows the events.
struct uring_shared {
    uint32_t sq_head __attribute__((aligned(64)));
    uint32_t sq_tail __attribute__((aligned(64)));
    uint32_t cq_head __attribute__((aligned(64)));
    uint32_t cq_tail __attribute__((aligned(64)));
    uint32_t sq_mask, cq_mask, sq_entries, cq_entries;
    uint32_t sq_dropped, sq_flags, cq_flags, cq_overflow;
    struct io_uring_cqe cqes[] __attribute__((aligned(64)));
};

// A registered buffer: its pages are pinned, and described as memory of the kernel, a page a piece.
struct uring_buffer {
    uintptr_t address;
    size_t len_bytes;
    size_t pages;
    struct iovec segments[]; // in the direct map
};

struct uring {
    uint32_t refcount; // the file, requests under way; atomic
    uint32_t flags;    // IORING_SETUP_*
    struct ring_memory *rings, *entries;
    struct uring_shared *shared;
    uint32_t *array; // of the submission ring
    uint32_t sq_entries, cq_entries;
    struct mutex lock; // submission: sq_head, files, buffers
    uint32_t sq_head;
    struct file **files; // registered; NULL elements are empty
    uint32_t file_count;
    struct uring_buffer **buffers;
    uint32_t buffer_count;
    bool enabled;
    struct file *last_file; // whose device is looked at by polled rings; under lock

    struct spinlock done_lock; // the rest; taken with interrupts off
    uint32_t cq_tail;
    uint32_t under_way;        // requests that have not ended
    struct list_node overflow; // ended requests without a place in the ring: uring_request.node
    struct list_node finished; // requests to be given back
    struct file *eventfd;      // changed under both locks
    bool eventfd_async;
    struct wait_queue wait; // events

    struct work release;
    struct uring_poller *poller; // SQPOLL; NULL: none
};

struct uring_request {
    struct file_io io;
    struct list_node node;
    struct uring *ring;
    struct file *file; // NULL: none, or a registered one
    uint64_t user_data;
    int64_t expected; // bytes of a transfer that is asked for
    int32_t result;
    uint8_t sqe_flags;
    struct iovec segments[ITER_INLINE_SEGMENTS];
};

static inline struct uring *uring_of(const struct file *file)
{
    return file->private_data;
}
// ring.c
void uring_put(struct uring *ring);
void uring_finish(struct uring_request *request, int64_t result); // any context but NMI
void uring_reap(struct uring *ring);
uint32_t uring_ready(struct uring *ring); // events that the program has not taken
bool uring_flush_overflow(struct uring *ring);
// request.c; ring->lock held. Entries taken, or -errno if the first one could not be.
int64_t uring_submit(struct uring *ring, uint32_t count);
extern const uint8_t uring_operations[];
extern const size_t uring_operation_count;
// register.c
void uring_unregister_all(struct uring *ring);
// poller.c
[[nodiscard]] int uring_poller_start(struct uring *ring, const struct io_uring_params *parameters);
void uring_poller_stop(struct uring *ring);
void uring_poller_wake(struct uring *ring);
