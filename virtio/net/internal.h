// SPDX-License-Identifier: MIT
// What the files of this folder share.
#pragma once

#include "kernel/net/device.h"
#include "virtio/device.h"

#include <linux/virtio_net.h>

#define NET_RING_SIZE   256
#define NET_TX_SEGMENTS (NET_SEGMENTS_MAX + 1) // and the header

// What the device sees of a packet that is sent, besides its data. 16-byte aligned.
struct net_tx_slot {
    struct {
        uint64_t words[2];
    } table[NET_TX_SEGMENTS];
    struct virtio_net_hdr_v1 header;
    uint32_t next; // free list
};

// A pair of virtqueues; under the lock of its struct net_queue.
struct net_pair {
    struct virtio_queue *rx, *tx;
    struct net_tx_slot *slots; // as many as the ring has entries
    uint32_t free;             // first free slot; the ring's size: none
    uint32_t posted;           // receive buffers that the device has
};

struct net_card {
    struct virtio_device *device;
    struct net_device *net;
    struct net_pair *pairs;
    uint32_t pair_count;          // in use
    struct virtio_queue *control; // NULL: the device has none
    uint8_t *control_page;        // command, data, answer; by whoever changes the card's settings
    bool gone;                    // the device was reset, what it had is released; atomic
};

// ---- packet.c ----
uint32_t net_card_transmit(struct net_queue *queue, struct net_packet **packets, uint32_t count);
void net_card_commit(struct net_queue *queue);
uint32_t net_card_poll(struct net_queue *queue, uint32_t budget);
bool net_card_interrupts(struct net_queue *queue, bool on);
void net_pair_post(struct net_pair *pair);        // receive buffers, as many as there is room for
void net_pair_release_all(struct net_pair *pair); // after a reset of the device

// ---- control.c ----
// One command (5.1.6.5): 0, -EOPNOTSUPP (no control queue), -EIO (refused, or no answer).
[[nodiscard]] int net_card_command(
    struct net_card *card, uint8_t class, uint8_t command, const void *data, uint32_t len_bytes);
