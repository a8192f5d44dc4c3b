// SPDX-License-Identifier: MIT
// How poll, select and epoll learn of readiness: file_ops.poll calls poll_wait() for each wait
// queue that will be woken when the answer changes, then returns the events that are ready now.
// Wakers pass the events in the wake key (0: look yourself).
#pragma once

#include "kernel/core/wait.h"
#include <linux/eventpoll.h>

struct file;

struct poll_table {
    // Queues an entry on `queue`. NULL: the caller only wants the current state.
    void (*queue)(struct poll_table *table, struct file *file, struct wait_queue *queue);
    uint32_t wanted; // events of interest: a hint
};

static inline void poll_wait(struct poll_table *table, struct file *file, struct wait_queue *queue)
{
    if (table != NULL && table->queue != NULL)
        table->queue(table, file, queue);
}
// Ready events of a file; files without the operation are always readable and writable.
uint32_t file_poll(struct file *file, struct poll_table *table);

// Set by kernel/ipc's epoll: called when a file that has entries in poll_links loses its last
// reference, before its release operation.
extern void (*file_poll_links_release)(struct file *file);
