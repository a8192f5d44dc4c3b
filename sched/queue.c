// SPDX-License-Identifier: MIT
// A run queue: the classes put together. The earliest deadline first, then the highest FIFO/RR
// priority, then the fair class, then idle.
//
// The running thread of the fair class is outside its tree (fair.h); that of the other classes
// stays in its tree or list. All count as `running`. A deadline thread that is throttled is on the
// queue (SCHED_QUEUE_ON), but does not count; it may still be current, until its CPU switches.
#include "sched/run_queue.h"

#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/time.h"
#include "pv/pv.h"
#include <linux/sched.h>

void run_queue_init(struct run_queue *queue, uint32_t cpu, struct thread *idle)
{
    memset(queue, 0, sizeof(*queue));
    spin_lock_init(&queue->lock);
    queue->cpu = cpu;
    queue->idle = idle;
    queue->current = idle;
    queue->random_state = cpu;
    for (int priority = 0; priority < RT_PRIORITIES; priority++)
        list_init(&queue->rt.lists[priority]);
    list_init(&queue->dead);
    sched_tick_init(queue);
    run_queue_deadline_init(queue);
    queue->urgency = SCHED_NOT_URGENT;
}

#define SQUEEZED_NS     UINT64_C(100000)   // stolen in one go: another vCPU had the processor
#define SQUEEZED_FOR_NS UINT64_C(20000000) // how long that is remembered: some host time slices

static void rt_add(struct rt_queue *rt, struct thread *thread, bool at_head)
{
    uint8_t priority = thread->sched.rt_priority;
    if (at_head)
        list_add_head(&rt->lists[priority], &thread->sched.list);
    else
        list_add_tail(&rt->lists[priority], &thread->sched.list);
    rt->bitmap[priority / 64] |= UINT64_C(1) << (priority % 64);
    rt->count++;
}

static void rt_remove(struct rt_queue *rt, struct thread *thread)
{
    uint8_t priority = thread->sched.rt_priority;
    list_remove(&thread->sched.list);
    if (list_is_empty(&rt->lists[priority]))
        rt->bitmap[priority / 64] &= ~(UINT64_C(1) << (priority % 64));
    rt->count--;
}

static uint32_t rt_highest(const struct rt_queue *rt)
{
    return rt->bitmap[1] != 0 ? 64 + bit_highest(rt->bitmap[1]) : bit_highest(rt->bitmap[0]);
}

void run_queue_add(struct run_queue *queue, struct thread *thread, bool is_new)
{
    assert_lock_held(&queue->lock);
    debug_assert(thread->cpu == queue->cpu);
    debug_assert(thread->sched.queue_state != SCHED_QUEUE_ON);
    thread->sched.queue_state = SCHED_QUEUE_ON;
    if (sched_is_fair(thread)) {
        fair_enqueue(&queue->fair, &thread->sched, is_new);
    } else if (sched_is_deadline(thread)) {
        queue->special = true;
        deadline_enqueue(&queue->dl, &thread->sched.dl);
        if (thread->sched.dl.throttled) {
            sched_resched(queue); // so that the CPU arms its timer
            return;
        }
    } else {
        queue->special = true;
        if (thread->sched.slice_ns == 0)
            thread->sched.slice_ns = SCHED_RR_SLICE_NS;
        rt_add(&queue->rt, thread, false);
    }
    atomic_store_relaxed(&queue->running, queue->running + 1);
}

void run_queue_remove(struct run_queue *queue, struct thread *thread)
{
    assert_lock_held(&queue->lock);
    debug_assert(thread->sched.queue_state == SCHED_QUEUE_ON);
    thread->sched.queue_state = SCHED_QUEUE_NONE;
    if (sched_is_fair(thread)) {
        fair_dequeue(&queue->fair, &thread->sched);
    } else if (sched_is_deadline(thread)) {
        bool throttled = thread->sched.dl.throttled;
        deadline_dequeue(&queue->dl, &thread->sched.dl);
        if (throttled)
            return;
    } else {
        rt_remove(&queue->rt, thread);
    }
    atomic_store_relaxed(&queue->running, queue->running - 1);
}

// FIFO and RR threads leave the rest of each period to the others.
static void rt_charge(struct run_queue *queue, uint64_t delta_ns)
{
    struct rt_queue *rt = &queue->rt;
    if (queue->clock_ns - rt->period_start_ns >= RT_PERIOD_NS) {
        rt->period_start_ns = queue->clock_ns;
        rt->used_ns = 0;
    }
    rt->used_ns += delta_ns;
}

static bool rt_may_run(const struct run_queue *queue)
{
    const struct rt_queue *rt = &queue->rt;
    return rt->used_ns < RT_SHARE_NS || (queue->fair.count == 0 && queue->fair.current == NULL) ||
           queue->clock_ns - rt->period_start_ns >= RT_PERIOD_NS;
}

static bool rt_account(struct run_queue *queue, struct thread *current, uint64_t delta_ns)
{
    rt_charge(queue, delta_ns);
    if (current->sched.policy == SCHED_RR && delta_ns >= current->sched.slice_ns) {
        current->sched.slice_ns = SCHED_RR_SLICE_NS;
        list_move_tail(&queue->rt.lists[current->sched.rt_priority], &current->sched.list);
        return true;
    }
    if (current->sched.policy == SCHED_RR)
        current->sched.slice_ns -= delta_ns;
    return !rt_may_run(queue);
}

// What current really had of `delta_ns` of the clock: not what the host gave to others meanwhile.
// Only the CPU itself knows what was stolen from it; another one that looks charges all, and the
// next look of the CPU itself takes off what is too much.
static uint64_t run_queue_without_stolen(struct run_queue *queue, uint64_t delta_ns)
{
    if (queue->cpu != cpu_current())
        return delta_ns;
    uint64_t stolen_ns = pv_steal_ns();
    uint64_t taken_ns = MIN(stolen_ns - queue->stolen_seen_ns, delta_ns);
    if ((int64_t)taken_ns <= 0)
        return delta_ns;
    // What is more than the stretch was stolen before it: from nobody who ran.
    queue->stolen_seen_ns = stolen_ns;
    if (taken_ns >= SQUEEZED_NS)
        atomic_store_relaxed(&queue->squeezed_until_ns, queue->clock_ns + SQUEEZED_FOR_NS);
    atomic_store_relaxed(&queue->stolen_ns, queue->stolen_ns + taken_ns);
    return delta_ns - taken_ns;
}

bool run_queue_account_other(struct run_queue *queue, int64_t delta_ns)
{
    struct thread *current = queue->current;
    if (pv_has_steal)
        delta_ns = (int64_t)run_queue_without_stolen(queue, (uint64_t)delta_ns);
    atomic_store_relaxed(
        &current->sched.sum_exec_ns, current->sched.sum_exec_ns + (uint64_t)delta_ns);
    if (current == queue->idle)
        return false;
    if (!sched_is_fair(current))
        return sched_is_rt(current) ? rt_account(queue, current, (uint64_t)delta_ns)
                                    : run_queue_deadline_account(queue, (uint64_t)delta_ns);
    bool used_up = fair_account(&queue->fair, (uint64_t)delta_ns);
    // RT threads that have had their share run again when the period is over.
    return (used_up && queue->running > 1) || unlikely(queue->rt.count != 0 && rt_may_run(queue));
}

// The most urgent thread of the deadline class and FIFO/RR that may run; NULL: none.
static __noinline struct thread *run_queue_pick_urgent(
    struct run_queue *queue, struct thread *previous, bool yields)
{
    if (yields && previous != NULL && sched_is_deadline(previous))
        run_queue_deadline_yield(queue, previous);
    struct deadline_entity *first = deadline_first(&queue->dl);
    if (first != NULL)
        return container_of(first, struct thread, sched.dl);
    if (queue->rt.count == 0 || !rt_may_run(queue))
        return NULL;
    struct list_node *list = &queue->rt.lists[rt_highest(&queue->rt)];
    if (yields && previous != NULL && list->next == &previous->sched.list)
        list_move_tail(list, &previous->sched.list);
    return container_of(list->next, struct thread, sched.list);
}

struct thread *run_queue_pick(struct run_queue *queue, struct thread *previous, bool yields)
{
    struct fair_queue *fair = &queue->fair;
    bool previous_is_fair = previous != NULL && previous != queue->idle && sched_is_fair(previous);
    assert_lock_held(&queue->lock);
    if (unlikely(queue->special)) {
        struct thread *urgent = run_queue_pick_urgent(queue, previous, yields);
        if (urgent != NULL) {
            if (previous_is_fair)
                fair_put_current(fair);
            return urgent;
        }
    }
    if (fair->count == 0)
        return previous_is_fair ? previous : queue->idle;
    if (previous_is_fair && !yields)
        fair_put_current(fair);
    struct sched_entity *next = fair_pick(fair);
    if (previous_is_fair && yields)
        fair_put_current(fair);
    fair_set_current(fair, next);
    return container_of(next, struct thread, sched);
}

uint64_t sched_urgency(const struct thread *thread)
{
    if (sched_is_fair(thread))
        return SCHED_NOT_URGENT;
    if (sched_is_rt(thread))
        return SCHED_URGENCY_RT(thread->sched.rt_priority);
    return thread->sched.dl.throttled ? SCHED_NOT_URGENT : deadline_effective_ns(&thread->sched.dl);
}

bool run_queue_should_preempt(const struct run_queue *queue, const struct thread *woken)
{
    const struct thread *current = queue->current;
    if (unlikely(!sched_is_fair(woken)))
        return sched_urgency(woken) < sched_urgency(current) &&
               (sched_is_deadline(woken) || current == queue->idle || rt_may_run(queue));
    if (current == queue->idle)
        return true;
    if (unlikely(!sched_is_fair(current)) || woken->sched.policy == SCHED_BATCH ||
        woken->sched.policy == SCHED_IDLE)
        return false;
    return fair_should_preempt(&queue->fair, &woken->sched);
}
