// SPDX-License-Identifier: MIT
// The tick: a timer of each CPU that runs only while it is needed.
//
// While threads wait for the CPU it comes every SCHED_TICK_NS and ends slices. While one thread
// runs alone, it comes after 8 ms, 16 ms, ... 256 ms: each tick attributes what was run since the
// last one to user or system time, by where it found the CPU. An idle CPU has none; one that is
// armed when the CPU goes idle fires once and is not armed again.
//
// A thread that has slept again soon many times in a row, and runs alone, gets no tick: arming it
// would be an exit each time. Nothing depends on it there, and if the thread does run for long,
// the first interrupt that comes by arms it: RCU sends one when it waits for the CPU, and whoever
// puts a second thread on the queue does.
//
// Runs are counted here, as they end: short ones for that purpose, brief ones for sched.c, which
// hands over to what a thread wakes that always sleeps at once.
#include "kernel/arch/x86/arch.h"
#include "kernel/core/percpu.h"
#include "kernel/core/rcu.h"
#include "kernel/core/time.h"
#include "sched/run_queue.h"
#include "sched/sched.h"
#include "sched/tick.h"

#define SHORT_RUN_NS UINT64_C(500000)
#define SHORT_RUNS   16 // in a row, and the next is expected to be one
#define BRIEF_RUN_NS UINT64_C(20000)

static void sched_tick_fired(struct timer *timer)
{
    (void)timer;
    this_cpu(sched_tick_pending) = true; // sched_interrupt_exit() knows what was interrupted
}

void sched_tick_init(struct run_queue *queue)
{
    timer_init(&queue->tick, sched_tick_fired);
}

void sched_tick_need(struct run_queue *queue)
{
    bool contended = queue->running > 1;
    if (likely(contended ? queue->tick_fast : queue->tick_armed))
        return;
    if (queue->cpu != cpu_current()) {
        // A timer is armed by its own CPU. An idle one will, when it switches to the thread.
        if (contended && queue->current != queue->idle &&
            atomic_exchange(&queue->tick_wanted, 1u) == 0)
            sched_interrupt_cpu(queue->cpu);
        return;
    }
    atomic_store_relaxed(&queue->tick_wanted, 0u);
    queue->tick_left_out = !contended && queue->current->sched.short_runs >= SHORT_RUNS;
    if (queue->tick_left_out)
        return;
    queue->tick_armed = true;
    queue->tick_fast = contended;
    queue->tick_backoff = SCHED_BACKOFF_FIRST;
    timer_arm(&queue->tick,
        queue->clock_ns + (contended ? SCHED_TICK_NS : SCHED_TICK_NS << SCHED_BACKOFF_FIRST));
}

void sched_tick_note_run(struct thread *thread)
{
    struct sched_entity *entity = &thread->sched;
    uint64_t run_ns = entity->sum_exec_ns - entity->run_start_ns;
    entity->run_start_ns = entity->sum_exec_ns;
    if (run_ns >= SHORT_RUN_NS)
        entity->short_runs = 0;
    else if (entity->short_runs < SHORT_RUNS)
        entity->short_runs++;
    if (run_ns >= BRIEF_RUN_NS)
        entity->brief_runs = 0;
    else if (entity->brief_runs < SCHED_BRIEF_RUNS)
        entity->brief_runs++;
}

void sched_tick_late(struct run_queue *queue)
{
    assert_irqs_off();
    if (atomic_load_relaxed(&queue->current) == queue->idle)
        return;
    uint64_t now_ns = time_monotonic_ns();
    if (now_ns - atomic_load_relaxed(&queue->clock_ns) < SCHED_TICK_NS)
        return;
    spin_lock(&queue->lock);
    queue->tick_left_out = false;
    if (queue->current != queue->idle) {
        (void)run_queue_account(queue, now_ns);
        queue->current->sched.short_runs = 0;
        queue->current->sched.brief_runs = 0;
        sched_tick_need(queue);
    }
    spin_unlock_no_resched(&queue->lock);
}

void sched_tick_stop(struct run_queue *queue)
{
    assert_irqs_off();
    (void)timer_cancel(&queue->tick);
    (void)timer_cancel(&queue->dl_timer);
    spin_lock(&queue->lock);
    queue->tick_armed = false;
    queue->tick_fast = false;
    spin_unlock_no_resched(&queue->lock);
}

void sched_sample(struct thread *thread, bool user)
{
    uint64_t delta_ns = thread->sched.sum_exec_ns - thread->sched.sample_exec_ns;
    struct run_queue *queue = this_cpu_ptr(run_queue);
    thread->sched.sample_exec_ns = thread->sched.sum_exec_ns;
    uint64_t *of_thread = user ? &thread->user_ns : &thread->system_ns;
    uint64_t *of_cpu = user ? &queue->user_ns : &queue->system_ns;
    atomic_store_relaxed(of_thread, *of_thread + delta_ns);
    atomic_store_relaxed(of_cpu, *of_cpu + delta_ns);
}

void sched_tick(bool was_user)
{
    struct run_queue *queue = this_cpu_ptr(run_queue);
    uint64_t now_ns = time_monotonic_ns();
    spin_lock(&queue->lock);
    if (run_queue_account(queue, now_ns))
        sched_resched(queue);
    queue->tick_armed = false;
    queue->tick_fast = false;
    if (queue->current != queue->idle) {
        queue->current->sched.brief_runs = 0; // what it wakes need not wait for it any longer
        sched_sample(queue->current, was_user);
        uint32_t backoff = queue->tick_backoff;
        if (queue->running > 1) {
            sched_tick_need(queue);
        } else {
            queue->tick_backoff = MIN(backoff + 1, (uint32_t)SCHED_BACKOFF_MAX);
            queue->tick_armed = true;
            timer_arm(&queue->tick, now_ns + (SCHED_TICK_NS << queue->tick_backoff));
        }
    }
    spin_unlock_no_resched(&queue->lock);
    sched_load_update(now_ns);
    rcu_tick(was_user);
    sched_balance(queue);
}
