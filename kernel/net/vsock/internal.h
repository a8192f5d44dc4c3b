// SPDX-License-Identifier: MIT
// AF_VSOCK: between the files of this folder.
//
// Locks: a socket's lock → the tables' (table.c) and transports' own; all with interrupts off. No
// two sockets' locks are held at once, except a listener's and that of a connection which nobody
// else knows yet.
#pragma once

#include "kernel/base/hlist.h"
#include "kernel/base/refcount.h"
#include "kernel/core/mutex.h"
#include "kernel/core/timer.h"
#include "kernel/net/socket/socket.h"
#include "kernel/net/vsock/vsock.h"

#include <linux/vm_sockets.h>

struct vsock_address {
    uint32_t cid, port; // VMADDR_CID_ANY, VMADDR_PORT_ANY: none
};

// What a program has done with its socket, as connect(2) and shutdown(2) ask.
enum vsock_phase : uint8_t {
    VSOCK_UNCONNECTED,
    VSOCK_TRYING,
    VSOCK_CONNECTED,
    VSOCK_DISCONNECTING, // after shutdown(2)
};

struct vsock_socket {
    struct socket socket;
    struct refcount references; // the file or the accept queue, tables, timer, calls
    struct wait_queue wait;     // whatever changes for who uses the socket
    struct mutex receive_lock;  // one receiver at a time
    struct spinlock lock;       // everything below
    struct vsock_flow flow;
    enum vsock_phase phase;
    bool is_closed;                    // the file is gone
    struct vsock_transport *transport; // NULL: no peer was named yet
    struct vsock_address local, remote;
    struct list_node packets; // received; all but the first's `used` by receive_lock holders alone
    uint64_t buffer_min_bytes, buffer_max_bytes; // SO_VM_SOCKETS_BUFFER_*
    uint64_t connect_timeout_ns;
    struct timer timer; // ends a connection's beginning, or its end; holds a reference while armed
    uint32_t backlog, pending_count;
    struct list_node pending; // LISTENING: connections to be accepted (pending_node)
    struct list_node pending_node;
    // Under the lock of table.c.
    struct hlist_node bound_node, connected_node;
};

static inline struct vsock_socket *vsock_of(struct socket *socket)
{
    return container_of(socket, struct vsock_socket, socket);
}

static inline bool vsock_address_equals(struct vsock_address a, struct vsock_address b)
{
    return a.cid == b.cid && a.port == b.port;
}

// ---- socket.c ----
// A new socket, with one reference. NULL: no memory. flags: PAGE_ALLOC_*.
struct vsock_socket *vsock_socket_create(uint32_t flags);
void vsock_socket_put(struct vsock_socket *socket); // any context but NMI
// Tells everybody who waits or polls, with `events` as hint.
static inline void vsock_socket_wake(struct vsock_socket *socket, uint32_t events)
{
    wait_wake(&socket->wait, UINT32_MAX, events);
}

// ---- connection.c; the socket's lock held ----
// Sends a packet without payload.
void vsock_tell(struct vsock_socket *socket, uint16_t op, uint32_t flags);
// Sends a packet whose header has its operation and flags.
void vsock_send_packet(struct vsock_socket *socket, struct vsock_packet *packet);
// Takes back that the socket's timer was armed.
void vsock_timer_stop(struct vsock_socket *socket);
// The connection has ended, as socket->flow says: out of the tables, phase and timer with it.
void vsock_connection_ended(struct vsock_socket *socket);
// Neither with the lock held: the timer's function;
void vsock_timer_function(struct timer *timer);
// the file is gone, or the connection was never accepted: gives up the
// file's reference.
void vsock_close(struct vsock_socket *socket);

int vsock_connect(struct socket *socket, const void *address, uint32_t len, bool nonblocking);
int vsock_listen(struct socket *socket, uint32_t backlog);
int vsock_accept(struct socket *socket, bool nonblocking, struct socket **accepted);
int vsock_shutdown(struct socket *socket, bool receive, bool send);
// A program's address; -EINVAL.
[[nodiscard]] int vsock_address_parse(
    const void *address, uint32_t len, struct vsock_address *result);

// ---- stream.c ----
int64_t vsock_send(struct socket *socket, struct socket_message *message, bool nonblocking);
int64_t vsock_receive_message(
    struct socket *socket, struct socket_message *message, bool nonblocking);
uint32_t vsock_poll(struct socket *socket, struct file *file, struct poll_table *table);

// ---- options.c ----
int vsock_option_get(
    struct socket *socket, int level, int option, uintptr_t value, uintptr_t len_user);
int vsock_option_set(struct socket *socket, int level, int option, uintptr_t value, uint32_t len);
void vsock_device_register(void);

// ---- table.c ----
// Binds an unbound socket, whose lock is held, to an address of the machine; VMADDR_PORT_ANY: some
// free port. 0, -EADDRINUSE, -EACCES (below 1024), -ENOMEM.
[[nodiscard]] int vsock_table_bind(struct vsock_socket *socket, struct vsock_address address);
// Adds a socket with local and remote address; takes a reference.
void vsock_table_connect(struct vsock_socket *socket);
// Takes it out of either table, if it is there.
void vsock_table_disconnect(struct vsock_socket *socket);
void vsock_table_unbind(struct vsock_socket *socket);
// Whom a packet is for, with a reference: the connection, else who listens. NULL: nobody.
struct vsock_socket *vsock_table_find(struct vsock_address local, struct vsock_address remote);
// Calls `visit` for each connection over a transport, with no lock held.
void vsock_table_visit(
    struct vsock_transport *transport, void (*visit)(struct vsock_socket *socket));
void vsock_table_init(void);

// ---- loopback.c ----
extern struct vsock_transport vsock_loopback;
extern struct vsock_transport *vsock_host; // atomic, set once; NULL: there is no way to the host
void vsock_loopback_init(void);
// Who carries packets to that address. NULL: nobody.
struct vsock_transport *vsock_transport_for(uint32_t cid);
// Is it an address of this machine?
bool vsock_cid_is_own(uint32_t cid);
