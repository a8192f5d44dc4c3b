// SPDX-License-Identifier: MIT
// Packets that come in: to whom, and what they do there. What a packet means for a connection is
// flow.c's; here are the queues, the tables and the answers.
#include "kernel/net/vsock/internal.h"

#include "kernel/base/assert.h"
#include "kernel/base/atomic.h"
#include "kernel/base/string.h"
#include "kernel/core/counter.h"
#include "kernel/core/errno.h"
#include "mm/slab.h"

#include <linux/eventpoll.h>

COUNTER(vsock, received);
COUNTER(vsock, bad_packets);
COUNTER(vsock, no_receiver);  // answered with a reset
COUNTER(vsock, copied_bytes); // of payload, within the kernel

// The answer to a packet that belongs to no connection.
static void reject(struct vsock_transport *transport, const struct virtio_vsock_hdr *to)
{
    counter_add(vsock, no_receiver, 1);
    if (to->op == VIRTIO_VSOCK_OP_RST)
        return;
    struct vsock_packet *packet = vsock_packet_create(0, PAGE_ALLOC_ATOMIC);
    if (packet == NULL)
        return; // as if it had been lost: the peer has a time-out
    packet->header = (struct virtio_vsock_hdr){.src_cid = to->dst_cid,
        .dst_cid = to->src_cid,
        .src_port = to->dst_port,
        .dst_port = to->src_port,
        .type = to->type,
        .op = VIRTIO_VSOCK_OP_RST};
    transport->send(transport, packet);
}

// Puts a payload into the queue, at the end of the last packet if there is room: a peer that sends
// a byte at a time can't have more memory than twice what it was promised. Lock held.
static void queue_payload(struct vsock_socket *socket, struct vsock_packet *packet)
{
    struct vsock_packet *last =
        list_last_entry_or_null(&socket->packets, struct vsock_packet, node);
    if (last != NULL && packet->len <= last->capacity - last->len) {
        memcpy(last->data + last->len, packet->data, packet->len);
        counter_add(vsock, copied_bytes, packet->len);
        last->len += packet->len;
        kfree(packet);
    } else {
        list_add_tail(&socket->packets, &packet->node);
    }
}

static uint32_t poll_events(uint32_t changes)
{
    // Only what leaves the other direction alone is named.
    if (changes == VSOCK_DELIVER)
        return EPOLLIN | EPOLLRDNORM;
    return changes == VSOCK_ROOM ? EPOLLOUT | EPOLLWRNORM : 0;
}

static void receive_connection(
    struct vsock_socket *socket, struct vsock_packet *packet, const struct virtio_vsock_hdr *header)
{
    struct vsock_verdict verdict = vsock_flow_receive(&socket->flow, header);
    expensive_assert(vsock_flow_is_valid(&socket->flow));
    if (verdict.changes & VSOCK_DELIVER)
        queue_payload(socket, packet);
    else
        kfree(packet);
    if (verdict.changes & VSOCK_OPENED) {
        vsock_timer_stop(socket);
        socket->phase = VSOCK_CONNECTED;
    }
    if (verdict.reply != VIRTIO_VSOCK_OP_INVALID)
        vsock_tell(socket, verdict.reply, 0);
    if (verdict.changes & VSOCK_ENDED)
        vsock_connection_ended(socket);
    if (verdict.changes != 0)
        vsock_socket_wake(socket, poll_events(verdict.changes));
}

// A request to a listener, whose lock is held. False: refused.
static bool receive_request(struct vsock_socket *listener, struct vsock_transport *transport,
    const struct virtio_vsock_hdr *header)
{
    if (header->op != VIRTIO_VSOCK_OP_REQUEST || listener->pending_count > listener->backlog)
        return false;
    struct vsock_socket *child = vsock_socket_create(PAGE_ALLOC_ATOMIC);
    if (child == NULL)
        return false;
    spin_lock_nested(&child->lock, 1);
    child->transport = transport;
    child->local = (struct vsock_address){(uint32_t)header->dst_cid, header->dst_port};
    child->remote = (struct vsock_address){(uint32_t)header->src_cid, header->src_port};
    child->buffer_min_bytes = listener->buffer_min_bytes;
    child->buffer_max_bytes = listener->buffer_max_bytes;
    child->connect_timeout_ns = listener->connect_timeout_ns;
    child->phase = VSOCK_CONNECTED;
    vsock_flow_init(&child->flow, listener->flow.buffer_bytes);
    vsock_flow_accept(&child->flow, header);
    vsock_table_connect(child);
    vsock_tell(child, VIRTIO_VSOCK_OP_RESPONSE, 0);
    spin_unlock(&child->lock);
    list_add_tail(&listener->pending, &child->pending_node);
    listener->pending_count++;
    vsock_socket_wake(listener, EPOLLIN | EPOLLRDNORM);
    return true;
}

// The packet is used up.
static void receive_locked(struct vsock_socket *socket, struct vsock_transport *transport,
    struct vsock_packet *packet, const struct virtio_vsock_hdr *header)
{
    struct vsock_address remote = {(uint32_t)header->src_cid, header->src_port};
    bool is_listener = socket->flow.state == VSOCK_LISTENING;
    bool is_peer = !is_listener && socket->transport == transport &&
                   socket->flow.state != VSOCK_CLOSED &&
                   vsock_address_equals(socket->remote, remote);
    if (is_peer) {
        receive_connection(socket, packet, header);
        return;
    }
    if (!is_listener || !receive_request(socket, transport, header))
        reject(transport, header);
    kfree(packet);
}

void vsock_receive(struct vsock_transport *transport, struct vsock_packet *packet)
{
    // The other end may still write to the packet: it is looked at once.
    const struct virtio_vsock_hdr header = packet->header;
    bool is_own = header.dst_cid == atomic_load_relaxed(&transport->cid) ||
                  (transport == &vsock_loopback && header.dst_cid <= UINT32_MAX);
    counter_add(vsock, received, 1);
    if (!vsock_header_is_valid(&header, (uint32_t)sizeof(header) + packet->len) ||
        header.src_cid > UINT32_MAX || !is_own) {
        counter_add(vsock, bad_packets, 1);
        kfree(packet);
        return;
    }
    packet->len = header.len;
    packet->used = 0;
    struct vsock_socket *socket = NULL;
    if (header.type == VIRTIO_VSOCK_TYPE_STREAM)
        socket = vsock_table_find((struct vsock_address){(uint32_t)header.dst_cid, header.dst_port},
            (struct vsock_address){(uint32_t)header.src_cid, header.src_port});
    if (socket == NULL) {
        reject(transport, &header);
        kfree(packet);
        return;
    }
    uint64_t flags = spin_lock_irqsave(&socket->lock);
    receive_locked(socket, transport, packet, &header);
    spin_unlock_irqrestore(&socket->lock, flags);
    vsock_socket_put(socket);
}

static void reset_one(struct vsock_socket *socket)
{
    uint64_t flags = spin_lock_irqsave(&socket->lock);
    if (socket->flow.state != VSOCK_CLOSED)
        vsock_flow_end(&socket->flow, ECONNRESET);
    vsock_connection_ended(socket);
    spin_unlock_irqrestore(&socket->lock, flags);
    vsock_socket_wake(socket, 0);
}

void vsock_reset(struct vsock_transport *transport)
{
    vsock_table_visit(transport, reset_one);
}
