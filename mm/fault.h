// SPDX-License-Identifier: MIT
// Between the two files of page faults. Private to mm/.
#pragma once

#include "mm/area.h"

extern struct page *fault_zero_page; // one page of zeroes, mapped wherever nothing was written yet

[[nodiscard]] bool fault_init(void); // false: no memory

// A missing page of an area with a cache. space->lock held for reading.
[[nodiscard]] int fault_file(struct address_space *space, struct vm_area *area, uintptr_t address,
    uint64_t *entry, bool write);
// The same for a read under RCU without the lock: FAULT_NEEDS_LOCK if the page is not in the cache.
struct fault_view;
[[nodiscard]] int fault_file_cached(struct address_space *space, struct vm_area *area,
    uintptr_t address, uint64_t *entry, bool write, const struct fault_view *view);
// A write to a present read-only page of a shared area.
[[nodiscard]] int fault_shared_write(struct vm_area *area, uintptr_t address, uint64_t *entry);

// Entries of the kind were added (or, negative, replaced).
void fault_count_anonymous(struct address_space *space, int64_t pages);
void fault_count_file(struct address_space *space, int64_t pages);
