// SPDX-License-Identifier: MIT
// The slots of a ring that is shared with another domain: no device access, also built on the host.
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

#define RING_SLOTS_MAX 256u

// Which slots are in use. Owner: the queue's lock.
struct ring_slots {
    uint32_t count;
    uint32_t used_count;
    uint64_t used[RING_SLOTS_MAX / 64];
};
void ring_slots_init(struct ring_slots *slots, uint32_t count);
// A free slot, now in use; -ENOSPC.
[[nodiscard]] int ring_slots_take(struct ring_slots *slots);
void ring_slots_give(struct ring_slots *slots, uint32_t slot);
bool ring_slots_is_used(const struct ring_slots *slots, uint64_t slot);

// How many responses there are to take, after `produced` was read once from the ring; -EPROTO: more
// than there are requests.
[[nodiscard]] int ring_responses_check(
    const struct ring_slots *slots, uint32_t produced, uint32_t consumed);
