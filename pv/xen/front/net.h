// SPDX-License-Identifier: MIT
// Between the files of the network front end: net.c (frames), net_setup.c (rings, and the talk with
// the back end). The theory is in net.c.
#pragma once

#include "kernel/net/device.h"
#include "pv/xen/events.h"
#include "pv/xen/front/bus.h"
#include "pv/xen/front/grant.h"
#include "pv/xen/front/net_ring.h"

// Entries of a ring of one page.
#define NET_SLOTS ((uint32_t)__CONST_RING_SIZE(netif_tx, PAGE_SIZE))
static_assert(__CONST_RING_SIZE(netif_tx, PAGE_SIZE) == __CONST_RING_SIZE(netif_rx, PAGE_SIZE));
static_assert(__CONST_RING_SIZE(netif_tx, PAGE_SIZE) <= RING_SLOTS_MAX);

// The pair of rings of one queue. Everything is under the queue's lock; what the device's thread
// sets up is set up while `live` is false.
struct net_pair {
    struct net_card *card;
    struct net_queue *queue;
    bool live;   // there is a back end that takes and brings frames
    bool broken; // it has written nonsense: the pair is not used again with it
    evtchn_port_t port;
    struct page *tx_ring, *rx_ring; // NULL: none yet
    grant_ref_t ring_grants[2];
    struct netif_tx_front_ring tx;
    struct netif_rx_front_ring rx;
    struct ring_slots tx_slots, rx_slots;
    uint32_t tx_extras;           // pieces of further information that are not answered yet
    struct net_packet *rx_packet; // what has come of a frame that goes on
    bool rx_bad;                  // that frame can't be used
    struct {
        struct net_packet *packet;
        grant_ref_t grant;
    } sent[RING_SLOTS_MAX];
    struct {
        struct page *page;
        grant_ref_t grant;
    } posted[RING_SLOTS_MAX];
    grant_ref_t grants[2 * RING_SLOTS_MAX]; // of sent[] and posted[], for giving them back
};

struct net_card {
    struct xen_device *device;
    struct net_device *net; // NULL: not yet
    struct net_pair *pairs;
    uint32_t pair_count;
};

// ---- net.c ----
uint32_t xen_net_transmit(struct net_queue *queue, struct net_packet **packets, uint32_t count);
void xen_net_commit(struct net_queue *queue);
uint32_t xen_net_poll(struct net_queue *queue, uint32_t budget);
bool xen_net_interrupts(struct net_queue *queue, bool on);
// Gives the back end pages to receive into, as many as there is room for. The queue's lock.
void xen_net_post(struct net_pair *pair);
// The back end has gone: what it had is dropped. The queue's lock.
void xen_net_drop_all(struct net_pair *pair);
// Event of a pair; `context` is the pair.
void xen_net_event(void *context, struct trap_frame *frame);
