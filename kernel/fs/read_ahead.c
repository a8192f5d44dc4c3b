// SPDX-License-Identifier: MIT
// How far to read ahead.
#include "kernel/fs/read_ahead.h"

static void plan_window(struct read_ahead *state, uint64_t start, size_t pages, size_t before)
{
    state->window = (uint32_t)pages;
    state->end = start + before + pages;
    state->trigger = start + before + pages / 2;
}

size_t read_ahead_plan(struct read_ahead *state, uint64_t index, size_t wanted, bool missing,
    size_t max, uint64_t *start)
{
    // A second read within the same page goes on as well.
    const bool sequential = index == state->next || index + 1 == state->next;
    const bool in_window = state->window != 0 && index >= state->trigger && index <= state->end;
    state->next = index + wanted;
    if (!sequential && !(in_window && !missing)) {
        state->window = 0;
        *start = index;
        state->end = index + wanted;
        return missing ? wanted : 0;
    }
    if (max == 0) {
        *start = index;
        return missing ? wanted : 0;
    }
    if (missing) { // begins, or the window was not far enough or has been dropped again
        size_t window = state->window == 0 ? MAX(2 * wanted, (size_t)READ_AHEAD_START_PAGES)
                                           : 2 * (size_t)state->window;
        window = MIN(window, max);
        *start = index;
        plan_window(state, index, window, wanted);
        return wanted + window;
    }
    if (state->window == 0 || index + wanted <= state->trigger)
        return 0;
    const size_t window = MIN(2 * (size_t)state->window, max);
    *start = state->end;
    plan_window(state, state->end, window, 0);
    return window;
}
