// SPDX-License-Identifier: MIT
// The deadline class: earliest deadline first, each thread in a constant-bandwidth server. Pure
// data structure: no lock, no clock, no CPU; the run queue that it belongs to has all of these.
// Also compiled for the host.
//
// A thread reserves `runtime` of each `period`, to be had within `deadline` of the beginning of the
// period (sched(7), "SCHED_DEADLINE"). Its server has a budget, and an absolute deadline for that
// budget; of the servers that have budget left, the one with the earliest deadline runs. What a
// thread runs is taken off its budget. When that is used up the thread waits ("is throttled") until
// its period is over, gets the runtime of the next one, and a deadline that much later. So one that
// runs longer than it said takes nothing from others; and if all bandwidths together
// (runtime / period) are within what the CPUs have, each gets its runtime before each deadline on
// one CPU, and is late by a bounded time on several.
//
// Invariants:
//   D1  ready and throttled servers are in one tree each, ordered by deadline and by the time of
//       replenishment; the running one stays in `ready`. The deadline is fixed while it is queued
//       (`effective_ns`): its own, or that of who waits for it if that is earlier or the budget is
//       used up;
//   D2  budget > 0 or the server is boosted: it is in `ready`; else in `throttled`, which it leaves
//       at `until - deadline + period`, the beginning of its next period;
//   D3  a server that wakes keeps budget and deadline only if using the budget up until the
//       deadline takes no more than its bandwidth: budget * period <= (until - now) * runtime, with
//       the deadline instead of the period where that is shorter (density). Else it gets a new
//       period that begins now. So sleeping never gathers bandwidth;
//   D4  where the deadline is shorter than the period, a server that has used its time up to its
//       deadline gets no new period before the old one is over: it is throttled until then.
//
// Boosted: somebody with an earlier deadline waits for a lock of the thread. It runs with that
// deadline, also without budget; what it uses it pays back later (its budget gets negative).
#pragma once

#include "kernel/core/thread.h"

#define DEADLINE_RUNTIME_MIN_NS UINT64_C(1024)
#define DEADLINE_PERIOD_MIN_NS  UINT64_C(100000)
#define DEADLINE_PERIOD_MAX_NS  (UINT64_C(4194304) * 1000)
#define DEADLINE_BANDWIDTH_ONE  (UINT64_C(1) << 20) // a whole CPU
// What each CPU may be reserved at most: 95 %.
#define DEADLINE_BANDWIDTH_CPU (DEADLINE_BANDWIDTH_ONE * 95 / 100)

struct deadline_queue {
    struct rbtree_cached ready;     // D1
    struct rbtree_cached throttled; // D1
    uint32_t ready_count, throttled_count;
};

// Parameters as sched_setattr(2) takes them; period 0 is the deadline.
bool deadline_parameters_valid(uint64_t runtime_ns, uint64_t deadline_ns, uint64_t period_ns);
// The share of a CPU, in parts of DEADLINE_BANDWIDTH_ONE; 0 for runtime 0. Period not 0.
uint64_t deadline_bandwidth(uint64_t runtime_ns, uint64_t period_ns);
// May `wanted` be reserved besides `total`, of which `released` is given back?
bool deadline_is_admitted(uint64_t total, uint64_t released, uint64_t wanted, uint32_t cpu_count);

// New parameters, valid ones; the server, on no queue, begins its first period when it wakes.
void deadline_set(
    struct deadline_entity *entity, uint64_t runtime_ns, uint64_t deadline_ns, uint64_t period_ns);
// The server becomes runnable at now_ns, before it is queued: D3, D4.
void deadline_wake(struct deadline_entity *entity, uint64_t now_ns);
// Queues a server where its budget says. Not queued.
void deadline_enqueue(struct deadline_queue *queue, struct deadline_entity *entity);
void deadline_dequeue(struct deadline_queue *queue, struct deadline_entity *entity);
// A ready server ran for delta_ns. True: its budget is used up now. It is throttled, or, if it is
// boosted, has the deadline of who waits for it.
bool deadline_account(
    struct deadline_queue *queue, struct deadline_entity *entity, uint64_t delta_ns);
// A ready server gives the rest of its budget back and waits for its next period. False: it is
// boosted and stays ready.
bool deadline_yield(struct deadline_queue *queue, struct deadline_entity *entity);
// The ready server with the earliest deadline, and the one after `entity`; NULL: none.
struct deadline_entity *deadline_first(const struct deadline_queue *queue);
struct deadline_entity *deadline_next(const struct deadline_entity *entity);
// The throttled server that gets budget first; NULL: none.
struct deadline_entity *deadline_first_throttled(const struct deadline_queue *queue);
// When the first throttled server gets budget again; UINT64_MAX: none waits.
uint64_t deadline_next_replenishment_ns(const struct deadline_queue *queue);
// Gives the throttled servers whose time has come their budget; their number.
uint32_t deadline_replenish(struct deadline_queue *queue, uint64_t now_ns);
// The deadline that counts while it is not queued.
uint64_t deadline_effective_ns(const struct deadline_entity *entity);
bool deadline_is_valid(const struct deadline_queue *queue); // O(n): for assertions and tests
