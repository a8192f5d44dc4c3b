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
#pragma once

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
// Current ran for delta_ns. True when its slice is used up (a new one has begun).
bool fair_account(struct fair_queue *queue, uint64_t delta_ns);
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
