// SPDX-License-Identifier: MIT
// Disks of other domains: their rings, and the talk with the back end, which the device's thread
// does: from the states of both ends in xenstore to a disk, to another back end, to the end.
#include "pv/xen/front/blk.h"

#include "kernel/base/assert.h"
#include "kernel/base/fmt.h"
#include "kernel/core/cpumask.h"
#include "kernel/core/errno.h"
#include "kernel/core/log.h"
#include "kernel/core/option.h"
#include "kernel/core/time.h"
#include "kernel/core/work.h"
#include "mm/page.h"
#include "mm/slab.h"
#include "pv/xen/front/internal.h"

#include <xen/io/protocols.h>

#define XENVBD_MAJOR 202
#define MINORS       16
// Of a request, if the back end takes indirect ones: 128 KiB, whose entries fit into one page.
#define SEGMENTS_MAX          32u
#define QUEUES_MAX            8u
#define SEGMENTS_PER_INDIRECT (PAGE_SIZE / sizeof(struct blkif_request_segment))
static_assert(SEGMENTS_MAX <= SEGMENTS_PER_INDIRECT);
#define VDEV_EXTENDED (1u << 28)
// A disk of the host that does not answer for so long is taken for dead.
#define LAST_ANSWER_WAITS   1000u
#define LAST_ANSWER_WAIT_NS (10 * NS_PER_MS)

#define DISCARD_SECTORS (1u << 22) // of one request: 2 GiB
#define SECTORS_MAX     (UINT64_C(1) << 54)

static bool want_persistent;
BOOT_OPTION_BOOL(want_persistent, "xen_blk_persistent",
    "Xen: disks copy through pages that stay granted, if the back end can; off: it maps the "
    "program's own.");
static bool want_indirect = true;
BOOT_OPTION_BOOL(want_indirect, "xen_blk_indirect",
    "Xen: disk requests of more than 11 pages where the back end takes them.");
static uint64_t queue_limit = QUEUES_MAX;
BOOT_OPTION_U64(queue_limit, "xen_blk_queues", "Xen: queues of a disk, at most (default 8).");

// ---- rings --------------------------------------------------------------------------------------

static void ring_free_slots(struct ring *ring)
{
    for (uint32_t id = 0; ring->slot != NULL && id < ring->slots.count; id++) {
        struct slot *slot = &ring->slot[id];
        for (uint32_t i = 0; slot->copies != NULL && i < ring->disk->segment_max; i++) {
            if (slot->copies[i] != NULL && xen_grant_close(slot->grants[i]))
                page_put(slot->copies[i]);
            else if (slot->copies[i] != NULL)
                slot->stuck = true;
        }
        if (slot->indirect != NULL && xen_grant_close(slot->indirect_grant))
            page_free_kernel(slot->indirect, 0);
        else if (slot->indirect != NULL)
            slot->stuck = true;
        if (!slot->stuck && slot->grants != NULL)
            xen_grants_give(ring->disk->segment_max, slot->grants);
        if (!slot->stuck && slot->indirect != NULL)
            xen_grants_give(1, &slot->indirect_grant);
        kfree(slot->copies);
    }
    kfree(ring->slot);
    kfree(ring->again);
    kfree(ring->grants);
    ring->slot = NULL;
    ring->again = NULL;
    ring->grants = NULL;
}

// Undoes ring_make(); nothing is in a slot.
static void ring_free(struct ring *ring)
{
    if (ring->port != 0)
        xen_event_close(ring->port);
    ring->port = 0;
    ring_free_slots(ring);
    bool closed = true;
    for (uint32_t i = 0; ring->pages != NULL && i < 1u << ring->disk->page_order; i++) {
        bool gone = xen_grant_close(ring->page_grants[i]);
        if (gone)
            xen_grants_give(1, &ring->page_grants[i]);
        closed = closed && gone;
    }
    if (ring->pages != NULL && closed)
        page_free(ring->pages, ring->disk->page_order);
    ring->pages = NULL;
}

static int slots_make(struct ring *ring)
{
    struct disk *disk = ring->disk;
    ring->slot = kzalloc(disk->slot_count * sizeof(*ring->slot));
    if (ring->again == NULL)
        ring->again = kzalloc(disk->slot_count * sizeof(*ring->again));
    ring->grants = kzalloc((size_t)disk->slot_count * disk->segment_max * sizeof(grant_ref_t));
    if (ring->slot == NULL || ring->again == NULL || ring->grants == NULL)
        return -ENOMEM;
    for (uint32_t id = 0; id < disk->slot_count; id++) {
        struct slot *slot = &ring->slot[id];
        grant_ref_t *grants = ring->grants + (size_t)id * disk->segment_max;
        int error = xen_grants_take(disk->segment_max, grants);
        if (error != 0)
            return error;
        slot->grants = grants;
        if (disk->persistent)
            slot->copies = kzalloc(disk->segment_max * sizeof(*slot->copies));
        if (disk->persistent && slot->copies == NULL)
            return -ENOMEM;
        if (disk->segment_max <= BLKIF_MAX_SEGMENTS_PER_REQUEST)
            continue;
        error = xen_grants_take(1, &slot->indirect_grant);
        if (error != 0)
            return error;
        void *page = page_alloc_kernel(0, PAGE_ALLOC_ZERO);
        if (page == NULL) {
            xen_grants_give(1, &slot->indirect_grant);
            return -ENOMEM;
        }
        slot->indirect = page;
        xen_grant_open(
            slot->indirect_grant, disk->device->domain, virt_to_phys(page) >> PAGE_SHIFT, true);
    }
    return 0;
}

static int ring_make(struct ring *ring)
{
    struct disk *disk = ring->disk;
    uint32_t page_count = 1u << disk->page_order;
    int error = xen_grants_take(page_count, ring->page_grants);
    if (error != 0)
        return error;
    ring->pages = page_alloc(disk->page_order, PAGE_ALLOC_ZERO);
    if (ring->pages == NULL) {
        xen_grants_give(page_count, ring->page_grants);
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < page_count; i++)
        xen_grant_open(
            ring->page_grants[i], disk->device->domain, page_to_pfn(ring->pages) + i, false);
    struct blkif_sring *shared = page_to_virt(ring->pages);
    XEN_FRONT_RING_INIT(&ring->front, shared, page_count * PAGE_SIZE);
    assert(RING_SIZE(&ring->front) == disk->slot_count);
    ring_slots_init(&ring->slots, disk->slot_count);
    error = slots_make(ring);
    if (error == 0)
        error = xen_event_bind_unbound(
            disk->device->domain, disk_ring_event, ring, disk->device->path, &ring->port);
    if (error == 0 && disk->ring_count > 1)
        error = xen_event_set_cpu(ring->port, (uint32_t)(ring - disk->rings));
    if (error != 0)
        ring_free(ring);
    return error;
}

static int rings_make_once(struct disk *disk)
{
    int error = 0;
    uint32_t made = 0;
    for (; error == 0 && made < disk->ring_count; made++)
        error = ring_make(&disk->rings[made]);
    // The one that failed has undone itself.
    for (uint32_t i = 0; error != 0 && i + 1 < made; i++)
        ring_free(&disk->rings[i]);
    return error;
}

static uint32_t slots_of_pages(unsigned page_order)
{
    return (uint32_t)__CONST_RING_SIZE(blkif, PAGE_SIZE << page_order);
}

// With smaller rings, and smaller requests, where the grants of this domain don't suffice.
static int rings_make(struct disk *disk)
{
    int error = rings_make_once(disk);
    // Requests that exist may be as large as they were: nothing may shrink later.
    while (error != 0 && disk->page_order > 0 && disk->block == NULL) {
        disk->page_order--;
        disk->slot_count = slots_of_pages(disk->page_order);
        error = rings_make_once(disk);
    }
    return error;
}

// ---- connecting ---------------------------------------------------------------------------------

static uint64_t backend_number(
    struct disk *disk, const char *node, uint64_t max, uint64_t otherwise)
{
    return xen_store_number_or(disk->device->backend, node, max, otherwise);
}

// What the back end can do and this end wants, before rings are made.
static void negotiate(struct disk *disk)
{
    uint64_t indirect = backend_number(disk, "feature-max-indirect-segments", UINT32_MAX, 0);
    uint32_t segments = BLKIF_MAX_SEGMENTS_PER_REQUEST;
    if (want_indirect && indirect > segments)
        segments = (uint32_t)MIN(indirect, (uint64_t)SEGMENTS_MAX);
    disk->persistent = want_persistent && backend_number(disk, "feature-persistent", 1, 0) == 1;
    if (disk->block != NULL) {
        disk->segment_max = MAX(segments, disk->segment_max);
        return; // queues and depths stay as they are
    }
    disk->segment_max = segments;
    uint64_t order = backend_number(disk, "max-ring-page-order", 16, 0);
    disk->page_order = (unsigned)MIN(order, (uint64_t)__builtin_ctz(BLK_RING_PAGES_MAX));
    disk->slot_count = slots_of_pages(disk->page_order);
    uint64_t queues = backend_number(disk, "multi-queue-max-queues", UINT32_MAX, 1);
    queues = MIN(MIN(queues, queue_limit), (uint64_t)cpumask_count(&cpu_online));
    disk->ring_count = (uint32_t)MAX(MIN(queues, (uint64_t)QUEUES_MAX), UINT64_C(1));
}

static int publish_ring(xen_store_transaction transaction, struct disk *disk, uint32_t index)
{
    struct ring *ring = &disk->rings[index];
    char folder[80], node[24];
    if (disk->ring_count == 1)
        (void)strlcpy(folder, disk->device->path, sizeof(folder));
    else
        (void)fmt_snprintf(folder, sizeof(folder), "%s/queue-%u", disk->device->path, index);
    int error = 0;
    for (uint32_t i = 0; error == 0 && i < 1u << disk->page_order; i++) {
        (void)fmt_snprintf(node, sizeof(node), "ring-ref%u", i);
        error = xen_store_write_number(
            transaction, folder, disk->page_order == 0 ? "ring-ref" : node, ring->page_grants[i]);
    }
    if (error == 0)
        error = xen_store_write_number(transaction, folder, "event-channel", ring->port);
    return error;
}

static int publish_in(xen_store_transaction transaction, void *context)
{
    struct disk *disk = context;
    const char *folder = disk->device->path;
    int error = xen_store_write(transaction, folder, "protocol", XEN_IO_PROTO_ABI_X86_64);
    if (error == 0)
        error = xen_store_write_number(
            transaction, folder, "feature-persistent", disk->persistent ? 1 : 0);
    if (error == 0 && disk->page_order != 0)
        error = xen_store_write_number(transaction, folder, "ring-page-order", disk->page_order);
    if (error == 0 && disk->ring_count > 1)
        error =
            xen_store_write_number(transaction, folder, "multi-queue-num-queues", disk->ring_count);
    for (uint32_t i = 0; error == 0 && i < disk->ring_count; i++)
        error = publish_ring(transaction, disk, i);
    return error;
}

// From a back end that waits to one that is connected. 0 or -errno.
static int connect(struct disk *disk)
{
    struct xen_device *device = disk->device;
    enum xenbus_state state =
        xen_device_wait_for(device, XenbusStateInitWait, XenbusStateConnected);
    if (state != XenbusStateInitWait && state != XenbusStateConnected)
        return -ENODEV;
    negotiate(disk);
    if (disk->rings == NULL) {
        disk->rings = kzalloc(disk->ring_count * sizeof(*disk->rings));
        if (disk->rings == NULL)
            return -ENOMEM;
        for (uint32_t i = 0; i < disk->ring_count; i++)
            disk->rings[i].disk = disk;
    }
    int error = rings_make(disk);
    if (error == 0)
        error = xen_device_publish(publish_in, disk);
    if (error == 0)
        error = xen_device_set_state(device, XenbusStateInitialised);
    if (error == 0 && xen_device_wait_for(device, XenbusStateConnected, XenbusStateClosing) !=
                          XenbusStateConnected)
        error = -ENODEV;
    return error;
}

// ---- the disk -----------------------------------------------------------------------------------

// Which of /dev/xvda... it is (docs: xen-vbd-interface). -EINVAL: a number that means nothing here.
static int disk_index(uint32_t number)
{
    if ((number & VDEV_EXTENDED) != 0)
        return (int)((number & (VDEV_EXTENDED - 1)) >> 8);
    return number >> 8 == XENVBD_MAJOR ? (int)((number & 0xff) / MINORS) : -EINVAL;
}

static int read_limits(struct disk *disk, struct block_limits *limits, uint64_t *sectors)
{
    const char *backend = disk->device->backend;
    uint64_t sector_bytes = backend_number(disk, "sector-size", PAGE_SIZE, BLOCK_SECTOR_BYTES);
    uint64_t physical_bytes = backend_number(disk, "physical-sector-size", 1u << 20, sector_bytes);
    uint64_t info = backend_number(disk, "info", UINT16_MAX, 0);
    int error =
        xen_store_read_number(XEN_STORE_NO_TRANSACTION, backend, "sectors", SECTORS_MAX, sectors);
    if (error != 0)
        return error;
    if (sector_bytes < BLOCK_SECTOR_BYTES || (sector_bytes & (sector_bytes - 1)) != 0)
        return -EINVAL;
    if (physical_bytes < sector_bytes || (physical_bytes & (physical_bytes - 1)) != 0)
        physical_bytes = sector_bytes;
    disk->flush = backend_number(disk, "feature-flush-cache", 1, 0) == 1;
    disk->discard = backend_number(disk, "feature-discard", 1, 0) == 1;
    *limits = (struct block_limits){
        .logical_block_bytes = (uint32_t)sector_bytes,
        .physical_block_bytes = (uint32_t)physical_bytes,
        .max_segments = disk->segment_max,
        .max_sectors = disk->segment_max * (PAGE_SIZE / BLOCK_SECTOR_BYTES),
        .segment_max_bytes = PAGE_SIZE,
        .segment_in_page = true,
        .dma_alignment = BLOCK_SECTOR_BYTES,
        .write_cache = disk->flush,
        .read_only = (info & VDISK_READONLY) != 0,
    };
    if (disk->discard) {
        uint64_t granularity =
            backend_number(disk, "discard-granularity", UINT32_MAX, sector_bytes);
        limits->max_discard_sectors = DISCARD_SECTORS;
        limits->discard_granularity_bytes =
            (uint32_t)(granularity != 0 ? granularity : sector_bytes);
    }
    return 0;
}

// Registering reads the partition table: the back end may go meanwhile, so this is not the
// device's thread.
static void register_thread(void *argument)
{
    struct disk *disk = argument;
    int error = block_device_register(disk->block);
    if (error != 0)
        xen_device_complain(disk->device, "can't be registered", error);
    xen_device_ready(disk->device);
    __atomic_store_n(&disk->registering, false, __ATOMIC_RELEASE);
}

static int disk_make(struct disk *disk)
{
    struct block_limits limits;
    uint64_t sectors;
    int index = disk_index(disk->device->number);
    if (index < 0)
        return index;
    int error = read_limits(disk, &limits, &sectors);
    if (error != 0)
        return error;
    struct block_device *block = block_device_create(&disk_ops, disk->ring_count);
    if (block == NULL)
        return -ENOMEM;
    block_device_letters(block->name, "xvd", (uint32_t)index);
    block->limits = limits;
    block->sector_count = sectors;
    block->major = XENVBD_MAJOR;
    block->minor = (uint32_t)index * MINORS;
    block->minors = MINORS;
    block->queue_depth = disk->slot_count;
    block->driver_data = disk;
    for (uint32_t i = 0; i < disk->ring_count; i++) {
        block->queues[i].driver_data = &disk->rings[i];
        disk->rings[i].queue = &block->queues[i];
    }
    disk->block = block;
    log_info("xen: %s: %lu MiB, %u queues of %u requests, %u pages each%s%s%s", block->name,
        sectors >> (20 - BLOCK_SECTOR_SHIFT), disk->ring_count, disk->slot_count, disk->segment_max,
        disk->persistent ? ", persistent grants" : "", disk->flush ? ", flush" : "",
        disk->discard ? ", discard" : "");
    return 0;
}

static int disk_start(struct disk *disk)
{
    int error = connect(disk);
    if (error == 0)
        error = disk_make(disk);
    if (error == 0)
        error = xen_device_set_state(disk->device, XenbusStateConnected);
    if (error != 0)
        return error;
    disk_tell_rings(disk, RING_ATTACH);
    disk->registering = true;
    error = kthread_create(NULL, disk->block->name, register_thread, disk);
    if (error != 0)
        disk->registering = false;
    return error;
}

// Linux's back end says Closed also while requests are on their way to the disk, as nobody looks
// whether xen_blkif_disconnect() was busy. Those are answered into the ring, which it keeps until
// then: they must not be given up, nor issued again.
static void await_last_answers(struct disk *disk)
{
    for (unsigned waits = 0; waits < LAST_ANSWER_WAITS && disk_is_held(disk); waits++)
        xen_device_wait(disk->device, LAST_ANSWER_WAIT_NS);
    disk_tell_rings(disk, RING_STOP); // looks for answers
}

// The back end has gone, and another one comes in its place.
static int disk_restart(struct disk *disk)
{
    log_warning("xen: %s: the back end has gone; waiting for another", disk->block->name);
    disk_tell_rings(disk, RING_STOP);
    int error = xen_device_set_state(disk->device, XenbusStateClosed);
    if (error == 0) {
        (void)xen_device_wait_for(disk->device, XenbusStateClosed, XenbusStateInitWait);
        await_last_answers(disk);
    }
    disk_tell_rings(disk, RING_DETACH);
    for (uint32_t i = 0; i < disk->ring_count; i++) {
        struct block_request **again = disk->rings[i].again;
        disk->rings[i].again = NULL; // stays
        ring_free(&disk->rings[i]);
        disk->rings[i].again = again;
    }
    if (error == 0)
        error = xen_device_set_state(disk->device, XenbusStateInitialising);
    if (error == 0)
        error = connect(disk);
    if (error == 0)
        error = xen_device_set_state(disk->device, XenbusStateConnected);
    if (error != 0)
        return error;
    disk_tell_rings(disk, RING_ATTACH);
    log_info("xen: %s: the back end is there again", disk->block->name);
    return 0;
}

static void disk_end(struct disk *disk)
{
    disk_tell_rings(disk, RING_FAIL);
    while (__atomic_load_n(&disk->registering, __ATOMIC_ACQUIRE))
        xen_device_wait(disk->device, NS_PER_MS);
    if (disk->block != NULL)
        block_device_unregister(disk->block);
    (void)xen_device_set_state(disk->device, XenbusStateClosed);
    for (uint32_t i = 0; disk->rings != NULL && i < disk->ring_count; i++)
        ring_free(&disk->rings[i]);
}

// The back end is bound again to the same rings: it has to be told that there is something.
static void disk_wake(struct disk *disk)
{
    for (uint32_t i = 0; i < disk->ring_count; i++) {
        xen_event_notify(disk->rings[i].port);
        block_queue_interrupt(disk->rings[i].queue);
    }
}

static void disk_follow_size(struct disk *disk)
{
    uint64_t sectors = backend_number(disk, "sectors", SECTORS_MAX, disk->block->sector_count);
    if (sectors != disk->block->sector_count)
        block_device_resize(disk->block, sectors);
}

static void disk_run(struct xen_device *device)
{
    struct disk *disk = kzalloc(sizeof(*disk));
    int error = -ENOMEM;
    if (disk != NULL) {
        disk->device = device;
        disk->handle = (uint16_t)device->number;
        error = disk_start(disk);
    }
    if (error != 0) {
        xen_device_complain(device, "the disk can't be started", error);
        xen_device_ready(device);
    }
    while (error == 0) {
        xen_device_wait(device, UINT64_MAX / 2);
        enum xenbus_state state = xen_device_backend_state(device);
        if (state == XenbusStateConnected) {
            disk_wake(disk);
            disk_follow_size(disk);
        } else if (state == XenbusStateClosing || state == XenbusStateClosed ||
                   state == XenbusStateUnknown) {
            error = xen_device_is_wanted(device) ? disk_restart(disk) : -ENODEV;
        }
    }
    if (disk != NULL)
        disk_end(disk);
    kfree(disk != NULL ? disk->rings : NULL);
    kfree(disk);
}

void xen_disks_start(void)
{
    static const struct xen_device_type type = {.name = "vbd", .run = disk_run};
    xen_bus_start(&type);
}
