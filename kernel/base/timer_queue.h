// SPDX-License-Identifier: MIT
//
// Queue of deadlines, earliest first; equal deadlines in the order of insertion. Insertion and
// removal O(log n), the earliest O(1). Nothing here locks, allocates or knows a clock.
#pragma once

#include "kernel/base/rbtree.h"

struct timer_queue_node {
    struct rbtree_node node;
    uint64_t deadline_ns; // must not change while the node is queued
};

struct timer_queue {
    struct rbtree_cached tree;
};

static inline bool timer_queue_less_(const struct rbtree_node *a, const struct rbtree_node *b)
{
    return container_of(a, struct timer_queue_node, node)->deadline_ns <
           container_of(b, struct timer_queue_node, node)->deadline_ns;
}

static inline bool timer_queue_is_queued(const struct timer_queue_node *timer)
{
    return rbtree_is_linked(&timer->node);
}

// True if this is the earliest deadline now (so that the hardware timer has to be armed again).
static inline bool timer_queue_insert(struct timer_queue *queue, struct timer_queue_node *timer)
{
    return rbtree_cached_insert(&queue->tree, &timer->node, timer_queue_less_);
}

static inline void timer_queue_remove(struct timer_queue *queue, struct timer_queue_node *timer)
{
    rbtree_cached_remove(&queue->tree, &timer->node, nullptr);
}

// NULL if the queue is empty.
static inline struct timer_queue_node *timer_queue_first(const struct timer_queue *queue)
{
    return rbtree_entry_or_null(rbtree_cached_first(&queue->tree), struct timer_queue_node, node);
}
