// SPDX-License-Identifier: MIT
// Network devices: the contract between those who have a wire (drivers: virtio-net, Xen's netfront)
// and those who want frames (AF_PACKET sockets; a protocol stack).
//
// A frame travels as a struct net_packet: pieces of pages, which the device itself reads or writes.
// Nothing here copies payload. A driver makes a struct net_device with one or more queue pairs, and
// registers it. Outgoing: net_device_transmit() → the queue of the running CPU → ops->transmit() →
// the device → ops->poll() → net_packet_release(). Incoming: the driver posts pages of
// net_packet_create() and hands packets to net_device_receive() from ops->poll().
//
// Context of ops->transmit, commit, poll and interrupts: the queue's lock is held, interrupts are
// off: a queue's rings are touched by one CPU at a time. They must not sleep.
#pragma once

#include "kernel/base/list.h"
#include "kernel/base/types.h"
#include "kernel/core/spinlock.h"
#include "kernel/core/work.h"
#include "mm/page.h"

#define NET_ADDRESS_BYTES    6
#define NET_NAME_BYTES       16
#define NET_HEADER_BYTES     14 // Ethernet
#define NET_SEGMENTS_MAX     18 // 64 KiB of unaligned pages, and a header
#define NET_PACKET_BYTES_MAX (65535 + NET_HEADER_BYTES)

struct net_device;
struct net_queue;

// Offloads that a device was found to have, and marks of a packet.
#define NET_CHECKSUM BIT(0) // tx: fills in the checksum at checksum_start + checksum_offset
#define NET_TSO4     BIT(1) // tx: cuts TCP over IPv4 into frames of segment_bytes payload
#define NET_TSO6     BIT(2)
#define NET_SCATTER  BIT(3) // tx: several segments
// Packets: received, with a checksum that the device has verified.
#define NET_CHECKSUM_GOOD BIT(8)

// Physically contiguous, inside one block of pages; the packet holds a reference to its head.
struct net_segment {
    struct page *page;
    uint32_t offset, len_bytes;
};

struct net_packet {
    struct list_node node;     // the owner's
    struct net_device *device; // it came from or goes to
    uint32_t len_bytes;        // of all segments: a frame from its destination address on, no FCS
    uint16_t flags;            // NET_*
    uint16_t segment_count;
    uint16_t checksum_start, checksum_offset; // with NET_CHECKSUM
    uint16_t segment_bytes;                   // with NET_TSO*: payload of one frame
    uint16_t header_bytes;                    // with NET_TSO*: headers that each frame repeats
    uint64_t driver_data[2];                  // the driver's, while it has it
    // The last reference is gone: instead of freeing pages and packet; NULL: they are freed. Any
    // context but NMI; must not sleep.
    void (*released)(struct net_packet *packet);
    void *context; // of whoever set `released`
    struct net_segment segments[NET_SEGMENTS_MAX];
};

struct net_statistics {
    uint64_t rx_packets, rx_bytes, rx_errors, rx_dropped;
    uint64_t tx_packets, tx_bytes, tx_errors, tx_dropped;
};

struct net_device_ops {
    // Brings the device up or down: posts receive buffers, takes them back. Task context, may
    // sleep. 0 or -errno.
    int (*open)(struct net_device *device);
    void (*stop)(struct net_device *device);
    // Puts packets[0..count) into the ring; returns how many of them fitted. The rest is dropped.
    uint32_t (*transmit)(struct net_queue *queue, struct net_packet **packets, uint32_t count);
    // Publishes and notifies once. NULL: nothing to do.
    void (*commit)(struct net_queue *queue);
    // Takes what the device has sent and received: net_packet_release() and net_device_receive()
    // for each, at most `budget` received ones; posts new buffers. Returns how many it received.
    uint32_t (*poll)(struct net_queue *queue, uint32_t budget);
    // Interrupts of the queue on or off. On: returns whether there is something already.
    bool (*interrupts)(struct net_queue *queue, bool on);
    // Task context; NULL: can't be changed (-EOPNOTSUPP).
    int (*set_address)(struct net_device *device, const uint8_t address[NET_ADDRESS_BYTES]);
    int (*set_mtu)(struct net_device *device, uint32_t mtu_bytes);
    int (*set_promiscuous)(struct net_device *device, bool promiscuous);
    // The last reference is gone, after net_device_unregister(): frees driver data.
    void (*release)(struct net_device *device);
};

// A pair of rings: transmit and receive.
struct net_queue {
    struct spinlock lock; // the driver's rings and everything below; taken with interrupts off
    struct net_device *device;
    uint32_t index;
    void *driver_data;
    bool running; // between open and stop
    struct net_statistics statistics;
    struct list_node received; // packets to hand over when the lock is released
    struct work work;          // goes on polling under a flood
} __attribute__((aligned(64)));

struct net_device {
    char name[NET_NAME_BYTES]; // "eth%d" becomes "eth0"...: the driver's, before registration
    const struct net_device_ops *ops;
    uint8_t address[NET_ADDRESS_BYTES];
    uint32_t mtu_bytes, mtu_min_bytes, mtu_max_bytes; // payload of a frame
    uint32_t features;                                // NET_*
    uint32_t index;                                   // ifindex, from 1; registration sets it
    uint32_t flags; // IFF_UP, IFF_PROMISC, IFF_RUNNING (link); atomic
    uint32_t queue_count;
    struct net_queue *queues;
    uint32_t refcount; // atomic
    uint32_t dead;     // -ENETDOWN to everybody; atomic
    void *driver_data;
    struct list_node node;
};

// ---- for drivers ----

// queue_count 0: one a CPU. One reference. NULL: no memory. Task context.
struct net_device *net_device_create(const struct net_device_ops *ops, uint32_t queue_count);
[[nodiscard]] int net_device_register(struct net_device *device);
// Takes it away, also while it is up: stops it, drops the driver's reference. Task context.
void net_device_unregister(struct net_device *device);
void net_device_get(struct net_device *device);
void net_device_put(struct net_device *device);
// The link came or went. Any context.
void net_device_link(struct net_device *device, bool is_up);
// From ops->poll only: a frame has come. Takes the reference over.
void net_device_receive(struct net_queue *queue, struct net_packet *packet);
// The driver's interrupt handler: polls, and switches interrupts off while there is much to do.
void net_queue_interrupt(struct net_queue *queue);

// ---- packets ----

// Without segments. NULL: no memory. flags: PAGE_ALLOC_*; contexts as page_alloc().
struct net_packet *net_packet_create(uint32_t flags);
// Adds memory behind what it has; takes over the caller's reference to the page. False: no room.
[[nodiscard]] bool net_packet_add(
    struct net_packet *packet, struct page *page, uint32_t offset, uint32_t len_bytes);
void net_packet_release(struct net_packet *packet); // any context but NMI

// ---- for users ----

// Sends; the packet is the device's then. 0, -ENETDOWN, -ENOBUFS (dropped), -EMSGSIZE; then it was
// released as well. Any context but NMI and under a queue's lock.
[[nodiscard]] int net_device_transmit(struct net_device *device, struct net_packet *packet);
// By index or name, with a reference; NULL: none.
struct net_device *net_device_get_by_index(uint32_t index);
struct net_device *net_device_get_by_name(const char *name);
// In order of registration, each with a reference, which the next call takes back. NULL: first, and
// end.
struct net_device *net_device_next_get(struct net_device *device);
[[nodiscard]] int net_device_up(struct net_device *device);
void net_device_down(struct net_device *device);
void net_device_statistics(const struct net_device *device, struct net_statistics *sum);

// Who gets frames: called for each received frame and, with outgoing true, for each that is sent.
// The packet stays the caller's. Without locks, preemption off; must not sleep. NULL: nobody.
extern void (*net_tap)(struct net_device *device, struct net_packet *packet, bool outgoing);
