// SPDX-License-Identifier: MIT
// Namespaces as block devices: requests become commands, completions end requests (NVM command set
// specification 1.0, 3.2).
//
// A request's data go to the controller as they lie in memory. Their list (PRP or SGL) is in the
// memory of the command's slot if it is short, else in a page; without memory for that the request
// waits, as long as others are under way.
//
// Of several namespaces the one that looks into a pair takes completions of all; those of others
// wait in pair->finished until their queue is locked.

#include "kernel/arch/x86/arch.h"
#include "kernel/base/assert.h"
#include "kernel/base/atomic.h"
#include "kernel/base/fmt.h"
#include "kernel/base/string.h"
#include "kernel/core/log.h"
#include "kernel/nvme/data.h"
#include "kernel/nvme/internal.h"
#include "mm/page.h"

#include <linux/errno.h>
#include <nvme/types.h>

#define MAX_BLOCKS       65536u // of one command: a 16-bit count that begins with 0
#define DISCARD_MAX      (UINT32_MAX & ~(PAGE_SIZE / BLOCK_SECTOR_BYTES - 1)) // sectors
#define LIST_MAX_ENTRIES (PAGE_SIZE / sizeof(struct nvme_sgl))
#define PRP_MAX_SECTORS  ((PAGE_SIZE / sizeof(uint64_t) - 1) * (PAGE_SIZE / BLOCK_SECTOR_BYTES))

COUNTER(nvme, commands);

static struct nvme_namespace *namespace_of(const struct block_queue *queue)
{
    return queue->device->driver_data;
}

// ---- commands -----------------------------------------------------------------------------------

// Memory for a list in the slot that comes next. NULL: none now.
static void *list_of(struct nvme_pair *pair, uint32_t wanted_bytes, uint32_t *list_bytes)
{
    uint16_t slot = nvme_queue_next_slot(&pair->queue);
    *list_bytes = NVME_LIST_BYTES;
    if (likely(wanted_bytes <= NVME_LIST_BYTES))
        return pair->lists + slot * NVME_LIST_BYTES;
    debug_assert(pair->pages[slot] == NULL);
    pair->pages[slot] = page_alloc_kernel(0, PAGE_ALLOC_ATOMIC);
    *list_bytes = PAGE_SIZE;
    return pair->pages[slot];
}

static void list_free(struct nvme_pair *pair, uint16_t slot)
{
    if (unlikely(pair->pages[slot] != NULL)) {
        page_free_kernel(pair->pages[slot], 0);
        pair->pages[slot] = NULL;
    }
}

static int fill_data(
    struct nvme_pair *pair, struct block_request *request, struct nvme_command *command)
{
    bool uses_sgl = pair->controller->facts.sgl;
    uint32_t list_bytes, wanted_bytes = nvme_data_list_bytes(request->total_segments,
                             (uint64_t)request->total_sectors << BLOCK_SECTOR_SHIFT, uses_sgl);
    void *list = list_of(pair, wanted_bytes, &list_bytes);
    if (list == NULL)
        return -ENOMEM;
    struct nvme_data data =
        nvme_data_begin(command, list, virt_to_phys(list), list_bytes, uses_sgl);
    struct block_cursor cursor = block_cursor_begin(request);
    const struct block_segment *segment;
    int error = 0;
    while (error == 0 && (segment = block_cursor_next(&cursor)) != NULL)
        error = nvme_data_add(&data, segment->phys, segment->len_bytes);
    if (error != 0)
        list_free(pair, nvme_queue_next_slot(&pair->queue));
    else
        nvme_data_end(&data);
    return error;
}

// NVM command set 3.2.3: one range, in the slot's list.
static void fill_range(
    struct nvme_pair *pair, struct nvme_command *command, uint64_t block, uint32_t count)
{
    uint32_t list_bytes;
    struct nvme_dsm_range *range = list_of(pair, sizeof(*range), &list_bytes);
    *range = (struct nvme_dsm_range){.nlb = count, .slba = block};
    command->opcode = nvme_cmd_dsm;
    command->prp1 = virt_to_phys(range);
    command->cdw10 = 0; // ranges - 1
    command->cdw11 = NVME_DSMGMT_AD;
}

static void fill_blocks(struct nvme_command *command, uint64_t block, uint32_t count)
{
    command->cdw10 = (uint32_t)block;
    command->cdw11 = (uint32_t)(block >> 32);
    command->cdw12 = count - 1;
}

// 0; -ENOMEM: no memory now; -EINVAL: the device can't do this.
static int fill_command(struct nvme_pair *pair, const struct nvme_namespace *namespace,
    struct block_request *request, struct nvme_command *command)
{
    uint32_t shift = namespace->block_shift - BLOCK_SECTOR_SHIFT;
    uint64_t block = request->sector >> shift;
    uint32_t count = request->total_sectors >> shift;
    *command = (struct nvme_command){.nsid = namespace->id};
    if (request->operation == BLOCK_FLUSH) {
        command->opcode = nvme_cmd_flush;
        return 0;
    }
    if ((request->sector | request->total_sectors) & (BIT(shift) - 1))
        return -EINVAL;
    if (request->operation == BLOCK_DISCARD) {
        fill_range(pair, command, block, count);
        return 0;
    }
    assert(count <= MAX_BLOCKS);
    fill_blocks(command, block, count);
    if (request->operation == BLOCK_WRITE_ZEROES) {
        command->opcode = nvme_cmd_write_zeroes;
        if (!(request->flags & BLOCK_NO_UNMAP))
            command->cdw12 |= NVME_WRITE_ZEROES_DEALLOCATE;
        return 0;
    }
    command->opcode = request->operation == BLOCK_READ ? nvme_cmd_read : nvme_cmd_write;
    if (request->flags & BLOCK_FUA && request->operation == BLOCK_WRITE)
        command->cdw12 |= NVME_FUA;
    return fill_data(pair, request, command);
}

// 0; -ENOSPC: not now; -EINVAL: never.
static int add_request(struct nvme_pair *pair, struct block_request *request)
{
    struct nvme_command command;
    if (!pair->open || pair->queue.broken != NULL ||
        nvme_queue_next_slot(&pair->queue) == pair->queue.slot_count)
        return -ENOSPC;
    int error = fill_command(pair, namespace_of(request->queue), request, &command);
    // Those that are under way give their memory back; a lone one has to fail.
    if (error == -ENOMEM)
        return pair->queue.outstanding != 0 ? -ENOSPC : -ENOMEM;
    if (error == 0)
        nvme_queue_add(&pair->queue, &command, request);
    return error;
}

static uint32_t disk_queue(
    struct block_queue *queue, struct block_request **requests, uint32_t count)
{
    struct nvme_pair *pair = queue->driver_data;
    uint32_t i;
    spin_lock(&pair->lock);
    counter_add(nvme, commands, count);
    for (i = 0; i < count; i++) {
        requests[i]->driver_data[0] = 1; // tries
        int error = add_request(pair, requests[i]);
        if (error == -ENOSPC)
            break;
        if (unlikely(error != 0))
            block_request_complete(requests[i], error == -EINVAL ? -EIO : error);
    }
    spin_unlock(&pair->lock);
    return i;
}

static void disk_commit(struct block_queue *queue)
{
    struct nvme_pair *pair = queue->driver_data;
    spin_lock(&pair->lock);
    nvme_pair_publish(pair);
    spin_unlock(&pair->lock);
}

// ---- completions --------------------------------------------------------------------------------

// The end of a request, which belongs to the locked queue or to another one.
static uint32_t end_request(struct nvme_pair *pair, const struct block_queue *locked,
    struct block_request *request, int error)
{
    if (likely(request->queue == locked)) {
        block_request_complete(request, error);
        return 1;
    }
    request->driver_data[1] = (uint64_t)-error;
    list_add_tail(&pair->finished, &request->node);
    block_queue_look_soon(request->queue);
    return 0;
}

static uint32_t take_completions(struct nvme_pair *pair, const struct block_queue *locked)
{
    struct nvme_result result;
    uint32_t count = 0, taken = 0;
    int error;
    while ((error = nvme_queue_take(&pair->queue, &result)) == 1) {
        struct block_request *request = result.token;
        taken++;
        list_free(pair, result.slot);
        if (unlikely(result.status != 0) && nvme_status_is_transient(result.status) &&
            request->driver_data[0] < NVME_TRIES) {
            request->driver_data[0]++;
            list_add_tail(&pair->retry, &request->node);
            continue;
        }
        count += end_request(pair, locked, request, nvme_status_errno(result.status));
    }
    if (taken != 0)
        nvme_pair_taken(pair);
    if (unlikely(error < 0))
        nvme_controller_reset(pair->controller, pair->queue.broken);
    return count;
}

// Requests of the locked queue that somebody else has found finished.
static uint32_t end_finished(struct nvme_pair *pair, const struct block_queue *locked)
{
    struct block_request *request, *next;
    uint32_t count = 0;
    list_for_each_entry_safe (request, next, &pair->finished, node) {
        if (request->queue != locked)
            continue;
        list_remove(&request->node);
        block_request_complete(request, -(int)request->driver_data[1]);
        count++;
    }
    return count;
}

// Requests that are to be given to the controller again; a dead one has nothing.
static uint32_t retry(struct nvme_pair *pair, const struct block_queue *locked)
{
    bool is_dead = nvme_state(pair->controller) == NVME_DEAD;
    uint32_t count = 0;
    while (!list_is_empty(&pair->retry)) {
        struct block_request *request = list_first_entry(&pair->retry, struct block_request, node);
        int error = is_dead ? -EIO : add_request(pair, request);
        if (error == -ENOSPC)
            break;
        list_remove(&request->node);
        if (error != 0)
            count += end_request(pair, locked, request, -EIO);
    }
    nvme_pair_publish(pair);
    return count;
}

static uint32_t disk_poll(struct block_queue *queue)
{
    struct nvme_pair *pair = queue->driver_data;
    uint32_t count = 0;
    spin_lock(&pair->lock);
    if (likely(pair->open))
        count += take_completions(pair, queue);
    if (unlikely(!list_is_empty(&pair->finished)))
        count += end_finished(pair, queue);
    if (unlikely(!list_is_empty(&pair->retry)))
        count += retry(pair, queue);
    spin_unlock(&pair->lock);
    return count;
}

void nvme_pair_interrupt(struct nvme_pair *pair)
{
    struct nvme_controller *controller = pair->controller;
    uint32_t index = (uint32_t)(pair - controller->pairs);
    uint32_t count = atomic_load_acquire(&controller->namespace_count);
    for (uint32_t i = 0; i < count; i++)
        block_queue_interrupt(&controller->namespaces[i].block->queues[index]);
}

void nvme_pair_take_back(struct nvme_pair *pair)
{
    struct block_request *request;
    assert_lock_held(&pair->lock);
    assert(!pair->open);
    while ((request = nvme_queue_take_outstanding(&pair->queue)) != NULL) {
        request->driver_data[0]++;
        if (request->driver_data[0] > NVME_TRIES) {
            request->driver_data[1] = EIO;
            list_add_tail(&pair->finished, &request->node);
        } else {
            list_add_tail(&pair->retry, &request->node);
        }
    }
    for (uint16_t slot = 0; slot < pair->queue.slot_count; slot++)
        list_free(pair, slot);
}

static void disk_release(struct block_device *block)
{
    // The pairs are the controller's, which stays.
}

static const struct block_device_ops ops = {
    .queue = disk_queue,
    .commit = disk_commit,
    .poll = disk_poll,
    .release = disk_release,
};

// ---- namespaces ---------------------------------------------------------------------------------

static void set_limits(const struct nvme_controller *controller,
    const struct nvme_namespace_facts *facts, struct block_limits *limits)
{
    uint32_t max_sectors = MAX_BLOCKS << (facts->block_shift - BLOCK_SECTOR_SHIFT);
    if (controller->facts.max_sectors != 0)
        max_sectors = MIN(max_sectors, controller->facts.max_sectors);
    *limits = (struct block_limits){
        .logical_block_bytes = 1u << facts->block_shift,
        .io_opt_bytes = facts->io_opt_bytes,
        .max_sectors = MIN(max_sectors, (uint32_t)PRP_MAX_SECTORS),
        .max_segments = LIST_MAX_ENTRIES,
        .segments_are_pages = !controller->facts.sgl,
        .write_cache = controller->facts.write_cache,
        .fua = true,
        .read_only = facts->read_only,
    };
    if (controller->facts.deallocate) {
        limits->max_discard_sectors = DISCARD_MAX;
        limits->discard_granularity_bytes = facts->discard_granularity_bytes;
    }
    // No limit applies, but controllers write that much at a time, and are asked for no more.
    if (controller->facts.write_zeroes)
        limits->max_write_zeroes_sectors = limits->max_sectors;
}

static int make_disk(struct nvme_controller *controller, uint32_t index, uint32_t share)
{
    struct nvme_namespace *namespace = &controller->namespaces[index];
    struct nvme_namespace_facts facts;
    int error = nvme_identify(controller, namespace->id, NVME_IDENTIFY_CNS_NS);
    if (error == 0)
        error = nvme_namespace_parse(controller->identify_page, &facts);
    if (error != 0)
        return error;
    struct block_device *block = block_device_create(&ops, controller->pair_count);
    if (block == NULL)
        return -ENOMEM;
    fmt_snprintf(block->name, sizeof(block->name), "nvme%un%u", controller->index, namespace->id);
    strlcpy(block->serial, controller->facts.serial, sizeof(block->serial));
    set_limits(controller, &facts, &block->limits);
    namespace->controller = controller;
    namespace->block = block;
    namespace->block_shift = facts.block_shift;
    block->driver_data = namespace;
    block->sector_count = facts.sector_count;
    block->queue_depth = share;
    for (uint32_t i = 0; i < controller->pair_count; i++)
        block->queues[i].driver_data = &controller->pairs[i];
    return 0;
}

int nvme_namespaces_find(struct nvme_controller *controller)
{
    uint32_t ids[NVME_NAMESPACES_MAX];
    int error = nvme_identify(controller, 0, NVME_IDENTIFY_CNS_NS_ACTIVE_LIST);
    if (error != 0)
        return error;
    int found = nvme_namespace_list_parse(controller->identify_page, ids, ARRAY_SIZE(ids));
    if (found < 0)
        return found;
    // The slots of a pair are divided, so that no namespace can keep another one from having any.
    uint32_t share = controller->pairs[0].queue.slot_count / MAX((uint32_t)found, 1u);
    for (int i = 0; i < found; i++) {
        uint32_t index = controller->namespace_count;
        controller->namespaces[index].id = ids[i];
        error = make_disk(controller, index, MAX(share, 1u));
        if (error == 0) {
            atomic_store_release(&controller->namespace_count, index + 1);
            error = block_device_register(controller->namespaces[index].block);
        }
        if (error != 0)
            log_warning("nvme: %s: namespace %u can't be used (error %d)", controller->name, ids[i],
                -error);
    }
    return 0;
}

int nvme_namespaces_check(struct nvme_controller *controller)
{
    for (uint32_t i = 0; i < controller->namespace_count; i++) {
        struct nvme_namespace *namespace = &controller->namespaces[i];
        struct nvme_namespace_facts facts;
        int error = nvme_identify(controller, namespace->id, NVME_IDENTIFY_CNS_NS);
        if (error == 0)
            error = nvme_namespace_parse(controller->identify_page, &facts);
        if (error != 0)
            return error;
        if (facts.block_shift != namespace->block_shift)
            return -ENODEV;
        if (facts.sector_count != block_volume_sectors(namespace->block->volume[0]))
            block_device_resize(namespace->block, facts.sector_count);
    }
    return 0;
}
