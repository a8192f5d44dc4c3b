// SPDX-License-Identifier: MIT
// What comes from a network card's back end, checked.
#include "pv/xen/front/net_ring.h"

#include "kernel/base/assert.h"
#include <linux/errno.h>

#define PAGE_BYTES 4096u // of this interface (<xen/io/netif.h>: grants of 4 KiB)

int net_tx_response_check(const struct ring_slots *slots, uint32_t extras,
    const struct netif_tx_response *response, enum net_tx_answer *answer, uint32_t *slot)
{
    assert(answer != NULL && slot != NULL);
    if (response->status == NETIF_RSP_NULL) {
        *answer = NET_TX_EXTRA;
        return extras != 0 ? 0 : -EPROTO;
    }
    if (!ring_slots_is_used(slots, response->id))
        return -EPROTO;
    *answer = response->status == NETIF_RSP_OKAY ? NET_TX_SENT : NET_TX_FAILED;
    *slot = response->id;
    return 0;
}

int net_rx_response_check(const struct ring_slots *slots, const struct netif_rx_response *response)
{
    if (!ring_slots_is_used(slots, response->id) || (response->flags & NETRXF_extra_info) != 0)
        return -EPROTO;
    if (response->status > 0 &&
        (uint32_t)response->offset + (uint32_t)response->status > PAGE_BYTES)
        return -EPROTO;
    return response->id;
}

static int hex_digit(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    if (digit >= 'a' && digit <= 'f')
        return digit - 'a' + 10;
    return digit >= 'A' && digit <= 'F' ? digit - 'A' + 10 : -1;
}

int net_mac_parse(const char *text, uint8_t mac[NET_MAC_BYTES])
{
    uint8_t parsed[NET_MAC_BYTES];
    uint32_t bits = 0;
    for (uint32_t i = 0; i < NET_MAC_BYTES; i++) {
        int high = hex_digit(text[0]);
        int low = high >= 0 ? hex_digit(text[1]) : -1;
        if (low < 0 || text[2] != (i + 1 < NET_MAC_BYTES ? ':' : '\0'))
            return -EPROTO;
        parsed[i] = (uint8_t)(high << 4 | low);
        bits |= parsed[i];
        text += 3;
    }
    if (bits == 0 || (parsed[0] & 1) != 0)
        return -EPROTO;
    memcpy(mac, parsed, sizeof(parsed));
    return 0;
}
