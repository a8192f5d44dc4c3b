// SPDX-License-Identifier: MIT
// The slots of a ring that is shared with another domain.
#include "pv/xen/front/slots.h"

#include "kernel/base/assert.h"
#include <linux/errno.h>

void ring_slots_init(struct ring_slots *slots, uint32_t count)
{
    assert(count <= RING_SLOTS_MAX);
    *slots = (struct ring_slots){.count = count};
}

int ring_slots_take(struct ring_slots *slots)
{
    for (uint32_t word = 0; word < RING_SLOTS_MAX / 64; word++) {
        if (slots->used[word] == UINT64_MAX)
            continue;
        uint32_t slot = word * 64 + (uint32_t)__builtin_ctzll(~slots->used[word]);
        if (slot >= slots->count)
            break;
        slots->used[word] |= UINT64_C(1) << (slot % 64);
        slots->used_count++;
        return (int)slot;
    }
    return -ENOSPC;
}

void ring_slots_give(struct ring_slots *slots, uint32_t slot)
{
    assert(ring_slots_is_used(slots, slot));
    slots->used[slot / 64] &= ~(UINT64_C(1) << (slot % 64));
    slots->used_count--;
}

bool ring_slots_is_used(const struct ring_slots *slots, uint64_t slot)
{
    return slot < slots->count && (slots->used[slot / 64] >> (slot % 64) & 1) != 0;
}

int ring_responses_check(const struct ring_slots *slots, uint32_t produced, uint32_t consumed)
{
    uint32_t count = produced - consumed;
    return count <= slots->used_count ? (int)count : -EPROTO;
}
