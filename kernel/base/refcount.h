// SPDX-License-Identifier: MIT
//
// Reference counts that saturate: a count that overflows or is used after it reached zero sticks at
// a value in the middle of the negative range, so that the object leaks instead of being freed
// under somebody. Debug builds assert.
//
// Values 1 .. REFCOUNT_MAX are live, 0 is dead, "negative" ones are saturated and stay so.
#pragma once

#include "kernel/base/assert.h"
#include "kernel/base/atomic.h"

#define REFCOUNT_MAX       0x7fffffffu
#define REFCOUNT_SATURATED 0xc0000000u

struct refcount {
    uint32_t value; // atomic
};

#define REFCOUNT_INIT(count) {.value = (count)}

static inline void refcount_init(struct refcount *ref, uint32_t count)
{
    debug_assert(count <= REFCOUNT_MAX);
    atomic_store_relaxed(&ref->value, count);
}

// A value that may be old at once; for reports and assertions.
static inline uint32_t refcount_read(const struct refcount *ref)
{
    return atomic_load_relaxed(&ref->value);
}

static inline void refcount_saturate_(struct refcount *ref)
{
    atomic_store_relaxed(&ref->value, REFCOUNT_SATURATED);
    debug_assert(!"reference count overflow or use after free");
}

// The caller holds a reference already (the count is not zero).
static inline void refcount_get(struct refcount *ref)
{
    uint32_t old = atomic_fetch_add_relaxed(&ref->value, 1u);
    if (unlikely(old == 0 || old >= REFCOUNT_MAX)) {
        refcount_saturate_(ref);
    }
}

// Takes a reference unless the object is already dying; for lookups under RCU. True if it was
// taken.
[[nodiscard]] static inline bool refcount_get_unless_zero(struct refcount *ref)
{
    uint32_t old = atomic_load_relaxed(&ref->value);
    do {
        if (old == 0) {
            return false;
        }
        if (unlikely(old >= REFCOUNT_MAX)) {
            refcount_saturate_(ref);
            return true;
        }
    } while (!atomic_cmpxchg_acquire(&ref->value, &old, old + 1));
    return true;
}

// Gives a reference back; true if it was the last one, and the caller then destroys the object. All
// accesses made under other references happened before.
[[nodiscard]] static inline bool refcount_put(struct refcount *ref)
{
    uint32_t old = atomic_fetch_sub_release(&ref->value, 1u);
    if (old == 1) {
        (void)atomic_load_acquire(&ref->value);
        return true;
    }
    if (unlikely(old == 0 || old > REFCOUNT_MAX)) {
        refcount_saturate_(ref);
    }
    return false;
}
