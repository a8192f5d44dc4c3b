// SPDX-License-Identifier: MIT
// AF_UNIX sockets (unix(7)): between the files of the family. Theory in socket.c.
#pragma once

#include "kernel/base/list.h"
#include "kernel/core/mutex.h"
#include "kernel/core/wait.h"
#include "kernel/net/socket/socket.h"
#include <linux/un.h>

struct inode;

// A name that a socket is bound to. Shared by a listener and the sockets it accepts.
struct unix_address {
    uint32_t refcount; // atomic
    uint32_t len;      // of `name` in all
    struct sockaddr_un name;
    char terminator; // of a path that fills all of sun_path
};

enum unix_state : uint8_t { UNIX_UNCONNECTED, UNIX_LISTENING, UNIX_CONNECTED };

// A message, or a piece of a stream.
struct unix_packet {
    struct list_node node;
    uint32_t len, used; // bytes, and how many of them were received; `used` by receive_lock
    struct socket_control control;
    struct unix_address *sender; // with a reference, or NULL
    uint8_t data[];
};

struct unix_socket {
    struct socket socket;
    uint32_t refcount;         // atomic: the file or the accept queue, peers, who waits for room
    struct wait_queue wait;    // whatever changes for who uses this socket
    struct wait_queue room;    // senders to this socket wait here
    struct mutex receive_lock; // one receiver at a time
    struct mutex bind_lock;    // one bind at a time
    struct spinlock lock;      // everything below; own before the peer's
    enum unix_state state;
    bool dead;                // released
    bool no_send, no_receive; // shutdown(2), also by the peer
    bool reset;               // the peer went away with data unread: told once
    struct unix_socket *peer; // with a reference
    struct list_node packets; // unix_packet.node
    uint64_t queued_bytes;    // of data in packets
    uint32_t backlog, pending_count;
    struct list_node pending; // LISTENING: sockets to be accepted (pending_node)
    struct list_node pending_node;
    struct unix_address *address; // set once, with a reference
    struct socket_credentials peer_credentials, own_credentials;
    // In the table of names, under the lock of names.c.
    struct list_node name_node;
    struct inode *name_inode; // with a reference; NULL: abstract, or no name
};

static inline struct unix_socket *unix_of(struct socket *socket)
{
    return container_of(socket, struct unix_socket, socket);
}
void unix_get(struct unix_socket *socket);
void unix_put(struct unix_socket *socket);
void unix_address_put(struct unix_address *address);
void unix_credentials_fill(struct socket_credentials *credentials);
// The peer with a reference, or NULL.
struct unix_socket *unix_peer_get(struct unix_socket *socket);

// ---- names.c ----
// bind(2).
[[nodiscard]] int unix_bind(struct socket *socket, const void *address, uint32_t len);
// The socket behind an address, with a reference. 0, -ECONNREFUSED, -ENOENT, -EACCES, -EPROTOTYPE,
// -EINVAL...
[[nodiscard]] int unix_find(
    const void *address, uint32_t len, uint16_t type, struct unix_socket **result);
void unix_name_release(struct unix_socket *socket);

// ---- queue.c ----
[[nodiscard]] int64_t unix_send(
    struct socket *socket, struct socket_message *message, bool nonblocking);
[[nodiscard]] int64_t unix_receive(
    struct socket *socket, struct socket_message *message, bool nonblocking);
void unix_queue_drop(struct unix_socket *socket); // a dead socket's packets
