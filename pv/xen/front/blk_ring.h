// SPDX-License-Identifier: MIT
// What comes back over the ring of a block device, checked: no device access, also built on the
// host. Interface: <xen/io/blkif.h>.
//
// A request on the ring has a slot, whose number is its id. The other end may write anything: a
// response counts only if its id is a slot that is in use.
#pragma once

#include "pv/xen/front/slots.h"

#include <xen/io/blkif.h>

// Rings of so many pages, at most: 128 requests.
#define BLK_RING_PAGES_MAX 4u

// The slot of a response that was copied from the ring, or -EPROTO.
[[nodiscard]] int blk_response_slot(
    const struct ring_slots *slots, const struct blkif_response *response);
// 0 or a negative errno for a response's status.
[[nodiscard]] int blk_response_error(const struct blkif_response *response);
