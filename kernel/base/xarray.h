// SPDX-License-Identifier: MIT
//
// Sparse array: 64-bit index -> pointer, with three marks an entry that can be searched for ("which
// pages are dirty?"). A radix tree with 64 slots a node, as high as the greatest index needs; an
// array with index 0 alone needs no node.
//
// Entries are pointers aligned to 4, or numbers made with xarray_value(); NULL means "nothing
// there".
//
// Locking: changes (store, insert, erase, marks) are serialised by the owner's lock. Reading (load,
// find, get_mark) needs that lock or an RCU read-side section; without the lock it sees each entry
// either before or after a concurrent change, and the owner has to validate what it got (reference
// count, index, owner). Nodes are freed after a grace period.
#pragma once

#include "kernel/base/alloc.h"
#include "kernel/base/types.h"

#define XARRAY_MARK_COUNT 3
#define XARRAY_INDEX_MAX  UINT64_MAX

enum xarray_mark {
    XARRAY_MARK_0 = 0,
    XARRAY_MARK_1 = 1,
    XARRAY_MARK_2 = 2,
};

// Zeroed memory is an empty array.
struct xarray {
    void *head;         // NULL, the entry of index 0, or the root node (tagged); read under RCU
    uint32_t head_mark; // marks of the entry of index 0 while it is the head (bit n: mark n)
};

#define XARRAY_INIT {.head = nullptr}

void xarray_init(struct xarray *array);

// A 63-bit number as an entry, and back.
static inline void *xarray_value(uint64_t value)
{
    return (void *)(uintptr_t)(value << 1 | 1);
}

static inline bool xarray_is_value(const void *entry)
{
    return ((uintptr_t)entry & 1) != 0;
}

static inline uint64_t xarray_to_value(const void *entry)
{
    return (uintptr_t)entry >> 1;
}

static inline bool xarray_is_empty(const struct xarray *array)
{
    return __atomic_load_n(&array->head, __ATOMIC_RELAXED) == nullptr;
}

// The entry or NULL.
void *xarray_load(const struct xarray *array, uint64_t index);

// Stores entry (not NULL), replacing what is there; its marks stay. Where an entry exists already,
// this does not allocate and cannot fail. *old (if not NULL) receives what was there. Returns 0 or
// -ENOMEM (nothing changed).
[[nodiscard]] int xarray_store(struct xarray *array, uint64_t index, void *entry, void **old);

// Stores entry (not NULL) where there is none. 0, -ENOMEM, or -EEXIST (nothing changed).
[[nodiscard]] int xarray_insert(struct xarray *array, uint64_t index, void *entry);

// Removes and returns the entry (or NULL) together with its marks. Cannot fail.
void *xarray_erase(struct xarray *array, uint64_t index);

// Marks exist on entries only: setting one where there is no entry does nothing. Return what the
// mark was.
bool xarray_set_mark(struct xarray *array, uint64_t index, enum xarray_mark mark);
bool xarray_clear_mark(struct xarray *array, uint64_t index, enum xarray_mark mark);
bool xarray_get_mark(const struct xarray *array, uint64_t index, enum xarray_mark mark);

// Has any entry this mark? O(1).
bool xarray_has_mark(const struct xarray *array, enum xarray_mark mark);

// First entry at or after *index and not after `last`; *index becomes its index. NULL if there is
// none (*index unchanged).
void *xarray_find(const struct xarray *array, uint64_t *index, uint64_t last);
void *xarray_find_marked(
    const struct xarray *array, uint64_t *index, uint64_t last, enum xarray_mark mark);

// Fills entries[0 .. count) with the entries at index, index + 1, ... up to the first hole; returns
// how many. For reads of neighbouring pages.
size_t xarray_load_run(const struct xarray *array, uint64_t index, void **entries, size_t count);

// Frees all nodes; the entries are the caller's. The array is empty and usable afterwards.
void xarray_destroy(struct xarray *array);

// Structure, counts and marks agree. O(n): for assertions and tests.
bool xarray_is_valid(const struct xarray *array);

// uint64_t index; void *entry; the body may erase or store the current entry.
#define xarray_for_each(array, index, entry)                                                       \
    for (index = 0, entry = xarray_find((array), &index, XARRAY_INDEX_MAX); entry != nullptr;      \
        entry = (index == XARRAY_INDEX_MAX)                                                        \
                    ? nullptr                                                                      \
                    : (index++, xarray_find((array), &index, XARRAY_INDEX_MAX)))
