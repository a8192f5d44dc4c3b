// SPDX-License-Identifier: MIT
// How far to read ahead. Pure arithmetic, one state per open file.
//
// Theory. A reader that goes on where it stopped gets a window of pages ahead of it, which doubles
// each time that it reaches the window, up to a limit; when it reaches the middle of what has been
// read ahead, the next window is begun, so that it never waits. A reader that jumps gets what it
// asks for and no more, and the window starts small again when it goes on.
#pragma once

#include "kernel/base/types.h"

#define READ_AHEAD_START_PAGES   4
#define READ_AHEAD_DEFAULT_PAGES 32 // largest window: 128 KiB, as Linux

struct read_ahead {
    uint64_t next;    // page behind the last one that was read
    uint64_t end;     // page behind the last one that was read ahead
    uint64_t trigger; // reaching this page begins the next window
    uint32_t window;  // pages of the last window; 0: not sequential
};

// The pages [index, index + wanted) are about to be read, `missing`: the first of them is not in
// the cache; a window is at most `max` pages. What to begin to read: *start and the number of pages
// (0: nothing).
size_t read_ahead_plan(struct read_ahead *state, uint64_t index, size_t wanted, bool missing,
    size_t max, uint64_t *start);
