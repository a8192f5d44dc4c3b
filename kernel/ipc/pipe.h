// SPDX-License-Identifier: MIT
// Pipes and FIFOs: a ring of page-backed buffers. What fcntl, splice and the file systems (FIFOs)
// need of them.
#pragma once

#include "kernel/base/types.h"
#include "kernel/core/mutex.h"
#include "kernel/core/wait.h"
#include "mm/page.h"

struct file;

#define PIPE_SLOTS_DEFAULT 16
#define PIPE_SLOTS_MAX     256 // 1 MiB: /proc/sys/fs/pipe-max-size

// A stretch of one page. The pipe holds a reference to the page.
struct pipe_buffer {
    struct page *page;
    uint32_t offset;
    uint32_t len_bytes;
    uint32_t flags; // PIPE_BUFFER_*
};
#define PIPE_BUFFER_MERGE  BIT(0) // the page is the pipe's own: a later write may append to it
#define PIPE_BUFFER_PACKET BIT(1) // O_DIRECT: one read returns at most this buffer

struct pipe {
    struct mutex lock; // everything below but the queues; may be held over user copies
    uint32_t
        head; // next slot to fill; head - tail slots are in use. Racy reads for wait conditions
    uint32_t tail;
    uint32_t slot_count; // power of two
    struct pipe_buffer *slots;
    uint32_t reader_count; // open files; racy reads for wait conditions
    uint32_t writer_count;
    uint32_t reader_opens; // FIFOs: opens so far, so that an opener notices one that came and went
    uint32_t writer_opens;
    struct page *spare;           // one drained page, for the next write
    struct wait_queue read_wait;  // wait for data, for writers
    struct wait_queue write_wait; // wait for room, for readers
    uint32_t refcount;            // open files, and the FIFO's inode
    struct pipe_buffer inline_slots[PIPE_SLOTS_DEFAULT];
};

// Both ends of a new pipe, one reference each. open_flags: O_NONBLOCK, O_DIRECT. -ENOMEM.
void pipe_init(void); // tells the file systems how FIFOs are opened; once, at start-up
[[nodiscard]] int pipe_create(uint32_t open_flags, struct file **read_end, struct file **write_end);
// The pipe behind a file, or NULL if it is none.
struct pipe *pipe_of_file(const struct file *file);
// Capacity in bytes; setting rounds up to a power-of-two number of pages: the new size, -EBUSY when
// the content does not fit, -EPERM above the maximum, -EINVAL, -ENOMEM.
int64_t pipe_size_get(struct pipe *pipe);
int64_t pipe_size_set(struct pipe *pipe, uint64_t len_bytes);

// Opens a FIFO: finds or makes the pipe in *slot (the inode's), under the POSIX rules of waiting
// for the other side. Sets file->ops and private_data. *slot is protected by pipe_fifo_lock. 0,
// -ENXIO, -ERESTARTSYS, -ENOMEM. May sleep.
[[nodiscard]] int pipe_fifo_open(struct pipe **slot, struct file *file);
void pipe_fifo_destroy(struct pipe *pipe); // the FIFO's inode goes away

// ---- for splice; pipe->lock held ----
static inline uint32_t pipe_used(const struct pipe *pipe)
{
    return __atomic_load_n(&pipe->head, __ATOMIC_RELAXED) -
           __atomic_load_n(&pipe->tail, __ATOMIC_RELAXED);
}
static inline struct pipe_buffer *pipe_slot(struct pipe *pipe, uint32_t position)
{
    return &pipe->slots[position & (pipe->slot_count - 1)];
}
void pipe_push(
    struct pipe *pipe, struct page *page, uint32_t offset, uint32_t len_bytes, uint32_t flags);
void pipe_consume(
    struct pipe *pipe, uint32_t len_bytes); // from the oldest buffer; drops it when it is empty
// Sleeps (unlocked meanwhile) until there is data or no writer. 0: look again; -EAGAIN,
// -ERESTARTSYS. For room: also -EPIPE (SIGPIPE sent) without readers.
[[nodiscard]] int pipe_wait_data(struct pipe *pipe, bool nonblocking);
[[nodiscard]] int pipe_wait_room(struct pipe *pipe, bool nonblocking);
void pipe_wake_readers(struct pipe *pipe);
void pipe_wake_writers(struct pipe *pipe);
