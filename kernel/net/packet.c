// SPDX-License-Identifier: MIT
// Packets: pieces of pages on their way.

#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/net/device.h"
#include "mm/slab.h"

struct net_packet *net_packet_create(uint32_t flags)
{
    struct net_packet *packet = kmalloc(sizeof(*packet), flags);
    if (packet != NULL)
        memset(packet, 0, offsetof(struct net_packet, segments));
    return packet;
}

bool net_packet_add(
    struct net_packet *packet, struct page *page, uint32_t offset, uint32_t len_bytes)
{
    assert(len_bytes != 0);
    if (packet->segment_count == NET_SEGMENTS_MAX ||
        packet->len_bytes + len_bytes > NET_PACKET_BYTES_MAX)
        return false;
    packet->segments[packet->segment_count++] =
        (struct net_segment){.page = page, .offset = offset, .len_bytes = len_bytes};
    packet->len_bytes += len_bytes;
    return true;
}

void net_packet_release(struct net_packet *packet)
{
    if (packet->released != NULL) {
        packet->released(packet);
        return;
    }
    for (uint32_t i = 0; i < packet->segment_count; i++)
        page_put(packet->segments[i].page);
    kfree(packet);
}
