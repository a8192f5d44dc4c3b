// SPDX-License-Identifier: MIT
// What comes from a network card's back end, checked: no device access, also built on the host.
// Interface: <xen/io/netif.h>.
#pragma once

#include "pv/xen/front/slots.h"

#include <xen/io/netif.h>

#define NET_MAC_BYTES 6

// Pieces that a frame may have on the transmit ring: what every back end takes.
#define NET_TX_PIECES_MAX XEN_NETIF_NR_SLOTS_MIN

// What a response of the transmit ring, copied from it, is about.
enum net_tx_answer { NET_TX_SENT, NET_TX_FAILED, NET_TX_EXTRA };

// A response to one of the slots, which is then in *slot, or to one of the `extras` pieces of
// further information that are under way. -EPROTO: neither.
[[nodiscard]] int net_tx_response_check(const struct ring_slots *slots, uint32_t extras,
    const struct netif_tx_response *response, enum net_tx_answer *answer, uint32_t *slot);

// A response of the receive ring: the slot whose page it is about. -EPROTO: no such slot, data
// beyond the page, or further information, which nobody has asked for.
[[nodiscard]] int net_rx_response_check(
    const struct ring_slots *slots, const struct netif_rx_response *response);

// "00:16:3e:0a:0b:0c", in full, of one station. -EPROTO.
[[nodiscard]] int net_mac_parse(const char *text, uint8_t mac[NET_MAC_BYTES]);
