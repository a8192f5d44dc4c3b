// SPDX-License-Identifier: MIT
// What has to be finished before the machine ends: output that is still on its way.
#pragma once

// Static, registered once. `function` runs in task context, interrupts on, once; it waits for a
// bounded time at most.
struct shutdown_step {
    void (*function)(void);
    struct shutdown_step *next;
};
void shutdown_register(struct shutdown_step *step); // at start-up
// Runs all steps, the last registered first: before pv_shutdown(), except in a panic.
void shutdown_run(void);
