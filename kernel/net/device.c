// SPDX-License-Identifier: MIT
// Network devices: registration, their queues, and the ways of packets out and in.
//
// A queue's interrupt polls it in rounds. After ROUNDS_MAX full rounds it leaves interrupts off and
// goes on in a work, so that a flood does not keep the CPU from everything else; packets are handed
// over after the queue's lock was released.
//
// Locks: devices_lock (the list, indexes; task context) → a queue's lock.

#include "kernel/net/device.h"

#include "kernel/base/assert.h"
#include "kernel/base/atomic.h"
#include "kernel/base/fmt.h"
#include "kernel/base/string.h"
#include "kernel/core/counter.h"
#include "kernel/core/log.h"
#include "kernel/core/mutex.h"
#include "kernel/core/preempt.h"
#include "kernel/core/trace_points.h"
#include "mm/slab.h"

#include <linux/errno.h>
#include <linux/if.h>

#define ROUND_PACKETS 64
#define ROUNDS_MAX    8
#define NAMES_MAX     1000

COUNTER(net, sent);
COUNTER(net, received);
COUNTER(net, dropped);
COUNTER(net, interrupts_off);

static struct mutex devices_lock = MUTEX_INIT(devices_lock, "net devices");
static struct list_node devices = LIST_INIT(devices); // under devices_lock
static uint32_t last_index;                           // under devices_lock

void (*net_tap)(struct net_device *device, struct net_packet *packet, bool outgoing);

// ---- queues -------------------------------------------------------------------------------------

static struct trace_name trace_device(const struct net_device *device)
{
    struct trace_name name = {0};
    strlcpy(name.text, device->name, sizeof(name.text));
    return name;
}

// Hands over what the driver received. No lock.
static void hand_over(struct net_device *device, struct list_node *received)
{
    preempt_disable();
    while (!list_is_empty(received)) {
        struct net_packet *packet = container_of(received->next, struct net_packet, node);
        list_remove(&packet->node);
        if (net_tap != NULL)
            net_tap(device, packet, false);
        net_packet_release(packet);
    }
    preempt_enable();
}

// One round: true if there may be more.
static bool poll_round(struct net_queue *queue)
{
    struct list_node received;
    list_init(&received);
    uint64_t flags = spin_lock_irqsave(&queue->lock);
    bool more = false;
    if (queue->running) {
        more = queue->device->ops->poll(queue, ROUND_PACKETS) >= ROUND_PACKETS;
        if (!more && queue->device->ops->interrupts != NULL)
            more = queue->device->ops->interrupts(queue, true);
        list_splice_tail(&received, &queue->received);
    }
    spin_unlock_irqrestore(&queue->lock, flags);
    hand_over(queue->device, &received);
    return more;
}

static void poll_work(struct work *work)
{
    struct net_queue *queue = container_of(work, struct net_queue, work);
    for (uint32_t round = 0; round < ROUNDS_MAX; round++) {
        if (!poll_round(queue))
            return;
    }
    work_queue(&queue->work); // behind others
}

void net_queue_interrupt(struct net_queue *queue)
{
    for (uint32_t round = 0; round < ROUNDS_MAX; round++) {
        if (!poll_round(queue))
            return;
    }
    uint64_t flags = spin_lock_irqsave(&queue->lock);
    if (queue->running && queue->device->ops->interrupts != NULL)
        (void)queue->device->ops->interrupts(queue, false);
    spin_unlock_irqrestore(&queue->lock, flags);
    counter_add(net, interrupts_off, 1);
    work_queue(&queue->work);
}

void net_device_receive(struct net_queue *queue, struct net_packet *packet)
{
    assert_lock_held(&queue->lock);
    packet->device = queue->device;
    trace(netif_receive_skb, .skbaddr = (uintptr_t)packet, .len = packet->len_bytes,
        .name = trace_device(queue->device));
    queue->statistics.rx_packets++;
    queue->statistics.rx_bytes += packet->len_bytes;
    counter_add(net, received, 1);
    list_add_tail(&queue->received, &packet->node);
}

int net_device_transmit(struct net_device *device, struct net_packet *packet)
{
    uint32_t most_bytes = packet->flags & (NET_TSO4 | NET_TSO6)
                              ? NET_PACKET_BYTES_MAX
                              : atomic_load_relaxed(&device->mtu_bytes) + NET_HEADER_BYTES;
    int error = 0;
    if (packet->len_bytes > most_bytes || packet->len_bytes < NET_HEADER_BYTES)
        error = -EMSGSIZE;
    preempt_disable();
    struct net_queue *queue = &device->queues[cpu_current() % device->queue_count];
    if (error == 0 && net_tap != NULL)
        net_tap(device, packet, true);
    uint32_t len_bytes = packet->len_bytes;
    uint64_t flags = spin_lock_irqsave(&queue->lock);
    if (error == 0 && !queue->running)
        error = -ENETDOWN;
    if (error == 0) {
        packet->device = device;
        if (device->ops->transmit(queue, &packet, 1) == 1) {
            queue->statistics.tx_packets++;
            queue->statistics.tx_bytes += len_bytes;
            counter_add(net, sent, 1);
            if (device->ops->commit != NULL)
                device->ops->commit(queue);
        } else {
            queue->statistics.tx_dropped++;
            counter_add(net, dropped, 1);
            error = -ENOBUFS;
        }
    }
    spin_unlock_irqrestore(&queue->lock, flags);
    trace(net_dev_xmit, .skbaddr = (uintptr_t)packet, .len = len_bytes, .rc = error,
        .name = trace_device(device));
    preempt_enable();
    if (error != 0)
        net_packet_release(packet);
    return error;
}

// ---- devices ------------------------------------------------------------------------------------

struct net_device *net_device_create(const struct net_device_ops *ops, uint32_t queue_count)
{
    if (queue_count == 0)
        queue_count = cpumask_count(&cpu_online);
    struct net_device *device = kzalloc(sizeof(*device));
    struct net_queue *queues = kzalloc(queue_count * sizeof(*queues));
    if (device == NULL || queues == NULL) {
        kfree(device);
        kfree(queues);
        return NULL;
    }
    for (uint32_t i = 0; i < queue_count; i++) {
        spin_lock_init(&queues[i].lock);
        queues[i].device = device;
        queues[i].index = i;
        list_init(&queues[i].received);
        work_init(&queues[i].work, poll_work);
    }
    device->ops = ops;
    device->queues = queues;
    device->queue_count = queue_count;
    device->mtu_bytes = 1500;
    device->mtu_min_bytes = 68;
    device->mtu_max_bytes = 1500;
    device->refcount = 1;
    list_init(&device->node);
    return device;
}

static struct net_device *find_by_name(const char *name)
{
    for (struct list_node *node = devices.next; node != &devices; node = node->next) {
        struct net_device *device = container_of(node, struct net_device, node);
        if (strcmp(device->name, name) == 0)
            return device;
    }
    return NULL;
}

// "eth%d" becomes the first name that is free.
static int choose_name(struct net_device *device)
{
    char name[NET_NAME_BYTES];
    size_t len = strlen(device->name);
    if (len < 2 || strcmp(device->name + len - 2, "%d") != 0)
        return find_by_name(device->name) == NULL ? 0 : -EEXIST;
    for (uint32_t i = 0; i < NAMES_MAX; i++) {
        fmt_snprintf(name, sizeof(name), "%.*s%u", (int)(len - 2), device->name, i);
        if (find_by_name(name) == NULL) {
            strlcpy(device->name, name, sizeof(device->name));
            return 0;
        }
    }
    return -EEXIST;
}

int net_device_register(struct net_device *device)
{
    if (device->mtu_min_bytes > device->mtu_bytes || device->mtu_bytes > device->mtu_max_bytes ||
        device->mtu_max_bytes > UINT16_MAX)
        return -EINVAL;
    mutex_lock(&devices_lock);
    int error = choose_name(device);
    if (error == 0) {
        device->index = ++last_index;
        list_add_tail(&devices, &device->node);
        net_device_get(device);
    }
    mutex_unlock(&devices_lock);
    if (error == 0)
        log_info("net: %s: %02x:%02x:%02x:%02x:%02x:%02x, MTU %u, %u queues", device->name,
            device->address[0], device->address[1], device->address[2], device->address[3],
            device->address[4], device->address[5], device->mtu_bytes, device->queue_count);
    return error;
}

void net_device_get(struct net_device *device)
{
    atomic_fetch_add(&device->refcount, 1);
}

void net_device_put(struct net_device *device)
{
    if (atomic_fetch_sub(&device->refcount, 1) != 1)
        return;
    if (device->ops->release != NULL)
        device->ops->release(device);
    kfree(device->queues);
    kfree(device);
}

void net_device_unregister(struct net_device *device)
{
    atomic_store(&device->dead, 1);
    net_device_down(device);
    mutex_lock(&devices_lock);
    list_remove(&device->node);
    mutex_unlock(&devices_lock);
    net_device_put(device); // the list's
    net_device_put(device); // the driver's
}

static void set_running(struct net_device *device, bool running)
{
    for (uint32_t i = 0; i < device->queue_count; i++) {
        uint64_t flags = spin_lock_irqsave(&device->queues[i].lock);
        device->queues[i].running = running;
        spin_unlock_irqrestore(&device->queues[i].lock, flags);
    }
}

int net_device_up(struct net_device *device)
{
    int error = 0;
    mutex_lock(&devices_lock);
    if (atomic_load_acquire(&device->dead))
        error = -ENODEV;
    else if (!(atomic_load_relaxed(&device->flags) & IFF_UP))
        error = device->ops->open != NULL ? device->ops->open(device) : 0;
    if (error == 0) {
        set_running(device, true);
        atomic_fetch_or(&device->flags, IFF_UP);
    }
    mutex_unlock(&devices_lock);
    // What came between open() and running.
    for (uint32_t i = 0; i < device->queue_count && error == 0; i++)
        net_queue_interrupt(&device->queues[i]);
    return error;
}

void net_device_down(struct net_device *device)
{
    mutex_lock(&devices_lock);
    if (atomic_fetch_and(&device->flags, ~IFF_UP) & IFF_UP) {
        set_running(device, false);
        if (device->ops->stop != NULL)
            device->ops->stop(device);
    }
    mutex_unlock(&devices_lock);
}

void net_device_link(struct net_device *device, bool is_up)
{
    if (is_up)
        atomic_fetch_or(&device->flags, IFF_RUNNING);
    else
        atomic_fetch_and(&device->flags, ~IFF_RUNNING);
}

struct net_device *net_device_get_by_index(uint32_t index)
{
    struct net_device *found = NULL;
    mutex_lock(&devices_lock);
    for (struct list_node *node = devices.next; node != &devices && found == NULL;
         node = node->next) {
        struct net_device *device = container_of(node, struct net_device, node);
        if (device->index == index)
            found = device;
    }
    if (found != NULL)
        net_device_get(found);
    mutex_unlock(&devices_lock);
    return found;
}

struct net_device *net_device_get_by_name(const char *name)
{
    mutex_lock(&devices_lock);
    struct net_device *found = find_by_name(name);
    if (found != NULL)
        net_device_get(found);
    mutex_unlock(&devices_lock);
    return found;
}

struct net_device *net_device_next_get(struct net_device *device)
{
    mutex_lock(&devices_lock);
    struct list_node *next = device != NULL ? device->node.next : devices.next;
    // One that was taken out of the list meanwhile ends the walk.
    bool is_end = next == &devices || (device != NULL && next == &device->node);
    struct net_device *found = is_end ? NULL : container_of(next, struct net_device, node);
    if (found != NULL)
        net_device_get(found);
    mutex_unlock(&devices_lock);
    if (device != NULL)
        net_device_put(device);
    return found;
}

void net_device_statistics(const struct net_device *device, struct net_statistics *sum)
{
    *sum = (struct net_statistics){};
    for (uint32_t i = 0; i < device->queue_count; i++) {
        struct net_queue *queue = &device->queues[i];
        uint64_t flags = spin_lock_irqsave(&queue->lock);
        const struct net_statistics *one = &queue->statistics;
        sum->rx_packets += one->rx_packets;
        sum->rx_bytes += one->rx_bytes;
        sum->rx_errors += one->rx_errors;
        sum->rx_dropped += one->rx_dropped;
        sum->tx_packets += one->tx_packets;
        sum->tx_bytes += one->tx_bytes;
        sum->tx_errors += one->tx_errors;
        sum->tx_dropped += one->tx_dropped;
        spin_unlock_irqrestore(&queue->lock, flags);
    }
}
