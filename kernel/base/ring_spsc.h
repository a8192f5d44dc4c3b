// SPDX-License-Identifier: MIT
//
// Wait-free ring for one producer and one consumer (two CPUs, or a CPU and its interrupt handler).
// Elements of one fixed size are copied in and out, or built and read in place with reserve/commit
// and peek/release.
//
// Invariants: 1. head - tail is the number of elements, between 0 and capacity, in wrapping 32-bit
// arithmetic.
// 2. Only the producer writes head and cached_tail, only the consumer tail and cached_head. 3. A
// cached index is never ahead of the real one, so the producer at worst believes in a full, the
// consumer in an empty ring, and then looks. The two sides' fields lie in cache lines of their own.
#pragma once

#include "kernel/base/assert.h"
#include "kernel/base/atomic.h"
#include "kernel/base/types.h"

struct ring_spsc {
    __cache_aligned uint32_t head; // next slot to write: stored by the producer with release
    uint32_t cached_tail;          // producer's last view of tail
    __cache_aligned uint32_t tail; // next slot to read: stored by the consumer with release
    uint32_t cached_head;          // consumer's last view of head
    __cache_aligned char *data;    // the rest never changes
    uint32_t mask;                 // capacity - 1
    uint32_t element_size;
};

// `data` holds capacity (a power of two, at most 2^31) elements of element_size bytes each and
// stays the caller's.
static inline void ring_spsc_init(
    struct ring_spsc *ring, void *data, uint32_t capacity, uint32_t element_size)
{
    assert(IS_POWER_OF_TWO(capacity));
    assert(element_size > 0);
    *ring = (struct ring_spsc){
        .data = (char *)data, .mask = capacity - 1, .element_size = element_size};
}

// Number of elements; exact only for a side that knows that the other rests.
static inline uint32_t ring_spsc_count(const struct ring_spsc *ring)
{
    uint32_t tail = atomic_load_acquire(&ring->tail);
    return atomic_load_acquire(&ring->head) - tail;
}

// Invariants 1 and 3. Only while both sides rest: for assertions and tests.
static inline bool ring_spsc_is_valid(const struct ring_spsc *ring)
{
    uint32_t count = ring->head - ring->tail;
    return IS_POWER_OF_TWO(ring->mask + 1) && count <= ring->mask + 1 &&
           ring->head - ring->cached_head <= count &&
           ring->tail - ring->cached_tail <= ring->mask + 1;
}

static inline void *ring_spsc_slot_(const struct ring_spsc *ring, uint32_t index)
{
    return ring->data + (size_t)(index & ring->mask) * ring->element_size;
}

// Producer: the slot to build the next element in, or NULL if the ring is full. Nothing happens
// until commit.
static inline void *ring_spsc_reserve(struct ring_spsc *ring)
{
    uint32_t head = atomic_load_relaxed(&ring->head);
    if (head - ring->cached_tail > ring->mask) {
        ring->cached_tail = atomic_load_acquire(&ring->tail);
        if (head - ring->cached_tail > ring->mask) {
            return nullptr;
        }
    }
    return ring_spsc_slot_(ring, head);
}

// Producer: publishes the element that was reserved.
static inline void ring_spsc_commit(struct ring_spsc *ring)
{
    uint32_t head = atomic_load_relaxed(&ring->head);
    debug_assert(head - ring->cached_tail <= ring->mask);
    atomic_store_release(&ring->head, head + 1);
}

// Consumer: the oldest element, or NULL if the ring is empty. It stays in the ring until release.
static inline void *ring_spsc_peek(struct ring_spsc *ring)
{
    uint32_t tail = atomic_load_relaxed(&ring->tail);
    if (tail == ring->cached_head) {
        ring->cached_head = atomic_load_acquire(&ring->head);
        if (tail == ring->cached_head) {
            return nullptr;
        }
    }
    return ring_spsc_slot_(ring, tail);
}

// Consumer: gives the slot of the peeked element back to the producer.
static inline void ring_spsc_release(struct ring_spsc *ring)
{
    uint32_t tail = atomic_load_relaxed(&ring->tail);
    debug_assert(tail != ring->cached_head);
    atomic_store_release(&ring->tail, tail + 1);
}

// Copying forms; false if the ring is full (empty).
[[nodiscard]] static inline bool ring_spsc_push(struct ring_spsc *ring, const void *element)
{
    void *slot = ring_spsc_reserve(ring);
    if (slot == nullptr) {
        return false;
    }
    __builtin_memcpy(slot, element, ring->element_size);
    ring_spsc_commit(ring);
    return true;
}

[[nodiscard]] static inline bool ring_spsc_pop(struct ring_spsc *ring, void *element)
{
    void *slot = ring_spsc_peek(ring);
    if (slot == nullptr) {
        return false;
    }
    __builtin_memcpy(element, slot, ring->element_size);
    ring_spsc_release(ring);
    return true;
}
