// SPDX-License-Identifier: MIT
// Network cards of other domains: their rings, and the talk with the back end, which the device's
// thread does: from the states of both ends in xenstore to a network device, to another back end,
// to the end.
#include "pv/xen/front/net.h"

#include "kernel/base/assert.h"
#include "kernel/base/fmt.h"
#include "kernel/core/cpumask.h"
#include "kernel/core/errno.h"
#include "kernel/core/log.h"
#include "kernel/core/option.h"
#include "mm/page.h"
#include "mm/slab.h"
#include "pv/xen/front/internal.h"

#define QUEUES_MAX  8u
#define MTU_DEFAULT 1500
#define MTU_MAX     (65535 - NET_HEADER_BYTES)
#define MAC_TEXT    32

static uint64_t queue_limit = QUEUES_MAX;
BOOT_OPTION_U64(
    queue_limit, "xen_net_queues", "Xen: queues of a network card, at most (default 8).");
static bool want_offload = true;
BOOT_OPTION_BOOL(want_offload, "xen_net_offload",
    "Xen: network cards fill in checksums and cut large TCP segments, where the back end can.");

// ---- rings --------------------------------------------------------------------------------------

// Undoes pair_make(); nothing is in a slot but what the other end holds on to.
static void pair_free(struct net_pair *pair)
{
    struct page *rings[2] = {pair->tx_ring, pair->rx_ring};
    if (pair->port != 0)
        xen_event_close(pair->port);
    pair->port = 0;
    for (uint32_t slot = 0; slot < NET_SLOTS; slot++) {
        if (pair->grants[2 * slot] != 0 && pair->sent[slot].packet == NULL)
            xen_grants_give(1, &pair->sent[slot].grant);
        if (pair->grants[2 * slot] != 0 && pair->posted[slot].page == NULL)
            xen_grants_give(1, &pair->posted[slot].grant);
        pair->sent[slot].packet = NULL; // the other end's for ever, if there is one
        pair->posted[slot].page = NULL;
    }
    memset(pair->grants, 0, sizeof(pair->grants));
    for (uint32_t i = 0; i < ARRAY_SIZE(rings); i++) {
        if (rings[i] != NULL)
            xen_grant_end(pair->ring_grants[i], rings[i]);
    }
    pair->tx_ring = NULL;
    pair->rx_ring = NULL;
}

static int ring_pages_make(struct net_pair *pair)
{
    int error = xen_grants_take(ARRAY_SIZE(pair->ring_grants), pair->ring_grants);
    if (error != 0)
        return error;
    pair->tx_ring = page_alloc(0, PAGE_ALLOC_ZERO);
    pair->rx_ring = page_alloc(0, PAGE_ALLOC_ZERO);
    if (pair->tx_ring == NULL || pair->rx_ring == NULL) {
        if (pair->tx_ring != NULL)
            page_put(pair->tx_ring);
        pair->tx_ring = NULL;
        xen_grants_give(ARRAY_SIZE(pair->ring_grants), pair->ring_grants);
        return -ENOMEM;
    }
    domid_t domain = pair->card->device->domain;
    xen_grant_open(pair->ring_grants[0], domain, page_to_pfn(pair->tx_ring), false);
    xen_grant_open(pair->ring_grants[1], domain, page_to_pfn(pair->rx_ring), false);
    struct netif_tx_sring *tx = page_to_virt(pair->tx_ring);
    struct netif_rx_sring *rx = page_to_virt(pair->rx_ring);
    XEN_FRONT_RING_INIT(&pair->tx, tx, PAGE_SIZE);
    XEN_FRONT_RING_INIT(&pair->rx, rx, PAGE_SIZE);
    return 0;
}

static int pair_make(struct net_pair *pair)
{
    struct net_card *card = pair->card;
    int error = ring_pages_make(pair);
    if (error != 0)
        return error;
    error = xen_grants_take(2 * NET_SLOTS, pair->grants);
    for (uint32_t slot = 0; error == 0 && slot < NET_SLOTS; slot++) {
        pair->sent[slot].grant = pair->grants[2 * slot];
        pair->posted[slot].grant = pair->grants[2 * slot + 1];
    }
    ring_slots_init(&pair->tx_slots, NET_SLOTS);
    ring_slots_init(&pair->rx_slots, NET_SLOTS);
    pair->broken = false;
    if (error == 0)
        error = xen_event_bind_unbound(
            card->device->domain, xen_net_event, pair, card->device->path, &pair->port);
    if (error == 0 && card->pair_count > 1)
        error = xen_event_set_cpu(pair->port, (uint32_t)(pair - card->pairs));
    if (error != 0)
        pair_free(pair);
    return error;
}

static int pairs_make(struct net_card *card)
{
    uint32_t made = 0;
    int error = 0;
    for (; error == 0 && made < card->pair_count; made++)
        error = pair_make(&card->pairs[made]);
    // The one that failed has undone itself.
    for (uint32_t i = 0; error != 0 && i + 1 < made; i++)
        pair_free(&card->pairs[i]);
    return error;
}

// ---- connecting ---------------------------------------------------------------------------------

static bool backend_can(const struct net_card *card, const char *feature)
{
    return xen_store_number_or(card->device->backend, feature, 1, 0) == 1;
}

static int publish_pair(xen_store_transaction transaction, struct net_card *card, uint32_t index)
{
    struct net_pair *pair = &card->pairs[index];
    char folder[80];
    if (card->pair_count == 1)
        (void)strlcpy(folder, card->device->path, sizeof(folder));
    else
        (void)fmt_snprintf(folder, sizeof(folder), "%s/queue-%u", card->device->path, index);
    int error = xen_store_write_number(transaction, folder, "tx-ring-ref", pair->ring_grants[0]);
    if (error == 0)
        error = xen_store_write_number(transaction, folder, "rx-ring-ref", pair->ring_grants[1]);
    if (error == 0)
        error = xen_store_write_number(transaction, folder, "event-channel", pair->port);
    return error;
}

static int publish(xen_store_transaction transaction, void *context)
{
    static const struct {
        const char *node;
        uint32_t value;
    } wishes[] = {
        {"request-rx-copy", 1},        // into pages of ours
        {"feature-rx-notify", 1},      // it is told when there are new ones
        {"feature-sg", 1},             // a frame may use several
        {"feature-no-csum-offload", 1} // checksums of what comes are complete
    };
    struct net_card *card = context;
    const char *folder = card->device->path;
    int error = 0;
    for (uint32_t i = 0; error == 0 && i < ARRAY_SIZE(wishes); i++)
        error = xen_store_write_number(transaction, folder, wishes[i].node, wishes[i].value);
    if (error == 0 && card->pair_count > 1)
        error =
            xen_store_write_number(transaction, folder, "multi-queue-num-queues", card->pair_count);
    for (uint32_t i = 0; error == 0 && i < card->pair_count; i++)
        error = publish_pair(transaction, card, i);
    return error;
}

// How many queues the first back end takes; they stay as many.
static int choose_queues(struct net_card *card)
{
    uint64_t queues =
        xen_store_number_or(card->device->backend, "multi-queue-max-queues", UINT32_MAX, 1);
    queues = MIN(MIN(queues, queue_limit), (uint64_t)cpumask_count(&cpu_online));
    card->pair_count = (uint32_t)MAX(MIN(queues, (uint64_t)QUEUES_MAX), UINT64_C(1));
    card->pairs = kzalloc(card->pair_count * sizeof(*card->pairs));
    if (card->pairs == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < card->pair_count; i++)
        card->pairs[i].card = card;
    return 0;
}

// What the device can do depends on the back end, also on one that comes later.
static void negotiate(struct net_card *card)
{
    struct net_device *net = card->net;
    uint32_t features = 0;
    if (backend_can(card, "feature-sg"))
        features |= NET_SCATTER;
    // Without it only IPv4's are filled in.
    if (want_offload && backend_can(card, "feature-ipv6-csum-offload"))
        features |= NET_CHECKSUM;
    if ((features & NET_CHECKSUM) != 0 && (features & NET_SCATTER) != 0) {
        features |= backend_can(card, "feature-gso-tcpv4") ? NET_TSO4 : 0;
        features |= backend_can(card, "feature-gso-tcpv6") ? NET_TSO6 : 0;
    }
    __atomic_store_n(&net->features, features, __ATOMIC_RELAXED);
    net->mtu_max_bytes = (features & NET_SCATTER) != 0 ? MTU_MAX : MTU_DEFAULT;
}

static void xen_card_release(struct net_device *net)
{
    struct net_card *card = net->driver_data;
    if (card != NULL)
        kfree(card->pairs);
    kfree(card);
}

static int xen_card_open(struct net_device *net)
{
    struct net_card *card = net->driver_data;
    for (uint32_t i = 0; i < card->pair_count; i++) {
        uint64_t flags = spin_lock_irqsave(&net->queues[i].lock);
        xen_net_post(&card->pairs[i]);
        spin_unlock_irqrestore(&net->queues[i].lock, flags);
    }
    return 0;
}

// The back end keeps its pages: it fills them and then drops what comes.
static void xen_card_stop(struct net_device *net)
{
    (void)net;
}

static int xen_card_set_mtu(struct net_device *net, uint32_t mtu_bytes)
{
    __atomic_store_n(&net->mtu_bytes, mtu_bytes, __ATOMIC_RELAXED);
    return 0;
}

// What a domain's interface gets is the bridge's business, whatever the card says.
static int xen_card_set_promiscuous(struct net_device *net, bool promiscuous)
{
    (void)net;
    (void)promiscuous;
    return 0;
}

static const struct net_device_ops ops = {
    .open = xen_card_open,
    .stop = xen_card_stop,
    .transmit = xen_net_transmit,
    .commit = xen_net_commit,
    .poll = xen_net_poll,
    .interrupts = xen_net_interrupts,
    .set_mtu = xen_card_set_mtu,
    .set_promiscuous = xen_card_set_promiscuous,
    .release = xen_card_release,
};

static int device_make(struct net_card *card)
{
    char mac[MAC_TEXT];
    struct net_device *net = net_device_create(&ops, card->pair_count);
    if (net == NULL)
        return -ENOMEM;
    int error =
        xen_store_read(XEN_STORE_NO_TRANSACTION, card->device->path, "mac", mac, sizeof(mac));
    if (error == 0)
        error = net_mac_parse(mac, net->address);
    if (error != 0) {
        net_device_put(net);
        return error;
    }
    (void)strlcpy(net->name, "eth%d", sizeof(net->name));
    net->driver_data = card;
    card->net = net;
    for (uint32_t i = 0; i < card->pair_count; i++) {
        net->queues[i].driver_data = &card->pairs[i];
        card->pairs[i].queue = &net->queues[i];
    }
    return 0;
}

// From a back end that waits to one that is connected, and frames. 0 or -errno.
static int connect(struct net_card *card)
{
    struct xen_device *device = card->device;
    enum xenbus_state state =
        xen_device_wait_for(device, XenbusStateInitWait, XenbusStateConnected);
    int error = 0;
    if (state != XenbusStateInitWait && state != XenbusStateConnected)
        return -ENODEV;
    if (card->pairs == NULL)
        error = choose_queues(card);
    if (error == 0 && card->net == NULL)
        error = device_make(card);
    if (error != 0)
        return error;
    negotiate(card);
    error = pairs_make(card);
    if (error == 0)
        error = xen_device_publish(publish, card);
    if (error == 0)
        error = xen_device_set_state(device, XenbusStateConnected);
    if (error == 0 && xen_device_wait_for(device, XenbusStateConnected, XenbusStateClosing) !=
                          XenbusStateConnected)
        error = -ENODEV;
    for (uint32_t i = 0; error == 0 && i < card->pair_count; i++) {
        uint64_t flags = spin_lock_irqsave(&card->pairs[i].queue->lock);
        card->pairs[i].live = true;
        if (card->pairs[i].queue->running)
            xen_net_post(&card->pairs[i]);
        spin_unlock_irqrestore(&card->pairs[i].queue->lock, flags);
    }
    if (error == 0)
        net_device_link(card->net, true);
    return error;
}

static void disconnect(struct net_card *card)
{
    if (card->net != NULL)
        net_device_link(card->net, false);
    for (uint32_t i = 0; card->net != NULL && i < card->pair_count; i++) {
        uint64_t flags = spin_lock_irqsave(&card->pairs[i].queue->lock);
        xen_net_drop_all(&card->pairs[i]);
        spin_unlock_irqrestore(&card->pairs[i].queue->lock, flags);
    }
    for (uint32_t i = 0; card->pairs != NULL && i < card->pair_count; i++)
        pair_free(&card->pairs[i]);
}

// The back end has gone, and another one comes in its place.
static int card_restart(struct net_card *card)
{
    log_warning("xen: %s: the back end has gone; waiting for another", card->net->name);
    net_device_link(card->net, false);
    int error = xen_device_set_state(card->device, XenbusStateClosed);
    // It lets go of all memory first.
    if (error == 0)
        (void)xen_device_wait_for(card->device, XenbusStateClosed, XenbusStateInitWait);
    disconnect(card);
    if (error == 0)
        error = xen_device_set_state(card->device, XenbusStateInitialising);
    if (error == 0)
        error = connect(card);
    if (error == 0)
        log_info("xen: %s: the back end is there again", card->net->name);
    return error;
}

// The back end is bound again to the same rings: it has to be told that there is something.
static void card_wake(struct net_card *card)
{
    for (uint32_t i = 0; i < card->pair_count; i++) {
        xen_event_notify(card->pairs[i].port);
        net_queue_interrupt(&card->net->queues[i]);
    }
}

static void card_run(struct xen_device *device)
{
    struct net_card *card = kzalloc(sizeof(*card));
    bool registered = false;
    int error = -ENOMEM;
    if (card != NULL) {
        card->device = device;
        error = connect(card);
    }
    if (error == 0)
        error = net_device_register(card->net);
    registered = error == 0;
    if (error != 0)
        xen_device_complain(device, "the network card can't be started", error);
    xen_device_ready(device);
    while (error == 0) {
        xen_device_wait(device, UINT64_MAX / 2);
        enum xenbus_state state = xen_device_backend_state(device);
        if (state == XenbusStateConnected)
            card_wake(card);
        else if (state == XenbusStateClosing || state == XenbusStateClosed ||
                 state == XenbusStateUnknown)
            error = xen_device_is_wanted(device) ? card_restart(card) : -ENODEV;
    }
    if (card == NULL)
        return;
    (void)xen_device_set_state(device, XenbusStateClosed);
    disconnect(card);
    if (registered)
        net_device_unregister(card->net); // the card goes with its last user
    else if (card->net != NULL)
        net_device_put(card->net);
    else
        xen_card_release(&(struct net_device){.driver_data = card});
}

void xen_nets_start(void)
{
    static const struct xen_device_type type = {.name = "vif", .run = card_run};
    xen_bus_start(&type);
}
