// SPDX-License-Identifier: MIT
// Waiting for several files at once.
//
// The files' poll operations queue one entry on each wait queue that may tell of a change. A
// wake-up sets `triggered` and wakes the task; the task then asks all files again.
// No wake-up is lost: the waker stores triggered, then (sched_wake: full fence) reads the task's
// state; the task publishes its state (full fence), then reads triggered. One of them sees the
// other.
#include "kernel/ipc/poll_waiter.h"

#include "kernel/core/errno.h"
#include "kernel/fs/file.h"
#include "mm/slab.h"

static bool poll_entry_wake(struct wait_entry *wait, uint32_t key)
{
    struct poll_entry *entry = container_of(wait, struct poll_entry, wait);
    if (key != 0 && (key & entry->wanted) == 0)
        return false;
    atomic_store_relaxed(&entry->waiter->triggered, 1);
    (void)sched_wake(entry->waiter->thread, THREAD_INTERRUPTIBLE);
    return false;
}

// A free entry, or NULL when there is no memory.
static struct poll_entry *poll_entry_take(struct poll_waiter *waiter)
{
    if (waiter->inline_used < POLL_INLINE_ENTRIES)
        return &waiter->inline_entries[waiter->inline_used++];
    struct poll_block *block = waiter->blocks;
    if (block == NULL || block->used == POLL_BLOCK_ENTRIES) {
        block = kmalloc(sizeof(*block), 0);
        if (block == NULL)
            return NULL;
        block->used = 0;
        block->next = waiter->blocks;
        waiter->blocks = block;
    }
    return &block->entries[block->used++];
}

static void poll_waiter_queue(struct poll_table *table, struct file *file, struct wait_queue *queue)
{
    struct poll_waiter *waiter = container_of(table, struct poll_waiter, table);
    struct poll_entry *entry = poll_entry_take(waiter);
    if (entry == NULL) {
        waiter->error = -ENOMEM;
        return;
    }
    wait_entry_init(&entry->wait, false);
    entry->wait.wake = poll_entry_wake;
    entry->queue = queue;
    entry->file = file;
    entry->waiter = waiter;
    entry->wanted = table->wanted | EPOLLERR | EPOLLHUP;
    file_get(file);
    wait_add(queue, &entry->wait);
}

void poll_waiter_init(struct poll_waiter *waiter)
{
    waiter->table.queue = poll_waiter_queue;
    waiter->table.wanted = 0;
    waiter->thread = thread_current();
    waiter->triggered = 0;
    waiter->error = 0;
    waiter->inline_used = 0;
    waiter->blocks = NULL;
}

int poll_waiter_sleep(struct poll_waiter *waiter, uint64_t deadline_ns)
{
    int result = 0;
    thread_prepare_sleep(THREAD_INTERRUPTIBLE);
    if (atomic_load_relaxed(&waiter->triggered) == 0)
        result = sched_block(deadline_ns);
    else
        thread_cancel_sleep();
    // Full fence: the files are asked after this.
    atomic_store(&waiter->triggered, 0);
    return result;
}

static void poll_entry_release(struct poll_entry *entry)
{
    wait_remove(entry->queue, &entry->wait);
    file_put(entry->file);
}

void poll_waiter_release(struct poll_waiter *waiter)
{
    for (uint32_t i = 0; i < waiter->inline_used; i++)
        poll_entry_release(&waiter->inline_entries[i]);
    while (waiter->blocks != NULL) {
        struct poll_block *block = waiter->blocks;
        for (uint32_t i = 0; i < block->used; i++)
            poll_entry_release(&block->entries[i]);
        waiter->blocks = block->next;
        kfree(block);
    }
}
