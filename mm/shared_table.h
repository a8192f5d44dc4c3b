// SPDX-License-Identifier: MIT
// Page tables that several address spaces share after fork. Theory in shared_table.c. Private to
// mm/.
#pragma once

#include "mm/page_table.h"

struct tlb_gather;
struct vm_area;

// Is the table of `place`, in a space held for writing, one that fork should share and not copy?
[[nodiscard]] bool shared_table_is_worth(
    struct vm_area *area, uintptr_t address, const struct page_table_place *place);
// Fork: the table of `place` becomes the child's too. Both spaces belong to the caller (the
// parent's lock held for writing). *restricted: the parent lost its right to write, so its TLBs
// have to be flushed before the child runs. 0 or -ENOMEM.
[[nodiscard]] int shared_table_join(struct address_space *parent, struct address_space *child,
    uintptr_t address, const struct page_table_place *place, bool *restricted);

// The table that the level 2 entry points to belongs to `space` alone afterwards. space->lock held,
// interrupts on, no spin lock held; may sleep. False: no memory.
[[nodiscard]] bool shared_table_own(
    struct address_space *space, uint64_t *upper, uintptr_t address);
// The same for all tables that cover a part of [start, end) ...
[[nodiscard]] int shared_table_own_range(
    struct address_space *space, uintptr_t start, uintptr_t end);
// ... or that cover bytes on both sides of start or of end. 0 or -ENOMEM.
[[nodiscard]] int shared_table_own_edges(
    struct address_space *space, uintptr_t start, uintptr_t end);

// Takes the table of `place`, if it is still shared, out of the gather's space, whole. Returns the
// number of private pages in it, or -1: not shared any more. Room in gather->shared_tables needed;
// no spin lock held.
[[nodiscard]] int64_t shared_table_drop(
    struct tlb_gather *gather, uintptr_t address, const struct page_table_place *place);
// One space fewer has the table, and no TLB finds it for that space any more. No spin lock held.
void shared_table_put(struct page *table);
