// SPDX-License-Identifier: MIT
// The device's side of a virtqueue. Written from the specification's device sections, not from the
// driver's code, so that both are wrong in the same way only if the specification was misread
// twice.

#include "virtio/ring/model_device.h"

#include "kernel/base/atomic.h"

#include <linux/virtio_ring.h>
#include <stdio.h>
#include <stdlib.h>

// A rule of the specification, by its section.
#define rule(section, condition)                                                                   \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(                                                                               \
                stderr, "%s:%d: virtio 1.2, %s: %s\n", __FILE__, __LINE__, section, #condition);   \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

void model_device_init(struct model_device *device, const struct virtio_ring_config *config)
{
    struct virtio_ring_layout layout = virtio_ring_layout(config->is_packed, config->size);
    char *memory = config->memory;
    *device = (struct model_device){.config = *config,
        .descriptors = memory,
        .driver_area = memory + layout.driver_offset,
        .device_area = memory + layout.device_offset,
        .available_wrap = true,
        .used_wrap = true};
    device->config.buffers = NULL;
    // 2.7: alignment 16, 2, 4. 2.8.10: 16, 4, 4.
    rule("2.7", (uintptr_t)device->descriptors % 16 == 0);
    rule("2.7", (uintptr_t)device->driver_area % (config->is_packed ? 4 : 2) == 0);
    rule("2.7", (uintptr_t)device->device_area % 4 == 0);
}

static void add_segment(struct model_buffer *buffer, uint64_t address, uint32_t len, bool writable)
{
    uint32_t count = buffer->readable + buffer->writable;
    rule("2.7.4.2: writable parts come after readable ones", writable || buffer->writable == 0);
    rule("the test's limit", count < MODEL_SEGMENTS_MAX);
    buffer->segments[count] = (struct virtio_segment){address, len};
    buffer->readable += !writable;
    buffer->writable += writable;
}

// ---- split --------------------------------------------------------------------------------------

static void split_follow(const struct vring_desc *table, uint32_t size, uint32_t first,
    struct model_device *device, struct model_buffer *buffer)
{
    uint32_t index = first;
    for (uint32_t i = 0;; i++) {
        rule("2.7.5: index below the table's size", index < size);
        rule("2.7.5.2: no loops", i < size);
        rule("2.7.5.3.1: no longer than the queue", i < device->config.size);
        struct vring_desc descriptor = table[index];
        rule("2.7.5.3.1: no indirect table in an indirect table or a chain",
            !(descriptor.flags & VRING_DESC_F_INDIRECT));
        add_segment(buffer, descriptor.addr, descriptor.len, descriptor.flags & VRING_DESC_F_WRITE);
        if (!(descriptor.flags & VRING_DESC_F_NEXT))
            break;
        if (device->config.is_in_order && table == (struct vring_desc *)device->descriptors)
            rule("2.7.9: descriptors in ring order", descriptor.next == (index + 1) % size);
        index = descriptor.next;
    }
}

static bool split_pop(struct model_device *device, struct model_buffer *buffer)
{
    uint16_t size = device->config.size;
    const struct vring_avail *available = (const struct vring_avail *)device->driver_area;
    const struct vring_desc *table = (const struct vring_desc *)device->descriptors;
    uint16_t ready = atomic_load_acquire(&available->idx) - device->next_available;
    rule("2.7.6: at most `size` buffers", ready <= size);
    if (device->config.has_event_idx)
        rule("2.7.7.1: flags are 0", atomic_load_relaxed(&available->flags) == 0);
    if (ready == 0)
        return false;
    uint16_t id = available->ring[device->next_available % size];
    rule("2.7.6: entries are descriptors", id < size);
    *buffer = (struct model_buffer){.id = id, .descriptors = 1};
    if (table[id].flags & VRING_DESC_F_INDIRECT) {
        rule("2.7.5.3.1: only if negotiated", device->config.has_indirect);
        rule("2.7.5.3.1: not with NEXT", !(table[id].flags & VRING_DESC_F_NEXT));
        rule("2.7.5.3: whole descriptors", table[id].len % 16 == 0 && table[id].len != 0);
        split_follow(
            (const struct vring_desc *)table[id].addr, table[id].len / 16, 0, device, buffer);
    } else {
        split_follow(table, size, id, device, buffer);
        buffer->descriptors = (uint16_t)(buffer->readable + buffer->writable);
    }
    device->next_available++;
    device->in_flight += buffer->descriptors;
    rule("2.7.5: descriptors are not shared", device->in_flight <= size);
    return true;
}

static void split_push(struct model_device *device, const struct model_buffer *buffer,
    uint32_t written_bytes, uint32_t skipped)
{
    struct vring_used *used = (struct vring_used *)device->device_area;
    uint16_t place = device->next_used % device->config.size;
    used->ring[place].id = buffer->id;
    used->ring[place].len = written_bytes;
    device->next_used = (uint16_t)(device->next_used + 1 + skipped);
}

// ---- packed -------------------------------------------------------------------------------------

static bool packed_is_available(
    struct model_device *device, uint16_t index, bool wrap, struct vring_packed_desc *descriptor)
{
    const struct vring_packed_desc *at = (struct vring_packed_desc *)device->descriptors + index;
    uint16_t flags = atomic_load_acquire(&at->flags);
    bool available = flags & (1u << VRING_PACKED_DESC_F_AVAIL);
    bool used = flags & (1u << VRING_PACKED_DESC_F_USED);
    if (available != wrap || used == wrap)
        return false;
    *descriptor =
        (struct vring_packed_desc){.addr = at->addr, .len = at->len, .id = at->id, .flags = flags};
    return true;
}

static void packed_follow_table(const struct vring_packed_desc *indirect,
    struct model_device *device, struct model_buffer *buffer)
{
    const struct vring_packed_desc *table = (const struct vring_packed_desc *)indirect->addr;
    rule("2.8.7: only if negotiated", device->config.has_indirect);
    rule("2.8.7: whole descriptors", indirect->len % 16 == 0 && indirect->len != 0);
    rule("2.8.19: not with NEXT", !(indirect->flags & VRING_DESC_F_NEXT));
    rule("2.8.19: no longer than the queue", indirect->len / 16 <= device->config.size);
    for (uint32_t i = 0; i < indirect->len / 16; i++) {
        rule("2.8.7: no table in a table", !(table[i].flags & VRING_DESC_F_INDIRECT));
        add_segment(buffer, table[i].addr, table[i].len, table[i].flags & VRING_DESC_F_WRITE);
    }
}

static bool packed_pop(struct model_device *device, struct model_buffer *buffer)
{
    struct vring_packed_desc descriptor;
    uint16_t index = device->next_available;
    bool wrap = device->available_wrap;
    if (!packed_is_available(device, index, wrap, &descriptor))
        return false;
    *buffer = (struct model_buffer){};
    for (;;) {
        buffer->descriptors++;
        if (++index == device->config.size) {
            index = 0;
            wrap = !wrap;
        }
        if (descriptor.flags & VRING_DESC_F_INDIRECT) {
            rule("2.8.19: not within a chain", buffer->descriptors == 1);
            packed_follow_table(&descriptor, device, buffer);
            break;
        }
        add_segment(buffer, descriptor.addr, descriptor.len, descriptor.flags & VRING_DESC_F_WRITE);
        if (!(descriptor.flags & VRING_DESC_F_NEXT))
            break;
        rule("2.8.19: no longer than the queue", buffer->descriptors < device->config.size);
        rule("2.8.6: a chain is available as a whole",
            packed_is_available(device, index, wrap, &descriptor));
    }
    buffer->id = descriptor.id; // 2.8.6: of the last descriptor
    device->next_available = index;
    device->available_wrap = wrap;
    device->in_flight += buffer->descriptors;
    rule("2.8.8: descriptors are not overwritten", device->in_flight <= device->config.size);
    return true;
}

static void packed_push(struct model_device *device, const struct model_buffer *buffer,
    uint32_t written_bytes, uint32_t skipped_descriptors)
{
    struct vring_packed_desc *at =
        (struct vring_packed_desc *)device->descriptors + device->next_used;
    at->id = buffer->id;
    at->len = written_bytes;
    uint16_t flags = written_bytes != 0 ? VRING_DESC_F_WRITE : 0;
    if (device->used_wrap)
        flags |= 1u << VRING_PACKED_DESC_F_AVAIL | 1u << VRING_PACKED_DESC_F_USED;
    atomic_store_release(&at->flags, flags);
    uint32_t next = device->next_used + buffer->descriptors + skipped_descriptors;
    if (next >= device->config.size) {
        next -= device->config.size;
        device->used_wrap = !device->used_wrap;
    }
    device->next_used = (uint16_t)next;
}

static bool packed_wants_interrupt(struct model_device *device, uint16_t now, uint16_t before)
{
    uint32_t word = atomic_load_relaxed((uint32_t *)device->driver_area);
    uint16_t flags = word >> 16;
    rule("2.8.10: reserved bits are 0", flags <= VRING_PACKED_EVENT_FLAG_DESC);
    rule("2.8.10.1: DESC only with EVENT_IDX",
        flags != VRING_PACKED_EVENT_FLAG_DESC || device->config.has_event_idx);
    if (flags != VRING_PACKED_EVENT_FLAG_DESC)
        return flags == VRING_PACKED_EVENT_FLAG_ENABLE;
    uint16_t event = word & 0x7fff;
    rule("2.8.10: a place in the ring", event < device->config.size);
    if (((word >> 15) & 1) != device->used_wrap)
        event = (uint16_t)(event - device->config.size);
    return vring_need_event(event, now, before);
}

// ---- both ---------------------------------------------------------------------------------------

bool model_device_pop(struct model_device *device, struct model_buffer *buffer)
{
    return device->config.is_packed ? packed_pop(device, buffer) : split_pop(device, buffer);
}

void model_device_push(struct model_device *device, const struct model_buffer *buffer,
    uint32_t written_bytes, uint32_t skipped_buffers, uint32_t skipped_descriptors)
{
    device->in_flight -= buffer->descriptors + skipped_descriptors;
    // Since the last look at the event, in descriptors (packed) or buffers (split).
    if (device->config.is_packed) {
        packed_push(device, buffer, written_bytes, skipped_descriptors);
        device->event_base =
            (uint16_t)(device->event_base + buffer->descriptors + skipped_descriptors);
    } else {
        split_push(device, buffer, written_bytes, skipped_buffers);
    }
}

void model_device_show(struct model_device *device)
{
    struct vring_used *used = (struct vring_used *)device->device_area;
    if (!device->config.is_packed)
        atomic_store_release(&used->idx, device->next_used);
}

bool model_device_wants_interrupt(struct model_device *device)
{
    const struct vring_avail *available = (const struct vring_avail *)device->driver_area;
    atomic_fence();
    uint16_t now = device->next_used;
    if (device->config.is_packed) {
        uint16_t before = (uint16_t)(now - device->event_base);
        device->event_base = 0;
        return now != before && packed_wants_interrupt(device, now, before);
    }
    uint16_t before = device->event_base;
    device->event_base = now;
    if (now == before)
        return false;
    if (!device->config.has_event_idx)
        return !(atomic_load_relaxed(&available->flags) & VRING_AVAIL_F_NO_INTERRUPT);
    return vring_need_event(
        atomic_load_relaxed(&available->ring[device->config.size]), now, before);
}

void model_device_notify_enable(struct model_device *device)
{
    struct vring_used *used = (struct vring_used *)device->device_area;
    struct vring_packed_desc_event *event = (struct vring_packed_desc_event *)device->device_area;
    if (device->config.is_packed && device->config.has_event_idx) {
        uint32_t word = device->next_available | (uint32_t)device->available_wrap << 15 |
                        VRING_PACKED_EVENT_FLAG_DESC << 16;
        atomic_store_relaxed((uint32_t *)event, word);
    } else if (device->config.is_packed) {
        atomic_store_relaxed(&event->flags, VRING_PACKED_EVENT_FLAG_ENABLE);
    } else if (device->config.has_event_idx) {
        atomic_store_relaxed((uint16_t *)&used->ring[device->config.size], device->next_available);
    } else {
        atomic_store_relaxed(&used->flags, 0);
    }
    atomic_fence();
}

void model_device_notify_disable(struct model_device *device)
{
    struct vring_used *used = (struct vring_used *)device->device_area;
    struct vring_packed_desc_event *event = (struct vring_packed_desc_event *)device->device_area;
    if (device->config.is_packed)
        atomic_store_relaxed(&event->flags, VRING_PACKED_EVENT_FLAG_DISABLE);
    else if (!device->config.has_event_idx)
        atomic_store_relaxed(&used->flags, VRING_USED_F_NO_NOTIFY);
}
