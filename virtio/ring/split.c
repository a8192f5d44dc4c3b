// SPDX-License-Identifier: MIT
// The split virtqueue (virtio 1.2, section 2.7).
//
// Free descriptors form a list through buffers[].next, and a chain takes the first ones of that
// list with their links as they are. With VIRTIO_F_IN_ORDER descriptors have to be used in ring
// order (2.7.9): then the links form a ring for ever, and buffers come back in the order in which
// they went.

#include "virtio/ring/ring_private.h"

#include <linux/errno.h>

static uint16_t mask(const struct virtio_ring *ring)
{
    return ring->config.size - 1;
}

void split_ring_init(struct virtio_ring *ring)
{
    struct virtio_ring_layout layout = virtio_ring_layout(false, ring->config.size);
    char *memory = ring->config.memory;
    ring->split.descriptors = (struct vring_desc *)memory;
    ring->split.available = (struct vring_avail *)(memory + layout.driver_offset);
    ring->split.used = (struct vring_used *)(memory + layout.device_offset);
    ring->split.used_event = &ring->split.available->ring[ring->config.size];
    ring->split.avail_event = (uint16_t *)&ring->split.used->ring[ring->config.size];
}

static uint16_t segment_flags(uint32_t i, uint32_t readable, uint32_t count)
{
    return (uint16_t)((i + 1 < count ? VRING_DESC_F_NEXT : 0) |
                      (i >= readable ? VRING_DESC_F_WRITE : 0));
}

// Fills the buffer's indirect table, whose entries are linked one after the other.
static void fill_table(struct vring_desc *table, const struct virtio_segment *segments,
    uint32_t readable, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        table[i].addr = segments[i].address;
        table[i].len = segments[i].len_bytes;
        table[i].flags = segment_flags(i, readable, count);
        table[i].next = (uint16_t)(i + 1);
    }
}

void split_ring_add(struct virtio_ring *ring, const struct virtio_segment *segments,
    uint32_t readable, uint32_t count, void *token, const struct virtio_indirect *table)
{
    uint16_t id = ring->free_head;
    uint16_t position = ring->added & mask(ring);
    uint32_t writable_bytes = ring_writable_bytes(segments, readable, count);
    if (table != NULL) {
        fill_table(table->table, segments, readable, count);
        ring->split.descriptors[id] = (struct vring_desc){.addr = table->address,
            .len = count * sizeof(struct vring_desc),
            .flags = VRING_DESC_F_INDIRECT};
        ring->free_head = ring->config.buffers[id].next;
        ring_buffer_set(ring, id, token, writable_bytes, 1);
    } else {
        uint16_t index = id;
        for (uint32_t i = 0; i < count; i++) {
            uint16_t next = ring->config.buffers[index].next;
            ring->split.descriptors[index] = (struct vring_desc){.addr = segments[i].address,
                .len = segments[i].len_bytes,
                .flags = segment_flags(i, readable, count),
                .next = next};
            index = next;
        }
        ring->free_head = index;
        ring_buffer_set(ring, id, token, writable_bytes, (uint16_t)count);
    }
    ring->split.available->ring[position] = id;
}

bool split_ring_publish(struct virtio_ring *ring)
{
    uint16_t before = ring->published, now = ring->added;
    ring->published = now;
    // 2.7.13.3.1: the device sees descriptors and entries before the index.
    atomic_store_release(&ring->split.available->idx, now);
    // 2.7.13.4.1: the index is visible before we look whether a notification is wanted.
    atomic_fence();
    if (ring->config.has_event_idx)
        return vring_need_event(atomic_load_relaxed(ring->split.avail_event), now, before);
    return !(atomic_load_relaxed(&ring->split.used->flags) & VRING_USED_F_NO_NOTIFY);
}

bool split_ring_has_used(const struct virtio_ring *ring)
{
    return atomic_load_acquire(&ring->split.used->idx) != ring->taken;
}

// Gives the buffer's descriptors back.
static void release(struct virtio_ring *ring, uint16_t id)
{
    struct virtio_ring_buffer *buffers = ring->config.buffers;
    uint16_t last = id;
    for (uint32_t i = 1; i < buffers[id].descriptors; i++)
        last = buffers[last].next;
    buffers[last].next = ring->free_head;
    ring->free_head = id;
    ring->free += buffers[id].descriptors;
    buffers[id].token = NULL;
}

int split_ring_take(struct virtio_ring *ring, void **token, uint32_t *written_bytes)
{
    // 2.7.14: entries are valid up to the index.
    uint16_t pending = atomic_load_acquire(&ring->split.used->idx) - ring->taken;
    if (pending == 0)
        return 0;
    if (unlikely(pending > virtio_ring_in_flight(ring)))
        return ring_broken(ring, "the device used more buffers than it was given");
    const struct vring_used_elem *element = &ring->split.used->ring[ring->taken & mask(ring)];
    uint32_t id = atomic_load_relaxed(&element->id);
    uint32_t len = atomic_load_relaxed(&element->len);
    if (unlikely(!ring_id_is_in_flight(ring, id)))
        return ring_broken(ring, "the device used a buffer that it was not given");
    if (unlikely(len > ring->config.buffers[id].writable_bytes))
        return ring_broken(ring, "the device wrote more than there was room for");
    if (ring->config.is_in_order) {
        if (unlikely(ring_batch_len(ring, id, pending) == 0))
            return ring_broken(ring, "the device used buffers out of order");
        ring->has_batch = true;
        ring->batch_last = (uint16_t)id;
        ring->batch_bytes = len;
        return 1;
    }
    *token = ring->config.buffers[id].token;
    *written_bytes = len;
    release(ring, (uint16_t)id);
    ring->taken++;
    return 1;
}

void split_ring_interrupt_disable(struct virtio_ring *ring)
{
    // With EVENT_IDX the flag must stay 0 (2.7.10.1): an event just passed is as far as can be.
    if (ring->config.has_event_idx)
        atomic_store_relaxed(ring->split.used_event, (uint16_t)(ring->taken - 1));
    else
        atomic_store_relaxed(&ring->split.available->flags, VRING_AVAIL_F_NO_INTERRUPT);
}

bool split_ring_interrupt_enable(struct virtio_ring *ring, uint32_t after)
{
    uint32_t in_flight = virtio_ring_in_flight(ring);
    uint16_t delay = 0;
    if (ring->config.has_event_idx) {
        delay = (uint16_t)(after < in_flight ? after : in_flight == 0 ? 0 : in_flight - 1);
        atomic_store_relaxed(ring->split.used_event, (uint16_t)(ring->taken + delay));
    } else {
        atomic_store_relaxed(&ring->split.available->flags, 0);
    }
    // The wish is visible before we look whether it came too late.
    atomic_fence();
    return (uint16_t)(atomic_load_acquire(&ring->split.used->idx) - ring->taken) > delay;
}
