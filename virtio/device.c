// SPDX-License-Identifier: MIT
// Virtio devices: features, queues, and what happens when one breaks.

#include "virtio/device.h"

#include "kernel/base/assert.h"
#include "kernel/base/atomic.h"
#include "kernel/base/fmt.h"
#include "kernel/core/log.h"
#include "kernel/core/option.h"
#include "kernel/core/time.h"
#include "mm/page.h"
#include "mm/slab.h"
#include "virtio/transport/transport.h"

#include <linux/errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_ring.h>

// Not in Debian 12's header (virtio 1.2, section 6).
#define FEATURE_NOTIFICATION_DATA 38

// A device answers a reset within this time, or is gone.
#define RESET_TIMEOUT_NS (1000 * NS_PER_MS)

#define FEATURES_OURS                                                                              \
    (BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_F_ACCESS_PLATFORM) | BIT(VIRTIO_F_ORDER_PLATFORM) |      \
        BIT(VIRTIO_F_IN_ORDER))

static bool use_packed = true;
BOOT_OPTION_BOOL(use_packed, "virtio.packed",
    "Packed rings where a device offers them (default: yes); no: split rings.");
static bool use_event_idx = true;
BOOT_OPTION_BOOL(use_event_idx, "virtio.event_idx",
    "Tell devices exactly when to interrupt, and be told when to notify (default: yes).");
static bool use_indirect = true;
BOOT_OPTION_BOOL(use_indirect, "virtio.indirect",
    "A request takes one entry of a ring, with its segments in a table of its own (default: yes).");
static bool use_notification_data = true;
BOOT_OPTION_BOOL(use_notification_data, "virtio.notification_data",
    "Notifications say how far the ring is filled where a device offers that (default: yes).");

COUNTER(virtio, buffers);
COUNTER(virtio, batches);
COUNTER(virtio, notifications);
COUNTER(virtio, notifications_suppressed);
COUNTER(virtio, interrupts);

static const struct virtio_driver *const *drivers; // fixed after virtio_start()
static uint32_t driver_count;
static struct list_node devices = LIST_INIT(devices); // written at start-up by one thread
static uint32_t device_number;

struct virtio_device *virtio_device_next(struct virtio_device *device)
{
    struct list_node *next = device != NULL ? device->node.next : devices.next;
    return next == &devices ? NULL : container_of(next, struct virtio_device, node);
}

uint64_t virtio_config_read(struct virtio_device *device, uint32_t offset, uint32_t len_bytes)
{
    const struct virtio_transport *transport = device->transport;
    assert(len_bytes == 1 || len_bytes == 2 || len_bytes == 4 || len_bytes == 8);
    if (range_exceeds(offset, len_bytes, transport->config_max_bytes))
        return 0;
    if (len_bytes <= 4)
        return transport->config_read(device, offset, len_bytes);
    // 2.5.1: fields of more than 32 bits may change while they are read. A device for which they
    // always do has no configuration.
    for (int attempt = 0; attempt < 100; attempt++) {
        uint32_t generation = transport->config_generation(device);
        uint64_t value = transport->config_read(device, offset, 4);
        value |= (uint64_t)transport->config_read(device, offset + 4, 4) << 32;
        if (transport->config_generation(device) == generation)
            return value;
    }
    virtio_device_break(device, "its configuration never comes to rest");
    return 0;
}

static void set_status_bit(struct virtio_device *device, uint8_t bit)
{
    device->transport->set_status(device, device->transport->status(device) | bit);
}

// 2.4.2: the device is reset when its status reads 0. False: it does not answer.
static bool reset(struct virtio_device *device)
{
    device->transport->set_status(device, 0);
    uint64_t deadline_ns = time_monotonic_ns() + RESET_TIMEOUT_NS;
    while (device->transport->status(device) != 0) {
        if (time_monotonic_ns() > deadline_ns)
            return false;
        spin_hint();
    }
    return true;
}

// 3.1.1, steps 4 to 6.
static int negotiate(struct virtio_device *device)
{
    const struct virtio_transport *transport = device->transport;
    device->offered = transport->features(device);
    uint64_t wanted = device->driver->features | FEATURES_OURS;
    if (use_packed)
        wanted |= BIT(VIRTIO_F_RING_PACKED);
    if (use_event_idx)
        wanted |= BIT(VIRTIO_RING_F_EVENT_IDX);
    if (use_indirect)
        wanted |= BIT(VIRTIO_RING_F_INDIRECT_DESC);
    if (use_notification_data)
        wanted |= BIT(FEATURE_NOTIFICATION_DATA);
    if (!(device->offered & BIT(VIRTIO_F_VERSION_1))) {
        log_warning("virtio: %s (%s) is a legacy device", device->name, device->place);
        return -ENODEV;
    }
    device->features = device->offered & wanted;
    transport->set_features(device, device->features);
    set_status_bit(device, VIRTIO_CONFIG_S_FEATURES_OK);
    if (!(transport->status(device) & VIRTIO_CONFIG_S_FEATURES_OK)) {
        log_warning("virtio: %s (%s) refuses the features %#lx", device->name, device->place,
            device->features);
        return -ENODEV;
    }
    return 0;
}

static void queue_free(struct virtio_queue *queue)
{
    if (queue->ring.config.memory != NULL)
        page_free_kernel(queue->ring.config.memory, queue->memory_order);
    kfree(queue->ring.config.buffers);
}

static void queues_free(struct virtio_device *device)
{
    for (uint32_t i = 0; i < device->queue_count; i++)
        queue_free(&device->queues[i]);
    kfree(device->queues);
    device->queues = NULL;
    device->queue_count = 0;
}

static int queue_create(struct virtio_queue *queue, const struct virtio_queue_setup *setup)
{
    struct virtio_device *device = queue->device;
    bool is_packed = virtio_has_feature(device, VIRTIO_F_RING_PACKED);
    uint32_t size = device->transport->queue_size_max(device, queue->index);
    if (size == 0 || size > VIRTIO_RING_SIZE_MAX)
        return -ENOENT;
    size = MIN(size, (uint32_t)setup->size_max);
    if (!is_packed)
        size = 1u << bit_highest(size);
    uint32_t len_bytes = virtio_ring_layout(is_packed, (uint16_t)size).len_bytes;
    while (PAGE_SIZE << queue->memory_order < len_bytes)
        queue->memory_order++;
    struct virtio_ring_config config = {.is_packed = is_packed,
        .has_event_idx = virtio_has_feature(device, VIRTIO_RING_F_EVENT_IDX),
        .has_indirect = virtio_has_feature(device, VIRTIO_RING_F_INDIRECT_DESC),
        .is_in_order = virtio_has_feature(device, VIRTIO_F_IN_ORDER),
        .size = (uint16_t)size,
        .memory = page_alloc_kernel(queue->memory_order, PAGE_ALLOC_ZERO),
        .buffers = kzalloc(size * sizeof(struct virtio_ring_buffer))};
    queue->ring.config = config;
    if (config.memory == NULL || config.buffers == NULL)
        return -ENOMEM;
    virtio_ring_init(&queue->ring, &config);
    return device->transport->queue_enable(queue);
}

int virtio_queues_create(
    struct virtio_device *device, const struct virtio_queue_setup *setups, uint32_t count)
{
    assert(device->queues == NULL);
    device->queues = kzalloc(count * sizeof(struct virtio_queue));
    if (device->queues == NULL)
        return -ENOMEM;
    device->queue_count = count;
    for (uint32_t i = 0; i < count; i++) {
        device->queues[i].device = device;
        device->queues[i].index = i;
        device->queues[i].cpu = setups[i].cpu;
        device->queues[i].used = setups[i].used;
        device->queues[i].context = setups[i].context;
    }
    // On failure virtio_device_add() resets the device and frees them.
    int error = device->transport->interrupts_setup(device, count);
    for (uint32_t i = 0; i < count && error == 0; i++) {
        if (setups[i].size_max != 0)
            error = queue_create(&device->queues[i], &setups[i]);
    }
    return error;
}

void virtio_device_ready(struct virtio_device *device)
{
    atomic_store_release(&device->ready, true);
    set_status_bit(device, VIRTIO_CONFIG_S_DRIVER_OK);
}

void virtio_queue_commit(struct virtio_queue *queue)
{
    uint32_t buffers = (uint16_t)(queue->ring.added - queue->ring.published);
    if (buffers == 0)
        return;
    counter_add(virtio, buffers, buffers);
    counter_add(virtio, batches, 1);
    if (!virtio_ring_publish(&queue->ring)) {
        counter_add(virtio, notifications_suppressed, 1);
        return;
    }
    counter_add(virtio, notifications, 1);
    uint32_t value = queue->index;
    if (virtio_has_feature(queue->device, FEATURE_NOTIFICATION_DATA))
        value |= (uint32_t)virtio_ring_notification_data(&queue->ring) << 16;
    queue->device->transport->notify(queue, value);
}

int virtio_queue_take(struct virtio_queue *queue, void **token, uint32_t *written_bytes)
{
    int result = virtio_ring_take(&queue->ring, token, written_bytes);
    if (unlikely(result < 0))
        virtio_device_break(queue->device, queue->ring.broken);
    return result;
}

void virtio_interrupt_count(void)
{
    counter_add(virtio, interrupts, 1);
}

void virtio_queue_interrupt(struct virtio_queue *queue)
{
    if (likely(queue->used != NULL && atomic_load_acquire(&queue->device->ready)))
        queue->used(queue);
}

// ---- broken devices -----------------------------------------------------------------------------

static void broken_work(struct work *work)
{
    struct virtio_device *device = container_of(work, struct virtio_device, broken_work);
    log_error("virtio: %s (%s) is broken: %s", device->name, device->place, device->broken);
    // Gone altogether, it does not write either.
    if (!reset(device))
        log_error("virtio: %s does not answer its reset", device->name);
    if (device->driver != NULL && device->driver->broken != NULL)
        device->driver->broken(device);
}

void virtio_device_break(struct virtio_device *device, const char *why)
{
    const char *nothing = NULL;
    assert(why != NULL);
    if (atomic_cmpxchg(&device->broken, &nothing, why))
        work_queue(&device->broken_work);
}

static void config_work(struct work *work)
{
    struct virtio_device *device = container_of(work, struct virtio_device, config_work);
    if (!atomic_load_acquire(&device->ready) || virtio_device_is_broken(device))
        return;
    // 2.1.2: the device wants to be reset, which is all that can be done for it.
    if (device->transport->status(device) & VIRTIO_CONFIG_S_NEEDS_RESET)
        virtio_device_break(device, "it says so itself (DEVICE_NEEDS_RESET)");
    else if (device->driver->config_changed != NULL)
        device->driver->config_changed(device);
}

void virtio_device_config_changed(struct virtio_device *device)
{
    work_queue(&device->config_work);
}

// ---- discovery ----------------------------------------------------------------------------------

static const struct virtio_driver *find_driver(uint32_t type)
{
    for (uint32_t i = 0; i < driver_count; i++) {
        if (drivers[i]->type == type)
            return drivers[i];
    }
    return NULL;
}

// 3.1.1.
static int start_device(struct virtio_device *device)
{
    if (!reset(device)) {
        log_warning("virtio: %s (%s) does not answer its reset", device->name, device->place);
        return -EIO;
    }
    set_status_bit(device, VIRTIO_CONFIG_S_ACKNOWLEDGE);
    set_status_bit(device, VIRTIO_CONFIG_S_DRIVER);
    int error = negotiate(device);
    if (error == 0)
        error = device->driver->probe(device);
    if (error == 0)
        return 0;
    atomic_store_release(&device->ready, false);
    (void)reset(device);
    device->transport->interrupts_release(device);
    queues_free(device);
    set_status_bit(device, VIRTIO_CONFIG_S_FAILED);
    return error;
}

void virtio_device_add(struct virtio_device *device)
{
    fmt_snprintf(device->name, sizeof(device->name), "virtio%u", device_number++);
    work_init(&device->config_work, config_work);
    work_init(&device->broken_work, broken_work);
    list_add_tail(&devices, &device->node);
    device->driver = find_driver(device->type);
    if (device->driver == NULL) {
        log_info(
            "virtio: %s (%s): no driver for type %u", device->name, device->place, device->type);
        return;
    }
    int error = start_device(device);
    if (error != 0) {
        log_warning("virtio: %s (%s): %s can't drive it (error %d)", device->name, device->place,
            device->driver->name, -error);
        device->driver = NULL;
        return;
    }
    log_info("virtio: %s (%s): %s, %u queues, features %#lx of %#lx", device->name, device->place,
        device->driver->name, device->queue_count, device->features, device->offered);
}

void virtio_start(const struct virtio_driver *const table[], uint32_t count)
{
    drivers = table;
    driver_count = count;
    virtio_pci_start();
    virtio_mmio_start();
}
