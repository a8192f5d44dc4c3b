// SPDX-License-Identifier: MIT
// What comes back over the ring of a block device, checked.
#include "pv/xen/front/blk_ring.h"

#include <linux/errno.h>

int blk_response_slot(const struct ring_slots *slots, const struct blkif_response *response)
{
    return ring_slots_is_used(slots, response->id) ? (int)response->id : -EPROTO;
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
