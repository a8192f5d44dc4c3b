// SPDX-License-Identifier: MIT
// AF_UNIX sockets: life and connections.
//
// Theory. Every socket has one queue, of what was sent to it; a sender puts packets into its
// peer's. Two connected sockets hold a reference to each other. When the file of one is closed it
// is dead: it gives up its peer, drops its packets, and tells the peer, which keeps the reference
// until it is closed itself. So a peer, once found under the own lock, exists, and only may be
// dead.
//
// Invariants:
//   X1  Locks of two sockets are nested from a socket to its peer only while they become connected
//   (listener, then client) or are told of an end; senders and receivers hold one.
//   X2  Packets are appended under `lock`; only who holds receive_lock takes them out or changes
//   `used`. So a receiver reads the first packet with no spin lock held, and may fault.
//   X3  A packet never holds the file of an AF_UNIX socket: two sockets could hold each other alive
//   with nobody to close them. sendmsg(2) answers ETOOMANYREFS.
#include "kernel/ipc/unix/unix.h"
#include "kernel/ipc/unix_socket.h"

#include "kernel/base/assert.h"
#include "kernel/core/errno.h"
#include "kernel/fs/poll.h"
#include "kernel/core/user.h"
#include "kernel/process/credentials.h"
#include "kernel/process/task.h"
#include "mm/slab.h"
#include <asm/ioctls.h>
#include <linux/eventpoll.h>

#define BACKLOG_MAX 4096 // as Linux's net.core.somaxconn

static const struct socket_ops unix_ops;

void unix_get(struct unix_socket *socket)
{
    __atomic_fetch_add(&socket->refcount, 1, __ATOMIC_RELAXED);
}

void unix_address_put(struct unix_address *address)
{
    if (address != NULL && __atomic_sub_fetch(&address->refcount, 1, __ATOMIC_ACQ_REL) == 0)
        kfree(address);
}

void unix_put(struct unix_socket *socket)
{
    if (__atomic_sub_fetch(&socket->refcount, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    debug_assert(socket->peer == NULL && list_is_empty(&socket->packets));
    unix_address_put(socket->address);
    kfree(socket);
}

void unix_credentials_fill(struct socket_credentials *credentials)
{
    const struct credentials *own = credentials_current();
    *credentials = (struct socket_credentials){
        .pid = process_current()->pid, .uid = own->euid, .gid = own->egid};
}

static int unix_socket_create(int type, int protocol, struct socket **result)
{
    if (protocol != 0 && protocol != ABI_AF_UNIX)
        return -EPROTONOSUPPORT;
    if (type == ABI_SOCK_RAW) // as on Linux
        type = ABI_SOCK_DGRAM;
    if (type != ABI_SOCK_STREAM && type != ABI_SOCK_DGRAM && type != ABI_SOCK_SEQPACKET)
        return -ESOCKTNOSUPPORT;
    struct unix_socket *socket = kmalloc(sizeof(*socket), 0);
    if (socket == NULL)
        return -ENOMEM;
    *socket = (struct unix_socket){.refcount = 1};
    socket_init(&socket->socket, &unix_ops, ABI_AF_UNIX, (uint16_t)type);
    wait_queue_init(&socket->wait);
    wait_queue_init(&socket->room);
    mutex_init(&socket->receive_lock);
    mutex_init(&socket->bind_lock);
    spin_lock_init(&socket->lock);
    list_init(&socket->packets);
    list_init(&socket->pending);
    unix_credentials_fill(&socket->own_credentials);
    *result = &socket->socket;
    return 0;
}

struct unix_socket *unix_peer_get(struct unix_socket *socket)
{
    spin_lock(&socket->lock);
    struct unix_socket *peer = socket->peer;
    if (peer != NULL)
        unix_get(peer);
    spin_unlock(&socket->lock);
    return peer;
}

static void wake_all(struct unix_socket *socket)
{
    wait_wake_all(&socket->wait);
    wait_wake_all(&socket->room);
}

static bool is_connection(const struct unix_socket *socket)
{
    return socket->socket.type != ABI_SOCK_DGRAM;
}

// ---- the end -----------------------------------------------------------------------------------

// A socket whose peer has gone. X1.
static void tell_end(struct unix_socket *socket, bool unread)
{
    spin_lock(&socket->lock);
    if (is_connection(socket)) {
        socket->no_send = socket->no_receive = true;
        socket->reset |= unread;
    }
    spin_unlock(&socket->lock);
    wake_all(socket);
}

// `refused`: nobody accepted it.
static void end(struct unix_socket *socket, bool refused)
{
    struct unix_socket *waiting;
    unix_name_release(socket);
    spin_lock(&socket->lock);
    socket->dead = true;
    struct unix_socket *peer = socket->peer;
    socket->peer = NULL;
    bool unread = refused || !list_is_empty(&socket->packets);
    spin_unlock(&socket->lock);
    // Dead: nobody adds any more.
    while (
        (waiting = list_pop_head_entry_or_null(&socket->pending, struct unix_socket, pending_node)))
        end(waiting, true); // one level: a socket to be accepted has none itself
    unix_queue_drop(socket);
    wake_all(socket);
    if (peer != NULL) {
        spin_lock(&peer->lock);
        bool mutual = peer->peer == socket;
        spin_unlock(&peer->lock);
        if (mutual)
            tell_end(peer, unread);
        unix_put(peer);
    }
    unix_put(socket);
}

static void unix_release(struct socket *base)
{
    end(unix_of(base), false);
}

static int unix_shutdown(struct socket *base, bool receive, bool send)
{
    struct unix_socket *socket = unix_of(base);
    spin_lock(&socket->lock);
    socket->no_receive |= receive;
    socket->no_send |= send;
    spin_unlock(&socket->lock);
    struct unix_socket *peer = unix_peer_get(socket);
    if (peer != NULL && is_connection(socket)) {
        spin_lock(&peer->lock);
        peer->no_receive |= send;
        peer->no_send |= receive;
        spin_unlock(&peer->lock);
        wake_all(peer);
    }
    if (peer != NULL)
        unix_put(peer);
    wake_all(socket);
    return 0;
}

// ---- connections -------------------------------------------------------------------------------

static void connect_locked(struct unix_socket *socket, struct unix_socket *peer)
{
    unix_get(peer);
    socket->peer = peer;
    socket->state = UNIX_CONNECTED;
    socket->peer_credentials = peer->own_credentials;
}

static void unix_socket_pair(struct socket *a, struct socket *b)
{
    connect_locked(unix_of(a), unix_of(b)); // nobody else has them yet
    connect_locked(unix_of(b), unix_of(a));
}

// Does the listener, locked, take another connection?
static bool has_place(const struct unix_socket *listener)
{
    return listener->pending_count <= listener->backlog;
}

// Puts `server` into the listener's queue, as the peer of `client`. 0, -EAGAIN: the queue is full,
// or an error.
static int connect_to(
    struct unix_socket *listener, struct unix_socket *client, struct unix_socket *server)
{
    int error = 0;
    spin_lock(&listener->lock);
    spin_lock_nested(&client->lock, 1);
    if (client->state == UNIX_LISTENING)
        error = -EINVAL;
    else if (client->state == UNIX_CONNECTED)
        error = -EISCONN;
    else if (listener->dead || listener->state != UNIX_LISTENING || listener->no_receive)
        error = -ECONNREFUSED;
    else if (!has_place(listener))
        error = -EAGAIN;
    if (error == 0) {
        server->own_credentials = listener->own_credentials;
        server->address = listener->address;
        server->socket.pass_credentials = listener->socket.pass_credentials;
        if (server->address != NULL)
            __atomic_fetch_add(&server->address->refcount, 1, __ATOMIC_RELAXED);
        unix_credentials_fill(&client->own_credentials);
        connect_locked(client, server);
        connect_locked(server, client);
        list_add_tail(&listener->pending, &server->pending_node);
        listener->pending_count++;
    }
    spin_unlock(&client->lock);
    spin_unlock(&listener->lock);
    return error;
}

static bool may_connect(struct unix_socket *listener)
{
    spin_lock(&listener->lock);
    bool may = listener->dead || listener->state != UNIX_LISTENING || listener->no_receive ||
               has_place(listener);
    spin_unlock(&listener->lock);
    return may;
}

static int connect_stream(
    struct unix_socket *client, struct unix_socket *listener, bool nonblocking)
{
    struct socket *server;
    if (listener == client)
        return client->state == UNIX_LISTENING ? -EINVAL : -ECONNREFUSED;
    int error = unix_socket_create(client->socket.type, 0, &server);
    if (error != 0)
        return error;
    uint64_t deadline_ns = socket_deadline(client->socket.send_timeout_ns);
    for (;;) {
        error = connect_to(listener, client, unix_of(server));
        if (error != -EAGAIN || nonblocking)
            break;
        error = wait_event_interruptible_until(&listener->room, may_connect(listener), deadline_ns);
        if (error != 0) {
            error = socket_wait_error(error, client->socket.send_timeout_ns);
            break;
        }
    }
    if (error != 0)
        unix_release(server);
    else
        wait_wake(&listener->wait, 1, EPOLLIN | EPOLLRDNORM);
    return error;
}

// A datagram socket: where send(2) goes, and from whom alone it receives. NULL: from and to all.
static int connect_datagram(struct unix_socket *socket, struct unix_socket *peer)
{
    if (peer != NULL) {
        spin_lock(&peer->lock);
        bool taken = peer->peer != NULL && peer->peer != socket;
        spin_unlock(&peer->lock);
        if (taken)
            return -EPERM;
        unix_get(peer);
    }
    spin_lock(&socket->lock);
    struct unix_socket *old = socket->peer;
    socket->peer = peer;
    socket->state = peer != NULL ? UNIX_CONNECTED : UNIX_UNCONNECTED;
    spin_unlock(&socket->lock);
    if (old != NULL)
        unix_put(old);
    return 0;
}

static int unix_connect(struct socket *base, const void *address, uint32_t len, bool nonblocking)
{
    struct unix_socket *socket = unix_of(base), *peer;
    const struct sockaddr_un *name = address;
    if (len >= sizeof(name->sun_family) && name->sun_family == ABI_AF_UNSPEC)
        return is_connection(socket) ? -EINVAL : connect_datagram(socket, NULL);
    int error = unix_find(address, len, base->type, &peer);
    if (error != 0)
        return error;
    error = is_connection(socket) ? connect_stream(socket, peer, nonblocking)
                                  : connect_datagram(socket, peer);
    unix_put(peer);
    return error;
}

static int unix_listen(struct socket *base, uint32_t backlog)
{
    struct unix_socket *socket = unix_of(base);
    if (!is_connection(socket))
        return -EOPNOTSUPP;
    int error = 0;
    spin_lock(&socket->lock);
    if (socket->address == NULL || socket->state == UNIX_CONNECTED)
        error = -EINVAL;
    if (error == 0) {
        socket->state = UNIX_LISTENING;
        socket->backlog = MIN(backlog, UINT32_C(BACKLOG_MAX));
        unix_credentials_fill(&socket->own_credentials);
    }
    spin_unlock(&socket->lock);
    if (error == 0)
        wait_wake_all(&socket->room);
    return error;
}

static struct unix_socket *pending_take(struct unix_socket *listener)
{
    spin_lock(&listener->lock);
    struct unix_socket *server =
        list_pop_head_entry_or_null(&listener->pending, struct unix_socket, pending_node);
    if (server != NULL)
        listener->pending_count--;
    spin_unlock(&listener->lock);
    return server;
}

static int unix_accept(struct socket *base, bool nonblocking, struct socket **accepted)
{
    struct unix_socket *listener = unix_of(base), *server = NULL;
    if (!is_connection(listener))
        return -EOPNOTSUPP;
    if (listener->state != UNIX_LISTENING || listener->no_receive)
        return -EINVAL;
    server = pending_take(listener);
    if (server == NULL && nonblocking)
        return -EAGAIN;
    if (server == NULL) {
        int error = wait_event_state(&listener->wait,
            (server = pending_take(listener)) != NULL || listener->no_receive, THREAD_INTERRUPTIBLE,
            true, socket_deadline(base->receive_timeout_ns));
        if (error != 0)
            return socket_wait_error(error, base->receive_timeout_ns);
        if (server == NULL)
            return -EINVAL;
    }
    wait_wake(&listener->room, 1, 0);
    *accepted = &server->socket;
    return 0;
}

// ---- the rest ----------------------------------------------------------------------------------

static int unix_name(struct socket *base, bool peer, uint8_t address[SOCKET_ADDRESS_MAX])
{
    struct unix_socket *socket = unix_of(base);
    struct sockaddr_un nameless = {.sun_family = ABI_AF_UNIX};
    if (peer) {
        socket = unix_peer_get(socket);
        if (socket == NULL)
            return -ENOTCONN;
    }
    const struct unix_address *own = __atomic_load_n(&socket->address, __ATOMIC_ACQUIRE);
    uint32_t len = own != NULL ? own->len : (uint32_t)sizeof(nameless.sun_family);
    __builtin_memcpy(address, own != NULL ? &own->name : &nameless, len);
    if (peer)
        unix_put(socket);
    return (int)len;
}

static int unix_peer_credentials(struct socket *base, struct socket_credentials *credentials)
{
    struct unix_socket *socket = unix_of(base);
    spin_lock(&socket->lock);
    *credentials = socket->state == UNIX_CONNECTED
                       ? socket->peer_credentials
                       : (struct socket_credentials){.uid = UINT32_MAX, .gid = UINT32_MAX};
    spin_unlock(&socket->lock);
    return 0;
}

static bool unix_is_listening(struct socket *base)
{
    return unix_of(base)->state == UNIX_LISTENING;
}

static bool peer_has_room(struct unix_socket *socket)
{
    struct unix_socket *peer = unix_peer_get(socket);
    if (peer == NULL)
        return true;
    bool room = __atomic_load_n(&peer->queued_bytes, __ATOMIC_RELAXED) <
                peer->socket.receive_buffer_bytes / 2;
    unix_put(peer);
    return room;
}

static uint32_t unix_poll(struct socket *base, struct file *file, struct poll_table *table)
{
    struct unix_socket *socket = unix_of(base);
    uint32_t events = 0;
    poll_wait(table, file, &socket->wait);
    bool writable = peer_has_room(socket);
    spin_lock(&socket->lock);
    if (socket->state == UNIX_LISTENING) {
        events = list_is_empty(&socket->pending) ? 0 : EPOLLIN | EPOLLRDNORM;
    } else {
        if (!list_is_empty(&socket->packets) || socket->no_receive)
            events |= EPOLLIN | EPOLLRDNORM;
        if (socket->no_receive)
            events |= EPOLLRDHUP;
        if (socket->no_receive && socket->no_send)
            events |= EPOLLHUP;
        if (is_connection(socket) && socket->state != UNIX_CONNECTED)
            events |= EPOLLHUP;
        if (writable)
            events |= EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND;
        if (socket->reset)
            events |= EPOLLERR;
    }
    spin_unlock(&socket->lock);
    return events;
}

static int64_t unix_ioctl(struct socket *base, uint32_t command, uintptr_t argument)
{
    struct unix_socket *socket = unix_of(base);
    uint64_t bytes = 0;
    if (command != FIONREAD)
        return -ENOTTY;
    if (socket->state == UNIX_LISTENING)
        return -EINVAL;
    spin_lock(&socket->lock);
    const struct unix_packet *first =
        list_first_entry_or_null(&socket->packets, struct unix_packet, node);
    if (base->type == ABI_SOCK_STREAM)
        bytes = socket->queued_bytes;
    else if (first != NULL)
        bytes = first->len;
    spin_unlock(&socket->lock);
    return user_put_u32(argument, (uint32_t)bytes);
}

static const struct socket_ops unix_ops = {
    .bind = unix_bind,
    .connect = unix_connect,
    .listen = unix_listen,
    .accept = unix_accept,
    .name = unix_name,
    .send = unix_send,
    .receive = unix_receive,
    .shutdown = unix_shutdown,
    .poll = unix_poll,
    .ioctl = unix_ioctl,
    .peer_credentials = unix_peer_credentials,
    .is_listening = unix_is_listening,
    .release = unix_release,
};

void unix_start(void)
{
    static const struct socket_family family = {
        .family = ABI_AF_UNIX, .create = unix_socket_create, .pair = unix_socket_pair};
    socket_family_register(&family);
}
