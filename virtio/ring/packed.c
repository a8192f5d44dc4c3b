// SPDX-License-Identifier: MIT
// The packed virtqueue (virtio 1.2, section 2.8).
//
// One ring of descriptors, used in order by both sides; two flag bits and a wrap counter on each
// side say whose turn a descriptor is. A batch becomes visible with the flags of its first
// descriptor, which are held back until virtio_ring_publish(): the device does not look past a
// descriptor that is not available, so that one store publishes all of them.

#include "virtio/ring/ring_private.h"

#include <linux/errno.h>

#define FLAG_AVAILABLE (1u << VRING_PACKED_DESC_F_AVAIL)
#define FLAG_USED      (1u << VRING_PACKED_DESC_F_USED)

void packed_ring_init(struct virtio_ring *ring)
{
    struct virtio_ring_layout layout = virtio_ring_layout(true, ring->config.size);
    char *memory = ring->config.memory;
    ring->packed.descriptors = (struct vring_packed_desc *)memory;
    ring->packed.driver_event = (struct vring_packed_desc_event *)(memory + layout.driver_offset);
    ring->packed.device_event = (struct vring_packed_desc_event *)(memory + layout.device_offset);
    ring->packed.available_wrap = true;
    ring->packed.used_wrap = true;
}

// 2.8.1: available is "AVAIL is the driver's wrap counter, USED its inverse".
static uint16_t available_flags(const struct virtio_ring *ring)
{
    return ring->packed.available_wrap ? FLAG_AVAILABLE : FLAG_USED;
}

// Writes the descriptor at next_available; its flags last, or not yet if it starts the batch.
static void put(
    struct virtio_ring *ring, uint64_t address, uint32_t len_bytes, uint16_t id, uint16_t flags)
{
    uint16_t index = ring->packed.next_available;
    struct vring_packed_desc *descriptor = &ring->packed.descriptors[index];
    descriptor->addr = address;
    descriptor->len = len_bytes;
    descriptor->id = id;
    flags |= available_flags(ring);
    if (ring->packed.held_count++ == 0) {
        ring->packed.held_index = index;
        ring->packed.held_flags = flags;
    } else {
        atomic_store_release(&descriptor->flags, flags);
    }
    ring->packed.next_available = index + 1;
    if (ring->packed.next_available == ring->config.size) {
        ring->packed.next_available = 0;
        ring->packed.available_wrap = !ring->packed.available_wrap;
    }
}

void packed_ring_add(struct virtio_ring *ring, const struct virtio_segment *segments,
    uint32_t readable, uint32_t count, void *token, const struct virtio_indirect *table)
{
    uint16_t id = ring->free_head;
    ring->free_head = ring->config.buffers[id].next;
    if (table != NULL) {
        struct vring_packed_desc *entries = table->table;
        for (uint32_t i = 0; i < count; i++) {
            // 2.8.7: of the flags only WRITE has a meaning here, the id has none.
            entries[i] = (struct vring_packed_desc){.addr = segments[i].address,
                .len = segments[i].len_bytes,
                .flags = i >= readable ? VRING_DESC_F_WRITE : 0};
        }
        put(ring, table->address, count * sizeof(struct vring_packed_desc), id,
            VRING_DESC_F_INDIRECT);
    } else {
        for (uint32_t i = 0; i < count; i++)
            put(ring, segments[i].address, segments[i].len_bytes, id,
                (uint16_t)((i + 1 < count ? VRING_DESC_F_NEXT : 0) |
                           (i >= readable ? VRING_DESC_F_WRITE : 0)));
    }
    ring_buffer_set(ring, id, token, ring_writable_bytes(segments, readable, count),
        (uint16_t)(table != NULL ? 1 : count));
}

bool packed_ring_publish(struct virtio_ring *ring)
{
    uint16_t now = ring->packed.next_available;
    uint16_t before = (uint16_t)(now - ring->packed.held_count);
    ring->published = ring->added;
    ring->packed.published_count += ring->packed.held_count;
    ring->packed.held_count = 0;
    atomic_store_release(
        &ring->packed.descriptors[ring->packed.held_index].flags, ring->packed.held_flags);
    // 2.8.21.3.1: visible before we look whether a notification is wanted.
    atomic_fence();
    // Offset and flags belong together: one access (2.8.10).
    uint32_t word = atomic_load_relaxed((const uint32_t *)ring->packed.device_event);
    uint16_t flags = (word >> 16) & 3;
    if (flags != VRING_PACKED_EVENT_FLAG_DESC || !ring->config.has_event_idx)
        return flags != VRING_PACKED_EVENT_FLAG_DISABLE;
    uint16_t event = word & ((1u << VRING_PACKED_EVENT_F_WRAP_CTR) - 1);
    bool event_wrap = (word >> VRING_PACKED_EVENT_F_WRAP_CTR) & 1;
    if (event_wrap != ring->packed.available_wrap)
        event = (uint16_t)(event - ring->config.size);
    return vring_need_event(event, now, before);
}

static bool flags_are_used(uint16_t flags, bool wrap)
{
    return !!(flags & FLAG_AVAILABLE) == wrap && !!(flags & FLAG_USED) == wrap;
}

bool packed_ring_has_used(const struct virtio_ring *ring)
{
    const struct vring_packed_desc *descriptor = &ring->packed.descriptors[ring->packed.next_used];
    return flags_are_used(atomic_load_acquire(&descriptor->flags), ring->packed.used_wrap);
}

// The device goes on behind the descriptors of what it has used.
static void skip_used(struct virtio_ring *ring, uint32_t descriptors)
{
    uint32_t next = ring->packed.next_used + descriptors;
    if (next >= ring->config.size) {
        next -= ring->config.size;
        ring->packed.used_wrap = !ring->packed.used_wrap;
    }
    ring->packed.next_used = (uint16_t)next;
    ring->packed.published_count -= descriptors;
}

// In order: all buffers up to `id` have been used, one descriptor was written for them (2.8.14).
static int start_batch(struct virtio_ring *ring, uint16_t id, uint32_t len)
{
    if (unlikely(ring_batch_len(ring, id, virtio_ring_in_flight(ring)) == 0))
        return ring_broken(ring, "the device used buffers out of order");
    uint32_t descriptors = ring->config.buffers[id].descriptors;
    for (uint16_t i = ring->oldest; i != id; i = ring_next_in_order(ring, i))
        descriptors += ring->config.buffers[i].descriptors;
    skip_used(ring, descriptors);
    ring->has_batch = true;
    ring->batch_last = id;
    ring->batch_bytes = len;
    return 1;
}

int packed_ring_take(struct virtio_ring *ring, void **token, uint32_t *written_bytes)
{
    const struct vring_packed_desc *descriptor = &ring->packed.descriptors[ring->packed.next_used];
    uint16_t flags = atomic_load_acquire(&descriptor->flags);
    if (!flags_are_used(flags, ring->packed.used_wrap))
        return 0;
    uint16_t id = atomic_load_relaxed(&descriptor->id);
    uint32_t len = atomic_load_relaxed(&descriptor->len);
    if (unlikely(!ring_id_is_in_flight(ring, id)))
        return ring_broken(ring, "the device used a buffer that it was not given");
    struct virtio_ring_buffer *buffer = &ring->config.buffers[id];
    // 2.8.4 has the length valid only with the WRITE flag, which QEMU 7.2 never sets: a device that
    // wrote nothing says 0.
    if (unlikely(len > buffer->writable_bytes))
        return ring_broken(ring, "the device wrote more than there was room for");
    if (ring->config.is_in_order)
        return start_batch(ring, id, len);
    *token = buffer->token;
    *written_bytes = len;
    skip_used(ring, buffer->descriptors);
    buffer->next = ring->free_head;
    ring->free_head = id;
    ring->free += buffer->descriptors;
    ring->taken++;
    buffer->token = NULL;
    return 1;
}

void packed_ring_interrupt_disable(struct virtio_ring *ring)
{
    atomic_store_relaxed(&ring->packed.driver_event->flags, VRING_PACKED_EVENT_FLAG_DISABLE);
}

bool packed_ring_interrupt_enable(struct virtio_ring *ring, uint32_t after)
{
    struct vring_packed_desc_event *event = ring->packed.driver_event;
    uint16_t index = ring->packed.next_used;
    bool wrap = ring->packed.used_wrap;
    if (ring->config.has_event_idx) {
        // In descriptors, which are at least as many as buffers: earlier rather than later.
        uint32_t in_flight = ring->packed.published_count;
        uint32_t delay = after < in_flight ? after : in_flight == 0 ? 0 : in_flight - 1;
        uint32_t at = index + delay;
        if (at >= ring->config.size) {
            at -= ring->config.size;
            wrap = !wrap;
        }
        index = (uint16_t)at;
        uint16_t place = (uint16_t)(index | wrap << VRING_PACKED_EVENT_F_WRAP_CTR);
        atomic_store_relaxed(&event->off_wrap, place);
        atomic_store_release(&event->flags, VRING_PACKED_EVENT_FLAG_DESC);
    } else {
        atomic_store_relaxed(&event->flags, VRING_PACKED_EVENT_FLAG_ENABLE);
    }
    // The wish is visible before we look whether it came too late.
    atomic_fence();
    // A chain leaves one used descriptor, at its start, so that the one at `index` may never show.
    // But if nothing is there at next_used now, everything up to the event is still to come.
    return packed_ring_has_used(ring);
}
