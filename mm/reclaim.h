// SPDX-License-Identifier: MIT
// Reclaim ahead of need: theory in reclaim.c. Private to mm/.
#pragma once

#include "mm/memory.h"

// Below this the thread is to begin. It has to lie above where programs are stopped (zone_floor()).
static inline bool zone_is_low(const struct zone *zone)
{
    return zone_free_pages(zone) < zone->reserve_pages * 5 / 2;
}

// A zone is low: wakes the thread if all of memory is. Any context but NMI, no lock of mm/ held.
void reclaim_wake(void);
