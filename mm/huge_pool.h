// SPDX-License-Identifier: MIT
// The pool of 2 MiB pages that are kept for MAP_HUGETLB: theory in huge_pool.c.
#pragma once

#include "kernel/base/types.h"

struct address_space;
struct page;
struct vm_area;

struct huge_pool_statistics {
    uint64_t total, free, reserved, surplus; // of `total`; in huge pages
};
void huge_pool_statistics_read(struct huge_pool_statistics *statistics);
// The pool gets `count` pages, or as many as there are; pages in use that are too many leave it
// when they become free. Task context, may sleep and reclaim.
void huge_pool_resize(uint64_t count);

// ---- for mm/ ----

// Promises pages. -ENOMEM: there are not so many that nobody was promised. Any task context.
[[nodiscard]] int huge_pool_reserve(uint64_t count);
void huge_pool_unreserve(uint64_t count);
// A page with one mapping (U1 of huge.c), content undefined; NULL: there is none. `reserved`: one
// of those that were promised, so there is one.
struct page *huge_pool_take(bool reserved);
// A page of the pool has lost its last reference. Any context but NMI.
void huge_pool_return(struct page *head);
// A fault in an area with VM_POOL; space->lock held for reading at least. 0, -ENOMEM, -ENXIO (the
// pool is empty).
[[nodiscard]] int huge_pool_fault(
    struct address_space *space, struct vm_area *area, uintptr_t address, bool write);
// An area was cut: the promises that are left are divided. space->lock held for writing.
void huge_pool_divide(struct vm_area *lower, struct vm_area *upper);
