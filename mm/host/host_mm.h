// SPDX-License-Identifier: MIT
// An arena that stands for physical memory, for the tests of mm/ on the host: struct pages, a buddy
// zone over it, page_alloc with injected failures, and the few functions of core and arch that the
// allocators call.
#pragma once

#include "mm/buddy.h"

#define HOST_ARENA_BLOCKS 8 // of 4 MiB

extern struct buddy_zone host_zone;

// A fresh arena whose zone hands blocks out one by one (as the kernel's does). Ends the test if
// there is no memory.
void host_arena_create(void);
void host_arena_destroy(void);
// Page allocation number `countdown` from now fails, and all later ones until called with
// UINT64_MAX.
void host_page_alloc_fail(uint64_t countdown);
