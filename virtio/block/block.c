// SPDX-License-Identifier: MIT
// Disks: virtio-blk (virtio 1.2, section 5.2).
//
// One virtqueue for each queue of the block layer, whose lock covers it: here nothing is locked. A
// request's segments go into the ring as they are, between a header and a status byte that lie in
// the request's slot. A slot also has room for the indirect table of a small request; larger ones
// get a table of their own, and without memory for that the ring's own descriptors are used.
//
// Whether a write is durable: if the device has a volatile cache (VIRTIO_BLK_F_FLUSH, and writeback
// where that can be chosen) the core sends a flush after a BLOCK_FUA write.

#include "virtio/block/block.h"

#include "kernel/base/assert.h"
#include "kernel/base/atomic.h"
#include "kernel/base/ida.h"
#include "kernel/base/string.h"
#include "kernel/block/block.h"
#include "kernel/core/log.h"
#include "kernel/core/option.h"
#include "kernel/core/time.h"
#include "kernel/core/wait.h"
#include "mm/page.h"
#include "mm/slab.h"

#include <linux/errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>

#define MAJOR             254 // Linux gives it the first free one, which is this
#define MINORS            16
#define DISKS_MAX         (0x100000 / MINORS)
#define QUEUE_SIZE_MAX    256
#define SEGMENTS_MAX      254
#define TABLE_ENTRIES     8 // in the slot: requests of up to six segments
#define ANSWER_TIMEOUT_NS (5000 * NS_PER_MS)
#define STATUS_NONE       0xff // no device says that
#define CAPACITY_MAX      (UINT64_C(1) << 54)

static uint64_t queues_max;
BOOT_OPTION_U64(queues_max, "virtio.block_queues",
    "At most so many queues a disk (default 0: one for each CPU).");

// What the device sees of a request besides its data. 16-byte aligned.
struct slot {
    struct {
        uint64_t words[2];
    } table[TABLE_ENTRIES];
    struct virtio_blk_outhdr header;
    struct virtio_blk_discard_write_zeroes range;
    uint8_t status; // written by the device
    // From here on ours.
    uint32_t next; // free list
    struct block_request *request;
    void *large_table; // or NULL
};

struct disk_queue {
    struct virtio_queue *queue;
    struct disk *disk;
    struct slot *slots;
    uint32_t slot_count;
    uint32_t free;       // index of the first free slot, slot_count: none
    bool interrupts_off; // the core polls
    struct virtio_segment segments[SEGMENTS_MAX + 2]; // of the request that is being prepared
};

struct disk {
    struct virtio_device *device;
    struct block_device *block;
    uint32_t index;
    uint32_t queue_count;
    bool registered;            // completions belong to the block layer; atomic
    bool gone;                  // the device was reset, what it had fails; atomic
    bool unmap_zeroes;          // write zeroes may free the space
    struct wait_queue answered; // before registration: a queue has been used
    struct disk_queue *queues;
};

static struct ida indexes; // by the one thread that looks for devices

// ---- requests -----------------------------------------------------------------------------------

static struct disk_queue *disk_queue_of(struct block_queue *queue)
{
    return queue->driver_data;
}

static struct slot *slot_take(struct disk_queue *queue)
{
    if (queue->free == queue->slot_count)
        return NULL;
    struct slot *slot = &queue->slots[queue->free];
    queue->free = slot->next;
    return slot;
}

static void slot_give_back(struct disk_queue *queue, struct slot *slot)
{
    if (unlikely(slot->large_table != NULL)) {
        kfree(slot->large_table);
        slot->large_table = NULL;
    }
    slot->next = queue->free;
    queue->free = (uint32_t)(slot - queue->slots);
}

static uint64_t slot_address(const void *member)
{
    return virt_to_phys(member);
}

// Segments of the request's own, after the header. How many.
static uint32_t fill_data(
    struct virtio_segment *segments, struct slot *slot, struct block_request *request)
{
    if (request->operation == BLOCK_DISCARD || request->operation == BLOCK_WRITE_ZEROES) {
        segments[0] = (struct virtio_segment){slot_address(&slot->range), sizeof(slot->range)};
        return 1;
    }
    uint32_t count = 0;
    const struct block_segment *segment;
    struct block_cursor cursor = block_cursor_begin(request);
    while ((segment = block_cursor_next(&cursor)) != NULL)
        segments[count++] = (struct virtio_segment){segment->phys, segment->len_bytes};
    return count;
}

static void fill_header(struct slot *slot, const struct disk *disk, struct block_request *request)
{
    static const uint32_t types[BLOCK_OPERATIONS] = {[BLOCK_READ] = VIRTIO_BLK_T_IN,
        [BLOCK_WRITE] = VIRTIO_BLK_T_OUT,
        [BLOCK_FLUSH] = VIRTIO_BLK_T_FLUSH,
        [BLOCK_DISCARD] = VIRTIO_BLK_T_DISCARD,
        [BLOCK_WRITE_ZEROES] = VIRTIO_BLK_T_WRITE_ZEROES};
    slot->header = (struct virtio_blk_outhdr){.type = types[request->operation]};
    slot->status = STATUS_NONE;
    if (request->operation <= BLOCK_WRITE) {
        slot->header.sector = request->sector;
    } else if (request->operation != BLOCK_FLUSH) {
        // 5.2.6.1: UNMAP is for write zeroes only.
        bool unmap = request->operation == BLOCK_WRITE_ZEROES && disk->unmap_zeroes &&
                     !(request->flags & BLOCK_NO_UNMAP);
        slot->range = (struct virtio_blk_discard_write_zeroes){.sector = request->sector,
            .num_sectors = request->total_sectors,
            .flags = unmap ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0};
    }
}

// Where the table of a request with so many segments lies. False: only in the ring itself.
static bool find_table(struct slot *slot, uint32_t count, struct virtio_indirect *indirect)
{
    void *table = slot->table;
    if (unlikely(count > TABLE_ENTRIES)) {
        table = kmalloc(count * sizeof(slot->table[0]), PAGE_ALLOC_ATOMIC);
        slot->large_table = table;
        if (table == NULL)
            return false;
    }
    *indirect = (struct virtio_indirect){table, slot_address(table), count};
    return true;
}

static int queue_one(struct disk_queue *queue, struct block_request *request)
{
    struct slot *slot = slot_take(queue);
    if (slot == NULL)
        return -ENOSPC;
    struct virtio_segment *segments = queue->segments;
    slot->request = request;
    fill_header(slot, queue->disk, request);
    segments[0] = (struct virtio_segment){slot_address(&slot->header), sizeof(slot->header)};
    uint32_t data = fill_data(segments + 1, slot, request);
    segments[1 + data] = (struct virtio_segment){slot_address(&slot->status), 1};
    uint32_t readable = request->operation == BLOCK_READ ? 1 : 1 + data;
    struct virtio_indirect indirect;
    struct virtio_ring *ring = &queue->queue->ring;
    bool has_table = ring->config.has_indirect && find_table(slot, 2 + data, &indirect);
    int error = virtio_ring_add(
        ring, segments, readable, 2 + data - readable, slot, has_table ? &indirect : NULL);
    if (unlikely(error != 0))
        slot_give_back(queue, slot);
    return error;
}

static uint32_t disk_queue(
    struct block_queue *block_queue, struct block_request **requests, uint32_t count)
{
    struct disk_queue *queue = disk_queue_of(block_queue);
    for (uint32_t i = 0; i < count; i++) {
        int error = queue_one(queue, requests[i]);
        if (error == -ENOSPC)
            return i;
        if (unlikely(error != 0))
            block_request_complete(requests[i], -EIO);
    }
    return count;
}

static void disk_commit(struct block_queue *block_queue)
{
    virtio_queue_commit(disk_queue_of(block_queue)->queue);
}

static int error_of_status(uint8_t status)
{
    if (likely(status == VIRTIO_BLK_S_OK))
        return 0;
    return status == VIRTIO_BLK_S_UNSUPP ? -EOPNOTSUPP : -EIO;
}

// The device was reset: it does not write any more, and everything that it had fails.
static uint32_t fail_outstanding(struct disk_queue *queue)
{
    uint32_t count = 0;
    struct slot *slot;
    while ((slot = virtio_ring_outstanding(&queue->queue->ring)) != NULL) {
        struct block_request *request = slot->request;
        slot_give_back(queue, slot);
        block_request_complete(request, -EIO);
        count++;
    }
    return count;
}

static uint32_t take_used(struct disk_queue *queue)
{
    uint32_t count = 0, written_bytes;
    void *token;
    while (virtio_queue_take(queue->queue, &token, &written_bytes) == 1) {
        struct slot *slot = token;
        struct block_request *request = slot->request;
        int error = error_of_status(atomic_load_relaxed(&slot->status));
        slot_give_back(queue, slot);
        block_request_complete(request, error);
        count++;
    }
    return count;
}

static uint32_t disk_poll(struct block_queue *block_queue)
{
    struct disk_queue *queue = disk_queue_of(block_queue);
    if (unlikely(atomic_load_acquire(&queue->disk->gone)))
        return fail_outstanding(queue);
    uint32_t count = take_used(queue);
    // The wish for an interrupt is for the next buffer, and has to be said again behind it.
    while (!queue->interrupts_off && virtio_ring_interrupt_enable(&queue->queue->ring, 0))
        count += take_used(queue);
    return count;
}

static bool disk_interrupts(struct block_queue *block_queue, bool on)
{
    struct disk_queue *queue = disk_queue_of(block_queue);
    queue->interrupts_off = !on;
    if (on)
        return virtio_ring_interrupt_enable(&queue->queue->ring, 0);
    virtio_ring_interrupt_disable(&queue->queue->ring);
    return false;
}

static void disk_release(struct block_device *block)
{
    // A disk's rings stay until the machine ends: virtio devices do not go away, they only break.
}

static const struct block_device_ops ops = {
    .queue = disk_queue,
    .commit = disk_commit,
    .poll = disk_poll,
    .interrupts = disk_interrupts,
    .release = disk_release,
};

static void disk_used(struct virtio_queue *queue)
{
    struct disk *disk = queue->context;
    if (likely(atomic_load_acquire(&disk->registered)))
        block_queue_interrupt(&disk->block->queues[queue->index]);
    else
        wait_wake_all(&disk->answered);
}

// ---- probing ------------------------------------------------------------------------------------

static uint32_t count_queues(struct virtio_device *device)
{
    uint32_t count = 1;
    if (virtio_has_feature(device, VIRTIO_BLK_F_MQ))
        count = (uint32_t)virtio_config_field(device, struct virtio_blk_config, num_queues);
    count = MIN(count, cpumask_count(&cpu_online));
    if (queues_max != 0)
        count = (uint32_t)MIN((uint64_t)count, queues_max);
    return MAX(count, 1u);
}

static int make_slots(struct disk_queue *queue)
{
    // A slot for each entry of the ring: with indirect tables that is what a request takes.
    queue->slot_count = queue->queue->ring.config.size;
    queue->slots = kmalloc(queue->slot_count * sizeof(struct slot), 0);
    if (queue->slots == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < queue->slot_count; i++) {
        queue->slots[i].next = i + 1;
        queue->slots[i].large_table = NULL;
    }
    return 0;
}

static int make_queues(struct disk *disk)
{
    uint32_t count = disk->queue_count;
    struct virtio_queue_setup *setups = kzalloc(count * sizeof(*setups));
    disk->queues = kzalloc(count * sizeof(*disk->queues));
    int error = setups != NULL && disk->queues != NULL ? 0 : -ENOMEM;
    for (uint32_t i = 0; i < count && error == 0; i++)
        setups[i] = (struct virtio_queue_setup){
            .size_max = QUEUE_SIZE_MAX, .cpu = i, .used = disk_used, .context = disk};
    if (error == 0)
        error = virtio_queues_create(disk->device, setups, count);
    for (uint32_t i = 0; i < count && error == 0; i++) {
        disk->queues[i].queue = &disk->device->queues[i];
        disk->queues[i].disk = disk;
        error = make_slots(&disk->queues[i]);
    }
    kfree(setups);
    return error;
}

static void read_limits(struct disk *disk, struct block_limits *limits)
{
    struct virtio_device *device = disk->device;
    uint32_t ring_size = disk->queues[0].queue->ring.config.size;
#define field(name) ((uint32_t)virtio_config_field(device, struct virtio_blk_config, name))
    limits->logical_block_bytes = BLOCK_SECTOR_BYTES;
    if (virtio_has_feature(device, VIRTIO_BLK_F_BLK_SIZE))
        limits->logical_block_bytes = field(blk_size);
    if (virtio_has_feature(device, VIRTIO_BLK_F_TOPOLOGY)) {
        uint32_t block_bytes = limits->logical_block_bytes;
        uint32_t exponent = field(physical_block_exp);
        if (exponent < 16 && block_bytes <= PAGE_SIZE)
            limits->physical_block_bytes = block_bytes << exponent;
        if (block_bytes <= PAGE_SIZE) {
            limits->io_min_bytes = field(min_io_size) * block_bytes;
            limits->io_opt_bytes = (uint32_t)MIN(
                (uint64_t)field(opt_io_size) * block_bytes, (uint64_t)UINT32_MAX & PAGE_MASK);
        }
    }
    // Header and status are segments, too, and a request is no longer than the ring.
    uint32_t segments = MIN(ring_size - MIN(ring_size, 2u), (uint32_t)SEGMENTS_MAX);
    if (virtio_has_feature(device, VIRTIO_BLK_F_SEG_MAX))
        segments = MIN(segments, field(seg_max));
    limits->max_segments = MAX(segments, 1u);
    if (virtio_has_feature(device, VIRTIO_BLK_F_SIZE_MAX))
        limits->segment_max_bytes = field(size_max);
    limits->write_cache = virtio_has_feature(device, VIRTIO_BLK_F_FLUSH) &&
                          (!virtio_has_feature(device, VIRTIO_BLK_F_CONFIG_WCE) || field(wce) != 0);
    limits->read_only = virtio_has_feature(device, VIRTIO_BLK_F_RO);
    if (virtio_has_feature(device, VIRTIO_BLK_F_DISCARD) && field(max_discard_seg) != 0) {
        limits->max_discard_sectors = field(max_discard_sectors);
        uint32_t alignment = field(discard_sector_alignment);
        if (alignment < UINT32_MAX / BLOCK_SECTOR_BYTES)
            limits->discard_granularity_bytes = alignment * BLOCK_SECTOR_BYTES;
    }
    if (virtio_has_feature(device, VIRTIO_BLK_F_WRITE_ZEROES) && field(max_write_zeroes_seg) != 0) {
        limits->max_write_zeroes_sectors = field(max_write_zeroes_sectors);
        disk->unmap_zeroes = field(write_zeroes_may_unmap) != 0;
    }
#undef field
}

// Asks for the serial number (VIRTIO_BLK_T_GET_ID), which also shows that the interrupt works. A
// device without one says so.
static void read_serial(struct disk *disk)
{
    struct disk_queue *queue = &disk->queues[0];
    struct virtio_ring *ring = &queue->queue->ring;
    char *text = kzalloc(VIRTIO_BLK_ID_BYTES + 1); // the device writes no end
    struct slot *slot = slot_take(queue);
    if (text == NULL || slot == NULL)
        goto out;
    slot->header = (struct virtio_blk_outhdr){.type = VIRTIO_BLK_T_GET_ID};
    slot->status = STATUS_NONE;
    struct virtio_segment segments[] = {{slot_address(&slot->header), sizeof(slot->header)},
        {slot_address(text), VIRTIO_BLK_ID_BYTES}, {slot_address(&slot->status), 1}};
    if (virtio_ring_add(ring, segments, 1, 2, slot, NULL) != 0)
        goto out;
    virtio_queue_commit(queue->queue);
    if (wait_event_state(&disk->answered, virtio_ring_has_used(ring), THREAD_UNINTERRUPTIBLE, false,
            time_monotonic_ns() + ANSWER_TIMEOUT_NS) != 0) {
        virtio_device_break(disk->device, "it does not answer its first request");
        return; // the memory is still the device's
    }
    void *token;
    uint32_t written_bytes;
    if (virtio_queue_take(queue->queue, &token, &written_bytes) == 1 && token == slot &&
        slot->status == VIRTIO_BLK_S_OK)
        strlcpy(disk->block->serial, text, sizeof(disk->block->serial));
    (void)virtio_ring_interrupt_enable(ring, 0); // nothing more is under way
out:
    if (slot != NULL)
        slot_give_back(queue, slot);
    kfree(text);
}

static int register_disk(struct disk *disk)
{
    struct block_device *block = disk->block;
    block_device_letters(block->name, "vd", disk->index);
    block->driver_data = disk;
    block->major = MAJOR;
    block->minor = disk->index * MINORS;
    block->minors = MINORS;
    block->queue_depth = disk->queues[0].slot_count;
    block->sector_count = virtio_config_field(disk->device, struct virtio_blk_config, capacity);
    if (block->sector_count > CAPACITY_MAX)
        return -EFBIG;
    for (uint32_t i = 0; i < disk->queue_count; i++)
        block->queues[i].driver_data = &disk->queues[i];
    virtio_device_ready(disk->device);
    read_serial(disk);
    if (virtio_device_is_broken(disk->device))
        return -EIO;
    atomic_store_release(&disk->registered, true);
    return block_device_register(block);
}

static void disk_free(struct disk *disk)
{
    if (disk->block != NULL)
        block_device_put(disk->block);
    for (uint32_t i = 0; disk->queues != NULL && i < disk->queue_count; i++)
        kfree(disk->queues[i].slots);
    kfree(disk->queues);
    ida_free(&indexes, disk->index);
    kfree(disk);
}

static int disk_probe(struct virtio_device *device)
{
    struct disk *disk = kzalloc(sizeof(*disk));
    if (disk == NULL)
        return -ENOMEM;
    int error = ida_alloc(&indexes, 0, DISKS_MAX - 1, &disk->index);
    if (error != 0) {
        kfree(disk);
        return error;
    }
    disk->device = device;
    wait_queue_init(&disk->answered);
    device->driver_data = disk;
    disk->queue_count = count_queues(device);
    disk->block = block_device_create(&ops, disk->queue_count);
    error = disk->block != NULL ? make_queues(disk) : -ENOMEM;
    if (error == 0) {
        read_limits(disk, &disk->block->limits);
        error = register_disk(disk);
    }
    // What the device may still write to is not freed before it has been reset.
    if (error != 0 && !virtio_device_is_broken(device)) {
        device->driver_data = NULL;
        disk_free(disk);
    }
    return error;
}

static void disk_config_changed(struct virtio_device *device)
{
    struct disk *disk = device->driver_data;
    uint64_t capacity = virtio_config_field(device, struct virtio_blk_config, capacity);
    if (capacity > CAPACITY_MAX || capacity == block_volume_sectors(disk->block->volume[0]))
        return;
    log_info("virtio: %s has %lu sectors now", disk->block->name, capacity);
    block_device_resize(disk->block, capacity);
}

static void disk_broken(struct virtio_device *device)
{
    struct disk *disk = device->driver_data;
    if (disk == NULL || !atomic_load_acquire(&disk->registered))
        return;
    block_device_fail(disk->block);
    atomic_store_release(&disk->gone, true);
    for (uint32_t i = 0; i < disk->queue_count; i++)
        block_queue_interrupt(&disk->block->queues[i]);
}

const struct virtio_driver virtio_block_driver = {
    .name = "virtio-blk",
    .type = VIRTIO_ID_BLOCK,
    .features = BIT(VIRTIO_BLK_F_SIZE_MAX) | BIT(VIRTIO_BLK_F_SEG_MAX) | BIT(VIRTIO_BLK_F_RO) |
                BIT(VIRTIO_BLK_F_BLK_SIZE) | BIT(VIRTIO_BLK_F_FLUSH) | BIT(VIRTIO_BLK_F_TOPOLOGY) |
                BIT(VIRTIO_BLK_F_CONFIG_WCE) | BIT(VIRTIO_BLK_F_MQ) | BIT(VIRTIO_BLK_F_DISCARD) |
                BIT(VIRTIO_BLK_F_WRITE_ZEROES),
    .probe = disk_probe,
    .config_changed = disk_config_changed,
    .broken = disk_broken,
};
