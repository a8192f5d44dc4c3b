// SPDX-License-Identifier: MIT
// The fair class: eligible earliest virtual deadline first. Pure data structure: no lock, no clock,
// no CPU; the run queue that it belongs to has all of these. Also compiled for the host.
//
// Each thread has a weight by its nice value and a virtual run time that advances with its run time
// divided by its weight. The average of the virtual run times, weighted, is what each would have
// with ideal sharing: a thread that is not ahead of it is owed time, it is "eligible". A thread
// asks for slices; the virtual deadline of a slice is where its virtual run time will be when the
// slice is used up. Picked is, of the eligible threads, the one with the earliest deadline: that
// bounds what each can be owed by about one slice, and short slices give low latency.
//
// Invariants:
//   F1  the queued threads, without the running one (`current`), are in the tree, ordered by
//       deadline; min_vruntime of a node is the least vruntime in its subtree. A single one may be
//       `only` instead, and the tree empty: two threads that wake each other never touch the tree;
//   F2  sum_weight and sum_weighted = sum of weight * (vruntime - base) are over the queued
//       threads;
//   F3  virtual times are compared by their difference, so they may wrap;
//   F4  a thread that leaves keeps its lag (average - vruntime, at most two slices either way) and
//       gets it back when it returns: sleeping neither earns nor loses.
//
// Two threads that hand work to each other are the case that has to be fast, and the one where
// nothing has to be searched: with nobody else on the queue the next thread is the other one. The
// fair_pair functions do for two threads of nice 0, and the fair_alone functions for one, what
// enqueue, dequeue, put and pick do for any number, with the same results (fair_test.c compares
// them).
#pragma once

#include "kernel/base/assert.h"
#include "kernel/core/thread.h"

#define FAIR_WEIGHT_NICE_0 1024u
#define FAIR_SLICE_NS      UINT64_C(3000000)

struct fair_queue {
    struct rbtree_cached tree;    // F1
    struct sched_entity *only;    // F1
    struct sched_entity *current; // picked and not put back; NULL: none
    int64_t sum_weighted;         // F2
    uint64_t sum_weight;          // F2
    uint64_t base;                // F2: moves along, so that the products stay small
    uint32_t count;               // of queued threads
};

uint32_t fair_weight(int nice); // -20..19

// A thread becomes runnable. Not queued. `is_new`: never ran; its first slice is halved.
void fair_enqueue(struct fair_queue *queue, struct sched_entity *entity, bool is_new);
// A thread leaves: sleeps, dies or goes to another CPU. It is queued or current.
void fair_dequeue(struct fair_queue *queue, struct sched_entity *entity);
// The thread that should run next, or NULL. Stays where it is.
struct sched_entity *fair_pick(const struct fair_queue *queue);
// Takes a queued thread as current; there must be none.
void fair_set_current(struct fair_queue *queue, struct sched_entity *entity);
// Puts current, which stays runnable, back among the queued.
void fair_put_current(struct fair_queue *queue);
void fair_rebase(struct fair_queue *queue); // for fair_account()
// Should `woken`, which is queued, run instead of current?
bool fair_should_preempt(const struct fair_queue *queue, const struct sched_entity *woken);
void fair_set_nice(
    struct fair_queue *queue, struct sched_entity *entity, int nice); // queue NULL: not queued
// The queued threads from the latest deadline on: the first (previous NULL), the one after
// `previous`; NULL at the end.
struct sched_entity *fair_next_latest(
    const struct fair_queue *queue, struct sched_entity *previous);
bool fair_is_eligible(const struct fair_queue *queue, const struct sched_entity *entity);
bool fair_is_valid(const struct fair_queue *queue); // O(n): for assertions and tests

static inline int64_t fair_difference(uint64_t a, uint64_t b)
{
    return (int64_t)(a - b); // F3
}

// Run time in virtual time.
static inline uint64_t fair_virtual(const struct sched_entity *entity, uint64_t run_ns)
{
    if (likely(entity->weight == FAIR_WEIGHT_NICE_0))
        return run_ns;
    return run_ns * FAIR_WEIGHT_NICE_0 / entity->weight;
}

#define FAIR_REBASE_NS (INT64_C(1) << 32)

// Current ran for delta_ns. True when its slice is used up (a new one has begun).
static inline bool fair_account(struct fair_queue *queue, uint64_t delta_ns)
{
    struct sched_entity *entity = queue->current;
    debug_assert(entity != NULL);
    entity->vruntime += fair_virtual(entity, delta_ns);
    if (unlikely(fair_difference(entity->vruntime, queue->base) > FAIR_REBASE_NS))
        fair_rebase(queue);
    if (likely(fair_difference(entity->vruntime, entity->deadline) < 0))
        return false;
    entity->deadline = entity->vruntime + fair_virtual(entity, entity->slice_ns);
    return true;
}

static __always_inline void fair_set_waiting(struct fair_queue *queue, struct sched_entity *entity)
{
    queue->only = entity;
    queue->count = 1;
    queue->sum_weight = entity->weight;
    queue->sum_weighted = (int64_t)entity->weight * fair_difference(entity->vruntime, queue->base);
}

// `only` becomes current.
static inline struct sched_entity *fair_take_waiting(struct fair_queue *queue)
{
    struct sched_entity *next = queue->only;
    queue->current = next;
    queue->only = NULL;
    queue->count = 0;
    queue->sum_weight = 0;
    queue->sum_weighted = 0;
    return next;
}

// ---- one thread --------------------------------------------------------------------------------

// fair_enqueue() where nobody is, of a thread that was asleep.
static inline void fair_alone_join(struct fair_queue *queue, struct sched_entity *entity)
{
    debug_assert(queue->count == 0);
    debug_assert(queue->current == NULL);
    entity->vruntime = queue->base;
    entity->deadline = entity->vruntime + fair_virtual(entity, entity->slice_ns);
    fair_set_waiting(queue, entity);
}

// Does one thread wait, and none runs?
static inline bool fair_waits_alone(const struct fair_queue *queue)
{
    return queue->only != NULL && queue->current == NULL;
}

// fair_dequeue() of current while nobody waits.
static inline void fair_alone_leave(struct fair_queue *queue)
{
    debug_assert(queue->count == 0);
    queue->current->lag = 0;
    queue->base = queue->current->vruntime;
    queue->current = NULL;
}

// ---- two threads -------------------------------------------------------------------------------

// Would `entity`, which is not queued, make a pair with current?
static inline bool fair_pair_may_join(
    const struct fair_queue *queue, const struct sched_entity *entity)
{
    return queue->count == 0 && queue->current != NULL &&
           queue->current->weight == FAIR_WEIGHT_NICE_0 && entity->weight == FAIR_WEIGHT_NICE_0;
}

// Is there current and exactly one that waits, both of nice 0?
static inline bool fair_is_pair(const struct fair_queue *queue)
{
    return queue->only != NULL && queue->current != NULL &&
           queue->only->weight == FAIR_WEIGHT_NICE_0 &&
           queue->current->weight == FAIR_WEIGHT_NICE_0;
}

// fair_enqueue() of a thread that was asleep; fair_pair_may_join() must hold.
static __always_inline void fair_pair_join(struct fair_queue *queue, struct sched_entity *entity)
{
    entity->vruntime = queue->current->vruntime - (uint64_t)(2 * entity->lag); // F4
    entity->deadline = entity->vruntime + entity->slice_ns;
    fair_set_waiting(queue, entity);
}

// Current leaves (fair_dequeue()) and the one that waits is taken instead.
static inline struct sched_entity *fair_pair_leave(struct fair_queue *queue)
{
    struct sched_entity *current = queue->current;
    int64_t limit = (int64_t)(2 * current->slice_ns);
    int64_t lag =
        fair_difference(queue->only->vruntime, current->vruntime) >> 1; // down, as the average
    debug_assert(fair_is_pair(queue));
    current->lag = CLAMP(lag, -limit, limit);
    return fair_take_waiting(queue);
}

// Current goes on waiting and the one that waits is taken instead.
static inline struct sched_entity *fair_pair_swap(struct fair_queue *queue)
{
    struct sched_entity *current = queue->current;
    struct sched_entity *next = queue->only;
    debug_assert(fair_is_pair(queue));
    queue->current = next;
    fair_set_waiting(queue, current);
    return next;
}

// fair_should_preempt() for the one that waits.
static inline bool fair_pair_other_preempts(const struct fair_queue *queue)
{
    const struct sched_entity *current = queue->current;
    const struct sched_entity *other = queue->only;
    return fair_difference(other->deadline, current->deadline) < 0 &&
           fair_difference(other->vruntime, current->vruntime) <= 0;
}

// Should the one that waits run rather than current, as fair_pick() says? Eligible is who has run less; the
// earlier deadline decides if that one is eligible.
static inline bool fair_pair_other_is_next(const struct fair_queue *queue)
{
    const struct sched_entity *current = queue->current;
    const struct sched_entity *other = queue->only;
    debug_assert(fair_is_pair(queue));
    if (fair_difference(other->deadline, current->deadline) <= 0)
        return fair_difference(other->vruntime, current->vruntime) <= 0;
    return fair_difference(current->vruntime, other->vruntime) > 0;
}
