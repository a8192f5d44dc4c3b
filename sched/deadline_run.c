// SPDX-License-Identifier: MIT
// The deadline class on a run queue: charging, waking, and the timer that ends budgets and gives
// new ones. deadline.h has the theory.
//
// Each CPU has one timer for both. It is armed by its own CPU, under the queue's lock, whenever the
// CPU has chosen a thread; who makes an earlier time matter from elsewhere makes the CPU choose
// (sched_resched()). It may fire for nothing, because what it was armed for has gone.
#include "kernel/arch/x86/arch.h"
#include "kernel/base/assert.h"
#include "kernel/core/counter.h"
#include "kernel/core/time.h"
#include "sched/run_queue.h"
#include "sched/sched.h"

COUNTER(sched, deadline_throttled);
COUNTER(sched, deadline_replenished);

bool run_queue_deadline_account(struct run_queue *queue, uint64_t delta_ns)
{
    struct thread *current = queue->current;
    assert_lock_held(&queue->lock);
    if (current->sched.dl.throttled)
        return true;
    if (!deadline_account(&queue->dl, &current->sched.dl, delta_ns))
        return false;
    if (current->sched.deadline_signal) {
        atomic_store_relaxed(&current->sched.deadline_overrun, true);
        thread_work_set(current, THREAD_WORK_RESUME);
    }
    if (current->sched.dl.throttled) {
        counter_add(sched, deadline_throttled, 1);
        atomic_store_relaxed(&queue->running, queue->running - 1);
    }
    sched_resched(queue);
    return true;
}

void run_queue_deadline_yield(struct run_queue *queue, struct thread *current)
{
    assert_lock_held(&queue->lock);
    debug_assert(queue->current == current);
    if (!current->sched.dl.throttled && deadline_yield(&queue->dl, &current->sched.dl))
        atomic_store_relaxed(&queue->running, queue->running - 1);
}

void sched_deadline_wake(struct thread *thread)
{
    deadline_wake(&thread->sched.dl, time_monotonic_ns());
}

void run_queue_deadline_arm(struct run_queue *queue)
{
    assert_lock_held(&queue->lock);
    debug_assert(queue->cpu == cpu_current());
    uint64_t event_ns = deadline_next_replenishment_ns(&queue->dl);
    const struct thread *current = queue->current;
    if (sched_is_deadline(current) && current->sched.dl.budget_ns > 0)
        event_ns = MIN(event_ns, queue->clock_ns + (uint64_t)current->sched.dl.budget_ns);
    if (event_ns == UINT64_MAX)
        return;
    if (timer_is_queued(&queue->dl_timer) && timer_deadline_ns(&queue->dl_timer) <= event_ns)
        return;
    timer_arm(&queue->dl_timer, event_ns);
}

static void deadline_timer_fired(struct timer *timer)
{
    struct run_queue *queue = container_of(timer, struct run_queue, dl_timer);
    uint64_t now_ns = time_monotonic_ns();
    spin_lock(&queue->lock);
    if (run_queue_account(queue, now_ns))
        sched_resched(queue);
    uint32_t count = deadline_replenish(&queue->dl, now_ns);
    if (count != 0) {
        counter_add(sched, deadline_replenished, count);
        atomic_store_relaxed(&queue->running, queue->running + count);
        sched_resched(queue); // it compares, and arms the timer
    } else {
        run_queue_deadline_arm(queue);
    }
    spin_unlock_no_resched(&queue->lock);
}

void run_queue_deadline_init(struct run_queue *queue)
{
    timer_init(&queue->dl_timer, deadline_timer_fired);
}
