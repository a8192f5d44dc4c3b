// SPDX-License-Identifier: MIT
// AF_PACKET: frames as they are on the wire (packet(7)).
//
// A socket sees the frames of one device or of all, of one protocol or of all; with all protocols
// those that others send as well. What it has not read yet waits as packets that share the pages of
// the frame: the only copy is that to the reader, and on sending that from the writer.
//
// Locks: sockets_lock (the list) → a socket's lock; both with interrupts off.

#include "kernel/base/assert.h"
#include "kernel/base/list.h"
#include "kernel/base/string.h"
#include "kernel/core/counter.h"
#include "kernel/core/errno.h"
#include "kernel/core/user.h"
#include "kernel/core/wait.h"
#include "kernel/fs/poll.h"
#include "kernel/net/device.h"
#include "kernel/net/socket/socket.h"
#include "kernel/process/credentials.h"
#include "mm/slab.h"

#include <asm/socket.h>
#include <linux/capability.h>
#include <linux/if.h>
#include <linux/if_arp.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>

#define QUEUE_BYTES    (208 * 1024)
#define PAGES_OF_FRAME DIV_ROUND_UP(NET_PACKET_BYTES_MAX, PAGE_SIZE)
static_assert(PAGES_OF_FRAME <= NET_SEGMENTS_MAX);

COUNTER(net, copied_bytes); // between programs and packets

struct packet_socket {
    struct socket socket;
    struct list_node node; // of `sockets`
    struct spinlock lock;  // all below
    uint16_t protocol;     // big-endian as everywhere here; 0: nothing is received
    uint32_t index;        // device; 0: all
    struct list_node received;
    uint32_t received_bytes; // memory that they hold
    struct tpacket_stats statistics;
    struct wait_queue wait;
};

static struct list_node sockets = LIST_INIT(sockets);
static struct spinlock sockets_lock = SPINLOCK_INIT("packet sockets");

static struct packet_socket *of(struct socket *socket)
{
    return container_of(socket, struct packet_socket, socket);
}

static uint16_t swap(uint16_t value)
{
    return __builtin_bswap16(value);
}

// The first bytes of a frame, which may lie in several segments.
static bool read_header(const struct net_packet *packet, struct ethhdr *header)
{
    uint8_t *to = (uint8_t *)header;
    size_t left = sizeof(*header);
    for (uint32_t i = 0; i < packet->segment_count && left != 0; i++) {
        size_t piece = MIN(left, (size_t)packet->segments[i].len_bytes);
        memcpy(
            to, (char *)page_to_virt(packet->segments[i].page) + packet->segments[i].offset, piece);
        to += piece;
        left -= piece;
    }
    return left == 0;
}

// ---- receiving ----------------------------------------------------------------------------------

// Another packet with the same pages.
static struct net_packet *share(const struct net_packet *packet, bool outgoing)
{
    struct net_packet *copy = net_packet_create(PAGE_ALLOC_ATOMIC);
    if (copy == NULL)
        return NULL;
    for (uint32_t i = 0; i < packet->segment_count; i++) {
        const struct net_segment *segment = &packet->segments[i];
        page_get(segment->page);
        if (!net_packet_add(copy, segment->page, segment->offset, segment->len_bytes))
            assert_unreachable();
    }
    copy->driver_data[0] = outgoing;
    copy->driver_data[1] = packet->device != NULL ? packet->device->index : 0;
    return copy;
}

static void offer(struct packet_socket *socket, struct net_device *device,
    const struct net_packet *packet, uint16_t protocol, bool outgoing)
{
    uint32_t held_bytes = packet->segment_count * PAGE_SIZE;
    uint64_t flags = spin_lock_irqsave(&socket->lock);
    bool wanted = socket->protocol == swap(ETH_P_ALL) ||
                  (!outgoing && socket->protocol != 0 && socket->protocol == protocol);
    wanted = wanted && (socket->index == 0 || socket->index == device->index);
    if (wanted) {
        bool has_room = socket->received_bytes + held_bytes <= QUEUE_BYTES;
        struct net_packet *copy = has_room ? share(packet, outgoing) : NULL;
        socket->statistics.tp_packets++;
        if (copy != NULL) {
            copy->driver_data[1] = device->index;
            list_add_tail(&socket->received, &copy->node);
            socket->received_bytes += held_bytes;
        } else {
            socket->statistics.tp_drops++;
        }
    }
    spin_unlock_irqrestore(&socket->lock, flags);
    if (wanted)
        wait_wake(&socket->wait, 1, EPOLLIN | EPOLLRDNORM);
}

static void tap(struct net_device *device, struct net_packet *packet, bool outgoing)
{
    struct ethhdr header;
    if (!read_header(packet, &header))
        return;
    uint64_t flags = spin_lock_irqsave(&sockets_lock);
    for (struct list_node *node = sockets.next; node != &sockets; node = node->next)
        offer(container_of(node, struct packet_socket, node), device, packet, header.h_proto,
            outgoing);
    spin_unlock_irqrestore(&sockets_lock, flags);
}

static struct net_packet *take(struct packet_socket *socket, bool peek)
{
    struct net_packet *packet = NULL;
    uint64_t flags = spin_lock_irqsave(&socket->lock);
    if (!list_is_empty(&socket->received)) {
        packet = container_of(socket->received.next, struct net_packet, node);
        if (peek) {
            packet = share(packet, packet->driver_data[0]);
        } else {
            list_remove(&packet->node);
            socket->received_bytes -= packet->segment_count * PAGE_SIZE;
        }
    }
    spin_unlock_irqrestore(&socket->lock, flags);
    return packet;
}

static uint8_t packet_type(const struct ethhdr *header, const uint8_t *own, bool outgoing)
{
    static const uint8_t broadcast[ETH_ALEN] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    if (outgoing)
        return PACKET_OUTGOING;
    if (memcmp(header->h_dest, broadcast, ETH_ALEN) == 0)
        return PACKET_BROADCAST;
    if (header->h_dest[0] & 1)
        return PACKET_MULTICAST;
    return memcmp(header->h_dest, own, ETH_ALEN) == 0 ? PACKET_HOST : PACKET_OTHERHOST;
}

static void fill_source(
    struct socket_message *message, const struct net_packet *packet, const struct ethhdr *header)
{
    struct sockaddr_ll *link = (struct sockaddr_ll *)message->address;
    struct net_device *device = net_device_get_by_index((uint32_t)packet->driver_data[1]);
    static const uint8_t nobody[ETH_ALEN];
    *link = (struct sockaddr_ll){.sll_family = ABI_AF_PACKET,
        .sll_protocol = header->h_proto,
        .sll_ifindex = (int)packet->driver_data[1],
        .sll_hatype = ARPHRD_ETHER,
        .sll_pkttype = packet_type(
            header, device != NULL ? device->address : nobody, packet->driver_data[0] != 0),
        .sll_halen = ETH_ALEN};
    memcpy(link->sll_addr, header->h_source, ETH_ALEN);
    message->address_len = sizeof(*link);
    if (device != NULL)
        net_device_put(device);
}

// Copies a frame from `skip` on to the reader. Bytes, -EFAULT.
static int64_t copy_out(const struct net_packet *packet, uint32_t skip, struct io_iter *to)
{
    int64_t done = 0;
    for (uint32_t i = 0; i < packet->segment_count && to->count != 0; i++) {
        const struct net_segment *segment = &packet->segments[i];
        uint32_t offset = MIN(skip, segment->len_bytes);
        size_t piece = MIN((size_t)(segment->len_bytes - offset), to->count);
        skip -= offset;
        const char *from = (char *)page_to_virt(segment->page) + segment->offset + offset;
        if (iter_copy_to(to, from, piece) != piece)
            return -EFAULT;
        done += (int64_t)piece;
    }
    counter_add(net, copied_bytes, (uint64_t)done);
    return done;
}

static int64_t packet_receive(struct socket *base, struct socket_message *message, bool nonblocking)
{
    struct packet_socket *socket = of(base);
    uint32_t flags = message->flags;
    bool peek = flags & ABI_MSG_PEEK;
    struct net_packet *packet = take(socket, peek);
    if (packet == NULL) {
        if (nonblocking || flags & ABI_MSG_DONTWAIT)
            return -EAGAIN;
        int error = wait_event_state(&socket->wait, (packet = take(socket, peek)) != NULL,
            THREAD_INTERRUPTIBLE, true, socket_deadline(base->receive_timeout_ns));
        if (error != 0)
            return socket_wait_error(error, base->receive_timeout_ns);
    }
    struct ethhdr header = {};
    (void)read_header(packet, &header);
    uint32_t skip = base->type == ABI_SOCK_DGRAM ? NET_HEADER_BYTES : 0;
    int64_t len = packet->len_bytes - skip;
    fill_source(message, packet, &header);
    int64_t done = copy_out(packet, skip, &message->iter);
    net_packet_release(packet);
    message->result_flags = done >= 0 && done < len ? ABI_MSG_TRUNC : 0;
    return done >= 0 && flags & ABI_MSG_TRUNC ? len : done;
}

// ---- sending ------------------------------------------------------------------------------------

// A frame of what the writer gave, behind `header` (NULL: it is part of it). NULL through *packet
// and -ENOMEM, -EFAULT.
static int make_packet(
    struct io_iter *from, const struct ethhdr *header, struct net_packet **packet)
{
    *packet = net_packet_create(0);
    if (*packet == NULL)
        return -ENOMEM;
    size_t lead = header != NULL ? sizeof(*header) : 0;
    int error = 0;
    while ((from->count != 0 || lead != 0) && error == 0) {
        struct page *page = page_alloc(0, 0);
        if (page == NULL) {
            error = -ENOMEM;
            break;
        }
        char *memory = page_to_virt(page);
        size_t piece = MIN(from->count, PAGE_SIZE - lead);
        if (lead != 0)
            memcpy(memory, header, lead);
        if (iter_copy_from(from, memory + lead, piece) != piece)
            error = -EFAULT;
        else if (!net_packet_add(*packet, page, 0, (uint32_t)(lead + piece)))
            error = -EMSGSIZE;
        if (error != 0)
            page_put(page);
        counter_add(net, copied_bytes, piece);
        lead = 0;
    }
    if (error != 0)
        net_packet_release(*packet);
    return error;
}

static int64_t packet_send(struct socket *base, struct socket_message *message, bool nonblocking)
{
    struct packet_socket *socket = of(base);
    (void)nonblocking;                         // a frame that a device has no room for is dropped
    socket_control_release(&message->control); // files mean nothing on a wire
    struct io_iter *from = &message->iter;
    const struct sockaddr_ll *link =
        message->address_len != 0 ? (const void *)message->address : NULL;
    struct ethhdr header = {.h_proto = socket->protocol};
    uint32_t index = socket->index;
    size_t len = from->count;
    if (link != NULL) {
        if (message->address_len < offsetof(struct sockaddr_ll, sll_addr) + ETH_ALEN)
            return -EINVAL;
        index = (uint32_t)link->sll_ifindex;
        if (link->sll_protocol != 0)
            header.h_proto = link->sll_protocol;
        memcpy(header.h_dest, link->sll_addr, ETH_ALEN);
    } else if (base->type == ABI_SOCK_DGRAM) {
        return -EDESTADDRREQ;
    }
    struct net_device *device = net_device_get_by_index(index);
    if (device == NULL)
        return -ENXIO;
    memcpy(header.h_source, device->address, ETH_ALEN);
    uint32_t lead = base->type == ABI_SOCK_DGRAM ? NET_HEADER_BYTES : 0;
    struct net_packet *packet;
    int error = 0;
    if (!(__atomic_load_n(&device->flags, __ATOMIC_RELAXED) & IFF_UP))
        error = -ENETDOWN;
    else if (len + lead > __atomic_load_n(&device->mtu_bytes, __ATOMIC_RELAXED) + NET_HEADER_BYTES)
        error = -EMSGSIZE;
    else if (len + lead < NET_HEADER_BYTES)
        error = -EINVAL;
    if (error == 0)
        error = make_packet(from, lead != 0 ? &header : NULL, &packet);
    if (error == 0)
        error = net_device_transmit(device, packet);
    net_device_put(device);
    return error != 0 ? error : (int64_t)len;
}

// ---- the rest -----------------------------------------------------------------------------------

static int packet_bind(struct socket *base, const void *address, uint32_t len)
{
    struct packet_socket *socket = of(base);
    const struct sockaddr_ll *link = address;
    if (len < offsetof(struct sockaddr_ll, sll_hatype) || link->sll_family != ABI_AF_PACKET)
        return -EINVAL;
    struct net_device *device = NULL;
    if (link->sll_ifindex != 0) {
        device = net_device_get_by_index((uint32_t)link->sll_ifindex);
        if (device == NULL)
            return -ENODEV;
    }
    uint64_t flags = spin_lock_irqsave(&socket->lock);
    socket->index = (uint32_t)link->sll_ifindex;
    if (link->sll_protocol != 0)
        socket->protocol = link->sll_protocol;
    spin_unlock_irqrestore(&socket->lock, flags);
    if (device != NULL)
        net_device_put(device);
    return 0;
}

static int packet_name(struct socket *base, bool peer, uint8_t address[SOCKET_ADDRESS_MAX])
{
    struct packet_socket *socket = of(base);
    struct sockaddr_ll *link = (struct sockaddr_ll *)address;
    if (peer)
        return -EOPNOTSUPP;
    *link = (struct sockaddr_ll){.sll_family = ABI_AF_PACKET,
        .sll_protocol = socket->protocol,
        .sll_ifindex = (int)socket->index,
        .sll_hatype = ARPHRD_ETHER,
        .sll_halen = ETH_ALEN};
    struct net_device *device = net_device_get_by_index(socket->index);
    if (device != NULL) {
        memcpy(link->sll_addr, device->address, ETH_ALEN);
        net_device_put(device);
    }
    return sizeof(*link);
}

static int packet_option_get(
    struct socket *base, int level, int option, uintptr_t value, uintptr_t len_user)
{
    struct packet_socket *socket = of(base);
    uint32_t len;
    int error = user_get_u32(&len, len_user);
    if (error != 0)
        return error;
    if (level != ABI_SOL_PACKET || option != PACKET_STATISTICS)
        return -ENOPROTOOPT;
    if (len < sizeof(struct tpacket_stats))
        return -EINVAL;
    // Reading starts them anew.
    uint64_t flags = spin_lock_irqsave(&socket->lock);
    struct tpacket_stats statistics = socket->statistics;
    socket->statistics = (struct tpacket_stats){};
    spin_unlock_irqrestore(&socket->lock, flags);
    error = copy_to_user(value, &statistics, sizeof(statistics));
    return error != 0 ? error : user_put_u32(len_user, sizeof(statistics));
}

static uint32_t packet_poll(struct socket *base, struct file *file, struct poll_table *table)
{
    struct packet_socket *socket = of(base);
    poll_wait(table, file, &socket->wait);
    bool has_some = __atomic_load_n(&socket->received_bytes, __ATOMIC_RELAXED) != 0;
    return EPOLLOUT | EPOLLWRNORM | (has_some ? EPOLLIN | EPOLLRDNORM : 0);
}

static void packet_release(struct socket *base)
{
    struct packet_socket *socket = of(base);
    struct net_packet *packet;
    uint64_t flags = spin_lock_irqsave(&sockets_lock);
    list_remove(&socket->node);
    spin_unlock_irqrestore(&sockets_lock, flags);
    while ((packet = take(socket, false)) != NULL)
        net_packet_release(packet);
    kfree(socket);
}

static const struct socket_ops ops = {
    .bind = packet_bind,
    .name = packet_name,
    .send = packet_send,
    .receive = packet_receive,
    .option_get = packet_option_get,
    .poll = packet_poll,
    .release = packet_release,
};

static int packet_create(int type, int protocol, struct socket **result)
{
    if (!capable(CAP_NET_RAW))
        return -EPERM;
    if (type != ABI_SOCK_RAW && type != ABI_SOCK_DGRAM)
        return -ESOCKTNOSUPPORT;
    struct packet_socket *socket = kzalloc(sizeof(*socket));
    if (socket == NULL)
        return -ENOMEM;
    socket_init(&socket->socket, &ops, ABI_AF_PACKET, (uint16_t)type);
    socket->socket.protocol = protocol;
    socket->protocol = (uint16_t)protocol;
    spin_lock_init(&socket->lock);
    list_init(&socket->received);
    wait_queue_init(&socket->wait);
    uint64_t flags = spin_lock_irqsave(&sockets_lock);
    list_add_tail(&sockets, &socket->node);
    spin_unlock_irqrestore(&sockets_lock, flags);
    *result = &socket->socket;
    return 0;
}

void packet_socket_register(void)
{
    static const struct socket_family family = {.family = ABI_AF_PACKET, .create = packet_create};
    socket_family_register(&family);
    net_tap = tap;
}
