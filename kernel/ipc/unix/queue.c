// SPDX-License-Identifier: MIT
// What goes through AF_UNIX sockets: packets in the receiver's queue (X2, X3 of socket.c).
//
// A stream is cut into packets when it is sent; a receiver goes over their borders, but not past
// one that brings files, nor, if it asked for credentials, into one of another sender.
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/ipc/unix/unix.h"
#include "kernel/process/task.h"
#include "mm/slab.h"
#include <linux/eventpoll.h>

#define STREAM_PIECE_BYTES (16384 - (uint32_t)sizeof(struct unix_packet))

static void packet_free(struct unix_packet *packet)
{
    socket_control_release(&packet->control);
    unix_address_put(packet->sender);
    kfree(packet);
}

void unix_queue_drop(struct unix_socket *socket)
{
    struct unix_packet *packet;
    for (;;) {
        spin_lock(&socket->lock);
        packet = list_pop_head_entry_or_null(&socket->packets, struct unix_packet, node);
        spin_unlock(&socket->lock);
        if (packet == NULL)
            return;
        packet_free(packet);
    }
}

// ---- sending -----------------------------------------------------------------------------------

// Who gets the message, with a reference. 0 or an error.
static int destination(
    struct unix_socket *socket, const struct socket_message *message, struct unix_socket **result)
{
    bool connection = socket->socket.type != ABI_SOCK_DGRAM;
    if (message->address_len != 0) {
        if (!connection)
            return unix_find(message->address, message->address_len, socket->socket.type, result);
        return socket->state == UNIX_CONNECTED ? -EISCONN : -EOPNOTSUPP;
    }
    *result = unix_peer_get(socket);
    return *result != NULL ? 0 : -ENOTCONN;
}

// A packet of the next `len` bytes. NULL: *error says why.
static struct unix_packet *packet_make(
    struct unix_socket *socket, struct socket_message *message, size_t len, int *error)
{
    struct unix_packet *packet = kmalloc(sizeof(*packet) + len, 0);
    if (packet == NULL) {
        *error = -ENOBUFS;
        return NULL;
    }
    if (iter_copy_from(&message->iter, packet->data, len) != len) {
        kfree(packet);
        *error = -EFAULT;
        return NULL;
    }
    packet->len = (uint32_t)len;
    packet->used = 0;
    packet->control = message->control; // with the first packet
    message->control.files = NULL;
    message->control.file_count = 0;
    if (!packet->control.has_credentials)
        unix_credentials_fill(&packet->control.credentials);
    packet->sender = __atomic_load_n(&socket->address, __ATOMIC_ACQUIRE);
    if (packet->sender != NULL)
        __atomic_fetch_add(&packet->sender->refcount, 1, __ATOMIC_RELAXED);
    return packet;
}

// Can the receiver, locked, take something now? 0; -EAGAIN: no room; -EPIPE, -ECONNREFUSED, -EPERM.
static int accepts(const struct unix_socket *to, const struct unix_socket *from)
{
    bool connection = from->socket.type != ABI_SOCK_DGRAM;
    if (to->dead)
        return connection ? -EPIPE : -ECONNREFUSED;
    if (to->no_receive)
        return -EPIPE;
    if (!connection && to->peer != NULL && to->peer != from)
        return -EPERM;
    return to->queued_bytes != 0 && to->queued_bytes >= to->socket.receive_buffer_bytes ? -EAGAIN
                                                                                        : 0;
}

static bool stops_waiting(struct unix_socket *to, struct unix_socket *from)
{
    spin_lock(&to->lock);
    bool stops = accepts(to, from) != -EAGAIN;
    spin_unlock(&to->lock);
    return stops || from->no_send;
}

// Appends the packet, which is used up if the result is 0.
static int deliver(
    struct unix_socket *from, struct unix_socket *to, struct unix_packet *packet, bool nonblocking)
{
    uint64_t timeout_ns = from->socket.send_timeout_ns, deadline_ns = socket_deadline(timeout_ns);
    for (;;) {
        spin_lock(&to->lock);
        int error = from->no_send ? -EPIPE : accepts(to, from);
        if (error == 0) {
            list_add_tail(&to->packets, &packet->node);
            to->queued_bytes += packet->len;
        }
        spin_unlock(&to->lock);
        if (error == 0) {
            wait_wake_sync(&to->wait, 1, EPOLLIN | EPOLLRDNORM);
            return 0;
        }
        if (error != -EAGAIN || nonblocking)
            return error;
        error = wait_event_interruptible_until(&to->room, stops_waiting(to, from), deadline_ns);
        if (error != 0)
            return socket_wait_error(error, timeout_ns);
    }
}

static int64_t send_pieces(struct unix_socket *from, struct unix_socket *to,
    struct socket_message *message, bool nonblocking)
{
    bool stream = from->socket.type == ABI_SOCK_STREAM;
    size_t sent = 0;
    int error = 0;
    // A message of no bytes is one, too; a stream has nothing to show for it.
    if (stream && message->iter.count == 0)
        return 0;
    if (!stream && message->iter.count > from->socket.send_buffer_bytes)
        return -EMSGSIZE;
    do {
        size_t len =
            stream ? MIN(message->iter.count, (size_t)STREAM_PIECE_BYTES) : message->iter.count;
        struct unix_packet *packet = packet_make(from, message, len, &error);
        if (packet == NULL)
            break;
        error = deliver(from, to, packet, nonblocking);
        if (error != 0) {
            packet_free(packet);
            break;
        }
        sent += len;
    } while (message->iter.count != 0);
    return sent != 0 ? (int64_t)sent : error;
}

int64_t unix_send(struct socket *base, struct socket_message *message, bool nonblocking)
{
    struct unix_socket *from = unix_of(base), *to;
    if ((message->flags & ABI_MSG_OOB) != 0)
        return -EOPNOTSUPP;
    nonblocking |= (message->flags & ABI_MSG_DONTWAIT) != 0;
    int64_t sent = from->no_send ? -EPIPE : destination(from, message, &to);
    if (sent == 0) {
        sent = send_pieces(from, to, message, nonblocking);
        unix_put(to);
    }
    socket_control_release(&message->control);
    if (sent == -EPIPE && base->type == ABI_SOCK_STREAM && !(message->flags & ABI_MSG_NOSIGNAL))
        (void)signal_send_task(task_current(), SIGPIPE, NULL);
    return sent;
}

// ---- receiving ---------------------------------------------------------------------------------

static struct unix_packet *first_packet(struct unix_socket *socket)
{
    spin_lock(&socket->lock);
    struct unix_packet *packet =
        list_first_entry_or_null(&socket->packets, struct unix_packet, node);
    spin_unlock(&socket->lock);
    return packet;
}

// The packet behind `packet`, which receive_lock keeps in the queue.
static struct unix_packet *next_packet(struct unix_socket *socket, struct unix_packet *packet)
{
    spin_lock(&socket->lock);
    struct list_node *next = packet->node.next;
    spin_unlock(&socket->lock);
    return next != &socket->packets ? container_of(next, struct unix_packet, node) : NULL;
}

// receive_lock held.
static void packet_done(struct unix_socket *socket, struct unix_packet *packet)
{
    spin_lock(&socket->lock);
    list_remove(&packet->node);
    spin_unlock(&socket->lock);
    packet_free(packet);
}

static void room_made(struct unix_socket *socket, size_t bytes)
{
    spin_lock(&socket->lock);
    socket->queued_bytes -= bytes;
    struct unix_socket *peer = socket->peer;
    if (peer != NULL)
        unix_get(peer);
    spin_unlock(&socket->lock);
    wait_wake(&socket->room, 1, 0);
    if (peer == NULL)
        return;
    wait_wake(&peer->wait, 0, EPOLLOUT | EPOLLWRNORM); // those who poll
    unix_put(peer);
}

static bool something_to_say(struct unix_socket *socket)
{
    return first_packet(socket) != NULL || socket->no_receive || socket->reset;
}

// Until there is a packet: receive_lock held on return of 1. 0: the end; or an error.
static int wait_for_packet(struct unix_socket *socket, bool nonblocking, uint64_t deadline_ns)
{
    for (;;) {
        mutex_lock(&socket->receive_lock);
        if (first_packet(socket) != NULL)
            return 1;
        mutex_unlock(&socket->receive_lock);
        spin_lock(&socket->lock);
        bool reset = socket->reset;
        socket->reset = false;
        spin_unlock(&socket->lock);
        if (reset)
            return -ECONNRESET;
        if (socket->no_receive)
            return 0;
        if (nonblocking)
            return -EAGAIN;
        int error = wait_event_state(
            &socket->wait, something_to_say(socket), THREAD_INTERRUPTIBLE, true, deadline_ns);
        if (error != 0)
            return socket_wait_error(error, socket->socket.receive_timeout_ns);
    }
}

// Who sent it, and what came with the bytes. With MSG_PEEK the files stay.
static void take_extras(
    struct unix_socket *socket, struct unix_packet *packet, struct socket_message *message)
{
    const struct unix_address *sender = packet->sender;
    message->address_len = sender != NULL ? sender->len : 0;
    if (sender != NULL)
        memcpy(message->address, &sender->name, sender->len);
    message->control.has_credentials = socket->socket.pass_credentials;
    message->control.credentials = packet->control.credentials;
    if ((message->flags & ABI_MSG_PEEK) != 0)
        return;
    message->control.files = packet->control.files;
    message->control.file_count = packet->control.file_count;
    packet->control.files = NULL;
    packet->control.file_count = 0;
}

static int64_t receive_datagram(
    struct unix_socket *socket, struct unix_packet *packet, struct socket_message *message)
{
    size_t len = MIN((size_t)packet->len, message->iter.count);
    if (iter_copy_to(&message->iter, packet->data, len) != len)
        return -EFAULT;
    if (len < packet->len)
        message->result_flags |= ABI_MSG_TRUNC;
    int64_t result = message->flags & ABI_MSG_TRUNC ? (int64_t)packet->len : (int64_t)len;
    take_extras(socket, packet, message);
    if (!(message->flags & ABI_MSG_PEEK)) {
        size_t all = packet->len;
        packet_done(socket, packet);
        room_made(socket, all);
    }
    return result;
}

static bool same_sender(const struct unix_packet *a, const struct socket_control *control)
{
    return memcmp(&a->control.credentials, &control->credentials, sizeof(control->credentials)) ==
           0;
}

// What is there, under receive_lock; *stopped: not to be gone beyond in this call.
static int64_t receive_stream(struct unix_socket *socket, struct unix_packet *packet,
    struct socket_message *message, bool *first, bool *stopped)
{
    bool peek = (message->flags & ABI_MSG_PEEK) != 0;
    size_t got = 0, freed = 0;
    bool fault = false;
    while (packet != NULL && message->iter.count != 0) {
        bool has_files = packet->control.file_count != 0;
        if (!*first && (has_files || (socket->socket.pass_credentials &&
                                         !same_sender(packet, &message->control)))) {
            *stopped = true;
            break;
        }
        size_t want = MIN((size_t)(packet->len - packet->used), message->iter.count);
        size_t len = iter_copy_to(&message->iter, packet->data + packet->used, want);
        fault = len != want;
        got += len;
        if (fault && len == 0)
            break;
        if (*first)
            take_extras(socket, packet, message);
        *first = false;
        struct unix_packet *next = next_packet(socket, packet);
        if (!peek) {
            packet->used += (uint32_t)len;
            freed += len;
            if (packet->used == packet->len)
                packet_done(socket, packet);
        }
        if (has_files || fault) {
            *stopped = true;
            break;
        }
        packet = next;
    }
    if (freed != 0)
        room_made(socket, freed);
    return got != 0 || !fault ? (int64_t)got : -EFAULT;
}

int64_t unix_receive(struct socket *base, struct socket_message *message, bool nonblocking)
{
    struct unix_socket *socket = unix_of(base);
    bool stream = base->type == ABI_SOCK_STREAM, first = true, stopped = false;
    if ((message->flags & ABI_MSG_OOB) != 0)
        return -EOPNOTSUPP;
    if (base->type != ABI_SOCK_DGRAM && socket->state != UNIX_CONNECTED)
        return socket->state == UNIX_LISTENING || stream ? -EINVAL : -ENOTCONN;
    if (stream && message->iter.count == 0)
        return 0;
    nonblocking |= (message->flags & ABI_MSG_DONTWAIT) != 0;
    uint64_t deadline_ns = socket_deadline(base->receive_timeout_ns);
    int64_t got = 0, result;
    do {
        result = wait_for_packet(socket, nonblocking, deadline_ns);
        if (result != 1)
            break;
        struct unix_packet *packet = first_packet(socket);
        result = stream ? receive_stream(socket, packet, message, &first, &stopped)
                        : receive_datagram(socket, packet, message);
        mutex_unlock(&socket->receive_lock);
        if (result >= 0)
            got += result;
        if (!stream)
            return result;
    } while (result > 0 && message->iter.count != 0 && !stopped &&
             (message->flags & (ABI_MSG_WAITALL | ABI_MSG_PEEK)) == ABI_MSG_WAITALL);
    return got != 0 ? got : result;
}
