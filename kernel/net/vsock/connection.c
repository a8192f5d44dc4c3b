// SPDX-License-Identifier: MIT
// AF_VSOCK: how connections begin and end.
//
// Theory. What is between two ends is in flow.c; here it meets programs, tables and time. A request
// that nobody answers is given up after the socket's connect time-out. A connection whose file is
// closed tells its peer, and lives on in the table until the peer has answered with a reset, or for
// CLOSE_TIMEOUT_NS: what the peer has sent meanwhile must not hit whoever has the port next.
#include "kernel/net/vsock/internal.h"

#include "kernel/base/assert.h"
#include "kernel/base/atomic.h"
#include "kernel/core/errno.h"
#include "kernel/core/time.h"
#include "mm/slab.h"

#include <linux/eventpoll.h>

#define BACKLOG_MAX      4096                // as Linux's net.core.somaxconn
#define CLOSE_TIMEOUT_NS (8 * NS_PER_SECOND) // as Linux's
#define BOTH_ENDS        (VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND)

void vsock_tell(struct vsock_socket *socket, uint16_t op, uint32_t flags)
{
    assert_lock_held(&socket->lock);
    struct vsock_packet *packet = vsock_packet_create(0, PAGE_ALLOC_ATOMIC);
    if (packet == NULL)
        return; // the kernel's last reserve is gone; time-outs end what hangs on it
    packet->header.op = op;
    packet->header.flags = flags;
    vsock_send_packet(socket, packet);
}

void vsock_send_packet(struct vsock_socket *socket, struct vsock_packet *packet)
{
    struct vsock_transport *transport = socket->transport;
    bool has_own = transport == &vsock_loopback && socket->local.cid != VMADDR_CID_ANY;
    packet->header.src_cid = has_own ? socket->local.cid : atomic_load_relaxed(&transport->cid);
    packet->header.src_port = socket->local.port;
    packet->header.dst_cid = socket->remote.cid;
    packet->header.dst_port = socket->remote.port;
    packet->header.len = packet->len;
    vsock_flow_fill(&socket->flow, &packet->header);
    transport->send(transport, packet);
}

// ---- time ---------------------------------------------------------------------------------------

static void timer_start(struct vsock_socket *socket, uint64_t timeout_ns)
{
    assert_lock_held(&socket->lock);
    if (!timer_cancel(&socket->timer))
        refcount_get(&socket->references);
    timer_arm(&socket->timer, time_monotonic_ns() + timeout_ns);
}

void vsock_timer_stop(struct vsock_socket *socket)
{
    assert_lock_held(&socket->lock);
    if (timer_cancel(&socket->timer))
        vsock_socket_put(socket); // never the last: the caller has one
}

void vsock_timer_function(struct timer *timer)
{
    struct vsock_socket *socket = container_of(timer, struct vsock_socket, timer);
    uint64_t flags = spin_lock_irqsave(&socket->lock);
    bool is_due = timer_deadline_ns(timer) <= time_monotonic_ns(); // else: armed again meanwhile
    if (is_due && socket->flow.state == VSOCK_CONNECTING) {
        vsock_flow_end(&socket->flow, ETIMEDOUT);
        vsock_connection_ended(socket);
        vsock_socket_wake(socket, 0);
    } else if (is_due && socket->flow.state == VSOCK_OPEN && socket->is_closed) {
        vsock_tell(socket, VIRTIO_VSOCK_OP_RST, 0);
        vsock_flow_end(&socket->flow, 0);
        vsock_connection_ended(socket);
    }
    spin_unlock_irqrestore(&socket->lock, flags);
    vsock_socket_put(socket);
}

// ---- the end ------------------------------------------------------------------------------------

void vsock_connection_ended(struct vsock_socket *socket)
{
    assert_lock_held(&socket->lock);
    assert(socket->flow.state == VSOCK_CLOSED || socket->flow.state == VSOCK_OVER);
    if (socket->flow.state == VSOCK_CLOSED)
        socket->phase = VSOCK_UNCONNECTED;
    vsock_timer_stop(socket);
    vsock_table_disconnect(socket);
}

static void drop_packets(struct vsock_socket *socket)
{
    struct vsock_packet *packet;
    while ((packet = list_pop_head_entry_or_null(&socket->packets, struct vsock_packet, node)))
        kfree(packet);
}

static void close_connection(struct vsock_socket *socket)
{
    bool is_answer = socket->flow.peer_end == BOTH_ENDS;
    bool is_told = socket->flow.own_end == BOTH_ENDS;
    socket->flow.own_end = BOTH_ENDS;
    (void)vsock_flow_forward(&socket->flow, vsock_flow_queued(&socket->flow));
    if (is_answer) {
        vsock_tell(socket, VIRTIO_VSOCK_OP_RST, 0);
        vsock_flow_end(&socket->flow, 0);
        vsock_connection_ended(socket);
        return;
    }
    if (!is_told)
        vsock_tell(socket, VIRTIO_VSOCK_OP_SHUTDOWN, BOTH_ENDS);
    timer_start(socket, CLOSE_TIMEOUT_NS);
}

void vsock_close(struct vsock_socket *socket)
{
    struct list_node pending;
    struct vsock_socket *waiting;
    list_init(&pending);
    uint64_t flags = spin_lock_irqsave(&socket->lock);
    socket->is_closed = true;
    list_splice_tail(&pending, &socket->pending);
    drop_packets(socket);
    if (socket->flow.state == VSOCK_OPEN) {
        close_connection(socket);
    } else {
        vsock_flow_end(&socket->flow, 0); // a listener takes no more requests
        vsock_connection_ended(socket);
    }
    vsock_table_unbind(socket);
    spin_unlock_irqrestore(&socket->lock, flags);
    // One level: what waits to be accepted has nothing waiting itself.
    while ((waiting = list_pop_head_entry_or_null(&pending, struct vsock_socket, pending_node)))
        vsock_close(waiting);
    vsock_socket_put(socket);
}

int vsock_shutdown(struct socket *base, bool receive, bool send)
{
    struct vsock_socket *socket = vsock_of(base);
    uint32_t ends =
        (receive ? VIRTIO_VSOCK_SHUTDOWN_RCV : 0u) | (send ? VIRTIO_VSOCK_SHUTDOWN_SEND : 0u);
    uint64_t flags = spin_lock_irqsave(&socket->lock);
    int error = socket->phase == VSOCK_UNCONNECTED ? -ENOTCONN : 0;
    if (error == 0) {
        socket->phase = VSOCK_DISCONNECTING;
        socket->flow.own_end |= ends;
        if (socket->flow.state == VSOCK_OPEN)
            vsock_tell(socket, VIRTIO_VSOCK_OP_SHUTDOWN, socket->flow.own_end);
    }
    spin_unlock_irqrestore(&socket->lock, flags);
    if (error == 0)
        vsock_socket_wake(socket, 0);
    return error;
}

// ---- the beginning ------------------------------------------------------------------------------

int vsock_address_parse(const void *address, uint32_t len, struct vsock_address *result)
{
    const struct sockaddr_vm *name = address;
    if (len < sizeof(*name) || name->svm_family != ABI_AF_VSOCK ||
        (name->svm_flags & ~VMADDR_FLAG_TO_HOST) != 0)
        return -EINVAL;
    *result = (struct vsock_address){.cid = name->svm_cid, .port = name->svm_port};
    return 0;
}

// Why connect(2) can't begin, by what was done with the socket before.
static int connect_refusal(const struct vsock_socket *socket)
{
    switch (socket->phase) {
    case VSOCK_TRYING:
        return -EALREADY;
    case VSOCK_CONNECTED:
        return -EISCONN;
    case VSOCK_DISCONNECTING:
        return -EINVAL;
    default:
        return socket->flow.state == VSOCK_LISTENING ? -EINVAL : 0;
    }
}

static int connect_begin(struct vsock_socket *socket, const void *address, uint32_t len)
{
    struct vsock_address remote;
    int error = connect_refusal(socket);
    if (error == 0)
        error = vsock_address_parse(address, len, &remote);
    if (error != 0)
        return error;
    struct vsock_transport *transport = vsock_transport_for(remote.cid);
    if (transport == NULL)
        return -ENODEV;
    if (socket->local.port == VMADDR_PORT_ANY)
        error = vsock_table_bind(socket, (struct vsock_address){VMADDR_CID_ANY, VMADDR_PORT_ANY});
    if (error != 0)
        return error;
    drop_packets(socket); // of a connection that was reset
    socket->transport = transport;
    socket->remote = remote;
    socket->phase = VSOCK_TRYING;
    vsock_flow_connect(&socket->flow);
    vsock_table_connect(socket);
    timer_start(socket, socket->connect_timeout_ns);
    vsock_tell(socket, VIRTIO_VSOCK_OP_REQUEST, 0);
    return 0;
}

// A signal ends the attempt. 0, or what became of it.
static int connect_result(struct vsock_socket *socket, bool is_interrupted)
{
    int error = 0;
    uint64_t flags = spin_lock_irqsave(&socket->lock);
    if (is_interrupted && socket->flow.state == VSOCK_CONNECTING) {
        vsock_flow_end(&socket->flow, EINTR);
        vsock_connection_ended(socket);
    }
    if (socket->flow.state == VSOCK_CLOSED) {
        error = -socket->flow.error;
        socket->flow.error = 0;
    }
    spin_unlock_irqrestore(&socket->lock, flags);
    return error;
}

int vsock_connect(struct socket *base, const void *address, uint32_t len, bool nonblocking)
{
    struct vsock_socket *socket = vsock_of(base);
    uint64_t flags = spin_lock_irqsave(&socket->lock);
    int error = connect_begin(socket, address, len);
    spin_unlock_irqrestore(&socket->lock, flags);
    if (nonblocking && error == 0)
        return -EINPROGRESS;
    // One that is under way already is waited for.
    if (error != 0 && (error != -EALREADY || nonblocking))
        return error;
    error = wait_event_interruptible(
        &socket->wait, atomic_load_acquire(&socket->flow.state) != VSOCK_CONNECTING);
    return connect_result(socket, error != 0);
}

int vsock_listen(struct socket *base, uint32_t backlog)
{
    struct vsock_socket *socket = vsock_of(base);
    uint64_t flags = spin_lock_irqsave(&socket->lock);
    int error =
        socket->phase != VSOCK_UNCONNECTED || socket->local.port == VMADDR_PORT_ANY ? -EINVAL : 0;
    if (error == 0) {
        socket->flow.state = VSOCK_LISTENING;
        socket->backlog = MIN(backlog, UINT32_C(BACKLOG_MAX));
    }
    spin_unlock_irqrestore(&socket->lock, flags);
    return error;
}

static struct vsock_socket *pending_take(struct vsock_socket *listener)
{
    uint64_t flags = spin_lock_irqsave(&listener->lock);
    struct vsock_socket *child =
        list_pop_head_entry_or_null(&listener->pending, struct vsock_socket, pending_node);
    if (child != NULL)
        listener->pending_count--;
    spin_unlock_irqrestore(&listener->lock, flags);
    return child;
}

int vsock_accept(struct socket *base, bool nonblocking, struct socket **accepted)
{
    struct vsock_socket *listener = vsock_of(base), *child;
    if (atomic_load_relaxed(&listener->flow.state) != VSOCK_LISTENING)
        return -EINVAL;
    child = pending_take(listener);
    if (child == NULL && nonblocking)
        return -EAGAIN;
    if (child == NULL) {
        int error = wait_event_state(&listener->wait, (child = pending_take(listener)) != NULL,
            THREAD_INTERRUPTIBLE, false, socket_deadline(base->receive_timeout_ns));
        if (error != 0)
            return socket_wait_error(error, base->receive_timeout_ns);
    }
    *accepted = &child->socket;
    return 0;
}
