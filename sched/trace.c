// SPDX-License-Identifier: MIT
// What the scheduler's tracepoints say, with Linux' numbers. Called when somebody listens.
#include "kernel/core/trace_points.h"
#include "sched/run_queue.h"

// As Linux counts: 0 to 98 real time, 120 + nice.
static int32_t priority_of(const struct thread *thread)
{
    if (sched_is_deadline(thread))
        return -1;
    return sched_is_rt(thread) ? 99 - thread->sched.rt_priority : 120 + thread->sched.nice;
}

// The states in which a thread leaves the CPU: 256 is "could have gone on".
static int64_t state_of(const struct thread *thread, bool runnable)
{
    uint32_t state = atomic_load_relaxed(&thread->state);
    if (runnable)
        return 256;
    if (state & (THREAD_UNINTERRUPTIBLE | THREAD_KILLABLE))
        return 2;
    return state & THREAD_STOPPED ? 4 : state & THREAD_DEAD ? 32 : 1;
}

__noinline void sched_trace_switch(
    const struct thread *previous, const struct thread *next, bool runnable)
{
    trace(sched_switch, .prev_comm = trace_comm(previous), .prev_pid = (int32_t)previous->tid,
        .prev_prio = priority_of(previous), .prev_state = state_of(previous, runnable),
        .next_comm = trace_comm(next), .next_pid = (int32_t)next->tid,
        .next_prio = priority_of(next));
}

__noinline void sched_trace_wakeup(const struct thread *thread, uint32_t cpu, bool is_new)
{
    if (is_new)
        trace(sched_wakeup_new, .comm = trace_comm(thread), .pid = (int32_t)thread->tid,
            .prio = priority_of(thread), .target_cpu = (int32_t)cpu);
    else
        trace(sched_wakeup, .comm = trace_comm(thread), .pid = (int32_t)thread->tid,
            .prio = priority_of(thread), .target_cpu = (int32_t)cpu);
}

__noinline void sched_trace_migrate(const struct thread *thread, uint32_t from_cpu, uint32_t to_cpu)
{
    trace(sched_migrate_task, .comm = trace_comm(thread), .pid = (int32_t)thread->tid,
        .prio = priority_of(thread), .orig_cpu = (int32_t)from_cpu, .dest_cpu = (int32_t)to_cpu);
}
