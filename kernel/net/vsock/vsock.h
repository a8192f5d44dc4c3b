// SPDX-License-Identifier: MIT
// AF_VSOCK (vsock(7)): what lies between the sockets and those who carry their packets.
//
// A packet is the header that goes over the wire and, right behind it, its payload. It belongs to
// whoever was handed it last.
#pragma once

#include "kernel/base/list.h"
#include "kernel/core/wait.h"
#include "kernel/net/vsock/flow.h"

struct vsock_packet {
    struct list_node node;
    uint32_t capacity; // bytes of room in `data`
    uint32_t used;     // bytes of the payload that were read
    uint32_t len;      // bytes in `data`
    uint32_t reserved;
    struct virtio_vsock_hdr header;
    uint8_t data[];
};
static_assert(offsetof(struct vsock_packet, data) ==
              offsetof(struct vsock_packet, header) + sizeof(struct virtio_vsock_hdr));

// Longest payload that is sent.
#define VSOCK_PAYLOAD_BYTES (UINT32_C(16384) - (uint32_t)sizeof(struct vsock_packet))

struct vsock_transport {
    // Sends a packet, which it takes over, behind those before it. It may be lost only if the
    // transport is broken, or the other end lets hundreds of answers lie. Interrupts off.
    void (*send)(struct vsock_transport *transport, struct vsock_packet *packet);
    // Has it little enough to send that a payload may be added? When it has again, `room` is woken.
    // Any context.
    bool (*has_room)(struct vsock_transport *transport);
    struct wait_queue room;
    uint32_t cid; // the machine's address; atomic
};

// Room for `capacity` bytes of payload; kfree() frees it. flags: PAGE_ALLOC_*. NULL: no memory.
struct vsock_packet *vsock_packet_create(uint32_t capacity, uint32_t flags);

// The way to the host is there. Its transport stays for ever. -EBUSY: there is one already. Task
// context.
[[nodiscard]] int vsock_host_add(struct vsock_transport *transport);
// A packet has come in: header and payload (`len`) are what the other end wrote, unchecked. Takes
// it over. Any context but NMI; one call at a time for a transport.
void vsock_receive(struct vsock_transport *transport, struct vsock_packet *packet);
// All connections over the transport are gone: the machine was moved to another host, or the device
// is broken (5.10.6.7). Any context but NMI.
void vsock_reset(struct vsock_transport *transport);

// At start-up, by one thread: the family, loopback, /dev/vsock.
void vsock_start(void);
