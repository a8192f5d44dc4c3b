// SPDX-License-Identifier: MIT
// One pair of NVMe queues. See queue.h for the invariants.

#include "kernel/nvme/queue.h"

#include "kernel/base/assert.h"
#include "kernel/base/atomic.h"
#include "kernel/base/string.h"

#include <linux/errno.h>

#define SLOT_BITS       10 // of an identifier; the rest is the generation
#define SLOT_MASK       (BIT(SLOT_BITS) - 1)
#define GENERATION_MASK (BIT(16 - SLOT_BITS) - 1)

static_assert(NVME_QUEUE_SIZE_MAX == BIT(SLOT_BITS));

bool nvme_queue_is_valid(const struct nvme_queue *queue)
{
    uint32_t with_token = 0, free = 0;
    for (uint32_t i = 0; i < queue->slot_count; i++)
        with_token += queue->slots[i].token != NULL;
    for (uint32_t i = queue->free; i < queue->slot_count && free <= queue->slot_count; free++)
        i = queue->slots[i].next;
    return with_token == queue->outstanding && free + with_token == queue->slot_count && // N1
           queue->slot_count < queue->size &&                                            // N2
           queue->tail < queue->size && queue->head < queue->size;
}

void nvme_queue_init(struct nvme_queue *queue, uint16_t id, uint16_t size, uint16_t slot_count)
{
    assert(size >= 2);
    assert(size <= NVME_QUEUE_SIZE_MAX);
    assert(slot_count >= 1);
    assert(slot_count < size);
    memset(queue->commands, 0, size * sizeof(*queue->commands));
    memset(queue->completions, 0, size * sizeof(*queue->completions));
    for (uint16_t i = 0; i < slot_count; i++) {
        queue->slots[i].token = NULL;
        queue->slots[i].next = (uint16_t)(i + 1);
    }
    queue->id = id;
    queue->size = size;
    queue->slot_count = slot_count;
    queue->tail = queue->published = queue->head = 0;
    queue->phase = true; // memory is zeroed: what is new has the other tag
    queue->free = 0;
    queue->outstanding = 0;
    queue->broken = NULL;
}

void nvme_queue_add(struct nvme_queue *queue, const struct nvme_command *command, void *token)
{
    assert(token != NULL);
    assert(queue->free < queue->slot_count);
    struct nvme_slot *slot = &queue->slots[queue->free];
    debug_assert(slot->token == NULL);
    slot->token = token;
    slot->generation = (slot->generation + 1) & GENERATION_MASK;
    slot->round = queue->round;
    struct nvme_command *entry = &queue->commands[queue->tail];
    *entry = *command;
    entry->id = (uint16_t)(queue->free | slot->generation << SLOT_BITS);
    queue->free = slot->next;
    queue->outstanding++;
    queue->tail = queue->tail + 1 == queue->size ? 0 : queue->tail + 1;
}

bool nvme_queue_publish(struct nvme_queue *queue)
{
    bool any = queue->tail != queue->published;
    queue->published = queue->tail;
    return any;
}

bool nvme_queue_has_completion(const struct nvme_queue *queue)
{
    // Acquire: the rest of the entry was written before its tag.
    uint16_t status = atomic_load_acquire(&queue->completions[queue->head].status);
    return (status & 1) == queue->phase && queue->broken == NULL;
}

static int break_queue(struct nvme_queue *queue, const char *why)
{
    queue->broken = why;
    return -EIO;
}

static void *slot_give_back(struct nvme_queue *queue, uint16_t index)
{
    struct nvme_slot *slot = &queue->slots[index];
    void *token = slot->token;
    slot->token = NULL;
    slot->next = queue->free;
    queue->free = index;
    queue->outstanding--;
    return token;
}

int nvme_queue_take(struct nvme_queue *queue, struct nvme_result *result)
{
    if (unlikely(queue->broken != NULL))
        return -EIO;
    const struct nvme_completion *entry = &queue->completions[queue->head];
    const uint16_t status = atomic_load_acquire(&entry->status);
    if ((status & 1) != queue->phase)
        return 0;
    const uint16_t id = atomic_load_relaxed(&entry->id);
    const uint16_t index = id & SLOT_MASK;
    if (unlikely(atomic_load_relaxed(&entry->sq_id) != queue->id))
        return break_queue(queue, "a completion is for another queue");
    if (unlikely(atomic_load_relaxed(&entry->sq_head) >= queue->size))
        return break_queue(queue, "a completion has a head outside the queue");
    if (unlikely(index >= queue->slot_count || queue->slots[index].token == NULL ||
                 queue->slots[index].generation != id >> SLOT_BITS))
        return break_queue(queue, "a completion is for no command under way"); // N3
    result->value = atomic_load_relaxed(&entry->result);
    result->status = status >> 1;
    result->slot = index;
    result->token = slot_give_back(queue, index);
    queue->head++;
    if (queue->head == queue->size) {
        queue->head = 0;
        queue->phase = !queue->phase;
    }
    return 1;
}

void *nvme_queue_take_outstanding(struct nvme_queue *queue)
{
    for (uint16_t i = 0; i < queue->slot_count && queue->outstanding != 0; i++) {
        if (queue->slots[i].token != NULL)
            return slot_give_back(queue, i);
    }
    assert(queue->outstanding == 0);
    return NULL;
}

uint32_t nvme_queue_oldest_round(const struct nvme_queue *queue)
{
    uint32_t age = 0;
    for (uint16_t i = 0; i < queue->slot_count && queue->outstanding != 0; i++) {
        if (queue->slots[i].token != NULL)
            age = MAX(age, queue->round - queue->slots[i].round);
    }
    return queue->round - age;
}
