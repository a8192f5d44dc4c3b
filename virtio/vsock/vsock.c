// SPDX-License-Identifier: MIT
// The machine's way to its host for AF_VSOCK: virtio-vsock (virtio 1.2, section 5.10).
//
// Three queues: packets that come in, packets that go out, and events. A packet lies in one piece
// of memory, header first, and goes into the ring as it is; one that came in becomes part of its
// socket's queue. What finds no place in the ring waits in `waiting`: at most a few payloads
// (vsock_transport.has_room), and answers. A host that lets those lie loses further ones.
//
// Locks: rx_lock → a socket's → tx_lock; all with interrupts off.
#include "virtio/vsock/vsock.h"

#include "kernel/base/assert.h"
#include "kernel/base/atomic.h"
#include "kernel/core/counter.h"
#include "kernel/core/log.h"
#include "kernel/core/spinlock.h"
#include "kernel/net/vsock/vsock.h"
#include "mm/page.h"
#include "mm/slab.h"

#include <linux/errno.h>
#include <linux/virtio_ids.h>

enum { QUEUE_RX, QUEUE_TX, QUEUE_EVENT, QUEUE_COUNT };

#define RING_SIZE       256
#define EVENT_COUNT     8
#define WAITING_MAX     1024
#define RX_PACKET_BYTES PAGE_SIZE
#define RX_CAPACITY     (RX_PACKET_BYTES - (uint32_t)sizeof(struct vsock_packet))

COUNTER(virtio, vsock_dropped); // answers that the host let lie

struct host_way {
    struct vsock_transport transport;
    struct virtio_device *device;
    struct spinlock rx_lock;                       // the rings of QUEUE_RX and QUEUE_EVENT
    struct spinlock tx_lock;                       // the ring of QUEUE_TX; `waiting`
    struct list_node waiting;                      // vsock_packet.node
    uint32_t waiting_count;                        // written under tx_lock
    bool is_gone;                                  // the device is broken; written under tx_lock
    struct virtio_vsock_event events[EVENT_COUNT]; // the device's while it has them
};

static struct host_way *of(struct vsock_transport *transport)
{
    return container_of(transport, struct host_way, transport);
}

// ---- sending ------------------------------------------------------------------------------------

// Fills the ring from `waiting`. tx_lock held.
static void fill(struct host_way *way)
{
    struct virtio_queue *queue = &way->device->queues[QUEUE_TX];
    struct vsock_packet *packet;
    while ((packet = list_first_entry_or_null(&way->waiting, struct vsock_packet, node)) != NULL) {
        struct virtio_segment segment = {
            virt_to_phys(&packet->header), (uint32_t)sizeof(packet->header) + packet->len};
        if (virtio_ring_add(&queue->ring, &segment, 1, 0, packet, NULL) != 0)
            break;
        list_remove(&packet->node);
        atomic_store_relaxed(&way->waiting_count, way->waiting_count - 1);
    }
    virtio_queue_commit(queue);
}

static void send(struct vsock_transport *transport, struct vsock_packet *packet)
{
    struct host_way *way = of(transport);
    uint64_t flags = spin_lock_irqsave(&way->tx_lock);
    bool is_taken = !way->is_gone && way->waiting_count < WAITING_MAX;
    if (is_taken) {
        list_add_tail(&way->waiting, &packet->node);
        atomic_store_relaxed(&way->waiting_count, way->waiting_count + 1);
        fill(way);
    }
    spin_unlock_irqrestore(&way->tx_lock, flags);
    if (!is_taken) {
        counter_add(virtio, vsock_dropped, 1);
        kfree(packet);
    }
}

static bool has_room(struct vsock_transport *transport)
{
    return atomic_load_relaxed(&of(transport)->waiting_count) == 0;
}

static void sent(struct virtio_queue *queue)
{
    struct host_way *way = queue->context;
    void *token;
    uint32_t written_bytes;
    uint64_t flags = spin_lock_irqsave(&way->tx_lock);
    bool was_full = way->waiting_count != 0;
    do {
        while (virtio_queue_take(queue, &token, &written_bytes) == 1)
            kfree(token);
    } while (virtio_ring_interrupt_enable(&queue->ring, virtio_ring_in_flight(&queue->ring) / 2));
    fill(way);
    bool is_free = was_full && way->waiting_count == 0;
    spin_unlock_irqrestore(&way->tx_lock, flags);
    if (is_free)
        wait_wake_all(&way->transport.room);
}

// ---- receiving ----------------------------------------------------------------------------------

// Gives the device room for packets. rx_lock held.
static void post(struct host_way *way)
{
    struct virtio_queue *queue = &way->device->queues[QUEUE_RX];
    for (;;) {
        struct vsock_packet *packet = vsock_packet_create(RX_CAPACITY, PAGE_ALLOC_ATOMIC);
        if (packet == NULL)
            break; // again with the next packet; there are others
        struct virtio_segment segment = {
            virt_to_phys(&packet->header), (uint32_t)sizeof(packet->header) + packet->capacity};
        if (virtio_ring_add(&queue->ring, &segment, 0, 1, packet, NULL) != 0) {
            kfree(packet);
            break;
        }
    }
    virtio_queue_commit(queue);
}

static void received(struct virtio_queue *queue)
{
    struct host_way *way = queue->context;
    void *token;
    uint32_t written_bytes;
    uint64_t flags = spin_lock_irqsave(&way->rx_lock);
    do {
        while (virtio_queue_take(queue, &token, &written_bytes) == 1) {
            struct vsock_packet *packet = token;
            if (written_bytes < sizeof(packet->header)) {
                virtio_device_break(way->device, "a packet without a header");
                kfree(packet);
                continue;
            }
            packet->len = written_bytes - (uint32_t)sizeof(packet->header);
            vsock_receive(&way->transport, packet);
        }
        post(way);
    } while (virtio_ring_interrupt_enable(&queue->ring, 0));
    spin_unlock_irqrestore(&way->rx_lock, flags);
}

// ---- events -------------------------------------------------------------------------------------

static bool event_post(struct host_way *way, struct virtio_vsock_event *event)
{
    struct virtio_segment segment = {virt_to_phys(event), sizeof(*event)};
    struct virtio_queue *queue = &way->device->queues[QUEUE_EVENT];
    return virtio_ring_add(&queue->ring, &segment, 0, 1, event, NULL) == 0;
}

static void read_address(struct host_way *way)
{
    uint64_t cid = virtio_config_field(way->device, struct virtio_vsock_config, guest_cid);
    atomic_store_relaxed(&way->transport.cid, (uint32_t)cid); // the upper half is reserved: 5.10.4
}

// The address may be another one after 5.10.6.7's event.
static void config_changed(struct virtio_device *device)
{
    read_address(device->driver_data);
}

static void event_came(struct virtio_queue *queue)
{
    struct host_way *way = queue->context;
    void *token;
    uint32_t written_bytes;
    bool is_reset = false;
    uint64_t flags = spin_lock_irqsave(&way->rx_lock);
    do {
        while (virtio_queue_take(queue, &token, &written_bytes) == 1) {
            struct virtio_vsock_event *event = token;
            uint32_t id = event->id;
            is_reset |= written_bytes >= sizeof(*event) && id == VIRTIO_VSOCK_EVENT_TRANSPORT_RESET;
            (void)event_post(way, event);
        }
        virtio_queue_commit(queue);
    } while (virtio_ring_interrupt_enable(&queue->ring, 0));
    spin_unlock_irqrestore(&way->rx_lock, flags);
    if (is_reset) {
        vsock_reset(&way->transport);
        virtio_device_config_changed(way->device);
    }
}

// ---- the device ---------------------------------------------------------------------------------

static void release_all(struct host_way *way)
{
    void *token;
    struct vsock_packet *packet;
    struct virtio_queue *queues = way->device->queues;
    uint64_t flags = spin_lock_irqsave(&way->rx_lock);
    while ((token = virtio_ring_outstanding(&queues[QUEUE_RX].ring)) != NULL)
        kfree(token);
    spin_unlock_irqrestore(&way->rx_lock, flags);
    flags = spin_lock_irqsave(&way->tx_lock);
    way->is_gone = true;
    while ((token = virtio_ring_outstanding(&queues[QUEUE_TX].ring)) != NULL)
        kfree(token);
    while ((packet = list_pop_head_entry_or_null(&way->waiting, struct vsock_packet, node)))
        kfree(packet);
    atomic_store_relaxed(&way->waiting_count, 0);
    spin_unlock_irqrestore(&way->tx_lock, flags);
}

static void broken(struct virtio_device *device)
{
    struct host_way *way = device->driver_data;
    if (way == NULL)
        return;
    release_all(way);
    vsock_reset(&way->transport);
    wait_wake_all(&way->transport.room);
}

static int start(struct host_way *way)
{
    const struct virtio_queue_setup setups[QUEUE_COUNT] = {
        [QUEUE_RX] = {.size_max = RING_SIZE, .used = received, .context = way},
        [QUEUE_TX] = {.size_max = RING_SIZE, .used = sent, .context = way},
        [QUEUE_EVENT] = {.size_max = EVENT_COUNT, .used = event_came, .context = way},
    };
    int error = virtio_queues_create(way->device, setups, QUEUE_COUNT);
    if (error != 0)
        return error;
    read_address(way);
    error = vsock_host_add(&way->transport);
    if (error != 0)
        return error;
    virtio_device_ready(way->device);
    uint64_t flags = spin_lock_irqsave(&way->rx_lock);
    post(way);
    for (uint32_t i = 0; i < EVENT_COUNT && event_post(way, &way->events[i]); i++)
        ;
    virtio_queue_commit(&way->device->queues[QUEUE_EVENT]);
    spin_unlock_irqrestore(&way->rx_lock, flags);
    log_info("virtio: %s: this machine is %u to its host", way->device->name, way->transport.cid);
    return 0;
}

static int probe(struct virtio_device *device)
{
    struct host_way *way = kzalloc(sizeof(*way));
    if (way == NULL)
        return -ENOMEM;
    way->device = device;
    way->transport.send = send;
    way->transport.has_room = has_room;
    wait_queue_init(&way->transport.room);
    spin_lock_init(&way->rx_lock);
    spin_lock_init(&way->tx_lock);
    list_init(&way->waiting);
    int error = start(way);
    if (error == 0)
        device->driver_data = way; // for ever: sockets know it
    else
        kfree(way);
    return error;
}

const struct virtio_driver virtio_vsock_driver = {
    .name = "virtio-vsock",
    .type = VIRTIO_ID_VSOCK,
    .probe = probe,
    .config_changed = config_changed,
    .broken = broken,
};
