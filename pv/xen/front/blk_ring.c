// SPDX-License-Identifier: MIT
// What comes back over the ring of a block device, checked.
#include "pv/xen/front/blk_ring.h"

#include "kernel/base/assert.h"
#include <linux/errno.h>

void blk_slots_init(struct blk_slots *slots, uint32_t count)
{
    assert(count <= BLK_SLOTS_MAX);
    *slots = (struct blk_slots){.count = count};
}

int blk_slots_take(struct blk_slots *slots)
{
    for (uint32_t word = 0; word < BLK_SLOTS_MAX / 64; word++) {
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

void blk_slots_give(struct blk_slots *slots, uint32_t slot)
{
    assert(blk_slots_is_used(slots, slot));
    slots->used[slot / 64] &= ~(UINT64_C(1) << (slot % 64));
    slots->used_count--;
}

bool blk_slots_is_used(const struct blk_slots *slots, uint64_t slot)
{
    return slot < slots->count && (slots->used[slot / 64] >> (slot % 64) & 1) != 0;
}

int blk_responses_check(const struct blk_slots *slots, uint32_t produced, uint32_t consumed)
{
    uint32_t count = produced - consumed;
    return count <= slots->used_count ? (int)count : -EPROTO;
}

int blk_response_slot(const struct blk_slots *slots, const struct blkif_response *response)
{
    return blk_slots_is_used(slots, response->id) ? (int)response->id : -EPROTO;
}

int blk_response_error(const struct blkif_response *response)
{
    switch (response->status) {
    case BLKIF_RSP_OKAY:
        return 0;
    case BLKIF_RSP_EOPNOTSUPP:
        return -EOPNOTSUPP;
    default:
        return -EIO;
    }
}
