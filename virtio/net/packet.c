// SPDX-License-Identifier: MIT
// Packets of virtio-net: sending and receiving (virtio 1.2, 5.1.6).
//
// Sent: the packet's own pages go into the ring behind a header that lies in a slot. Received: the
// device writes into pages, one a buffer, and with VIRTIO_NET_F_MRG_RXBUF uses several for a large
// packet; they become the packet's segments. Nothing is copied either way.
//
// Transmission is confirmed lazily: what was sent is taken back with the next packet, and an
// interrupt comes only when half of what is under way has been sent.

#include "virtio/net/internal.h"

#include "kernel/base/atomic.h"
#include "kernel/core/counter.h"
#include "mm/page.h"
#include "mm/slab.h"

#include <linux/errno.h>

COUNTER(virtio, net_bad_packets);

#define HEADER_BYTES sizeof(struct virtio_net_hdr_v1)

static struct net_pair *pair_of(struct net_queue *queue)
{
    return queue->driver_data;
}

// ---- sending ------------------------------------------------------------------------------------

static uint8_t gso_type(const struct net_packet *packet)
{
    if (packet->flags & NET_TSO4)
        return VIRTIO_NET_HDR_GSO_TCPV4;
    return packet->flags & NET_TSO6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_NONE;
}

static void fill_header(struct virtio_net_hdr_v1 *header, const struct net_packet *packet)
{
    *header = (struct virtio_net_hdr_v1){.gso_type = gso_type(packet)};
    if (packet->flags & NET_CHECKSUM) {
        header->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
        header->csum_start = packet->checksum_start;
        header->csum_offset = packet->checksum_offset;
    }
    if (header->gso_type != VIRTIO_NET_HDR_GSO_NONE) {
        header->gso_size = packet->segment_bytes;
        header->hdr_len = packet->header_bytes;
    }
}

static void take_sent(struct net_pair *pair)
{
    void *token;
    uint32_t written_bytes;
    while (virtio_queue_take(pair->tx, &token, &written_bytes) == 1) {
        struct net_packet *packet = token;
        uint32_t slot = (uint32_t)packet->driver_data[0];
        pair->slots[slot].next = pair->free;
        pair->free = slot;
        net_packet_release(packet);
    }
}

static bool send_one(struct net_pair *pair, struct net_packet *packet)
{
    struct virtio_ring *ring = &pair->tx->ring;
    if (pair->free == ring->config.size)
        return false;
    struct net_tx_slot *slot = &pair->slots[pair->free];
    struct virtio_segment segments[NET_TX_SEGMENTS];
    fill_header(&slot->header, packet);
    segments[0] = (struct virtio_segment){virt_to_phys(&slot->header), HEADER_BYTES};
    for (uint32_t i = 0; i < packet->segment_count; i++)
        segments[1 + i] = (struct virtio_segment){
            page_to_phys(packet->segments[i].page) + packet->segments[i].offset,
            packet->segments[i].len_bytes};
    struct virtio_indirect indirect = {slot->table, virt_to_phys(slot->table), NET_TX_SEGMENTS};
    packet->driver_data[0] = pair->free;
    if (virtio_ring_add(ring, segments, 1 + packet->segment_count, 0, packet, &indirect) != 0)
        return false;
    pair->free = slot->next;
    return true;
}

uint32_t net_card_transmit(struct net_queue *queue, struct net_packet **packets, uint32_t count)
{
    struct net_pair *pair = pair_of(queue);
    take_sent(pair);
    for (uint32_t i = 0; i < count; i++) {
        if (!send_one(pair, packets[i]))
            return i;
    }
    return count;
}

void net_card_commit(struct net_queue *queue)
{
    virtio_queue_commit(pair_of(queue)->tx);
}

// ---- receiving ----------------------------------------------------------------------------------

void net_pair_post(struct net_pair *pair)
{
    struct virtio_ring *ring = &pair->rx->ring;
    while (pair->posted < ring->config.size) {
        struct page *page = page_alloc(0, PAGE_ALLOC_ATOMIC);
        if (page == NULL)
            break; // again with the next packet; there are others
        struct virtio_segment segment = {page_to_phys(page), PAGE_SIZE};
        if (virtio_ring_add(ring, &segment, 0, 1, page, NULL) != 0) {
            page_put(page);
            break;
        }
        pair->posted++;
    }
    virtio_queue_commit(pair->rx);
}

static void read_header(struct net_packet *packet, const struct virtio_net_hdr_v1 *header)
{
    uint8_t flags = atomic_load_relaxed(&header->flags);
    uint16_t start = atomic_load_relaxed(&header->csum_start);
    uint16_t offset = atomic_load_relaxed(&header->csum_offset);
    // Only if what is to be filled in lies inside the packet.
    if (flags & VIRTIO_NET_HDR_F_NEEDS_CSUM && start + offset + 2u <= packet->len_bytes) {
        packet->flags |= NET_CHECKSUM;
        packet->checksum_start = start;
        packet->checksum_offset = offset;
    } else if (flags & VIRTIO_NET_HDR_F_DATA_VALID) {
        packet->flags |= NET_CHECKSUM_GOOD;
    }
}

// The other buffers of a packet. False: it can't be used, but all its buffers were taken.
static bool take_rest(struct net_pair *pair, struct net_packet *packet, uint32_t buffers)
{
    bool is_good = packet != NULL;
    for (uint32_t i = 1; i < buffers; i++) {
        void *token;
        uint32_t written_bytes;
        if (virtio_queue_take(pair->rx, &token, &written_bytes) != 1) {
            // 5.1.6.4: a packet's buffers are used together.
            virtio_device_break(pair->rx->device, "a packet lacks buffers");
            return false;
        }
        pair->posted--;
        if (!is_good || written_bytes == 0 || !net_packet_add(packet, token, 0, written_bytes)) {
            page_put(token);
            is_good = false;
        }
    }
    return is_good;
}

// One packet whose first buffer was taken.
static void receive_one(struct net_queue *queue, struct page *page, uint32_t written_bytes)
{
    struct net_pair *pair = pair_of(queue);
    const struct virtio_net_hdr_v1 *header = page_to_virt(page);
    bool is_merged = virtio_has_feature(pair->rx->device, VIRTIO_NET_F_MRG_RXBUF);
    uint32_t buffers = is_merged ? atomic_load_relaxed(&header->num_buffers) : 1;
    struct net_packet *packet = NULL;
    if (buffers == 0 || buffers > pair->posted + 1) {
        virtio_device_break(pair->rx->device, "a packet in more buffers than it was given");
        page_put(page);
        return;
    }
    if (written_bytes > HEADER_BYTES)
        packet = net_packet_create(PAGE_ALLOC_ATOMIC);
    if (packet != NULL &&
        !net_packet_add(packet, page, HEADER_BYTES, written_bytes - HEADER_BYTES)) {
        net_packet_release(packet);
        packet = NULL;
    }
    if (packet == NULL)
        page_put(page);
    bool is_good = take_rest(pair, packet, buffers);
    if (is_good && packet->len_bytes >= NET_HEADER_BYTES) {
        read_header(packet, header);
        net_device_receive(queue, packet);
        return;
    }
    counter_add(virtio, net_bad_packets, 1);
    queue->statistics.rx_errors++;
    if (packet != NULL)
        net_packet_release(packet);
}

uint32_t net_card_poll(struct net_queue *queue, uint32_t budget)
{
    struct net_pair *pair = pair_of(queue);
    struct net_card *card = queue->device->driver_data;
    if (unlikely(atomic_load_acquire(&card->gone)))
        return 0;
    uint32_t count = 0, written_bytes;
    void *token;
    do {
        take_sent(pair);
    } while (
        virtio_ring_interrupt_enable(&pair->tx->ring, virtio_ring_in_flight(&pair->tx->ring) / 2));
    while (count < budget && virtio_queue_take(pair->rx, &token, &written_bytes) == 1) {
        pair->posted--;
        receive_one(queue, token, written_bytes);
        count++;
    }
    if (count != 0)
        net_pair_post(pair);
    return count;
}

bool net_card_interrupts(struct net_queue *queue, bool on)
{
    struct virtio_ring *ring = &pair_of(queue)->rx->ring;
    if (on)
        return virtio_ring_interrupt_enable(ring, 0);
    virtio_ring_interrupt_disable(ring);
    return false;
}

void net_pair_release_all(struct net_pair *pair)
{
    void *token;
    while ((token = virtio_ring_outstanding(&pair->rx->ring)) != NULL)
        page_put(token);
    while ((token = virtio_ring_outstanding(&pair->tx->ring)) != NULL)
        net_packet_release(token);
    pair->posted = 0;
}
