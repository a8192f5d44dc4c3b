// SPDX-License-Identifier: MIT
// Pages that get another frame under a running program: theory in migrate.c. Private to mm/.
#pragma once

#include "mm/area.h"

// What moves and where to; a caller embeds it.
struct migration {
    // Shall the page (of a huge page its head) stay where it is?
    bool (*stays)(const struct migration *migration, const struct page *page);
    // A block for the content of `page`; NULL: there is none. May sleep.
    struct page *(*target)(const struct migration *migration, const struct vm_area *area,
        uintptr_t address, const struct page *page, unsigned order);
    uint64_t moved; // pages; results
    uint64_t left;  // that should have moved and did not
};

// Moves what is mapped in [start, end). space->lock held for writing.
void migrate_range(
    struct address_space *space, uintptr_t start, uintptr_t end, struct migration *migration);

// For vm_bind(): moves what lies outside the nodes (none: not on the running CPU's) to where the
// policies of its areas have it. Returns how many pages did not move.
uint64_t migrate_to_policy(
    struct address_space *space, uintptr_t start, uintptr_t end, uint64_t nodes);
// How many pages of the range lie outside the nodes. space->lock held for writing.
uint64_t migrate_count_outside(
    struct address_space *space, uintptr_t start, uintptr_t end, uint64_t nodes);
