// SPDX-License-Identifier: MIT
// What the two formats have in common. Private to virtio/ring.
#pragma once

#include "kernel/base/assert.h"
#include "kernel/base/atomic.h"
#include "virtio/ring/ring.h"

#include <linux/virtio_ring.h>

// Buffers: `count` segments, already checked; `table` says that they go through the indirect table.
void split_ring_init(struct virtio_ring *ring);
void split_ring_add(struct virtio_ring *ring, const struct virtio_segment *segments,
    uint32_t readable, uint32_t count, void *token, const struct virtio_indirect *table);
bool split_ring_publish(struct virtio_ring *ring);
int split_ring_take(struct virtio_ring *ring, void **token, uint32_t *written_bytes);
bool split_ring_has_used(const struct virtio_ring *ring);
void split_ring_interrupt_disable(struct virtio_ring *ring);
bool split_ring_interrupt_enable(struct virtio_ring *ring, uint32_t after);

void packed_ring_init(struct virtio_ring *ring);
void packed_ring_add(struct virtio_ring *ring, const struct virtio_segment *segments,
    uint32_t readable, uint32_t count, void *token, const struct virtio_indirect *table);
bool packed_ring_publish(struct virtio_ring *ring);
int packed_ring_take(struct virtio_ring *ring, void **token, uint32_t *written_bytes);
bool packed_ring_has_used(const struct virtio_ring *ring);
void packed_ring_interrupt_disable(struct virtio_ring *ring);
bool packed_ring_interrupt_enable(struct virtio_ring *ring, uint32_t after);

// Marks the ring broken and returns -EIO.
int ring_broken(struct virtio_ring *ring, const char *why);

// Is the id that of a buffer which the device has (I4)?
static inline bool ring_id_is_in_flight(const struct virtio_ring *ring, uint32_t id)
{
    if (id >= ring->config.size || ring->config.buffers[id].token == NULL)
        return false;
    uint16_t age = (uint16_t)(ring->published - ring->config.buffers[id].position);
    return age != 0 && age <= VIRTIO_RING_SIZE_MAX;
}

// The id after `id` in the order of adding, with VIRTIO_F_IN_ORDER.
static inline uint16_t ring_next_in_order(const struct virtio_ring *ring, uint16_t id)
{
    uint32_t step = ring->config.is_packed ? 1 : ring->config.buffers[id].descriptors;
    uint32_t next = id + step;
    return (uint16_t)(next >= ring->config.size ? next - ring->config.size : next);
}

// Remembers a buffer under its id.
static inline void ring_buffer_set(
    struct virtio_ring *ring, uint16_t id, void *token, uint32_t writable_bytes, uint16_t count)
{
    struct virtio_ring_buffer *buffer = &ring->config.buffers[id];
    debug_assert(buffer->token == NULL);
    buffer->token = token;
    buffer->writable_bytes = writable_bytes;
    buffer->descriptors = count;
    buffer->position = ring->added++;
    ring->free -= count;
}

// Sum of the writable segments, at most UINT32_MAX.
static inline uint32_t ring_writable_bytes(
    const struct virtio_segment *segments, uint32_t readable, uint32_t count)
{
    uint64_t bytes = 0;
    for (uint32_t i = readable; i < count; i++)
        bytes += segments[i].len_bytes;
    return bytes > UINT32_MAX ? UINT32_MAX : (uint32_t)bytes;
}

// In order: the device said that `id` is used, and with it all older ones (2.7.9, 2.8.14): how many
// are these? 0: `id` is not in flight.
uint32_t ring_batch_len(const struct virtio_ring *ring, uint32_t id, uint32_t limit);
