// SPDX-License-Identifier: MIT
// What the files of the block layer share.
#pragma once

#include "kernel/block/block.h"

// ---- request.c, merge.c: pure ----
// Limits with zeroes replaced by what they stand for. -EINVAL: they contradict each other.
[[nodiscard]] int block_limits_complete(struct block_limits *limits);
// Appends `next` (and what was merged to it) to `first`, if they are neighbours that the device can
// do as one.
[[nodiscard]] bool block_merge(
    const struct block_limits *limits, struct block_request *first, struct block_request *next);
// Merges the request with one of the last ones of a list of requests that wait, where possible.
// True if it was: the list holds it then. False: nothing has changed.
[[nodiscard]] bool block_merge_into(
    const struct block_limits *limits, struct list_node *list, struct block_request *request);
// The same, and a request that was not merged is added to the list.
bool block_add_or_merge(
    const struct block_limits *limits, struct list_node *list, struct block_request *request);

// ---- queue.c ----
void block_queue_init(struct block_queue *queue, struct block_device *device, uint32_t index);
// Fails what waits with `error`. No lock held.
void block_queue_fail_waiting(struct block_queue *queue, int error);
void block_queue_restart(struct timer *timer);    // of device->restart
bool block_queue_poll(struct block_queue *queue); // was anything finished? No lock held
// Waits until the driver has nothing more.
void block_queue_drain(struct block_queue *queue);

// ---- completion.c: queue locked ----
void block_completion_init(struct block_queue *queue);
// `count` requests were found finished.
void block_completion_found(struct block_queue *queue, uint32_t count, uint64_t now);

// ---- copy.c: the path that everything else is compared with ----
extern bool block_copy; // boot option block.copy
[[nodiscard]] bool block_copy_begin(struct block_request *request);
void block_copy_end(struct block_request *request);

// ---- volume.c: device->lock held ----
// From that partition on (0: all).
void block_volumes_remove(struct block_device *device, uint32_t from_partition);
[[nodiscard]] int block_volume_create(
    struct block_device *device, uint32_t partition, uint64_t start_sector, uint64_t sector_count);
