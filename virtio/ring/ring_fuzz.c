// SPDX-License-Identifier: MIT
// A hostile device: any bytes written anywhere in the memory that it shares, at any moment. The
// driver's side neither reads nor writes outside, gives back each token once, never says that more
// was written than there was room for, and once broken stays broken.

#include "kernel/base/assert.h"
#include "virtio/ring/ring.h"

#include <linux/errno.h>
#include <stdlib.h>
#include <string.h>

#define REQUESTS 64

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

struct input {
    const uint8_t *at, *end;
};

static uint32_t next(struct input *input, uint32_t bytes)
{
    uint32_t value = 0;
    while (bytes-- != 0 && input->at < input->end)
        value = value << 8 | *input->at++;
    return value;
}

struct request {
    bool is_added;
    uint32_t writable_bytes;
    _Alignas(16) char table[8 * 16];
};
static struct request requests[REQUESTS];

static void add(struct virtio_ring *ring, struct input *input)
{
    struct request *request = &requests[next(input, 1) % REQUESTS];
    uint32_t shape = next(input, 1);
    if (request->is_added)
        return;
    struct virtio_segment segments[8] = {};
    uint32_t readable = shape & 3, writable = 1 + (shape >> 2 & 3);
    request->writable_bytes = 0;
    for (uint32_t i = 0; i < readable + writable; i++) {
        segments[i].address = i;
        segments[i].len_bytes = 1000;
        request->writable_bytes += i >= readable ? 1000 : 0;
    }
    struct virtio_indirect indirect = {request->table, (uint64_t)request->table, 8};
    int error =
        virtio_ring_add(ring, segments, readable, writable, request, shape & 16 ? &indirect : NULL);
    assert(error == 0 || error == -ENOSPC || error == -EMSGSIZE || error == -EIO);
    assert(error != -EIO || ring->broken != NULL);
    request->is_added = error == 0;
}

static void take(struct virtio_ring *ring)
{
    void *token;
    uint32_t written_bytes;
    bool was_broken = ring->broken != NULL;
    int result = virtio_ring_take(ring, &token, &written_bytes);
    assert(!was_broken || result == -EIO);
    assert((result < 0) == (ring->broken != NULL));
    if (result != 1)
        return;
    struct request *request = token;
    assert(request >= requests && request < requests + REQUESTS);
    assert(request->is_added);
    assert(written_bytes <= request->writable_bytes);
    request->is_added = false;
}

// The device writes: anywhere, or (more often something comes of it) where it may.
static void device_writes(struct virtio_ring *ring, struct input *input, uint32_t len_bytes)
{
    uint32_t place = next(input, 2);
    uint32_t count = next(input, 1) % 9;
    uint8_t *memory = ring->config.memory;
    if (place & 0x8000)
        place = virtio_ring_layout(ring->config.is_packed, ring->config.size).device_offset +
                (place & 0xff);
    for (uint32_t i = 0; i < count; i++)
        memory[(place + i) % len_bytes] = (uint8_t)next(input, 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct input input = {bytes, bytes + size};
    uint32_t features = next(&input, 1);
    uint32_t ring_size = 1 + next(&input, 1) % 40;
    if (!(features & 1))
        ring_size = 1u << (ring_size & 5);
    uint32_t len_bytes = virtio_ring_layout(features & 1, (uint16_t)ring_size).len_bytes;
    struct virtio_ring_config config = {.is_packed = features & 1,
        .has_event_idx = features & 2,
        .has_indirect = features & 4,
        .is_in_order = features & 8,
        .size = (uint16_t)ring_size,
        .memory = malloc(len_bytes),
        .buffers = calloc(ring_size, sizeof(struct virtio_ring_buffer))};
    struct virtio_ring ring;
    memset(requests, 0, sizeof(requests));
    virtio_ring_init(&ring, &config);
    while (input.at < input.end) {
        switch (next(&input, 1) % 8) {
        case 0:
        case 1:
            add(&ring, &input);
            break;
        case 2:
            (void)virtio_ring_publish(&ring);
            break;
        case 3:
            virtio_ring_interrupt_disable(&ring);
            break;
        case 4:
            (void)virtio_ring_interrupt_enable(&ring, next(&input, 1));
            (void)virtio_ring_has_used(&ring);
            break;
        case 5:
            device_writes(&ring, &input, len_bytes);
            break;
        default:
            take(&ring);
        }
    }
    struct request *request;
    while ((request = virtio_ring_outstanding(&ring)) != NULL) {
        assert(request->is_added);
        request->is_added = false;
    }
    for (size_t i = 0; i < REQUESTS; i++)
        assert(!requests[i].is_added);
    free(config.memory);
    free(config.buffers);
    return 0;
}
