// SPDX-License-Identifier: MIT
// Virtqueues: what both formats have in common.

#include "virtio/ring/ring.h"

#include "kernel/base/string.h"
#include "virtio/ring/ring_private.h"

#include <linux/errno.h>

struct virtio_ring_layout virtio_ring_layout(bool is_packed, uint16_t size)
{
    struct virtio_ring_layout layout = {.driver_offset = size * 16u};
    if (is_packed) {
        static_assert(sizeof(struct vring_packed_desc) == 16);
        // On cache lines of their own: each is written by one side and read by the other.
        layout.driver_offset = ALIGN_UP(layout.driver_offset, CACHE_LINE_SIZE);
        layout.device_offset = layout.driver_offset + CACHE_LINE_SIZE;
        layout.len_bytes = layout.device_offset + CACHE_LINE_SIZE;
    } else {
        static_assert(sizeof(struct vring_desc) == 16);
        uint32_t available_bytes = 2 * (3 + size);
        layout.device_offset = ALIGN_UP(layout.driver_offset + available_bytes, CACHE_LINE_SIZE);
        layout.len_bytes = layout.device_offset + 6 + 8u * size;
    }
    return layout;
}

void virtio_ring_init(struct virtio_ring *ring, const struct virtio_ring_config *config)
{
    uint16_t size = config->size;
    assert(size >= 1);
    assert(size <= VIRTIO_RING_SIZE_MAX);
    assert(config->is_packed || IS_POWER_OF_TWO(size));
    *ring = (struct virtio_ring){.config = *config, .free = size, .wants_interrupt = true};
    memset(config->memory, 0, virtio_ring_layout(config->is_packed, size).len_bytes);
    for (uint32_t i = 0; i < size; i++) {
        config->buffers[i] = (struct virtio_ring_buffer){};
        config->buffers[i].next = (uint16_t)(i + 1 == size ? 0 : i + 1);
    }
    if (config->is_packed)
        packed_ring_init(ring);
    else
        split_ring_init(ring);
    expensive_assert(virtio_ring_is_valid(ring));
}

int virtio_ring_add(struct virtio_ring *ring, const struct virtio_segment *segments,
    uint32_t readable, uint32_t writable, void *token, const struct virtio_indirect *indirect)
{
    uint32_t count = readable + writable;
    assert(token != NULL);
    assert(count >= 1);
    if (unlikely(ring->broken != NULL))
        return -EIO;
    if (count > ring->config.size)
        return -EMSGSIZE;
    if (count == 1 || !ring->config.has_indirect)
        indirect = NULL;
    assert(indirect == NULL || indirect->capacity >= count);
    if (ring->free < (indirect != NULL ? 1 : count))
        return -ENOSPC;
    if (ring->config.is_packed)
        packed_ring_add(ring, segments, readable, count, token, indirect);
    else
        split_ring_add(ring, segments, readable, count, token, indirect);
    expensive_assert(virtio_ring_is_valid(ring));
    return 0;
}

bool virtio_ring_publish(struct virtio_ring *ring)
{
    if (ring->added == ring->published || ring->broken != NULL)
        return false;
    return ring->config.is_packed ? packed_ring_publish(ring) : split_ring_publish(ring);
}

uint16_t virtio_ring_notification_data(const struct virtio_ring *ring)
{
    if (!ring->config.is_packed)
        return ring->published;
    return ring->packed.next_available |
           (uint16_t)(ring->packed.available_wrap << VRING_PACKED_EVENT_F_WRAP_CTR);
}

uint32_t ring_batch_len(const struct virtio_ring *ring, uint32_t id, uint32_t limit)
{
    if (!ring_id_is_in_flight(ring, id))
        return 0;
    uint32_t len = (uint16_t)(ring->config.buffers[id].position -
                              ring->config.buffers[ring->oldest].position) +
                   1u;
    return len <= limit ? len : 0;
}

// In order, inside a batch: the next buffer has been used, without a word of the device about it.
static int take_from_batch(struct virtio_ring *ring, void **token, uint32_t *written_bytes)
{
    uint16_t id = ring->oldest;
    struct virtio_ring_buffer *buffer = &ring->config.buffers[id];
    *token = buffer->token;
    *written_bytes = buffer->writable_bytes;
    if (id == ring->batch_last) {
        *written_bytes = ring->batch_bytes;
        ring->has_batch = false;
    }
    ring->oldest = ring_next_in_order(ring, id);
    ring->free += buffer->descriptors;
    ring->taken++;
    buffer->token = NULL;
    return 1;
}

int virtio_ring_take(struct virtio_ring *ring, void **token, uint32_t *written_bytes)
{
    if (unlikely(ring->broken != NULL))
        return -EIO;
    int result = 1;
    if (!ring->has_batch)
        result = ring->config.is_packed ? packed_ring_take(ring, token, written_bytes)
                                        : split_ring_take(ring, token, written_bytes);
    if (result == 1 && ring->has_batch)
        result = take_from_batch(ring, token, written_bytes);
    expensive_assert(virtio_ring_is_valid(ring));
    return result;
}

bool virtio_ring_has_used(const struct virtio_ring *ring)
{
    if (ring->broken != NULL)
        return false;
    if (ring->has_batch)
        return true;
    return ring->config.is_packed ? packed_ring_has_used(ring) : split_ring_has_used(ring);
}

void virtio_ring_interrupt_disable(struct virtio_ring *ring)
{
    if (!ring->wants_interrupt)
        return;
    ring->wants_interrupt = false;
    if (ring->config.is_packed)
        packed_ring_interrupt_disable(ring);
    else
        split_ring_interrupt_disable(ring);
}

bool virtio_ring_interrupt_enable(struct virtio_ring *ring, uint32_t after)
{
    if (ring->broken != NULL)
        return false;
    ring->wants_interrupt = true;
    if (ring->has_batch)
        after = 0;
    bool is_there = ring->config.is_packed ? packed_ring_interrupt_enable(ring, after)
                                           : split_ring_interrupt_enable(ring, after);
    return is_there || ring->has_batch;
}

int ring_broken(struct virtio_ring *ring, const char *why)
{
    if (ring->broken == NULL)
        ring->broken = why;
    return -EIO;
}

void virtio_ring_break(struct virtio_ring *ring, const char *why)
{
    assert(why != NULL);
    (void)ring_broken(ring, why);
}

void *virtio_ring_outstanding(struct virtio_ring *ring)
{
    if (ring->broken == NULL)
        ring->broken = "reset";
    for (uint32_t id = 0; id < ring->config.size; id++) {
        void *token = ring->config.buffers[id].token;
        if (token != NULL) {
            ring->config.buffers[id].token = NULL;
            return token;
        }
    }
    return NULL;
}

bool virtio_ring_is_valid(const struct virtio_ring *ring)
{
    if (ring->broken != NULL)
        return true;
    uint32_t descriptors = 0, in_flight = 0, prepared = 0;
    for (uint32_t id = 0; id < ring->config.size; id++) {
        const struct virtio_ring_buffer *buffer = &ring->config.buffers[id];
        if (buffer->next >= ring->config.size)
            return false;
        if (buffer->token == NULL)
            continue;
        descriptors += buffer->descriptors;
        if (ring_id_is_in_flight(ring, id))
            in_flight++;
        else
            prepared++;
    }
    return ring->free + descriptors == ring->config.size &&
           in_flight == virtio_ring_in_flight(ring) &&
           prepared == (uint16_t)(ring->added - ring->published);
}
