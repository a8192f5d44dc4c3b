// SPDX-License-Identifier: MIT
// The ring of log records; log_ring.h has the theory.
#include "kernel/core/log_ring.h"

#include "kernel/base/atomic.h"
#include "kernel/base/string.h"

// Words that hold `record`'s text up to its length.
static size_t record_words(const struct log_record *record)
{
    size_t bytes =
        offsetof(struct log_record, text) + MIN((size_t)record->len_bytes, (size_t)LOG_TEXT_BYTES);
    return DIV_ROUND_UP(bytes, sizeof(uint64_t));
}

static bool slot_take(struct log_slot *slot, uint64_t number)
{
    uint64_t state = atomic_load_relaxed(&slot->state);
    do {
        if ((state & 1) != 0 || state > 2 * number)
            return false; // L1
    } while (!atomic_cmpxchg(&slot->state, &state, 2 * number + 1));
    return true;
}

bool log_ring_write(struct log_ring *ring, const struct log_record *record)
{
    uint64_t number = atomic_fetch_add(&ring->next, (uint64_t)1);
    struct log_slot *slot = &ring->slots[number % LOG_SLOTS];
    if (!slot_take(slot, number)) {
        atomic_fetch_add(&ring->dropped, (uint64_t)1);
        return false;
    }
    uint64_t words[ARRAY_SIZE(slot->words)] = {0};
    memcpy(words, record, sizeof(*record));
    for (size_t i = 0; i < record_words(record); i++)
        atomic_store_relaxed(&slot->words[i], words[i]);
    atomic_store_release(&slot->state, 2 * number + 2);
    return true;
}

enum log_ring_result log_ring_read(
    struct log_ring *ring, uint64_t number, struct log_record *record)
{
    struct log_slot *slot = &ring->slots[number % LOG_SLOTS];
    uint64_t words[ARRAY_SIZE(slot->words)] = {0};
    uint64_t state = atomic_load_acquire(&slot->state);
    if (state > 2 * number + 2)
        return LOG_RING_GONE;
    if (state < 2 * number + 2) {
        // Not there. If the slot's turn went to nobody (L1), the ring has passed by long ago.
        return atomic_load(&ring->next) > number + LOG_SLOTS ? LOG_RING_GONE : LOG_RING_NOT_YET;
    }
    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        words[i] = atomic_load_relaxed(&slot->words[i]);
    atomic_fence_acquire();
    if (atomic_load_relaxed(&slot->state) != state)
        return LOG_RING_GONE; // L2
    memcpy(record, words, sizeof(*record));
    return LOG_RING_OK;
}

uint64_t log_ring_next(const struct log_ring *ring)
{
    return atomic_load(&ring->next);
}

uint64_t log_ring_first(const struct log_ring *ring)
{
    uint64_t next = log_ring_next(ring);
    return next > LOG_SLOTS ? next - LOG_SLOTS : 0;
}
