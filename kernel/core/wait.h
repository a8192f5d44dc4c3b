// SPDX-License-Identifier: MIT
// Wait queues: lists of sleepers (or of callbacks: poll, epoll) that are told when a condition may
// have changed. The condition itself belongs to the caller; see the sleep protocol in thread.h.
#pragma once

#include "kernel/base/list.h"
#include "kernel/core/spinlock.h"
#include "kernel/core/thread.h"
#include "kernel/core/upcall.h"

struct wait_queue {
    struct spinlock lock; // protects entries; taken with interrupts off
    struct list_node entries;
};

struct wait_entry;
// Called under the queue's lock with interrupts off; must not sleep. `key` is what the waker passed
// (poll events, or 0). Returns true when it consumed an exclusive wake-up.
typedef bool wait_wake_function(struct wait_entry *entry, uint32_t key);

struct wait_entry {
    struct list_node node; // in queue->entries; list_init'ed when not queued
    wait_wake_function *wake;
    struct thread *thread; // for wait_wake_thread
    bool exclusive;        // at most one exclusive entry is woken by wait_wake_one
    void *context;         // for the callback's owner
};

#define WAIT_QUEUE_INIT(name, label)                                                               \
    {.lock = SPINLOCK_INIT(label), .entries = LIST_INIT((name).entries)}
#define wait_queue_init(queue)                                                                     \
    do {                                                                                           \
        spin_lock_init(&(queue)->lock);                                                            \
        list_init(&(queue)->entries);                                                              \
    } while (0)

wait_wake_function
    wait_wake_thread; // the usual callback: wakes entry->thread and unqueues the entry

static inline bool wait_queue_is_empty(const struct wait_queue *queue)
{
    return __atomic_load_n(&queue->entries.next, __ATOMIC_RELAXED) == &queue->entries;
}

// Wakes all non-exclusive entries and up to `exclusive` exclusive ones. Any context but NMI. A full
// fence precedes the look at the list, so "store condition; wait_wake()" pairs with "queue entry;
// look at condition". With no entry queued it costs the fence and a load.
void wait_wake(struct wait_queue *queue, uint32_t exclusive, uint32_t key);
#define wait_wake_all(queue) wait_wake((queue), UINT32_MAX, 0)
#define wait_wake_one(queue) wait_wake((queue), 1, 0)
// Like wait_wake_one, but tells the scheduler that the caller is about to sleep, so that the woken
// thread may be run here at once (direct hand-over).
void wait_wake_sync(struct wait_queue *queue, uint32_t exclusive, uint32_t key);

void wait_entry_init(struct wait_entry *entry, bool exclusive); // for the running thread
void wait_add(
    struct wait_queue *queue, struct wait_entry *entry); // exclusive entries go to the tail
void wait_remove(
    struct wait_queue *queue, struct wait_entry *entry); // also fine when unqueued already

// Queues the entry if it is not queued, then thread_prepare_sleep(state).
void wait_prepare(struct wait_queue *queue, struct wait_entry *entry, enum thread_state state);
// Takes entry and sleep back.
void wait_finish(struct wait_queue *queue, struct wait_entry *entry);

// Sleep until `condition` (evaluated again after each wake-up) is true. deadline_ns is absolute
// monotonic time, UINT64_MAX for none. Result: 0, -EINTR (interruptible: a signal is pending;
// killable: a fatal one), -ETIMEDOUT.
#define wait_event_state(queue, condition, sleep_state, is_exclusive, deadline_ns)                 \
    ({                                                                                             \
        int wait_result = 0;                                                                       \
        if (!(condition)) {                                                                        \
            struct wait_entry wait_entry_here;                                                     \
            wait_entry_init(&wait_entry_here, (is_exclusive));                                     \
            for (;;) {                                                                             \
                wait_prepare((queue), &wait_entry_here, (sleep_state));                            \
                if (condition)                                                                     \
                    break;                                                                         \
                wait_result = sched_block((deadline_ns));                                          \
                /* Awake: if it holds now, there is no need to queue again. */                     \
                if (condition) {                                                                   \
                    wait_result = 0;                                                               \
                    break;                                                                         \
                }                                                                                  \
                if (wait_result != 0)                                                              \
                    break;                                                                         \
            }                                                                                      \
            wait_finish((queue), &wait_entry_here);                                                \
        }                                                                                          \
        wait_result;                                                                               \
    })
#define wait_event(queue, condition)                                                               \
    ((void)wait_event_state((queue), (condition), THREAD_UNINTERRUPTIBLE, false, UINT64_MAX))
#define wait_event_interruptible(queue, condition)                                                 \
    wait_event_state((queue), (condition), THREAD_INTERRUPTIBLE, false, UINT64_MAX)
#define wait_event_interruptible_exclusive(queue, condition)                                       \
    wait_event_state((queue), (condition), THREAD_INTERRUPTIBLE, true, UINT64_MAX)
#define wait_event_interruptible_until(queue, condition, deadline_ns)                              \
    wait_event_state((queue), (condition), THREAD_INTERRUPTIBLE, false, (deadline_ns))
#define wait_event_killable(queue, condition)                                                      \
    wait_event_state((queue), (condition), THREAD_KILLABLE, false, UINT64_MAX)

// One-shot event.
struct completion {
    struct wait_queue queue;
    bool done;
};
void completion_init(struct completion *completion);
void completion_complete(struct completion *completion); // any context but NMI
void completion_wait(struct completion *completion);     // uninterruptible
[[nodiscard]] int completion_wait_killable(struct completion *completion);
