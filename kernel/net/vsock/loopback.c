// SPDX-License-Identifier: MIT
// Which way a packet goes: to the host, or back into this machine. What stays in the machine is
// delivered by a work, so that a sender never finds itself in its receiver's locks.
#include "kernel/net/vsock/internal.h"

#include "kernel/base/assert.h"
#include "kernel/base/atomic.h"
#include "kernel/core/errno.h"
#include "kernel/core/work.h"
#include "mm/slab.h"

#define QUEUE_PACKETS 256 // before a payload has to wait

static struct spinlock queue_lock = SPINLOCK_INIT("vsock loopback");
static struct list_node queue = LIST_INIT(queue); // under queue_lock
static uint32_t queue_count;                      // written under queue_lock
static struct work deliver_work;

struct vsock_transport *vsock_host;
struct vsock_transport vsock_loopback;

static void deliver(struct work *work)
{
    (void)work;
    struct list_node ready;
    list_init(&ready);
    uint64_t flags = spin_lock_irqsave(&queue_lock);
    list_splice_tail(&ready, &queue);
    bool was_full = queue_count >= QUEUE_PACKETS;
    atomic_store_relaxed(&queue_count, 0);
    spin_unlock_irqrestore(&queue_lock, flags);
    struct vsock_packet *packet;
    while ((packet = list_pop_head_entry_or_null(&ready, struct vsock_packet, node)) != NULL)
        vsock_receive(&vsock_loopback, packet);
    if (was_full)
        wait_wake_all(&vsock_loopback.room);
}

static void send(struct vsock_transport *transport, struct vsock_packet *packet)
{
    assert(transport == &vsock_loopback);
    uint64_t flags = spin_lock_irqsave(&queue_lock);
    list_add_tail(&queue, &packet->node);
    atomic_store_relaxed(&queue_count, queue_count + 1);
    spin_unlock_irqrestore(&queue_lock, flags);
    work_queue(&deliver_work);
}

static bool has_room(struct vsock_transport *transport)
{
    assert(transport == &vsock_loopback);
    return atomic_load_relaxed(&queue_count) < QUEUE_PACKETS;
}

void vsock_loopback_init(void)
{
    work_init(&deliver_work, deliver);
    vsock_loopback =
        (struct vsock_transport){.send = send, .has_room = has_room, .cid = VMADDR_CID_LOCAL};
    wait_queue_init(&vsock_loopback.room);
}

int vsock_host_add(struct vsock_transport *transport)
{
    struct vsock_transport *nothing = NULL;
    return atomic_cmpxchg(&vsock_host, &nothing, transport) ? 0 : -EBUSY;
}

static uint32_t host_cid(const struct vsock_transport *host)
{
    return host != NULL ? atomic_load_relaxed(&host->cid) : VMADDR_CID_ANY;
}

struct vsock_transport *vsock_transport_for(uint32_t cid)
{
    struct vsock_transport *host = atomic_load_acquire(&vsock_host);
    // As on Linux: without a host its address means this machine.
    uint32_t own = host != NULL ? host_cid(host) : VMADDR_CID_HOST;
    return cid == VMADDR_CID_LOCAL || cid == own ? &vsock_loopback : host;
}

bool vsock_cid_is_own(uint32_t cid)
{
    struct vsock_transport *host = atomic_load_acquire(&vsock_host);
    return cid == VMADDR_CID_LOCAL || (host != NULL && cid == host_cid(host));
}
