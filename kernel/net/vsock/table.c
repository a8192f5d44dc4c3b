// SPDX-License-Identifier: MIT
// Who has which port, and which connection a packet belongs to: two hash tables under one lock. A
// transport delivers one packet at a time, so that little is to be had from finer locks.
#include "kernel/net/vsock/internal.h"

#include "kernel/base/hash.h"
#include "kernel/core/errno.h"
#include "kernel/core/random.h"
#include "kernel/process/credentials.h"
#include "mm/slab.h"

#include <linux/capability.h>

#define TABLE_BITS      8
#define PORT_FIRST_FREE 1024 // ports below take CAP_NET_BIND_SERVICE
#define PORT_TRIES      24   // as on Linux
#define VISIT_BATCH     16

static struct spinlock table_lock = SPINLOCK_INIT("vsock table");
static struct hlist_head bound[1 << TABLE_BITS];     // by local port
static struct hlist_head connected[1 << TABLE_BITS]; // by both ports and the remote cid
static uint64_t seed;                                // fixed after start-up

void vsock_table_init(void)
{
    seed = random_word();
}

static struct hlist_head *bound_head(uint32_t port)
{
    return &bound[hash_to_index(hash_u64(port ^ seed), TABLE_BITS)];
}

static struct hlist_head *connected_head(uint32_t local_port, struct vsock_address remote)
{
    uint64_t ports = (uint64_t)local_port << 32 | remote.port;
    return &connected[hash_to_index(hash_u64(ports ^ hash_u64(remote.cid ^ seed)), TABLE_BITS)];
}

// table_lock held.
static bool is_taken(struct vsock_address address)
{
    struct vsock_socket *socket;
    hlist_for_each_entry (socket, bound_head(address.port), bound_node) {
        bool is_overlap = socket->local.cid == address.cid || socket->local.cid == VMADDR_CID_ANY ||
                          address.cid == VMADDR_CID_ANY;
        if (socket->local.port == address.port && is_overlap)
            return true;
    }
    return false;
}

static int bind_locked(struct vsock_socket *socket, struct vsock_address address)
{
    if (address.port == VMADDR_PORT_ANY) {
        uint32_t first = (uint32_t)random_below(VMADDR_PORT_ANY - PORT_FIRST_FREE);
        for (uint32_t i = 0; i < PORT_TRIES; i++) {
            uint32_t port = (first + i) % (VMADDR_PORT_ANY - PORT_FIRST_FREE) + PORT_FIRST_FREE;
            if (!is_taken((struct vsock_address){address.cid, port})) {
                address.port = port;
                break;
            }
        }
    }
    if (address.port == VMADDR_PORT_ANY || is_taken(address))
        return -EADDRINUSE;
    refcount_get(&socket->references);
    socket->local = address;
    hlist_add_head(bound_head(address.port), &socket->bound_node);
    return 0;
}

int vsock_table_bind(struct vsock_socket *socket, struct vsock_address address)
{
    assert_lock_held(&socket->lock);
    assert(socket->local.port == VMADDR_PORT_ANY);
    if (address.port < PORT_FIRST_FREE && !capable(CAP_NET_BIND_SERVICE))
        return -EACCES;
    uint64_t flags = spin_lock_irqsave(&table_lock);
    int error = bind_locked(socket, address);
    spin_unlock_irqrestore(&table_lock, flags);
    return error;
}

void vsock_table_connect(struct vsock_socket *socket)
{
    assert_lock_held(&socket->lock);
    refcount_get(&socket->references);
    uint64_t flags = spin_lock_irqsave(&table_lock);
    hlist_add_head(connected_head(socket->local.port, socket->remote), &socket->connected_node);
    spin_unlock_irqrestore(&table_lock, flags);
}

static void remove(struct vsock_socket *socket, struct hlist_node *node)
{
    uint64_t flags = spin_lock_irqsave(&table_lock);
    bool is_there = hlist_is_linked(node);
    if (is_there)
        hlist_remove(node);
    spin_unlock_irqrestore(&table_lock, flags);
    if (is_there)
        vsock_socket_put(socket);
}

void vsock_table_disconnect(struct vsock_socket *socket)
{
    remove(socket, &socket->connected_node);
}

void vsock_table_unbind(struct vsock_socket *socket)
{
    remove(socket, &socket->bound_node);
}

static struct vsock_socket *find_locked(struct vsock_address local, struct vsock_address remote)
{
    struct vsock_socket *socket;
    hlist_for_each_entry (socket, connected_head(local.port, remote), connected_node) {
        if (socket->local.port == local.port && vsock_address_equals(socket->remote, remote))
            return socket;
    }
    hlist_for_each_entry (socket, bound_head(local.port), bound_node) {
        bool is_here = socket->local.cid == local.cid || socket->local.cid == VMADDR_CID_ANY;
        if (socket->local.port == local.port && is_here)
            return socket;
    }
    return NULL;
}

struct vsock_socket *vsock_table_find(struct vsock_address local, struct vsock_address remote)
{
    uint64_t flags = spin_lock_irqsave(&table_lock);
    struct vsock_socket *socket = find_locked(local, remote);
    if (socket != NULL)
        refcount_get(&socket->references);
    spin_unlock_irqrestore(&table_lock, flags);
    return socket;
}

// Up to VISIT_BATCH connections of one bucket, with references.
static uint32_t collect(const struct hlist_head *head, struct vsock_transport *transport,
    struct vsock_socket *batch[VISIT_BATCH])
{
    uint32_t count = 0;
    struct vsock_socket *socket;
    uint64_t flags = spin_lock_irqsave(&table_lock);
    hlist_for_each_entry (socket, head, connected_node) {
        if (count == VISIT_BATCH)
            break;
        if (socket->transport == transport) {
            refcount_get(&socket->references);
            batch[count++] = socket;
        }
    }
    spin_unlock_irqrestore(&table_lock, flags);
    return count;
}

void vsock_table_visit(
    struct vsock_transport *transport, void (*visit)(struct vsock_socket *socket))
{
    struct vsock_socket *batch[VISIT_BATCH];
    for (uint32_t bucket = 0; bucket < 1 << TABLE_BITS; bucket++) {
        uint32_t count;
        // Each visit takes its socket out of the table, so that the first ones are always new.
        while ((count = collect(&connected[bucket], transport, batch)) != 0) {
            for (uint32_t i = 0; i < count; i++) {
                visit(batch[i]);
                vsock_socket_put(batch[i]);
            }
        }
    }
}
