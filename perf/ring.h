// SPDX-License-Identifier: MIT
// The guest's end of a ring of perf/export.h: reserve, write in place, commit.
//
// I1  The writer believes nothing that lies in shared memory: head, size and the ring's address are
//     its own copies. What the host may spoil is the ring's contents and, with a wrong tail, how
//     much of it is lost.
// I2  A record never crosses the ring's end: PAD fills what is left there.
// I3  FLIGHT: before the first byte of an old record changes, `oldest` lies behind it.
#pragma once

#include "kernel/base/assert.h"
#include "kernel/base/atomic.h"
#include "kernel/base/types.h"
#include "perf/export.h"

struct perf_ring { // all of it: the one writer, see export.h
    struct perf_export_ring *control;
    uint8_t *data;
    uint64_t head, oldest;
    uint64_t lost, lost_told; // records that did not fit; of those, in LOST records
    uint32_t bytes;           // a power of two; 0: no ring
    bool overwrite;           // FLIGHT
};

// Empties the ring and gives it its memory: `data` of `bytes`, a power of two from
// PERF_EXPORT_RING_MIN. Nobody writes.
void perf_ring_init(struct perf_ring *ring, struct perf_export_ring *control, uint8_t *data,
    uint32_t bytes, bool overwrite);
bool perf_ring_is_valid(const struct perf_ring *ring);
// Room for a record of at most `need` bytes (a multiple of 8, 24..PERF_EXPORT_RECORD_MAX), or NULL:
// counted as lost. `tsc` stamps the LOST record that goes before it if there is something to say.
// The context of the ring's writer.
[[nodiscard]] uint8_t *perf_ring_reserve(struct perf_ring *ring, uint32_t need, uint64_t tsc);

// Publishes the record that was reserved, with its final size: a multiple of 8, at most `need`.
static inline void perf_ring_commit(struct perf_ring *ring, uint32_t size)
{
    debug_assert(IS_ALIGNED(size, 8u));
    ring->head += size;
    atomic_store_release(&ring->control->head, ring->head);
}
