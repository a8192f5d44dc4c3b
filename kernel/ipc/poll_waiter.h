// SPDX-License-Identifier: MIT
// Waiting for several files at once: what poll(2) and select(2) stand on.
#pragma once

#include "kernel/fs/poll.h"

struct poll_waiter;

// One wait queue that the waiter is on.
struct poll_entry {
    struct wait_entry wait;
    struct wait_queue *queue;
    struct file *file; // referenced while queued
    struct poll_waiter *waiter;
    uint32_t wanted; // events that end the wait; errors and hang-ups always do
};

#define POLL_INLINE_ENTRIES 6
#define POLL_BLOCK_ENTRIES  48

struct poll_block {
    struct poll_block *next;
    uint32_t used;
    struct poll_entry entries[POLL_BLOCK_ENTRIES];
};

// Lives on the waiting task's stack; only that task uses it, but for `triggered`.
struct poll_waiter {
    struct poll_table table; // pass &waiter.table to file_poll()
    struct thread *thread;
    uint32_t triggered; // a queue was woken since the last look; atomic
    int error;          // -ENOMEM: some queue could not be watched
    uint32_t inline_used;
    struct poll_block *blocks;
    struct poll_entry inline_entries[POLL_INLINE_ENTRIES];
};

void poll_waiter_init(struct poll_waiter *waiter);
// Sleeps until a watched queue is woken (returns 0, at once if one was woken since the last call),
// -EINTR or -ETIMEDOUT.
[[nodiscard]] int poll_waiter_sleep(struct poll_waiter *waiter, uint64_t deadline_ns);
void poll_waiter_release(struct poll_waiter *waiter);
