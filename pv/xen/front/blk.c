// SPDX-License-Identifier: MIT
// Disks of other domains: /dev/xvda and so on, against blkback or QEMU in the back end's domain
// (<xen/io/blkif.h>).
//
// A queue of the block layer has a ring of its own with its own event channel. A request takes a
// slot: a place on the ring with the grant references for its pages, which are taken once, when the
// ring is made. The back end maps or copies the pages of the request itself (direct grants: nothing
// is copied here). With the option xen_blk_persistent and a back end that can, each slot has pages
// of its own that stay granted, and data is copied to and from them: worth it where mapping costs
// the host more than copying.
//
// What happens to a ring happens in the block layer's calls, under the queue's lock: the device's
// thread says what it wants through ring->command and calls block_queue_interrupt(), which calls
// poll(). A back end that goes (its domain restarts, its program dies) leaves requests behind: they
// stay in their slots, in order, and are issued again on the new ring, before new ones. A back end
// that comes again to the same ring (Linux's blkback, bound again) takes them from there itself.
//
// A response that can't be one breaks the device: everything that is under way fails with -EIO, and
// memory that the back end still has mapped is never given back.
#include "pv/xen/front/blk.h"

#include "kernel/base/assert.h"
#include "kernel/core/counter.h"
#include "kernel/core/errno.h"
#include "kernel/core/log.h"
#include "mm/page.h"
#include "mm/slab.h"

COUNTER(xen, blk_requests);
COUNTER(xen, blk_notifications);
COUNTER(xen, blk_indirect);
COUNTER(xen, blk_reissued);
COUNTER(xen, blk_bad_responses);
COUNTER(xen, blk_connections); // of rings to back ends

// ---- slots --------------------------------------------------------------------------------------

// The page of a persistent slot's segment, made and granted at first use. NULL: no memory.
static struct page *copy_page(struct ring *ring, struct slot *slot, uint32_t segment)
{
    if (slot->copies[segment] == NULL) {
        struct page *page = page_alloc(0, PAGE_ALLOC_ATOMIC);
        if (page == NULL)
            return NULL;
        slot->copies[segment] = page;
        xen_grant_open(slot->grants[segment], ring->disk->device->domain, page_to_pfn(page), false);
    }
    return slot->copies[segment];
}

// Fills in the segments. 0 or -ENOMEM.
static int fill_segments(
    struct ring *ring, struct slot *slot, struct blkif_request_segment *entries)
{
    struct block_cursor cursor = block_cursor_begin(slot->request);
    const struct block_segment *segment;
    bool write = slot->request->operation == BLOCK_WRITE;
    uint32_t count = 0;
    while ((segment = block_cursor_next(&cursor)) != NULL) {
        uint32_t offset = (uint32_t)(segment->phys % PAGE_SIZE);
        assert(count < ring->disk->segment_max && offset + segment->len_bytes <= PAGE_SIZE);
        if (ring->disk->persistent) {
            struct page *page = copy_page(ring, slot, count);
            if (page == NULL)
                return -ENOMEM;
            if (write) { // into a page that stays granted
                memcpy((char *)page_to_virt(page) + offset, phys_to_virt(segment->phys),
                    segment->len_bytes);
                counter_add(io, copied_bytes, segment->len_bytes);
            }
        } else {
            xen_grant_open(slot->grants[count], ring->disk->device->domain,
                segment->phys >> PAGE_SHIFT, write);
        }
        entries[count] = (struct blkif_request_segment){
            .gref = slot->grants[count],
            .first_sect = (uint8_t)(offset >> BLOCK_SECTOR_SHIFT),
            .last_sect = (uint8_t)((offset + segment->len_bytes - 1) >> BLOCK_SECTOR_SHIFT),
        };
        count++;
    }
    slot->segment_count = (uint16_t)count;
    slot->open = !ring->disk->persistent;
    return 0;
}

// Takes back what the request's pages were granted by. False: the other end holds on to some of
// them; those, and the slot, stay as they are for ever.
static bool close_segments(struct slot *slot)
{
    bool closed = true;
    if (!slot->open)
        return true;
    for (uint32_t i = 0; i < slot->segment_count; i++)
        closed = xen_grant_close(slot->grants[i]) && closed;
    slot->open = false;
    if (!closed) {
        struct block_cursor cursor = block_cursor_begin(slot->request);
        const struct block_segment *segment;
        while ((segment = block_cursor_next(&cursor)) != NULL)
            page_get(pfn_to_page(segment->phys >> PAGE_SHIFT));
        slot->stuck = true;
    }
    return closed;
}

static void copy_back(struct slot *slot)
{
    struct block_cursor cursor = block_cursor_begin(slot->request);
    const struct block_segment *segment;
    for (uint32_t i = 0; (segment = block_cursor_next(&cursor)) != NULL; i++) {
        // from a page that stays granted
        memcpy(phys_to_virt(segment->phys),
            (char *)page_to_virt(slot->copies[i]) + segment->phys % PAGE_SIZE, segment->len_bytes);
        counter_add(io, copied_bytes, segment->len_bytes);
    }
}

// ---- requests -----------------------------------------------------------------------------------

static void fill_indirect(struct ring *ring, struct slot *slot, struct blkif_request *request,
    uint8_t operation, uint64_t id)
{
    struct blkif_request_indirect *indirect = (struct blkif_request_indirect *)request;
    *indirect = (struct blkif_request_indirect){
        .operation = BLKIF_OP_INDIRECT,
        .indirect_op = operation,
        .nr_segments = slot->segment_count,
        .id = id,
        .sector_number = slot->request->sector,
        .handle = ring->disk->handle,
        .indirect_grefs = {slot->indirect_grant},
    };
    counter_add(xen, blk_indirect, 1);
}

static int fill_transfer(
    struct ring *ring, struct slot *slot, struct blkif_request *request, uint64_t id)
{
    uint8_t operation = slot->request->operation == BLOCK_WRITE ? BLKIF_OP_WRITE : BLKIF_OP_READ;
    bool direct = slot->request->total_segments <= BLKIF_MAX_SEGMENTS_PER_REQUEST;
    int error = fill_segments(ring, slot, direct ? request->seg : slot->indirect);
    if (error != 0)
        return error;
    if (!direct) {
        fill_indirect(ring, slot, request, operation, id);
        return 0;
    }
    request->operation = operation;
    request->nr_segments = (uint8_t)slot->segment_count;
    request->handle = ring->disk->handle;
    request->id = id;
    request->sector_number = slot->request->sector;
    return 0;
}

// Puts the request into the ring. 0, -ENOSPC: no room, -ENOMEM.
static int issue(struct ring *ring, struct block_request *block_request)
{
    int id = ring_slots_take(&ring->slots);
    if (id < 0)
        return id;
    struct slot *slot = &ring->slot[id];
    struct blkif_request *request = RING_GET_REQUEST(&ring->front, ring->front.req_prod_pvt);
    slot->request = block_request;
    slot->segment_count = 0;
    slot->sequence = ring->sequence++;
    int error = 0;
    switch (block_request->operation) {
    case BLOCK_FLUSH:
        *request = (struct blkif_request){.operation = BLKIF_OP_FLUSH_DISKCACHE,
            .handle = ring->disk->handle,
            .id = (uint64_t)id};
        break;
    case BLOCK_DISCARD:
        *(struct blkif_request_discard *)request =
            (struct blkif_request_discard){.operation = BLKIF_OP_DISCARD,
                .handle = ring->disk->handle,
                .id = (uint64_t)id,
                .sector_number = block_request->sector,
                .nr_sectors = block_request->total_sectors};
        break;
    default:
        error = fill_transfer(ring, slot, request, (uint64_t)id);
        break;
    }
    if (error != 0) {
        ring_slots_give(&ring->slots, (uint32_t)id);
        return error;
    }
    ring->front.req_prod_pvt++;
    counter_add(xen, blk_requests, 1);
    return 0;
}

static void commit(struct ring *ring)
{
    int notify;
    RING_PUSH_REQUESTS_AND_CHECK_NOTIFY(&ring->front, notify);
    if (notify) {
        counter_add(xen, blk_notifications, 1);
        xen_event_notify(ring->port);
    }
}

static uint32_t disk_queue(
    struct block_queue *queue, struct block_request **requests, uint32_t count)
{
    struct ring *ring = queue->driver_data;
    uint32_t taken = 0;
    if (ring->broken) {
        for (; taken < count; taken++)
            block_request_complete(requests[taken], -EIO);
        return taken;
    }
    while (ring->live && taken < count && issue(ring, requests[taken]) == 0)
        taken++;
    return taken;
}

static void disk_commit(struct block_queue *queue)
{
    struct ring *ring = queue->driver_data;
    if (ring->live)
        commit(ring);
}

// ---- responses ----------------------------------------------------------------------------------

// Ends the slot's request. The slot is free afterwards, unless the other end holds on to memory.
static void finish(struct ring *ring, uint32_t id, int error)
{
    struct slot *slot = &ring->slot[id];
    if (!close_segments(slot)) {
        ring->broken = true;
        error = -EIO;
    } else if (error == 0 && ring->disk->persistent && slot->request->operation == BLOCK_READ) {
        copy_back(slot);
    }
    block_request_complete(slot->request, error);
    slot->request = NULL;
    if (!slot->stuck)
        ring_slots_give(&ring->slots, id);
}

static uint32_t fail_all(struct ring *ring)
{
    uint32_t count = 0;
    for (uint32_t id = 0; id < ring->slots.count; id++) {
        if (ring->slot[id].request != NULL) {
            finish(ring, id, -EIO);
            count++;
        }
    }
    for (; ring->again_count != 0; count++)
        block_request_complete(ring->again[--ring->again_count], -EIO);
    return count;
}

static uint32_t take_responses(struct ring *ring)
{
    uint32_t produced = __atomic_load_n(&ring->front.sring->rsp_prod, __ATOMIC_ACQUIRE);
    int count = ring_responses_check(&ring->slots, produced, ring->front.rsp_cons);
    uint32_t taken = 0;
    for (; (int)taken < count; taken++) {
        struct blkif_response response;
        RING_COPY_RESPONSE(&ring->front, ring->front.rsp_cons, &response);
        int id = blk_response_slot(&ring->slots, &response);
        if (id < 0 || ring->slot[id].request == NULL) {
            count = -EPROTO;
            break;
        }
        ring->front.rsp_cons++;
        finish(ring, (uint32_t)id, blk_response_error(&response));
    }
    if (count < 0) {
        counter_add(xen, blk_bad_responses, 1);
        log_error("xen: %s: the back end writes nonsense: the disk is given up",
            ring->disk->device->path);
        ring->broken = true;
    }
    return taken;
}

static bool disk_interrupts(struct block_queue *queue, bool on)
{
    struct ring *ring = queue->driver_data;
    if (!on || !ring->attached)
        return false; // the other end looks at rsp_event, which stays behind
    ring->front.sring->rsp_event = ring->front.rsp_cons + 1;
    xen_mb();
    return ring->front.sring->rsp_prod != ring->front.rsp_cons;
}

// Moves what is under way from its slots to again[], in the order of issue.
static void detach(struct ring *ring)
{
    ring->live = false;
    ring->attached = false;
    for (;;) {
        struct slot *first = NULL;
        for (uint32_t id = 0; id < ring->slots.count; id++) {
            struct slot *slot = &ring->slot[id];
            if (slot->request != NULL && (first == NULL || slot->sequence < first->sequence))
                first = slot;
        }
        if (first == NULL)
            return;
        if (close_segments(first)) {
            ring->again[ring->again_count++] = first->request;
            ring_slots_give(&ring->slots, (uint32_t)(first - ring->slot));
        } else {
            block_request_complete(first->request, -EIO);
        }
        first->request = NULL;
    }
}

static void attach(struct ring *ring)
{
    uint32_t issued = 0;
    while (issued < ring->again_count && issue(ring, ring->again[issued]) == 0)
        issued++;
    counter_add(xen, blk_reissued, issued);
    // A smaller ring, or no memory for a copy: the rest fails rather than being overtaken.
    while (issued < ring->again_count)
        block_request_complete(ring->again[issued++], -EIO);
    ring->again_count = 0;
    ring->live = true;
    ring->attached = true;
    counter_add(xen, blk_connections, 1);
    commit(ring);
}

static uint32_t disk_poll(struct block_queue *queue)
{
    struct ring *ring = queue->driver_data;
    enum ring_command command = ring->command;
    uint32_t count = 0;
    ring->command = RING_NONE;
    if (ring->attached && !ring->broken) {
        do
            count += take_responses(ring);
        while (!ring->broken && disk_interrupts(queue, true));
    }
    if (command == RING_STOP)
        ring->live = false;
    else if (command == RING_DETACH && !ring->broken)
        detach(ring);
    else if (command == RING_ATTACH && !ring->broken)
        attach(ring);
    else if (command == RING_FAIL)
        ring->broken = true;
    if (ring->broken)
        count += fail_all(ring);
    return count;
}

void disk_ring_event(void *context, struct trap_frame *frame)
{
    (void)frame;
    struct ring *ring = context;
    if (ring->queue != NULL)
        block_queue_interrupt(ring->queue);
}

static bool ring_is_held(const struct ring *ring)
{
    for (uint32_t id = 0; id < ring->slots.count; id++) {
        const struct slot *slot = &ring->slot[id];
        for (uint32_t i = 0; slot->open && i < slot->segment_count; i++) {
            if (xen_grant_is_held(slot->grants[i]))
                return true;
        }
    }
    return false;
}

bool disk_is_held(struct disk *disk)
{
    bool held = false;
    for (uint32_t i = 0; !held && i < disk->ring_count; i++) {
        struct ring *ring = &disk->rings[i];
        uint64_t flags = spin_lock_irqsave(&ring->queue->lock);
        held = !ring->broken && ring_is_held(ring);
        spin_unlock_irqrestore(&ring->queue->lock, flags);
    }
    return held;
}

void disk_tell_rings(struct disk *disk, enum ring_command command)
{
    for (uint32_t i = 0; i < disk->ring_count; i++) {
        struct ring *ring = &disk->rings[i];
        if (ring->queue == NULL)
            continue;
        uint64_t flags = spin_lock_irqsave(&ring->queue->lock);
        ring->command = command;
        spin_unlock_irqrestore(&ring->queue->lock, flags);
        block_queue_interrupt(ring->queue);
    }
}

const struct block_device_ops disk_ops = {
    .queue = disk_queue,
    .commit = disk_commit,
    .poll = disk_poll,
    .interrupts = disk_interrupts,
};
