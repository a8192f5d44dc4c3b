// SPDX-License-Identifier: MIT
// I/O scheduler: which of the requests that wait for a device goes next. Pure: no clock, no device.
//
// Theory. ioprio_set(2) gives a program one of three classes. Real time goes before best effort,
// best effort before idle, and idle only when nobody else has anything waiting or in the device; so
// that idle programs still get something, a request of them that has waited for IDLE_DEADLINE goes
// all the same. Within a class owners (processes) share by weight, which the level of the priority
// gives: each has a virtual time that advances by what it has transferred, divided by its weight,
// and the one that is farthest behind goes first. Who comes back after a pause starts at the least
// time of those who stayed: pauses are not saved up. A request whose deadline has passed goes
// before fairness, within its class. A class may have a limit of bytes per second.
//
// The device must not get more than it needs to be busy, or its own queue decides: `depth` requests
// at a time.
//
// Owners are hashed into OWNERS_MAX places, so that choosing takes a time that does not depend on
// how many programs there are; owners that share a place share its part.
//
// Locks: the scheduler's own, which nests in the lock of a queue; next_ns and counts may be read
// without.
#pragma once

#include "kernel/base/list.h"
#include "kernel/block/block.h"

enum { BLOCK_CLASS_REAL_TIME, BLOCK_CLASS_BEST_EFFORT, BLOCK_CLASS_IDLE, BLOCK_CLASSES };
#define BLOCK_OWNERS_MAX 64

struct block_owner {
    struct list_node requests; // FIFO; neighbours are merged
    uint64_t virtual_time;
};

struct block_class {
    struct block_owner owners[BLOCK_OWNERS_MAX];
    uint64_t active;       // bit n: owners[n] has requests
    uint64_t virtual_time; // least of the active ones when one was chosen last
    uint64_t limit_bytes;  // per second; 0: none. Written by anybody
    uint64_t next_ns;      // not before this time, by the limit
    uint64_t deadline_read_ns, deadline_write_ns;
    uint32_t waiting;
    uint32_t started;
    uint64_t bytes; // dispatched in total
};

struct block_scheduler {
    struct spinlock lock;
    const struct block_limits *limits; // of the device
    struct block_class classes[BLOCK_CLASSES];
    uint32_t waiting; // in all classes; merged ones count once
    uint32_t started; // given to the driver and not done
    uint32_t depth;   // most that are started at a time; written by anybody
};

void block_scheduler_init(struct block_scheduler *scheduler, const struct block_limits *limits);
// A request with start_ns set. True: it was merged to one that waits.
bool block_scheduler_add(struct block_scheduler *scheduler, struct block_request *request);
// The one that goes next, which counts as started from now on; NULL: none may now. UINT64_MAX: any
// time, without regard to limits (the device is going away).
struct block_request *block_scheduler_take(struct block_scheduler *scheduler, uint64_t now_ns);
// One that was taken is finished.
void block_scheduler_done(struct block_scheduler *scheduler, const struct block_request *request);
// When something that waits may go that may not now; UINT64_MAX: only after a completion.
uint64_t block_scheduler_next_ns(struct block_scheduler *scheduler);
uint32_t block_class_of(const struct block_request *request);
uint32_t block_weight_of(const struct block_request *request);
bool block_scheduler_is_valid(const struct block_scheduler *scheduler);
