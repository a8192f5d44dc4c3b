// SPDX-License-Identifier: MIT
// One pair of NVMe queues: commands go out, completions come in (base specification 2.0, 3.3).
// Plain memory, no device access; also built for the host.
//
// Theory. Both queues are rings of `size` entries. The submission queue is ours to fill up to
// `tail`, which a doorbell tells the controller; the completion queue is the controller's to fill.
// An entry of it is new when its phase tag is the one that we expect, which changes each time round
// (3.3.3.2.4): nothing needs to be reset, and no index of the controller is read.
//
// A command under way has a slot, whose number is in the command's identifier together with a
// generation: a completion that comes twice, or late, names a slot that is free or another
// generation.
//
// Invariants:
//   N1  outstanding is the number of slots with a token. Free slots are in the list from `free` on.
//   N2  outstanding <= slot_count < size: a command always has an entry in the submission queue,
//       as an entry whose command was completed has been read (3.3.1.3).
//   N3  Each field of a completion is read once. One that does not belong to a command under way,
//       to this queue, or with a head outside the queue breaks the queue: nothing more is taken.
//
// The caller's lock covers all of it.
#pragma once

#include "kernel/base/types.h"
#include "kernel/nvme/protocol.h"

#define NVME_QUEUE_SIZE_MAX 1024u // entries: what an identifier has room for

struct nvme_slot {
    void *token;         // of the command under way; NULL: free
    uint16_t next;       // free list
    uint16_t generation; // of the command under way, or the last one
    uint32_t round;      // queue->round when it was added
};

struct nvme_queue {
    struct nvme_command *commands;       // [size]
    struct nvme_completion *completions; // [size], written by the controller
    struct nvme_slot *slots;             // [slot_count]
    uint16_t id, size, slot_count;
    uint16_t tail;      // where the next command goes
    uint16_t published; // tail that the controller has been told
    uint16_t head;      // where the next completion is expected
    bool phase;         // its tag
    uint16_t free;      // first free slot; slot_count: none
    uint16_t outstanding;
    uint32_t round;     // what passes for time: nvme_queue_oldest_round()
    const char *broken; // why it is not used any more, or NULL
};

struct nvme_result {
    void *token;
    uint16_t slot;
    uint16_t status; // 0, or as NVME_SC_* and NVME_SCT_* of <nvme/types.h>, with its flags
    uint32_t value;  // command specific
};

// Memory of commands and completions is zeroed here; slots are made free. size: 2 to
// NVME_QUEUE_SIZE_MAX; slot_count: 1 to size - 1. Also after a reset of the controller, when no
// command is under way any more.
void nvme_queue_init(struct nvme_queue *queue, uint16_t id, uint16_t size, uint16_t slot_count);
bool nvme_queue_is_valid(const struct nvme_queue *queue);

// A free slot, so that the caller can prepare what belongs to it: followed by nvme_queue_add() or
// by nothing. slot_count: there is none.
static inline uint16_t nvme_queue_next_slot(const struct nvme_queue *queue)
{
    return queue->free;
}
// Puts a command into the next slot (there is one) and gives it its identifier. The controller
// does not know yet.
void nvme_queue_add(struct nvme_queue *queue, const struct nvme_command *command, void *token);
// True if there are commands that the controller has not been told of: the doorbell is to be
// written with queue->tail.
bool nvme_queue_publish(struct nvme_queue *queue);
// Is there a completion?
bool nvme_queue_has_completion(const struct nvme_queue *queue);
// Takes one: 1; 0: there is none; -EIO: the queue is broken. After the last one the doorbell of
// completions is to be written with queue->head.
[[nodiscard]] int nvme_queue_take(struct nvme_queue *queue, struct nvme_result *result);
// The controller does not touch memory any more: the tokens that it had, one after the other; NULL:
// no more. Also of a broken queue.
void *nvme_queue_take_outstanding(struct nvme_queue *queue);
// The round in which the oldest command under way was added; queue->round: none is under way, or
// all were added in this one.
uint32_t nvme_queue_oldest_round(const struct nvme_queue *queue);
