// SPDX-License-Identifier: MIT
// Virtio devices: what lies between the drivers (virtio/block, virtio/net...) and the transports
// (virtio/transport). See virtio 1.2, sections 2 and 3.
//
// A transport finds a device and calls virtio_device_add(), which looks for its driver, negotiates
// features and calls the driver's probe(). That makes the queues, says virtio_device_ready(), and
// works from then on with virtio_ring_*() on queue->ring, and virtio_queue_commit().
//
// A device that breaks a rule is marked broken (virtio_device_break()): nothing is sent to it any
// more, it is reset, and the driver's broken() fails what it had. The system goes on.
#pragma once

#include "kernel/base/list.h"
#include "kernel/base/types.h"
#include "kernel/core/counter.h"
#include "kernel/core/work.h"
#include "virtio/ring/ring.h"

struct virtio_device;
struct virtio_queue;

struct virtio_driver {
    const char *name;
    uint32_t type; // VIRTIO_ID_*
    uint64_t
        features; // of the device's type, that it can use; those of ring and transport are ours
    // Takes the device: task context, may sleep. 0 or -errno, then everything is as before.
    int (*probe)(struct virtio_device *device);
    // The configuration space has changed. Task context (a work). May be NULL.
    void (*config_changed)(struct virtio_device *device);
    // The device is broken and has been reset: it does not touch memory any more. Fails everything
    // that it had (virtio_ring_outstanding()). Task context.
    void (*broken)(struct virtio_device *device);
};

// What a transport does. Task context unless said otherwise.
struct virtio_transport {
    const char *name;
    uint8_t (*status)(struct virtio_device *device);                  // any context
    void (*set_status)(struct virtio_device *device, uint8_t status); // any context
    uint64_t (*features)(struct virtio_device *device);
    void (*set_features)(struct virtio_device *device, uint64_t features);
    // Reads len_bytes (1, 2 or 4) at an aligned offset of the device's configuration, or writes.
    uint32_t (*config_read)(struct virtio_device *device, uint32_t offset, uint32_t len_bytes);
    void (*config_write)(
        struct virtio_device *device, uint32_t offset, uint32_t len_bytes, uint32_t value);
    uint32_t (*config_generation)(struct virtio_device *device);
    uint32_t config_max_bytes; // offsets below it may be read
    // Queue `index`'s greatest size; 0: there is no such queue.
    uint16_t (*queue_size_max)(struct virtio_device *device, uint32_t index);
    // Gets `count` queues their interrupts; before queue_enable(). 0 or -errno.
    int (*interrupts_setup)(struct virtio_device *device, uint32_t count);
    // Tells the device where the ring lies, and its interrupt. 0 or -errno.
    int (*queue_enable)(struct virtio_queue *queue);
    // Any context; `value` is what a notification carries.
    void (*notify)(struct virtio_queue *queue, uint32_t value);
    // After a reset: no interrupt handler of the device runs any more, and none will.
    void (*interrupts_release)(struct virtio_device *device);
};

struct virtio_queue {
    struct virtio_ring ring; // under the driver's lock
    struct virtio_device *device;
    uint32_t index;
    uint32_t cpu; // its interrupt's
    // The device may have used buffers: interrupt context, interrupts off.
    void (*used)(struct virtio_queue *queue);
    void *context; // the driver's
    volatile void *notify_address;
    uint32_t transport_data; // the transport's
    uint32_t memory_order;   // pages of the ring
};

struct virtio_device {
    const struct virtio_transport *transport;
    void *transport_data;
    uint32_t type;  // VIRTIO_ID_*
    char name[16];  // "virtio0", for the log
    char place[24]; // where the transport has it, for the log
    uint64_t offered, features;
    const struct virtio_driver *driver; // NULL: nobody drives it
    void *driver_data;
    struct virtio_queue *queues;
    uint32_t queue_count;
    const char *broken; // why it is not used any more; atomic; NULL: it is
    bool ready;         // DRIVER_OK was set
    struct work config_work, broken_work;
    struct list_node node;
};

// ---- for drivers ----

static inline bool virtio_has_feature(const struct virtio_device *device, uint32_t bit)
{
    return device->features & BIT(bit);
}

// Fields of the configuration space, whole and consistent (2.5.1). len_bytes of one field each: 1,
// 2, 4, or 8; structures field by field. Task context.
uint64_t virtio_config_read(struct virtio_device *device, uint32_t offset, uint32_t len_bytes);
#define virtio_config_field(device, type, field)                                                   \
    virtio_config_read((device), offsetof(type, field), sizeof(((type *)0)->field))

struct virtio_queue_setup {
    uint16_t size_max; // the smaller of this and what the device allows is taken; 0: not used
    uint32_t cpu;      // that gets the interrupt
    void (*used)(struct virtio_queue *queue); // NULL: no interrupt
    void *context;
};
// Makes queues 0..count-1. From probe(), once. 0, -ENOENT: the device has no such queue, -ENOMEM...
[[nodiscard]] int virtio_queues_create(
    struct virtio_device *device, const struct virtio_queue_setup *setups, uint32_t count);
// The driver works: the device may, too. From probe(), after virtio_queues_create().
void virtio_device_ready(struct virtio_device *device);

// Publishes what was added, and notifies the device if it wants that. Under the driver's lock; any
// context.
void virtio_queue_commit(struct virtio_queue *queue);

// Marks the device as broken. Any context but NMI; later calls change nothing. driver->broken() is
// called soon.
void virtio_device_break(struct virtio_device *device, const char *why);
static inline bool virtio_device_is_broken(const struct virtio_device *device)
{
    return __atomic_load_n(&device->broken, __ATOMIC_ACQUIRE) != NULL;
}
// virtio_ring_take(); breaks the device if the ring is broken.
[[nodiscard]] int virtio_queue_take(
    struct virtio_queue *queue, void **token, uint32_t *written_bytes);

// ---- for transports ----

// A device was found: type, transport and transport_data are set. Looks for its driver. Task
// context.
void virtio_device_add(struct virtio_device *device);
// The device says that its configuration has changed. Any context.
void virtio_device_config_changed(struct virtio_device *device);
// An interrupt has come: counted once, and then each queue that it may be of is looked at.
// Interrupts off.
void virtio_interrupt_count(void);
void virtio_queue_interrupt(struct virtio_queue *queue);

// All devices, for /proc; NULL: first, and end.
struct virtio_device *virtio_device_next(struct virtio_device *device);

// Sets the table of drivers, and looks for devices with all transports. Once, task context.
void virtio_start(const struct virtio_driver *const drivers[], uint32_t count);

COUNTER_DECLARE(virtio, buffers);       // given to devices
COUNTER_DECLARE(virtio, batches);       // published
COUNTER_DECLARE(virtio, notifications); // of devices: exits
COUNTER_DECLARE(virtio, notifications_suppressed);
COUNTER_DECLARE(virtio, interrupts);
