// SPDX-License-Identifier: MIT
//
// Sequence counter: readers never write shared memory and try again if a writer was there.
//
//     do {
//         sequence = seqcount_read_begin(&count);
//         copy the fields with atomic_load_relaxed
//     } while (seqcount_read_retry(&count, sequence));
//
// Writers are serialised by their lock, must not be preempted between begin and end, and store the
// fields with atomic_store_relaxed. A reader must not follow a pointer that it read before it knows
// that the section was stable. A reader in an interrupt or NMI of the writer's CPU would spin for
// ever: such readers use seqcount_try_read_begin.
#pragma once

#include "kernel/base/assert.h"
#include "kernel/base/atomic.h"

struct seqcount {
    uint32_t sequence; // odd while a writer is inside
};

// Waits until no writer is inside.
static inline uint32_t seqcount_read_begin(const struct seqcount *count)
{
    uint32_t sequence = atomic_load_acquire(&count->sequence);
    while (unlikely(sequence & 1)) {
        spin_hint();
        sequence = atomic_load_acquire(&count->sequence);
    }
    return sequence;
}

// False if a writer is inside.
[[nodiscard]] static inline bool seqcount_try_read_begin(
    const struct seqcount *count, uint32_t *sequence)
{
    *sequence = atomic_load_acquire(&count->sequence);
    return (*sequence & 1) == 0;
}

// Must the section be read again?
[[nodiscard]] static inline bool seqcount_read_retry(
    const struct seqcount *count, uint32_t sequence)
{
    atomic_fence_acquire();
    return unlikely(atomic_load_relaxed(&count->sequence) != sequence);
}

static inline void seqcount_write_begin(struct seqcount *count)
{
    uint32_t sequence = atomic_load_relaxed(&count->sequence);
    debug_assert((sequence & 1) == 0);
    atomic_store_relaxed(&count->sequence, sequence + 1);
    atomic_fence_release();
}

static inline void seqcount_write_end(struct seqcount *count)
{
    uint32_t sequence = atomic_load_relaxed(&count->sequence);
    debug_assert((sequence & 1) == 1);
    atomic_store_release(&count->sequence, sequence + 1);
}
