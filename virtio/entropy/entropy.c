// SPDX-License-Identifier: MIT
// Random numbers of the host: virtio-rng (virtio 1.2, section 5.4).
//
// The kernel's generator gets 64 bytes as soon as the device has them, and again every five
// minutes. Nobody waits for them.

#include "virtio/entropy/entropy.h"

#include "kernel/base/string.h"
#include "kernel/core/random.h"
#include "kernel/core/spinlock.h"
#include "kernel/core/time.h"
#include "kernel/core/timer.h"
#include "mm/page.h"
#include "mm/slab.h"

#include <linux/errno.h>
#include <linux/virtio_ids.h>

#define REQUEST_BYTES 64
#define PERIOD_NS     (300 * NS_PER_SECOND)

struct entropy {
    struct spinlock lock; // the ring; taken with interrupts off
    struct virtio_device *device;
    struct timer timer;
    uint8_t *bytes; // REQUEST_BYTES, the device's while it has the request
};

COUNTER(virtio, entropy_bytes);

static void request(struct entropy *entropy)
{
    struct virtio_queue *queue = &entropy->device->queues[0];
    struct virtio_segment segment = {virt_to_phys(entropy->bytes), REQUEST_BYTES};
    uint64_t flags = spin_lock_irqsave(&entropy->lock);
    if (virtio_ring_add(&queue->ring, &segment, 0, 1, entropy, NULL) == 0)
        virtio_queue_commit(queue);
    spin_unlock_irqrestore(&entropy->lock, flags);
}

static void period_ended(struct timer *timer)
{
    request(container_of(timer, struct entropy, timer));
}

static void used(struct virtio_queue *queue)
{
    struct entropy *entropy = queue->context;
    void *token;
    uint32_t written_bytes;
    bool is_answered = false;
    uint64_t flags = spin_lock_irqsave(&entropy->lock);
    do {
        while (virtio_queue_take(queue, &token, &written_bytes) == 1) {
            random_contribute(entropy->bytes, written_bytes);
            counter_add(virtio, entropy_bytes, written_bytes);
            memset(entropy->bytes, 0, REQUEST_BYTES);
            is_answered = true;
        }
    } while (virtio_ring_interrupt_enable(&queue->ring, 0));
    spin_unlock_irqrestore(&entropy->lock, flags);
    if (is_answered)
        timer_arm(&entropy->timer, time_monotonic_ns() + PERIOD_NS);
}

static int probe(struct virtio_device *device)
{
    struct entropy *entropy = kzalloc(sizeof(*entropy));
    uint8_t *bytes = kzalloc(REQUEST_BYTES);
    int error = entropy != NULL && bytes != NULL ? 0 : -ENOMEM;
    if (error == 0) {
        spin_lock_init(&entropy->lock);
        timer_init(&entropy->timer, period_ended);
        entropy->device = device;
        entropy->bytes = bytes;
        struct virtio_queue_setup setup = {.size_max = 8, .used = used, .context = entropy};
        error = virtio_queues_create(device, &setup, 1);
    }
    if (error != 0) {
        kfree(entropy);
        kfree(bytes);
        return error;
    }
    device->driver_data = entropy;
    virtio_device_ready(device);
    request(entropy);
    return 0;
}

const struct virtio_driver virtio_entropy_driver = {
    .name = "virtio-rng",
    .type = VIRTIO_ID_RNG,
    .probe = probe,
};
