// SPDX-License-Identifier: MIT
// Devices: their life, their names, the list of them.
#include "kernel/arch/x86/arch.h"
#include "kernel/base/assert.h"
#include "kernel/base/fmt.h"
#include "kernel/base/string.h"
#include "kernel/block/internal.h"
#include "kernel/block/scheduler.h"
#include "kernel/core/errno.h"
#include "kernel/core/log.h"
#include "kernel/core/rcu.h"
#include "mm/slab.h"

static struct mutex list_lock = MUTEX_INIT(list_lock, "block: devices");
static struct list_node devices = LIST_INIT(devices); // registered ones; under list_lock

COUNTER(io, copied_bytes);

struct block_device *block_device_create(const struct block_device_ops *ops, uint32_t queue_count)
{
    if (queue_count == 0)
        queue_count = cpu_count_possible;
    struct block_device *device = kzalloc(sizeof(*device));
    struct block_queue *queues = kzalloc(queue_count * sizeof(*queues));
    if (device == NULL || queues == NULL) {
        kfree(device);
        kfree(queues);
        return NULL;
    }
    device->ops = ops;
    device->queues = queues;
    device->queue_count = queue_count;
    device->queues_used = block_copy ? 1 : queue_count;
    device->refcount = 1;
    mutex_init(&device->lock);
    timer_init(&device->restart, block_queue_restart);
    for (uint32_t i = 0; i < queue_count; i++)
        block_queue_init(&queues[i], device, i);
    return device;
}

void block_device_get(struct block_device *device)
{
    __atomic_fetch_add(&device->refcount, 1, __ATOMIC_RELAXED);
}

void block_device_put(struct block_device *device)
{
    if (__atomic_sub_fetch(&device->refcount, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    (void)timer_cancel_sync(&device->restart);
    for (uint32_t i = 0; i < device->queue_count; i++)
        (void)timer_cancel_sync(&device->queues[i].poll_timer);
    if (device->ops->release != NULL)
        device->ops->release(device);
    kfree(device->scheduler);
    kfree(device->queues);
    kfree(device);
}

int block_device_register(struct block_device *device)
{
    int error = block_limits_complete(&device->limits);
    if (error != 0 || device->queue_depth == 0)
        return -EINVAL;
    if (block_copy)
        device->queue_depth = 1;
    mutex_lock(&list_lock);
    const struct block_device *other;
    list_for_each_entry (other, &devices, node)
        if (strcmp(other->name, device->name) == 0)
            error = -EEXIST;
    if (error == 0)
        list_add_tail(&devices, &device->node);
    mutex_unlock(&list_lock);
    if (error != 0)
        return error;
    mutex_lock(&device->lock);
    error = block_volume_create(device, 0, 0, device->sector_count);
    mutex_unlock(&device->lock);
    if (error != 0) {
        mutex_lock(&list_lock);
        list_remove(&device->node);
        mutex_unlock(&list_lock);
        return error;
    }
    log_info("block: %s: %llu sectors of %u bytes, %u queue%s of %u%s", device->name,
        (unsigned long long)(device->sector_count * BLOCK_SECTOR_BYTES /
                             device->limits.logical_block_bytes),
        device->limits.logical_block_bytes, device->queue_count,
        device->queue_count == 1 ? "" : "s", device->queue_depth,
        device->limits.read_only ? ", read-only" : "");
    error = block_device_scan(device);
    if (error != 0)
        log_error("block: %s: partition table can't be read (error %d)", device->name, -error);
    return 0;
}

static void refuse(struct block_device *device, int error)
{
    uint32_t alive = 0;
    (void)__atomic_compare_exchange_n(
        &device->dead, &alive, (uint32_t)-error, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    for (uint32_t i = 0; i < device->queue_count; i++)
        block_queue_fail_waiting(&device->queues[i], error);
}

void block_device_fail(struct block_device *device)
{
    refuse(device, -EIO);
}

void block_device_unregister(struct block_device *device)
{
    refuse(device, -ENODEV);
    for (uint32_t i = 0; i < device->queue_count; i++)
        block_queue_drain(&device->queues[i]);
    (void)timer_cancel_sync(&device->restart);
    mutex_lock(&list_lock);
    list_remove(&device->node);
    mutex_unlock(&list_lock);
    mutex_lock(&device->lock);
    block_volumes_remove(device, 0);
    mutex_unlock(&device->lock);
    block_device_put(device);
}

void block_device_resize(struct block_device *device, uint64_t sector_count)
{
    mutex_lock(&device->lock);
    const uint64_t old = device->sector_count;
    device->sector_count = sector_count;
    if (device->volume[0] != NULL)
        __atomic_store_n(&device->volume[0]->sector_count, sector_count, __ATOMIC_RELAXED);
    if (device->volume[0] != NULL && block_volume_resized != NULL && old != sector_count)
        block_volume_resized(device->volume[0]);
    mutex_unlock(&device->lock);
    log_info("block: %s: %llu sectors, were %llu", device->name, (unsigned long long)sector_count,
        (unsigned long long)old);
}

int block_device_schedule(struct block_device *device, bool fair)
{
    int error = 0;
    mutex_lock(&device->lock);
    if (fair && device->scheduler == NULL) {
        struct block_scheduler *scheduler = kmalloc(sizeof(*scheduler), 0);
        if (scheduler != NULL) {
            block_scheduler_init(scheduler, &device->limits);
            __atomic_store_n(&device->scheduler, scheduler, __ATOMIC_RELEASE);
        } else {
            error = -ENOMEM;
        }
    }
    // What waits in the scheduler leaves it as before.
    if (error == 0)
        __atomic_store_n(&device->scheduling, fair, __ATOMIC_RELEASE);
    mutex_unlock(&device->lock);
    return error;
}

struct block_device *block_device_next_get(struct block_device *device)
{
    struct block_device *next = NULL;
    mutex_lock(&list_lock);
    struct list_node *node = devices.next;
    if (device != NULL && list_is_linked(&device->node))
        node = device->node.next;
    else if (device != NULL)
        node = &devices; // it was taken away meanwhile
    if (node != &devices) {
        next = list_entry(node, struct block_device, node);
        block_device_get(next);
    }
    mutex_unlock(&list_lock);
    if (device != NULL)
        block_device_put(device);
    return next;
}

void block_device_letters(char *name, const char *prefix, uint32_t index)
{
    char letters[8];
    size_t count = 0;
    for (uint32_t rest = index + 1; rest != 0; rest = (rest - 1) / 26)
        letters[count++] = (char)('a' + (rest - 1) % 26);
    size_t len = strlen(prefix);
    assert(len + count < BLOCK_NAME_BYTES);
    memcpy(name, prefix, len);
    while (count != 0)
        name[len++] = letters[--count];
    name[len] = 0;
}
