// SPDX-License-Identifier: MIT
//
// Bitmaps: arrays of 64-bit words, bit n is bit n % 64 of word n / 64. `bits` is the size of the
// bitmap; bits of the last word beyond it are ignored by every question and may be changed by none
// but the bulk operations, which clear them. Searches return `bits` if there is nothing. Only the
// functions named _atomic may run concurrently with others.
#pragma once

#include "kernel/base/assert.h"
#include "kernel/base/atomic.h"
#include "kernel/base/types.h"

// uint64_t map[BITMAP_WORDS(256)];
#define BITMAP_WORDS(bits) (((bits) + 63) / 64)

static inline void bitmap_set(uint64_t *map, size_t bit)
{
    map[bit / 64] |= 1ul << (bit % 64);
}

static inline void bitmap_clear(uint64_t *map, size_t bit)
{
    map[bit / 64] &= ~(1ul << (bit % 64));
}

static inline bool bitmap_test(const uint64_t *map, size_t bit)
{
    return (atomic_load_relaxed(&map[bit / 64]) >> (bit % 64)) & 1;
}

static inline void bitmap_assign(uint64_t *map, size_t bit, bool value)
{
    if (value) {
        bitmap_set(map, bit);
    } else {
        bitmap_clear(map, bit);
    }
}

// Sequentially consistent; return whether the bit was set before.
static inline bool bitmap_test_and_set_atomic(uint64_t *map, size_t bit)
{
    uint64_t mask = 1ul << (bit % 64);
    return (atomic_fetch_or(&map[bit / 64], mask) & mask) != 0;
}

static inline bool bitmap_test_and_clear_atomic(uint64_t *map, size_t bit)
{
    uint64_t mask = 1ul << (bit % 64);
    return (atomic_fetch_and(&map[bit / 64], ~mask) & mask) != 0;
}

static inline void bitmap_set_atomic(uint64_t *map, size_t bit)
{
    (void)atomic_fetch_or(&map[bit / 64], 1ul << (bit % 64));
}

static inline void bitmap_clear_atomic(uint64_t *map, size_t bit)
{
    (void)atomic_fetch_and(&map[bit / 64], ~(1ul << (bit % 64)));
}

// Mask of the valid bits of the last word; all ones if it is full.
static inline uint64_t bitmap_last_mask(size_t bits)
{
    return bits % 64 == 0 ? ~0ul : (1ul << (bits % 64)) - 1;
}

// First set (zero) bit at or after `from`, or `bits`. from > bits is allowed.
static inline size_t bitmap_find_next_set(const uint64_t *map, size_t bits, size_t from)
{
    if (from >= bits) {
        return bits;
    }
    size_t word = from / 64;
    uint64_t value = atomic_load_relaxed(&map[word]) & (~0ul << (from % 64));
    while (value == 0) {
        if (++word >= BITMAP_WORDS(bits)) {
            return bits;
        }
        value = atomic_load_relaxed(&map[word]);
    }
    size_t found = word * 64 + bit_lowest(value);
    return found < bits ? found : bits;
}

static inline size_t bitmap_find_next_zero(const uint64_t *map, size_t bits, size_t from)
{
    if (from >= bits) {
        return bits;
    }
    size_t word = from / 64;
    uint64_t value = ~atomic_load_relaxed(&map[word]) & (~0ul << (from % 64));
    while (value == 0) {
        if (++word >= BITMAP_WORDS(bits)) {
            return bits;
        }
        value = ~atomic_load_relaxed(&map[word]);
    }
    size_t found = word * 64 + bit_lowest(value);
    return found < bits ? found : bits;
}

static inline size_t bitmap_find_first_set(const uint64_t *map, size_t bits)
{
    return bitmap_find_next_set(map, bits, 0);
}

static inline size_t bitmap_find_first_zero(const uint64_t *map, size_t bits)
{
    return bitmap_find_next_zero(map, bits, 0);
}

// Last set bit, or `bits`.
size_t bitmap_find_last_set(const uint64_t *map, size_t bits);

// First run of `count` (>= 1) zero bits that starts at or after `from` at a multiple of `alignment`
// (a power of two), or `bits`.
size_t bitmap_find_zero_range(
    const uint64_t *map, size_t bits, size_t from, size_t count, size_t alignment);

void bitmap_zero(uint64_t *map, size_t bits);
void bitmap_fill(uint64_t *map, size_t bits);
void bitmap_copy(uint64_t *to, const uint64_t *from, size_t bits);

// Bits [start, start + count).
void bitmap_set_range(uint64_t *map, size_t start, size_t count);
void bitmap_clear_range(uint64_t *map, size_t start, size_t count);

// to = a op b; the arguments may be the same map.
void bitmap_and(uint64_t *to, const uint64_t *a, const uint64_t *b, size_t bits);
void bitmap_or(uint64_t *to, const uint64_t *a, const uint64_t *b, size_t bits);
void bitmap_and_not(uint64_t *to, const uint64_t *a, const uint64_t *b, size_t bits);

bool bitmap_is_empty(const uint64_t *map, size_t bits);
bool bitmap_is_full(const uint64_t *map, size_t bits);
bool bitmap_is_equal(const uint64_t *a, const uint64_t *b, size_t bits);
bool bitmap_intersects(const uint64_t *a, const uint64_t *b, size_t bits);
// Is every bit of `a` set in `b`?
bool bitmap_is_subset(const uint64_t *a, const uint64_t *b, size_t bits);
// Number of set bits.
size_t bitmap_weight(const uint64_t *map, size_t bits);

#define bitmap_for_each_set(bit, map, bits)                                                        \
    for (bit = bitmap_find_next_set((map), (bits), 0); bit < (bits);                               \
        bit = bitmap_find_next_set((map), (bits), bit + 1))
