// SPDX-License-Identifier: MIT
// What comes back over the ring of a block device, checked: no device access, also built on the
// host. Interface: <xen/io/blkif.h>.
//
// A request on the ring has a slot, whose number is its id. The other end may write anything: a
// response counts only if its id is a slot that is in use.
#pragma once

#include "kernel/base/types.h"

// string functions and barriers that Xen's ring macros expect
#include "kernel/base/string.h"
#define xen_mb()  __atomic_thread_fence(__ATOMIC_SEQ_CST)
#define xen_rmb() __atomic_thread_fence(__ATOMIC_ACQUIRE)
#define xen_wmb() __atomic_thread_fence(__ATOMIC_RELEASE)

#include <xen/io/blkif.h>

// Rings of so many pages, at most: 128 requests.
#define BLK_RING_PAGES_MAX 4u
#define BLK_SLOTS_MAX      128u

// Which slots are in use. Owner: the queue's lock.
struct blk_slots {
    uint32_t count;
    uint32_t used_count;
    uint64_t used[BLK_SLOTS_MAX / 64];
};
void blk_slots_init(struct blk_slots *slots, uint32_t count);
// A free slot, now in use; -ENOSPC.
[[nodiscard]] int blk_slots_take(struct blk_slots *slots);
void blk_slots_give(struct blk_slots *slots, uint32_t slot);
bool blk_slots_is_used(const struct blk_slots *slots, uint64_t slot);

// How many responses there are to take, after `produced` was read once from the ring; -EPROTO: more
// than there are requests.
[[nodiscard]] int blk_responses_check(
    const struct blk_slots *slots, uint32_t produced, uint32_t consumed);
// The slot of a response that was copied from the ring, or -EPROTO.
[[nodiscard]] int blk_response_slot(
    const struct blk_slots *slots, const struct blkif_response *response);
// 0 or a negative errno for a response's status.
[[nodiscard]] int blk_response_error(const struct blkif_response *response);
