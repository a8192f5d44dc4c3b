// SPDX-License-Identifier: MIT
// Network cards: virtio-net (virtio 1.2, section 5.1): finding out what the card can, its queues,
// its settings.
//
// One pair of virtqueues for each CPU, as far as the card has them; virtqueue 2n receives, 2n + 1
// sends, the one behind the last pair that the card has (used or not) is for control.

#include "virtio/net/net.h"

#include "kernel/base/atomic.h"
#include "kernel/base/string.h"
#include "kernel/core/cpumask.h"
#include "kernel/core/random.h"
#include "mm/slab.h"
#include "virtio/net/internal.h"

#include <linux/errno.h>
#include <linux/virtio_ids.h>

#define PAIRS_MAX   0x8000
#define MTU_DEFAULT 1500
#define MTU_MAX     (65535 - NET_HEADER_BYTES)

static int card_open(struct net_device *net)
{
    struct net_card *card = net->driver_data;
    if (virtio_device_is_broken(card->device))
        return -EIO;
    for (uint32_t i = 0; i < card->pair_count; i++) {
        uint64_t flags = spin_lock_irqsave(&net->queues[i].lock);
        net_pair_post(&card->pairs[i]);
        spin_unlock_irqrestore(&net->queues[i].lock, flags);
    }
    return 0;
}

// The device keeps its receive buffers: it fills them and then drops what comes.
static void card_stop(struct net_device *net)
{
}

static int card_set_address(struct net_device *net, const uint8_t address[NET_ADDRESS_BYTES])
{
    struct net_card *card = net->driver_data;
    if (!virtio_has_feature(card->device, VIRTIO_NET_F_CTRL_MAC_ADDR))
        return -EOPNOTSUPP;
    int error = net_card_command(
        card, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, address, NET_ADDRESS_BYTES);
    if (error == 0)
        memcpy(net->address, address, NET_ADDRESS_BYTES);
    return error;
}

static int card_set_mtu(struct net_device *net, uint32_t mtu_bytes)
{
    atomic_store_relaxed(&net->mtu_bytes, mtu_bytes);
    return 0;
}

static int card_set_promiscuous(struct net_device *net, bool promiscuous)
{
    struct net_card *card = net->driver_data;
    uint8_t on = promiscuous;
    if (!virtio_has_feature(card->device, VIRTIO_NET_F_CTRL_RX))
        return -EOPNOTSUPP;
    return net_card_command(card, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, &on, 1);
}

static const struct net_device_ops ops = {
    .open = card_open,
    .stop = card_stop,
    .transmit = net_card_transmit,
    .commit = net_card_commit,
    .poll = net_card_poll,
    .interrupts = net_card_interrupts,
    .set_address = card_set_address,
    .set_mtu = card_set_mtu,
    .set_promiscuous = card_set_promiscuous,
};

static void used(struct virtio_queue *queue)
{
    struct net_card *card = queue->context;
    net_queue_interrupt(&card->net->queues[queue->index / 2]);
}

static int make_slots(struct net_pair *pair)
{
    uint32_t count = pair->tx->ring.config.size;
    pair->slots = kmalloc(count * sizeof(*pair->slots), 0);
    if (pair->slots == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < count; i++)
        pair->slots[i].next = i + 1;
    return 0;
}

// Pairs that the card has; those beyond what is used get no rings.
static int make_queues(struct net_card *card, uint32_t pairs_there)
{
    struct virtio_device *device = card->device;
    bool has_control = virtio_has_feature(device, VIRTIO_NET_F_CTRL_VQ);
    uint32_t count = has_control ? 2 * pairs_there + 1 : 2 * card->pair_count;
    struct virtio_queue_setup *setups = kzalloc(count * sizeof(*setups));
    card->pairs = kzalloc(card->pair_count * sizeof(*card->pairs));
    card->control_page = page_alloc_kernel(0, PAGE_ALLOC_ZERO);
    int error = setups != NULL && card->pairs != NULL && card->control_page != NULL ? 0 : -ENOMEM;
    for (uint32_t i = 0; i < 2 * card->pair_count && error == 0; i++)
        setups[i] = (struct virtio_queue_setup){
            .size_max = NET_RING_SIZE, .cpu = i / 2, .used = used, .context = card};
    if (error == 0 && has_control)
        setups[count - 1] = (struct virtio_queue_setup){.size_max = 4};
    if (error == 0)
        error = virtio_queues_create(device, setups, count);
    for (uint32_t i = 0; i < card->pair_count && error == 0; i++) {
        card->pairs[i].rx = &device->queues[2 * i];
        card->pairs[i].tx = &device->queues[2 * i + 1];
        card->net->queues[i].driver_data = &card->pairs[i];
        error = make_slots(&card->pairs[i]);
    }
    if (error == 0 && has_control)
        card->control = &device->queues[count - 1];
    kfree(setups);
    return error;
}

static void read_settings(struct net_card *card)
{
    struct virtio_device *device = card->device;
    struct net_device *net = card->net;
    random_fill(net->address, NET_ADDRESS_BYTES);
    net->address[0] = (uint8_t)((net->address[0] & ~1u) | 2); // one station, locally chosen
    for (uint32_t i = 0; i < NET_ADDRESS_BYTES && virtio_has_feature(device, VIRTIO_NET_F_MAC); i++)
        net->address[i] = (uint8_t)virtio_config_read(device, i, 1);
    net->mtu_bytes = MTU_DEFAULT;
    net->mtu_max_bytes = virtio_has_feature(device, VIRTIO_NET_F_MRG_RXBUF) ? MTU_MAX : MTU_DEFAULT;
    if (virtio_has_feature(device, VIRTIO_NET_F_MTU)) {
        uint32_t mtu = (uint32_t)virtio_config_field(device, struct virtio_net_config, mtu);
        net->mtu_max_bytes = CLAMP(mtu, net->mtu_min_bytes, (uint32_t)MTU_MAX);
        net->mtu_bytes = net->mtu_max_bytes;
    }
    if (virtio_has_feature(device, VIRTIO_NET_F_CSUM))
        net->features |= NET_CHECKSUM;
    if (virtio_has_feature(device, VIRTIO_NET_F_HOST_TSO4))
        net->features |= NET_TSO4;
    if (virtio_has_feature(device, VIRTIO_NET_F_HOST_TSO6))
        net->features |= NET_TSO6;
    net->features |= NET_SCATTER;
    strlcpy(net->name, "eth%d", sizeof(net->name));
}

static void config_changed(struct virtio_device *device)
{
    struct net_card *card = device->driver_data;
    bool is_up = true;
    if (virtio_has_feature(device, VIRTIO_NET_F_STATUS))
        is_up =
            virtio_config_field(device, struct virtio_net_config, status) & VIRTIO_NET_S_LINK_UP;
    net_device_link(card->net, is_up);
}

static void card_free(struct net_card *card)
{
    for (uint32_t i = 0; card->pairs != NULL && i < card->pair_count; i++)
        kfree(card->pairs[i].slots);
    kfree(card->pairs);
    if (card->control_page != NULL)
        page_free_kernel(card->control_page, 0);
    if (card->net != NULL)
        net_device_put(card->net);
    kfree(card);
}

static int start(struct net_card *card, uint32_t pairs_there)
{
    int error = make_queues(card, pairs_there);
    if (error != 0)
        return error;
    read_settings(card);
    virtio_device_ready(card->device);
    uint16_t pairs = (uint16_t)card->pair_count;
    if (pairs > 1)
        error = net_card_command(
            card, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, &pairs, sizeof(pairs));
    if (error == 0)
        error = net_device_register(card->net);
    return error;
}

static int probe(struct virtio_device *device)
{
    uint32_t pairs_there = 1;
    if (virtio_has_feature(device, VIRTIO_NET_F_MQ) &&
        virtio_has_feature(device, VIRTIO_NET_F_CTRL_VQ))
        pairs_there =
            (uint32_t)virtio_config_field(device, struct virtio_net_config, max_virtqueue_pairs);
    if (pairs_there == 0 || pairs_there > PAIRS_MAX)
        return -EINVAL;
    struct net_card *card = kzalloc(sizeof(*card));
    if (card == NULL)
        return -ENOMEM;
    card->device = device;
    device->driver_data = card;
    card->pair_count = MIN(pairs_there, cpumask_count(&cpu_online));
    card->net = net_device_create(&ops, card->pair_count);
    int error = -ENOMEM;
    if (card->net != NULL) {
        card->net->driver_data = card;
        error = start(card, pairs_there);
    }
    if (error == 0) {
        config_changed(device);
    } else if (!virtio_device_is_broken(device)) {
        device->driver_data = NULL;
        card_free(card);
    }
    return error;
}

static void broken(struct virtio_device *device)
{
    struct net_card *card = device->driver_data;
    if (card == NULL || card->net->index == 0)
        return;
    net_device_link(card->net, false);
    atomic_store_release(&card->gone, true);
    for (uint32_t i = 0; i < card->pair_count; i++) {
        uint64_t flags = spin_lock_irqsave(&card->net->queues[i].lock);
        net_pair_release_all(&card->pairs[i]);
        spin_unlock_irqrestore(&card->net->queues[i].lock, flags);
    }
}

const struct virtio_driver virtio_net_driver = {
    .name = "virtio-net",
    .type = VIRTIO_ID_NET,
    .features = BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_GUEST_CSUM) | BIT(VIRTIO_NET_F_MTU) |
                BIT(VIRTIO_NET_F_MAC) | BIT(VIRTIO_NET_F_HOST_TSO4) | BIT(VIRTIO_NET_F_HOST_TSO6) |
                BIT(VIRTIO_NET_F_MRG_RXBUF) | BIT(VIRTIO_NET_F_STATUS) | BIT(VIRTIO_NET_F_CTRL_VQ) |
                BIT(VIRTIO_NET_F_CTRL_RX) | BIT(VIRTIO_NET_F_MQ) | BIT(VIRTIO_NET_F_CTRL_MAC_ADDR),
    .probe = probe,
    .config_changed = config_changed,
    .broken = broken,
};
