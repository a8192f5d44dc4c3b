// SPDX-License-Identifier: MIT
// AF_VSOCK: what programs send and receive.
//
// A payload is copied once, from the program into the packet that goes out, or from the packet that
// came in to the program.
#include "kernel/net/vsock/internal.h"

#include "kernel/base/assert.h"
#include "kernel/core/errno.h"
#include "kernel/fs/poll.h"
#include "kernel/process/task.h"
#include "mm/slab.h"

// ---- sending ------------------------------------------------------------------------------------

// Lock held. 0, or why nothing can be sent now or later. `is_first`: nothing was waited for yet.
static int send_refusal(const struct vsock_socket *socket, bool is_first)
{
    const struct vsock_flow *flow = &socket->flow;
    if (!is_first && flow->error != 0)
        return -flow->error;
    if (flow->own_end & VIRTIO_VSOCK_SHUTDOWN_SEND || flow->peer_end & VIRTIO_VSOCK_SHUTDOWN_RCV)
        return -EPIPE;
    return flow->state == VSOCK_OPEN ? 0 : -ENOTCONN;
}

// Has the wait for the peer's room come to an end, one way or another?
static bool stops_waiting(struct vsock_socket *socket)
{
    uint64_t flags = spin_lock_irqsave(&socket->lock);
    bool stops = send_refusal(socket, false) != 0 || vsock_flow_room(&socket->flow) != 0;
    spin_unlock_irqrestore(&socket->lock, flags);
    return stops;
}

static int wait_for_room(struct vsock_socket *socket, uint64_t deadline_ns)
{
    struct vsock_transport *transport = socket->transport; // fixed while connected
    bool is_blocked = false;
    uint64_t flags = spin_lock_irqsave(&socket->lock);
    if (send_refusal(socket, false) == 0 && vsock_flow_room(&socket->flow) == 0) {
        is_blocked = true;
        vsock_tell(socket, VIRTIO_VSOCK_OP_CREDIT_REQUEST, 0); // it may have kept quiet
    }
    spin_unlock_irqrestore(&socket->lock, flags);
    int error = 0;
    if (is_blocked)
        error = wait_event_interruptible_until(&socket->wait, stops_waiting(socket), deadline_ns);
    if (error == 0)
        error = wait_event_interruptible_until(
            &transport->room, transport->has_room(transport), deadline_ns);
    return error;
}

// Sends the next piece. Bytes; 0: there is no room now; or an error.
static int64_t send_piece(struct vsock_socket *socket, struct io_iter *from, bool is_first)
{
    uint64_t flags = spin_lock_irqsave(&socket->lock);
    int error = send_refusal(socket, is_first);
    uint32_t room = error == 0 && socket->transport->has_room(socket->transport)
                        ? vsock_flow_room(&socket->flow)
                        : 0;
    spin_unlock_irqrestore(&socket->lock, flags);
    if (room == 0)
        return error;
    uint32_t len = (uint32_t)MIN(from->count, (size_t)MIN(room, VSOCK_PAYLOAD_BYTES));
    struct vsock_packet *packet = vsock_packet_create(len, 0);
    if (packet == NULL)
        return -ENOMEM;
    struct io_iter rest = *from;
    if (iter_copy_from(&rest, packet->data, len) != len) {
        kfree(packet);
        return -EFAULT;
    }
    flags = spin_lock_irqsave(&socket->lock);
    error = send_refusal(socket, false);
    // Another sender may have taken some of the room meanwhile.
    packet->len = error == 0 ? vsock_flow_send(&socket->flow, len) : 0;
    len = packet->len;
    packet->header.op = VIRTIO_VSOCK_OP_RW;
    if (len != 0)
        vsock_send_packet(socket, packet);
    spin_unlock_irqrestore(&socket->lock, flags);
    if (len == 0)
        kfree(packet);
    iter_advance(from, len);
    return len != 0 ? (int64_t)len : error;
}

static int64_t send_all(struct vsock_socket *socket, struct io_iter *from, bool nonblocking)
{
    uint64_t timeout_ns = socket->socket.send_timeout_ns, deadline_ns = socket_deadline(timeout_ns);
    int64_t sent = 0, result;
    bool is_first = true;
    do {
        result = send_piece(socket, from, is_first);
        is_first = false;
        if (result > 0) {
            sent += result;
        } else if (result == 0 && nonblocking) {
            result = -EAGAIN;
        } else if (result == 0) {
            int error = wait_for_room(socket, deadline_ns);
            if (error != 0)
                result = socket_wait_error(error, timeout_ns);
        }
    } while (result >= 0 && from->count != 0);
    return sent != 0 ? sent : MIN(result, 0);
}

int64_t vsock_send(struct socket *base, struct socket_message *message, bool nonblocking)
{
    struct vsock_socket *socket = vsock_of(base);
    int64_t sent;
    nonblocking |= (message->flags & ABI_MSG_DONTWAIT) != 0;
    uint64_t flags = spin_lock_irqsave(&socket->lock);
    sent = send_refusal(socket, true);
    if (message->address_len != 0)
        sent = socket->phase == VSOCK_CONNECTED ? -EISCONN : -EOPNOTSUPP;
    spin_unlock_irqrestore(&socket->lock, flags);
    if (message->flags & ABI_MSG_OOB)
        sent = -EOPNOTSUPP;
    if (sent == 0 && message->iter.count != 0)
        sent = send_all(socket, &message->iter, nonblocking);
    socket_control_release(&message->control);
    if (sent == -EPIPE && !(message->flags & ABI_MSG_NOSIGNAL))
        (void)signal_send_task(task_current(), SIGPIPE, NULL);
    return sent;
}

// ---- receiving ----------------------------------------------------------------------------------

// The packet behind `before` (NULL: the first), and what of it is there to be read. receive_lock
// keeps it in the queue; more may be added behind `until` meanwhile.
static struct vsock_packet *next_packet(
    struct vsock_socket *socket, struct vsock_packet *before, uint32_t *from, uint32_t *until)
{
    uint64_t flags = spin_lock_irqsave(&socket->lock);
    struct list_node *node = before != NULL ? before->node.next : socket->packets.next;
    struct vsock_packet *packet =
        node != &socket->packets ? container_of(node, struct vsock_packet, node) : NULL;
    if (packet != NULL) {
        *from = packet->used;
        *until = packet->len;
    }
    spin_unlock_irqrestore(&socket->lock, flags);
    return packet;
}

// The first packet's next bytes have been read.
static void consume(struct vsock_socket *socket, struct vsock_packet *packet, uint32_t len)
{
    uint64_t flags = spin_lock_irqsave(&socket->lock);
    packet->used += len;
    bool is_done = packet->used == packet->len;
    if (is_done)
        list_remove(&packet->node);
    if (vsock_flow_forward(&socket->flow, len))
        vsock_tell(socket, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
    spin_unlock_irqrestore(&socket->lock, flags);
    if (is_done)
        kfree(packet);
}

// What is there. receive_lock held. Bytes, or -EFAULT.
static int64_t copy_out(struct vsock_socket *socket, struct io_iter *to, bool peek)
{
    struct vsock_packet *packet = NULL;
    int64_t got = 0;
    uint32_t from, until;
    while (to->count != 0) {
        packet = next_packet(socket, peek ? packet : NULL, &from, &until);
        if (packet == NULL)
            break;
        size_t want = MIN(to->count, (size_t)(until - from));
        size_t len = iter_copy_to(to, packet->data + from, want);
        got += (int64_t)len;
        if (!peek && len != 0)
            consume(socket, packet, (uint32_t)len);
        if (len != want)
            return got != 0 ? got : -EFAULT;
    }
    return got;
}

// Is there something to be said to a reader? 1: data; 0: not yet; -ENOTCONN or another error; the
// end is told as -EPIPE. Lock held.
static int readable(const struct vsock_socket *socket)
{
    const struct vsock_flow *flow = &socket->flow;
    if (flow->state != VSOCK_OPEN && flow->state != VSOCK_OVER)
        return flow->error != 0 ? -flow->error : -ENOTCONN;
    if (flow->own_end & VIRTIO_VSOCK_SHUTDOWN_RCV)
        return -EPIPE;
    if (!list_is_empty(&socket->packets))
        return 1;
    return flow->peer_end & VIRTIO_VSOCK_SHUTDOWN_SEND ? -EPIPE : 0;
}

static int look(struct vsock_socket *socket)
{
    uint64_t flags = spin_lock_irqsave(&socket->lock);
    int result = readable(socket);
    spin_unlock_irqrestore(&socket->lock, flags);
    return result;
}

// 1: there is something; -EPIPE: the end; or another error.
static int wait_for_data(struct vsock_socket *socket, bool nonblocking, uint64_t deadline_ns)
{
    int result = look(socket);
    if (result != 0)
        return result;
    if (nonblocking)
        return -EAGAIN;
    int error =
        wait_event_interruptible_until(&socket->wait, (result = look(socket)) != 0, deadline_ns);
    return error != 0 ? socket_wait_error(error, socket->socket.receive_timeout_ns) : result;
}

int64_t vsock_receive_message(struct socket *base, struct socket_message *message, bool nonblocking)
{
    struct vsock_socket *socket = vsock_of(base);
    bool peek = (message->flags & ABI_MSG_PEEK) != 0;
    bool is_all = (message->flags & (ABI_MSG_WAITALL | ABI_MSG_PEEK)) == ABI_MSG_WAITALL;
    int64_t got = 0, result = look(socket);
    uint64_t deadline_ns = socket_deadline(base->receive_timeout_ns);
    // An error that nobody waited for is SO_ERROR's to tell.
    if (result < 0 && result != -EPIPE)
        return -ENOTCONN;
    if (message->flags & ABI_MSG_OOB)
        return -EOPNOTSUPP;
    nonblocking |= (message->flags & ABI_MSG_DONTWAIT) != 0;
    while (message->iter.count != 0) {
        result = wait_for_data(socket, nonblocking, deadline_ns);
        if (result < 0)
            break;
        mutex_lock(&socket->receive_lock);
        result = copy_out(socket, &message->iter, peek);
        mutex_unlock(&socket->receive_lock);
        if (result > 0)
            got += result;
        if (result < 0 || (got != 0 && !is_all))
            break; // 0: another reader was faster
    }
    if (got != 0 || result == -EPIPE)
        return got;
    return MIN(result, 0);
}

// ---- waiting for either -------------------------------------------------------------------------

static uint32_t end_events(const struct vsock_flow *flow)
{
    const uint32_t both = VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND;
    bool is_read_out =
        flow->own_end & VIRTIO_VSOCK_SHUTDOWN_RCV || flow->peer_end & VIRTIO_VSOCK_SHUTDOWN_SEND;
    uint32_t events = is_read_out ? EPOLLRDHUP | EPOLLIN | EPOLLRDNORM : 0;
    if (flow->own_end == both || (flow->own_end & flow->peer_end & VIRTIO_VSOCK_SHUTDOWN_SEND) != 0)
        events |= EPOLLHUP;
    return flow->error != 0 ? events | EPOLLERR : events;
}

// Who polls may go on doing so when the socket has been connected, whichever way that leads.
static void watch(struct vsock_socket *socket, struct file *file, struct poll_table *table)
{
    struct vsock_transport *transport = __atomic_load_n(&socket->transport, __ATOMIC_ACQUIRE);
    struct vsock_transport *host = __atomic_load_n(&vsock_host, __ATOMIC_ACQUIRE);
    poll_wait(table, file, &socket->wait);
    if (transport == NULL || transport == &vsock_loopback)
        poll_wait(table, file, &vsock_loopback.room);
    if (host != NULL && (transport == NULL || transport == host))
        poll_wait(table, file, &host->room);
}

uint32_t vsock_poll(struct socket *base, struct file *file, struct poll_table *table)
{
    struct vsock_socket *socket = vsock_of(base);
    watch(socket, file, table);
    uint64_t flags = spin_lock_irqsave(&socket->lock);
    const struct vsock_flow *flow = &socket->flow;
    uint32_t events = end_events(flow);
    bool is_gone = flow->state == VSOCK_CLOSED || flow->state == VSOCK_OVER;
    bool has_room = flow->state == VSOCK_OPEN && vsock_flow_room(flow) != 0 &&
                    socket->transport->has_room(socket->transport);
    if (!list_is_empty(&socket->packets) || !list_is_empty(&socket->pending))
        events |= EPOLLIN | EPOLLRDNORM;
    if ((is_gone || has_room) && !(flow->own_end & VIRTIO_VSOCK_SHUTDOWN_SEND))
        events |= EPOLLOUT | EPOLLWRNORM;
    spin_unlock_irqrestore(&socket->lock, flags);
    return events;
}
