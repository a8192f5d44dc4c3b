// SPDX-License-Identifier: MIT
//
// Allocator of small numbers, always the lowest free one of a range: process ids, minor numbers,
// timers. A tree of bitmaps, 4096 ids a leaf, that knows which subtrees are full: O(log n) whatever
// is allocated. Not locked: the owner serialises all calls.
#pragma once

#include "kernel/base/types.h"

#define IDA_MAX 0x7fffffffu

// Zeroed memory is an empty allocator.
struct ida {
    struct ida_node *root;
    uint32_t height; // levels above the leaf; meaningless without a root
    uint32_t count;  // allocated ids
};

// Lowest free id in [min, max], max <= IDA_MAX. 0 and *id; -ENOSPC: all are taken; -ENOMEM. May
// allocate memory.
[[nodiscard]] int ida_alloc(struct ida *ida, uint32_t min, uint32_t max, uint32_t *id);

// Like ida_alloc, but starts at `next` (in [min, max]) and wraps to min: ids are reused late
// (process ids).
[[nodiscard]] int ida_alloc_cyclic(
    struct ida *ida, uint32_t min, uint32_t max, uint32_t next, uint32_t *id);

// Takes this very id. 0, -EBUSY: it is taken; -ENOMEM.
[[nodiscard]] int ida_reserve(struct ida *ida, uint32_t id);

// Gives an allocated id back (asserts that it is allocated). Cannot fail; frees memory that is no
// longer needed.
void ida_free(struct ida *ida, uint32_t id);

bool ida_is_allocated(const struct ida *ida, uint32_t id);

// Forgets all ids and frees all memory.
void ida_destroy(struct ida *ida);

// O(n): for assertions and tests.
bool ida_is_valid(const struct ida *ida);
