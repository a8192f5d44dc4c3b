// SPDX-License-Identifier: MIT
// Wait queues and completions.
//
// Entries change only under queue->lock, with interrupts off. A sleeper queues itself and publishes
// its state under the lock, then looks at its condition; a waker changes the condition, fences and
// looks at the list.
//   I1  (Dekker) Either the waker sees the entry, or the sleeper sees the condition: both have a
//       full fence between their store and their load (the waker in wait_wake, the sleeper in
//       thread_prepare_sleep).
//   I2  An entry is taken off only together with a successful wake-up of its thread: a thread that
//       sleeps for this queue is on it. wait_prepare() looks under the lock, so it can't miss a
//       removal that is going on.
//   I3  The waker touches an entry only under the lock, and wait_finish() takes the lock unless it
//       sees the entry unlinked; the unlinking is the waker's last access. So the entry may lie on
//       the sleeper's stack.
#include "kernel/core/wait.h"

#include "kernel/core/lockdep.h"

// The last store, `next`, tells wait_finish() that the waker is done with the entry (I3).
static void wait_entry_unlink(struct wait_entry *entry)
{
    struct list_node *node = &entry->node;
    node->next->prev = node->prev;
    atomic_store_relaxed(
        &node->prev->next, node->next); // wait_queue_is_empty() looks without the lock
    node->prev = NULL;
    atomic_store_release(&node->next, NULL);
}

static bool wait_wake_entry(struct wait_entry *entry, bool sync)
{
    struct thread *thread = entry->thread;
    bool woken =
        sync ? sched_wake_sync(thread, THREAD_ANY_SLEEP) : sched_wake(thread, THREAD_ANY_SLEEP);
    if (woken)
        wait_entry_unlink(entry); // I2
    return woken;
}

bool wait_wake_thread(struct wait_entry *entry, uint32_t key)
{
    (void)key;
    return wait_wake_entry(entry, false);
}

static void wait_wake_entries(struct wait_queue *queue, uint32_t exclusive, uint32_t key, bool sync)
{
    struct wait_entry *entry, *following;
    sched_wake_begin();
    uint64_t flags = spin_lock_irqsave(&queue->lock);
    list_for_each_entry_safe (entry, following, &queue->entries, node) {
        bool is_exclusive = entry->exclusive;
        bool consumed = entry->wake == wait_wake_thread ? wait_wake_entry(entry, sync)
                                                        : entry->wake(entry, key);
        if (consumed && is_exclusive && --exclusive == 0)
            break;
    }
    spin_unlock_irqrestore(&queue->lock, flags);
    sched_wake_end();
}

void wait_wake(struct wait_queue *queue, uint32_t exclusive, uint32_t key)
{
    atomic_fence(); // I1
    if (!wait_queue_is_empty(queue))
        wait_wake_entries(queue, exclusive, key, false);
}

void wait_wake_sync(struct wait_queue *queue, uint32_t exclusive, uint32_t key)
{
    atomic_fence(); // I1
    if (!wait_queue_is_empty(queue))
        wait_wake_entries(queue, exclusive, key, true);
}

void wait_entry_init(struct wait_entry *entry, bool exclusive)
{
    entry->node.next = NULL;
    entry->node.prev = NULL;
    entry->wake = wait_wake_thread;
    entry->thread = thread_current();
    entry->exclusive = exclusive;
    entry->context = NULL;
}

static void wait_add_locked(struct wait_queue *queue, struct wait_entry *entry)
{
    if (entry->exclusive)
        list_add_tail(&queue->entries, &entry->node);
    else
        list_add_head(&queue->entries, &entry->node);
}

void wait_add(struct wait_queue *queue, struct wait_entry *entry)
{
    uint64_t flags = spin_lock_irqsave(&queue->lock);
    wait_add_locked(queue, entry);
    spin_unlock_irqrestore(&queue->lock, flags);
}

static bool wait_entry_is_queued(const struct wait_entry *entry)
{
    const struct list_node *next = atomic_load_acquire(&entry->node.next);
    return next != NULL && next != &entry->node;
}

void wait_remove(struct wait_queue *queue, struct wait_entry *entry)
{
    if (!wait_entry_is_queued(entry))
        return;
    uint64_t flags = spin_lock_irqsave(&queue->lock);
    if (wait_entry_is_queued(entry))
        wait_entry_unlink(entry);
    spin_unlock_irqrestore(&queue->lock, flags);
}

void wait_prepare(struct wait_queue *queue, struct wait_entry *entry, enum thread_state state)
{
    uint64_t flags = spin_lock_irqsave(&queue->lock);
    if (!wait_entry_is_queued(entry))
        wait_add_locked(queue, entry);
    thread_prepare_sleep(state); // I1
    spin_unlock_irqrestore(&queue->lock, flags);
}

void wait_finish(struct wait_queue *queue, struct wait_entry *entry)
{
    thread_cancel_sleep();
    wait_remove(queue, entry);
}

void completion_init(struct completion *completion)
{
    wait_queue_init(&completion->queue);
    completion->done = false;
}

// `done` is set and seen under the queue's lock only, so that the completion may lie on the
// waiter's stack: when the waiter has seen it, the completer is past its last access.
void completion_complete(struct completion *completion)
{
    struct wait_entry *entry, *following;
    uint64_t flags = spin_lock_irqsave(&completion->queue.lock);
    completion->done = true;
    list_for_each_entry_safe (entry, following, &completion->queue.entries, node)
        (void)wait_wake_entry(entry, false);
    spin_unlock_irqrestore(&completion->queue.lock, flags);
}

static bool completion_is_done(struct completion *completion)
{
    uint64_t flags = spin_lock_irqsave(&completion->queue.lock);
    bool done = completion->done;
    spin_unlock_irqrestore(&completion->queue.lock, flags);
    return done;
}

void completion_wait(struct completion *completion)
{
    might_sleep();
    wait_event(&completion->queue, completion_is_done(completion));
}

int completion_wait_killable(struct completion *completion)
{
    might_sleep();
    return wait_event_killable(&completion->queue, completion_is_done(completion));
}
