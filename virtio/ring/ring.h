// SPDX-License-Identifier: MIT
// Virtqueues as pure code: the split and the packed ring (virtio 1.2, sections 2.7 and 2.8).
//
// Nothing here touches a device. A driver *adds* buffers (lists of segments, each with a token of
// its own), as many as it likes, then *publishes* them at once and learns whether the device has to
// be notified; it *takes* buffers that the device has used, and says when it wants to be
// interrupted. One buffer is one request: segments that the device reads, then segments that it
// writes.
//
// The device is not trusted. What it writes (used index, ids, lengths, descriptor flags) is read
// once and checked; what the driver needs later (which descriptors a buffer has, how much of it the
// device may write) is kept in memory that the device does not see, and nothing that was written
// for the device is ever read back. A bad value breaks the ring: from then on nothing is added or
// taken (-EIO), and when the device has been reset virtio_ring_outstanding() hands back the tokens
// of everything that it still had, each exactly once.
//
// Invariants (virtio_ring_is_valid()):
//   I1  a token is in `buffers` from add until take or outstanding, and nowhere else
//   I2  free + descriptors of all buffers == size
//   I3  in_flight == published - taken, as 16-bit counts of buffers; added - published are prepared
//   I4  only buffers with a position before `published` can be taken
//
// Context: any. The caller sees to it that one processor at a time uses a ring, and that no
// interrupt handler of its own comes in between.
#pragma once

#include "kernel/base/types.h"

#define VIRTIO_RING_SIZE_MAX 32768

// Memory as the device addresses it.
struct virtio_segment {
    uint64_t address;
    uint32_t len_bytes;
};

// Room for an indirect descriptor table (2.7.5.3, 2.8.7), which must stay until the buffer is
// taken. 16 bytes an entry.
struct virtio_indirect {
    void *table;
    uint64_t address; // as the device addresses it
    uint32_t capacity;
};

// What the driver remembers of a buffer, by its id (split: the index of its first descriptor).
struct virtio_ring_buffer {
    void *token;             // NULL: not in use as an id
    uint32_t writable_bytes; // what the device may write, at most UINT32_MAX
    uint16_t descriptors;    // entries of the ring that it occupies
    uint16_t next;           // free list; split: also the chain's next descriptor
    uint16_t position;       // `added` when it was added
};

struct virtio_ring_config {
    bool is_packed;     // VIRTIO_F_RING_PACKED
    bool has_event_idx; // VIRTIO_F_EVENT_IDX
    bool has_indirect;  // VIRTIO_F_INDIRECT_DESC
    bool is_in_order;   // VIRTIO_F_IN_ORDER
    uint16_t size;      // 1..32768; split: a power of two
    void *memory;       // virtio_ring_memory_bytes(), 4096-byte aligned; shared with the device
    struct virtio_ring_buffer *buffers; // `size` of them; the driver's own
};

// Offsets of the three areas in `memory`: what a transport tells the device.
struct virtio_ring_layout {
    uint32_t descriptor_offset;
    uint32_t driver_offset; // available ring; packed: driver event suppression
    uint32_t device_offset; // used ring; packed: device event suppression
    uint32_t len_bytes;
};

struct vring_desc;
struct vring_avail;
struct vring_used;
struct vring_packed_desc;
struct vring_packed_desc_event;

struct virtio_ring {
    struct virtio_ring_config config;
    union {
        struct {
            struct vring_desc *descriptors;
            struct vring_avail *available;
            struct vring_used *used;
            uint16_t *used_event;  // in `available`: written by the driver
            uint16_t *avail_event; // in `used`: written by the device
        } split;
        struct {
            struct vring_packed_desc *descriptors;
            struct vring_packed_desc_event *driver_event;
            struct vring_packed_desc_event *device_event;
            uint16_t next_available;  // descriptor index
            uint16_t next_used;       // descriptor index
            uint16_t held_index;      // first descriptor of the batch that is being prepared
            uint16_t held_flags;      // what makes it, and so the batch, available
            uint32_t held_count;      // descriptors of the batch
            uint32_t published_count; // descriptors in flight
            bool available_wrap;      // driver's wrap counters, start as true
            bool used_wrap;
        } packed;
    };
    uint16_t free_head; // of the list of free ids (split: descriptors)
    uint32_t free;      // descriptors
    uint16_t added;     // buffers ever added, published, taken: modulo 2^16
    uint16_t published;
    uint16_t taken;
    uint16_t oldest;      // in order: id of the oldest buffer in flight
    bool has_batch;       // in order: buffers up to batch_last have been used
    uint16_t batch_last;  // id
    uint32_t batch_bytes; // written to batch_last
    bool wants_interrupt;
    const char *broken; // why the ring is broken, for the log; NULL: it is not
};

// Bytes and places of the shared areas.
struct virtio_ring_layout virtio_ring_layout(bool is_packed, uint16_t size);

// Starts (also over again, after a reset of the queue) with everything empty. Clears `memory`.
// Interrupts are wanted.
void virtio_ring_init(struct virtio_ring *ring, const struct virtio_ring_config *config);

// Prepares a buffer: `readable` segments for the device to read, then `writable` to write to, at
// least one altogether. token: not NULL. indirect: used if that was negotiated and there is more
// than one segment; NULL: descriptors of the ring. The device sees nothing of it before
// virtio_ring_publish(). 0; -ENOSPC: no room now; -EMSGSIZE: never (a buffer has at most as many
// segments as the ring has entries, 2.7.5.3.1); -EIO: broken.
[[nodiscard]] int virtio_ring_add(struct virtio_ring *ring, const struct virtio_segment *segments,
    uint32_t readable, uint32_t writable, void *token, const struct virtio_indirect *indirect);

// Shows everything that was added to the device. True: it wants to be notified.
[[nodiscard]] bool virtio_ring_publish(struct virtio_ring *ring);

// What a notification carries with VIRTIO_F_NOTIFICATION_DATA, beside the queue's number (2.9): the
// upper 16 bits, after virtio_ring_publish().
uint16_t virtio_ring_notification_data(const struct virtio_ring *ring);

// The next buffer that the device has used: its token and how many bytes the device says to have
// written, never more than there was room for. 1; 0: none now; -EIO: broken (or breaks now).
[[nodiscard]] int virtio_ring_take(struct virtio_ring *ring, void **token, uint32_t *written_bytes);

// Is there something to take? A hint, without side effects.
bool virtio_ring_has_used(const struct virtio_ring *ring);

// Interrupts are unwanted: the device may still send some.
void virtio_ring_interrupt_disable(struct virtio_ring *ring);
// An interrupt is wanted when `after` + 1 more buffers than were taken have been used (at most as
// many as are in flight; without EVENT_IDX with the next one). True: there is something to take,
// and no interrupt may come for it: take it and ask again.
[[nodiscard]] bool virtio_ring_interrupt_enable(struct virtio_ring *ring, uint32_t after);

// Marks the ring as broken, for reasons that only the driver sees. `why`: a constant.
void virtio_ring_break(struct virtio_ring *ring, const char *why);

// After the device was reset (it does not touch the memory any more): the token of something that
// was added and not taken, NULL when there is none left.
void *virtio_ring_outstanding(struct virtio_ring *ring);

// Buffers that were published and not taken.
static inline uint32_t virtio_ring_in_flight(const struct virtio_ring *ring)
{
    return (uint16_t)(ring->published - ring->taken);
}

// Walks everything; for assertions.
bool virtio_ring_is_valid(const struct virtio_ring *ring);
