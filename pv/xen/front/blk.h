// SPDX-License-Identifier: MIT
// Between the files of the disk front end: blk.c (requests and responses), blk_setup.c (rings, and
// the talk with the back end). The theory is in blk.c.
#pragma once

#include "kernel/block/block.h"
#include "pv/xen/events.h"
#include "pv/xen/front/blk_ring.h"
#include "pv/xen/front/bus.h"
#include "pv/xen/front/grant.h"

struct slot {
    struct block_request *request;
    uint16_t segment_count;
    bool open;            // direct grants: the references are open
    bool stuck;           // the other end never let go: not to be used again
    grant_ref_t *grants;  // [segment_max]
    struct page **copies; // persistent: [segment_max], NULL: not there yet
    grant_ref_t indirect_grant;
    struct blkif_request_segment *indirect; // a page, or NULL
    uint64_t sequence;                      // order of issue
};

enum ring_command {
    RING_NONE,
    RING_STOP,   // nothing new is issued
    RING_DETACH, // the back end has gone: what is under way is kept for another
    RING_ATTACH, // a back end is there
    RING_FAIL,   // for ever
};

// Everything but what the thread sets up while the ring is detached is under the queue's lock.
struct ring {
    struct disk *disk;
    struct block_queue *queue;
    struct blkif_front_ring front;
    struct page *pages; // 2^page_order of them
    grant_ref_t page_grants[BLK_RING_PAGES_MAX];
    evtchn_port_t port; // 0: none
    bool attached;      // there is a back end, which may answer
    bool live;          // and which takes requests
    bool broken;        // it has written nonsense
    enum ring_command command;
    uint32_t pushed; // request producer that the other end was told
    struct ring_slots slots;
    struct slot *slot;            // [slots.count]
    struct block_request **again; // [slots.count]: to be issued again, in order
    uint32_t again_count;
    uint64_t sequence;
    grant_ref_t *grants; // of all slots, for giving them back
    uint32_t grant_count;
};

struct disk {
    struct xen_device *device;
    struct block_device *block; // NULL: not yet
    struct ring *rings;
    uint32_t ring_count;
    unsigned page_order; // of a ring
    uint32_t slot_count; // of a ring
    uint32_t segment_max;
    bool persistent;
    bool flush;
    bool discard;
    uint16_t handle;
    bool registering; // atomic: register_thread() is at work
};

extern const struct block_device_ops disk_ops;

// Event of a ring; `context` is the ring.
void disk_ring_event(void *context, struct trap_frame *frame);
// Whether the other end has memory of any request mapped. Task context.
[[nodiscard]] bool disk_is_held(struct disk *disk);
// Has each queue of the disk carry out the command. Task context.
void disk_tell_rings(struct disk *disk, enum ring_command command);
