// SPDX-License-Identifier: MIT
// Network cards of other domains: frames, against netback (<xen/io/netif.h>).
//
// Each queue has a ring of requests to send, one of requests to receive, and one event for both. A
// piece of a frame that is sent, never more than a page, has a slot with a grant reference of its
// own: the back end reads the frame's pages themselves. To receive, pages of ours are granted; the
// back end copies a frame into as many of them as it needs, and they become the frame's segments.
// Nothing is copied here.
//   N1  A page that the other end may still write to or read is neither in a packet that goes on
//       nor freed: its grant is closed first. Where that fails, page and grant are never used
//       again, and the pair is given up.
//   N2  sent[i].packet is set, and posted[i].page, while slot i is in use.
//   N3  packet->driver_data[0] is how many slots of the packet are in use; with the last one it is
//       released.
//
// What was sent is taken back with the next frame; an event comes only when half of what is under
// way has been sent.
#include "pv/xen/front/net.h"

#include "kernel/base/assert.h"
#include "kernel/core/counter.h"
#include "kernel/core/errno.h"
#include "kernel/core/log.h"
#include "mm/page.h"

COUNTER(xen, net_sent);
COUNTER(xen, net_received);
COUNTER(xen, net_notifications);
COUNTER(xen, net_dropped); // a back end that went took them with it, or they had too many pieces
COUNTER(xen, net_bad_frames);
COUNTER(xen, net_bad_responses);

static struct net_pair *pair_of(struct net_queue *queue)
{
    return queue->driver_data;
}

static void give_up(struct net_pair *pair, const char *why)
{
    counter_add(xen, net_bad_responses, 1);
    log_error("xen: %s: %s: the queue is given up", pair->card->device->path, why);
    pair->broken = true;
    pair->live = false;
    net_device_link(pair->card->net, false);
}

// ---- sending ------------------------------------------------------------------------------------

// A slot of a packet is done with.
static void sent_done(struct net_pair *pair, uint32_t slot)
{
    struct net_packet *packet = pair->sent[slot].packet;
    assert(packet != NULL); // N2
    if (!xen_grant_close(pair->sent[slot].grant)) {
        give_up(pair, "the back end holds on to what was sent"); // N1: the packet stays
        return;
    }
    pair->sent[slot].packet = NULL;
    ring_slots_give(&pair->tx_slots, slot);
    packet->driver_data[0]--;
    if (packet->driver_data[0] == 0) // N3
        net_packet_release(packet);
}

static void take_sent(struct net_pair *pair)
{
    uint32_t produced = __atomic_load_n(&pair->tx.sring->rsp_prod, __ATOMIC_ACQUIRE);
    uint32_t count = produced - pair->tx.rsp_cons;
    if (count > pair->tx_slots.used_count + pair->tx_extras) {
        give_up(pair, "answers to frames that were not sent");
        return;
    }
    for (; count != 0 && !pair->broken; count--) {
        struct netif_tx_response response;
        enum net_tx_answer answer;
        uint32_t slot = 0;
        RING_COPY_RESPONSE(&pair->tx, pair->tx.rsp_cons, &response);
        if (net_tx_response_check(&pair->tx_slots, pair->tx_extras, &response, &answer, &slot) !=
            0) {
            give_up(pair, "an answer to a frame that was not sent");
            return;
        }
        pair->tx.rsp_cons++;
        if (answer == NET_TX_EXTRA) {
            pair->tx_extras--;
            continue;
        }
        if (answer == NET_TX_FAILED)
            pair->queue->statistics.tx_errors++;
        sent_done(pair, slot);
    }
}

// How many pieces within pages the packet has.
static uint32_t count_pieces(const struct net_packet *packet)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < packet->segment_count; i++) {
        const struct net_segment *segment = &packet->segments[i];
        uint32_t start = segment->offset % PAGE_SIZE;
        count += (uint32_t)((start + segment->len_bytes + PAGE_SIZE - 1) / PAGE_SIZE);
    }
    return count;
}

static struct netif_tx_request *next_request(struct net_pair *pair)
{
    return RING_GET_REQUEST(&pair->tx, pair->tx.req_prod_pvt++);
}

static uint16_t first_flags(const struct net_packet *packet)
{
    uint16_t flags = 0;
    if ((packet->flags & NET_CHECKSUM) != 0)
        flags |= NETTXF_csum_blank | NETTXF_data_validated;
    else if ((packet->flags & NET_CHECKSUM_GOOD) != 0)
        flags |= NETTXF_data_validated;
    if ((packet->flags & (NET_TSO4 | NET_TSO6)) != 0)
        flags |= NETTXF_extra_info;
    return flags;
}

static void add_extra(struct net_pair *pair, const struct net_packet *packet)
{
    struct netif_extra_info *extra = (struct netif_extra_info *)next_request(pair);
    *extra = (struct netif_extra_info){.type = XEN_NETIF_EXTRA_TYPE_GSO};
    extra->u.gso.size = packet->segment_bytes;
    extra->u.gso.type =
        (packet->flags & NET_TSO4) != 0 ? XEN_NETIF_GSO_TYPE_TCPV4 : XEN_NETIF_GSO_TYPE_TCPV6;
    pair->tx_extras++;
}

// One piece. The first one's size is the packet's, the others have their own.
static void add_piece(struct net_pair *pair, struct net_packet *packet, uint64_t phys,
    uint32_t len_bytes, uint16_t flags)
{
    bool is_first = packet->driver_data[0] == 0;
    int slot = ring_slots_take(&pair->tx_slots);
    assert(slot >= 0); // as many as entries, and there was room
    struct netif_tx_request *request = next_request(pair);
    pair->sent[slot].packet = packet;
    xen_grant_open(pair->sent[slot].grant, pair->card->device->domain, phys >> PAGE_SHIFT, true);
    *request = (struct netif_tx_request){
        .gref = pair->sent[slot].grant,
        .offset = (uint16_t)(phys % PAGE_SIZE),
        .flags = flags,
        .id = (uint16_t)slot,
        .size = (uint16_t)(is_first ? packet->len_bytes : len_bytes),
    };
    packet->driver_data[0]++;
    if (is_first && (flags & NETTXF_extra_info) != 0)
        add_extra(pair, packet);
}

static bool send_one(struct net_pair *pair, struct net_packet *packet)
{
    uint32_t pieces = count_pieces(packet);
    uint32_t entries = pieces + ((packet->flags & (NET_TSO4 | NET_TSO6)) != 0 ? 1 : 0);
    if (pieces > NET_TX_PIECES_MAX || packet->len_bytes > XEN_NETIF_MAX_TX_SIZE) {
        counter_add(xen, net_dropped, 1);
        return false;
    }
    if (pieces == 0 || entries > RING_FREE_REQUESTS(&pair->tx) ||
        pieces > pair->tx_slots.count - pair->tx_slots.used_count)
        return false;
    uint16_t flags = first_flags(packet);
    packet->driver_data[0] = 0;
    for (uint32_t i = 0; i < packet->segment_count; i++) {
        uint64_t phys = page_to_phys(packet->segments[i].page) + packet->segments[i].offset;
        uint32_t left_bytes = packet->segments[i].len_bytes;
        while (left_bytes != 0) {
            uint32_t len_bytes = (uint32_t)MIN((uint64_t)left_bytes, PAGE_SIZE - phys % PAGE_SIZE);
            pieces--;
            add_piece(pair, packet, phys, len_bytes,
                (uint16_t)(flags | (pieces != 0 ? NETTXF_more_data : 0)));
            flags = 0;
            phys += len_bytes;
            left_bytes -= len_bytes;
        }
    }
    assert(pieces == 0);
    counter_add(xen, net_sent, 1);
    return true;
}

uint32_t xen_net_transmit(struct net_queue *queue, struct net_packet **packets, uint32_t count)
{
    struct net_pair *pair = pair_of(queue);
    uint32_t taken = 0;
    if (pair->live)
        take_sent(pair);
    while (pair->live && taken < count && send_one(pair, packets[taken]))
        taken++;
    return taken;
}

void xen_net_commit(struct net_queue *queue)
{
    struct net_pair *pair = pair_of(queue);
    int notify;
    if (!pair->live)
        return;
    RING_PUSH_REQUESTS_AND_CHECK_NOTIFY(&pair->tx, notify);
    if (notify) {
        counter_add(xen, net_notifications, 1);
        xen_event_notify(pair->port);
    }
}

// ---- receiving ----------------------------------------------------------------------------------

void xen_net_post(struct net_pair *pair)
{
    int notify;
    assert_lock_held(&pair->queue->lock);
    while (pair->live && pair->rx_slots.used_count < pair->rx_slots.count) {
        struct page *page = page_alloc(0, PAGE_ALLOC_ATOMIC);
        if (page == NULL)
            break; // again with the next frame; there are others
        int slot = ring_slots_take(&pair->rx_slots);
        assert(slot >= 0);
        pair->posted[slot].page = page;
        xen_grant_open(
            pair->posted[slot].grant, pair->card->device->domain, page_to_pfn(page), false);
        struct netif_rx_request *request = RING_GET_REQUEST(&pair->rx, pair->rx.req_prod_pvt++);
        *request =
            (struct netif_rx_request){.id = (uint16_t)slot, .gref = pair->posted[slot].grant};
    }
    if (!pair->live)
        return;
    RING_PUSH_REQUESTS_AND_CHECK_NOTIFY(&pair->rx, notify);
    if (notify)
        xen_event_notify(pair->port);
}

// A frame is complete.
static void frame_done(struct net_pair *pair)
{
    struct net_packet *packet = pair->rx_packet;
    bool is_good = packet != NULL && !pair->rx_bad && packet->len_bytes >= NET_HEADER_BYTES;
    pair->rx_packet = NULL;
    pair->rx_bad = false;
    if (is_good) {
        counter_add(xen, net_received, 1);
        net_device_receive(pair->queue, packet);
        return;
    }
    counter_add(xen, net_bad_frames, 1);
    pair->queue->statistics.rx_errors++;
    if (packet != NULL)
        net_packet_release(packet);
}

// Takes the page of a response, which has been checked. False: the pair is given up.
static bool take_page(struct net_pair *pair, const struct netif_rx_response *response)
{
    uint32_t slot = response->id;
    struct page *page = pair->posted[slot].page;
    assert(page != NULL); // N2
    if (!xen_grant_close(pair->posted[slot].grant)) {
        give_up(pair, "the back end holds on to what was received"); // N1
        return false;
    }
    pair->posted[slot].page = NULL;
    ring_slots_give(&pair->rx_slots, slot);
    if (pair->rx_packet == NULL && !pair->rx_bad) {
        pair->rx_packet = net_packet_create(PAGE_ALLOC_ATOMIC);
        if (pair->rx_packet != NULL && (response->flags & NETRXF_data_validated) != 0)
            pair->rx_packet->flags |= NET_CHECKSUM_GOOD;
    }
    if (pair->rx_packet == NULL || response->status <= 0 ||
        !net_packet_add(pair->rx_packet, page, response->offset, (uint32_t)response->status)) {
        page_put(page);
        pair->rx_bad = true;
    }
    return true;
}

static uint32_t take_received(struct net_pair *pair, uint32_t budget)
{
    uint32_t produced = __atomic_load_n(&pair->rx.sring->rsp_prod, __ATOMIC_ACQUIRE);
    int count = ring_responses_check(&pair->rx_slots, produced, pair->rx.rsp_cons);
    uint32_t frames = 0;
    if (count < 0)
        give_up(pair, "more frames than there was room for");
    for (; count > 0 && frames < budget; count--) {
        struct netif_rx_response response;
        RING_COPY_RESPONSE(&pair->rx, pair->rx.rsp_cons, &response);
        if (net_rx_response_check(&pair->rx_slots, &response) < 0) {
            give_up(pair, "a frame in a page that it was not given");
            break;
        }
        pair->rx.rsp_cons++;
        if (!take_page(pair, &response))
            break;
        if ((response.flags & NETRXF_more_data) == 0) {
            frame_done(pair);
            frames++;
        }
    }
    return frames;
}

// Has an event come when half of what is under way has been sent. True: it has already.
static bool sent_event(struct net_pair *pair)
{
    uint32_t under_way = pair->tx_slots.used_count + pair->tx_extras;
    uint32_t event = pair->tx.rsp_cons + under_way / 2 + 1;
    pair->tx.sring->rsp_event = event;
    xen_mb();
    return (int32_t)(__atomic_load_n(&pair->tx.sring->rsp_prod, __ATOMIC_ACQUIRE) - event) >= 0;
}

uint32_t xen_net_poll(struct net_queue *queue, uint32_t budget)
{
    struct net_pair *pair = pair_of(queue);
    uint32_t frames = 0;
    if (pair->live) {
        do
            take_sent(pair);
        while (pair->live && sent_event(pair));
    }
    if (pair->live)
        frames = take_received(pair, budget);
    if (frames != 0)
        xen_net_post(pair);
    return frames;
}

bool xen_net_interrupts(struct net_queue *queue, bool on)
{
    struct net_pair *pair = pair_of(queue);
    if (!on || !pair->live)
        return false; // the other end looks at rsp_event, which stays behind
    pair->rx.sring->rsp_event = pair->rx.rsp_cons + 1;
    xen_mb();
    return __atomic_load_n(&pair->rx.sring->rsp_prod, __ATOMIC_ACQUIRE) != pair->rx.rsp_cons;
}

void xen_net_event(void *context, struct trap_frame *frame)
{
    (void)frame;
    struct net_pair *pair = context;
    net_queue_interrupt(pair->queue);
}

// ---- the end ------------------------------------------------------------------------------------

void xen_net_drop_all(struct net_pair *pair)
{
    assert_lock_held(&pair->queue->lock);
    pair->live = false;
    for (uint32_t slot = 0; slot < pair->tx_slots.count; slot++) {
        struct net_packet *packet = pair->sent[slot].packet;
        if (packet == NULL || !xen_grant_close(pair->sent[slot].grant))
            continue; // N1
        pair->sent[slot].packet = NULL;
        ring_slots_give(&pair->tx_slots, slot);
        packet->driver_data[0]--;
        if (packet->driver_data[0] == 0) {
            counter_add(xen, net_dropped, 1);
            pair->queue->statistics.tx_dropped++;
            net_packet_release(packet);
        }
    }
    for (uint32_t slot = 0; slot < pair->rx_slots.count; slot++) {
        struct page *page = pair->posted[slot].page;
        if (page == NULL || !xen_grant_close(pair->posted[slot].grant))
            continue;
        pair->posted[slot].page = NULL;
        ring_slots_give(&pair->rx_slots, slot);
        page_put(page);
    }
    if (pair->rx_packet != NULL)
        net_packet_release(pair->rx_packet);
    pair->rx_packet = NULL;
    pair->rx_bad = false;
    pair->tx_extras = 0;
}
