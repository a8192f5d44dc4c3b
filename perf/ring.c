// SPDX-License-Identifier: MIT
// The guest's end of a ring: the parts that are not one store.
#include "perf/ring.h"

#include "perf/encode.h"

bool perf_ring_is_valid(const struct perf_ring *ring)
{
    if (ring->bytes == 0)
        return ring->data == NULL;
    return IS_POWER_OF_TWO(ring->bytes) && ring->bytes >= PERF_EXPORT_RING_MIN &&
           ring->bytes <= PERF_EXPORT_RING_MAX && IS_ALIGNED(ring->head, 8ul) &&
           ring->oldest <= ring->head && ring->lost_told <= ring->lost;
}

void perf_ring_init(struct perf_ring *ring, struct perf_export_ring *control, uint8_t *data,
    uint32_t bytes, bool overwrite)
{
    assert(data != NULL && control != NULL);
    // A ring that existed goes on counting, so that a reader can't take old positions for new ones.
    uint64_t head = ring->control == control ? ring->head : 0;
    *ring = (struct perf_ring){.control = control,
        .data = data,
        .head = head,
        .oldest = head,
        .bytes = bytes,
        .overwrite = overwrite};
    atomic_store_relaxed(&control->lost, 0);
    atomic_store_release(&control->oldest, head);
    atomic_store_release(&control->head, head);
    debug_assert(perf_ring_is_valid(ring));
}

// I3: no record below `limit` counts any more.
static void ring_forget(struct perf_ring *ring, uint64_t limit)
{
    uint64_t oldest = ring->oldest;
    while ((int64_t)(limit - oldest) > 0) {
        uint16_t size =
            atomic_load_relaxed((uint16_t *)(ring->data + (oldest & (ring->bytes - 1))));
        if (size < 8 || size % 8 != 0 || size > PERF_EXPORT_RECORD_MAX ||
            size > ring->head - oldest) {
            oldest = ring->head; // somebody wrote into the ring
            break;
        }
        oldest += size;
    }
    ring->oldest = oldest;
    atomic_store_release(&ring->control->oldest, oldest);
    __atomic_thread_fence(__ATOMIC_RELEASE);
}

// Is there room for `total` more bytes? Makes it in a ring that is overwritten.
static bool ring_make_room(struct perf_ring *ring, uint32_t total)
{
    if (ring->overwrite) {
        if (ring->head + total - ring->oldest > ring->bytes)
            ring_forget(ring, ring->head + total - ring->bytes);
        return true;
    }
    uint64_t used = ring->head - atomic_load_acquire(&ring->control->tail);
    if (likely(used <= ring->bytes && total <= ring->bytes - used))
        return true;
    ring->lost++;
    atomic_store_relaxed(&ring->control->lost, ring->lost);
    return false;
}

// Room for `need` bytes in one piece, or NULL: counted.
static uint8_t *ring_claim(struct perf_ring *ring, uint32_t need)
{
    uint32_t to_end = ring->bytes - (uint32_t)(ring->head & (ring->bytes - 1));
    if (unlikely(to_end < need)) { // I2
        if (!ring_make_room(ring, to_end + need))
            return NULL;
        perf_encode_pad(ring->data + (ring->head & (ring->bytes - 1)), to_end);
        ring->head += to_end; // published with the record
    } else if (unlikely(!ring_make_room(ring, need))) {
        return NULL;
    }
    return ring->data + (ring->head & (ring->bytes - 1));
}

uint8_t *perf_ring_reserve(struct perf_ring *ring, uint32_t need, uint64_t tsc)
{
    debug_assert(need <= PERF_EXPORT_RECORD_MAX && need >= sizeof(struct perf_export_header));
    debug_assert(IS_ALIGNED(need, 8u));
    if (unlikely(ring->lost != ring->lost_told)) {
        uint64_t missing = ring->lost - ring->lost_told;
        uint8_t *at = ring_claim(ring, PERF_ENCODED_LOST);
        if (at == NULL)
            return NULL;
        ring->lost_told += missing;
        perf_ring_commit(ring, perf_encode_lost(at, tsc, missing));
    }
    return ring_claim(ring, need);
}
