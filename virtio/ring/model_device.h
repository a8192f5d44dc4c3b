// SPDX-License-Identifier: MIT
// A virtio device's side of a virtqueue for tests on the host: it keeps the rules of virtio 1.2,
// sections 2.7 and 2.8, and checks that the driver keeps them. Addresses are pointers of the test.
#pragma once

#include "virtio/ring/ring.h"

#define MODEL_SEGMENTS_MAX 64

// A buffer as the device sees it.
struct model_buffer {
    uint16_t id;
    uint16_t descriptors; // of the ring
    uint32_t readable, writable;
    struct virtio_segment segments[MODEL_SEGMENTS_MAX];
};

struct model_device {
    struct virtio_ring_config config; // what was negotiated; `buffers` is not the device's business
    char *descriptors, *driver_area, *device_area;
    uint16_t next_available; // split: available index seen so far; packed: descriptor index
    uint16_t next_used;      // split: used index; packed: descriptor index
    uint16_t shown_used;     // split: used index that the driver sees
    uint16_t event_base;     // used position at the last model_device_wants_interrupt()
    bool available_wrap, used_wrap;
    uint32_t in_flight; // descriptors that the device has
};

void model_device_init(struct model_device *device, const struct virtio_ring_config *config);

// The next available buffer; false: none. Fails the test if the driver broke a rule.
bool model_device_pop(struct model_device *device, struct model_buffer *buffer);

// Uses a buffer. `skipped` (in order only): how many popped before it are used with it silently,
// and how many descriptors they have. Visible at once with packed, after model_device_show() with
// split.
void model_device_push(struct model_device *device, const struct model_buffer *buffer,
    uint32_t written_bytes, uint32_t skipped_buffers, uint32_t skipped_descriptors);
void model_device_show(struct model_device *device);

// Does the driver want an interrupt for what was used since the last call?
bool model_device_wants_interrupt(struct model_device *device);

// The device goes to sleep and wants a notification for the next buffer, or not to be bothered.
void model_device_notify_enable(struct model_device *device);
void model_device_notify_disable(struct model_device *device);
