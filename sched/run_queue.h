// SPDX-License-Identifier: MIT
// What the files of sched/ share: the run queue of a CPU. sched.c has the theory.
#pragma once

#include "kernel/core/cpumask.h"
#include "kernel/core/spinlock.h"
#include "kernel/core/thread.h"
#include "kernel/core/timer.h"
#include "pv/pv.h"
#include "sched/deadline.h"
#include "sched/fair.h"
#include "sched/sched.h"

// sched_entity.queue_state; changes only under the lock of the run queue that thread->cpu names.
enum sched_queue_state : uint8_t {
    SCHED_QUEUE_NONE,    // on no queue: asleep, new or dead; its context is saved (S2 in sched.c)
    SCHED_QUEUE_ON,      // runs or waits on that queue
    SCHED_QUEUE_TRANSIT, // one CPU is carrying it to another queue
};

#define RT_PRIORITIES 100 // 1..99 are used
#define RT_PERIOD_NS  UINT64_C(1000000000)
#define RT_SHARE_NS   UINT64_C(950000000) // of each period, if others wait

// FIFO and RR: a list for each priority. The running thread stays at the head of its list.
struct rt_queue {
    uint64_t bitmap[2];
    struct list_node lists[RT_PRIORITIES];
    uint32_t count;
    // So that a thread which never sleeps leaves something to the others.
    uint64_t period_start_ns;
    uint64_t used_ns; // run in this period
};

// What a CPU without work does; atomic, written by that CPU.
enum sched_idle_state : uint32_t { SCHED_BUSY, SCHED_IDLE_POLLS, SCHED_IDLE_HALTS };

struct run_queue {
    struct spinlock lock;
    uint32_t cpu;
    struct thread *current; // under lock
    struct thread *idle;    // fixed
    // Threads queued, current included, idle and the throttled not; under lock, read as a hint.
    uint32_t running;
    // Not only fair threads are concerned: set when one of another class is queued, cleared by
    // sched_urgent_switch() when none is left and none ran. One test keeps the fair path short.
    bool special;             // under lock
    struct fair_queue fair;   // under lock
    struct rt_queue rt;       // under lock
    struct deadline_queue dl; // under lock
    uint64_t clock_ns;        // when it was last looked at the clock; under lock
    uint64_t stolen_seen_ns;  // stolen time that was taken off what threads ran; under lock
    struct thread *migrating; // switched away from, to be carried to another CPU; under lock
    struct list_node
        dead;       // threads that the reaper will get (sched_entity.list); own CPU, preemption off
    bool tick_fast; // the tick is armed at SCHED_TICK_NS; under lock
    bool tick_armed;        // under lock
    bool tick_left_out;     // current is expected to sleep before it would come; own CPU
    uint32_t tick_backoff;  // log2 of the sampling period in ticks; under lock
    uint32_t balance_ticks; // own CPU
    struct timer tick;
    struct timer
        dl_timer; // the end of the running budget or the next replenishment; deadline_run.c
    uint64_t random_state; // own CPU

    // Statistics: written by the own CPU, read by all.
    uint64_t switches, forks;
    uint64_t idle_ns, user_ns, system_ns, interrupt_ns;
    uint64_t stolen_ns;         // taken from threads while they had this CPU
    uint64_t squeezed_until_ns; // until then the host is taken to have too few processors; a hint
    uint64_t idle_start_ns;

    // Written by other CPUs.
    __cache_aligned struct thread *wake_list; // S4: a stack of threads to be woken here; atomic
    uint64_t urgency;     // of current (sched_urgency()); atomic, written by its CPU, a hint
    uint32_t idle_state;  // enum sched_idle_state; atomic
    uint32_t tick_wanted; // another CPU queued something: a tick is needed; atomic
    bool overloaded;      // our bit in sched_overloaded is set; a hint
};

PERCPU_DECLARE(struct run_queue, run_queue);

#define SCHED_TICK_NS       UINT64_C(4000000)
#define SCHED_BACKOFF_FIRST 1 // sampling tick of a thread that runs alone: 8 ms ...
#define SCHED_BACKOFF_MAX   6 // ... to 256 ms
#define SCHED_RR_SLICE_NS   UINT64_C(100000000)
#define SCHED_BRIEF_RUNS    16 // in a row, and the next is expected to be one

extern bool sched_several_cpus;             // more than one CPU was ever on-line
extern struct cpumask sched_idle_mask;      // CPUs that idle; atomic, a hint
extern struct cpumask sched_urgent;         // CPUs that run an urgent thread; atomic, a hint
extern struct cpumask sched_urgent_waiting; // where urgent threads wait; atomic, a hint
extern struct cpumask sched_overloaded;     // CPUs where threads wait for a CPU; atomic, a hint

static inline struct run_queue *run_queue_of(uint32_t cpu)
{
    return percpu_of(run_queue, cpu);
}

static inline bool sched_is_fair(const struct thread *thread)
{
    return likely(thread->sched.class == SCHED_CLASS_FAIR);
}
static inline bool sched_is_rt(const struct thread *thread)
{
    return thread->sched.class == SCHED_CLASS_RT;
}
static inline bool sched_is_deadline(const struct thread *thread)
{
    return thread->sched.class == SCHED_CLASS_DEADLINE;
}

// May threads run there? Exact under its lock, else a hint.
static inline bool run_queue_is_active(const struct run_queue *queue)
{
    return cpumask_test(&cpu_active, queue->cpu);
}

// Locks the queue that thread->cpu names. Interrupts off.
struct run_queue *run_queue_lock_of(struct thread *thread);

// ---- queue.c: under the queue's lock -----------------------------------------------------------
void run_queue_init(struct run_queue *queue, uint32_t cpu, struct thread *idle);
// The thread, whose cpu is this queue's, becomes runnable on it.
void run_queue_add(struct run_queue *queue, struct thread *thread, bool is_new);
void run_queue_remove(
    struct run_queue *queue, struct thread *thread); // runnable no more; waits or is current
// For run_queue_account(): what is not the usual case of it.
bool run_queue_account_other(struct run_queue *queue, int64_t delta_ns);
// Takes the next thread as current. `previous` (NULL: none) stays runnable; `yields`: somebody else
// if there is one. Never NULL.
struct thread *run_queue_pick(struct run_queue *queue, struct thread *previous, bool yields);
// Should `woken`, just added, run instead of current?
bool run_queue_should_preempt(const struct run_queue *queue, const struct thread *woken);

// Charges current with what it ran until now. True: another thread should run now.
static inline bool run_queue_account(struct run_queue *queue, uint64_t now_ns)
{
    struct thread *current = queue->current;
    int64_t delta_ns = (int64_t)(now_ns - current->sched.exec_start_ns);
    assert_lock_held(&queue->lock);
    queue->clock_ns = now_ns;
    if (delta_ns <= 0)
        return false;
    current->sched.exec_start_ns = now_ns;
    if (unlikely(queue->fair.current != &current->sched || queue->rt.count != 0 || pv_has_steal))
        return run_queue_account_other(queue, delta_ns);
    atomic_store_relaxed(
        &current->sched.sum_exec_ns, current->sched.sum_exec_ns + (uint64_t)delta_ns);
    return fair_account(&queue->fair, (uint64_t)delta_ns) && queue->running > 1;
}

// ---- sched.c -----------------------------------------------------------------------------------
void sched_resched(struct run_queue *queue);   // its CPU shall call the scheduler
void sched_schedule(bool blocks, bool yields); // interrupts off, preemption on
// Puts a thread that is in TRANSIT on a queue where it may run.
void sched_place(struct thread *thread, bool sync, bool is_new);
// Wakes what other CPUs left on the own queue's wake list. Interrupts off, nothing locked.
void sched_take_wake_list(struct run_queue *queue);
// Frees the dead threads of the own queue. Interrupts off; on meanwhile.
void sched_reap(struct run_queue *queue);

// ---- trace.c: tracepoints; out of line, so that their records cost the usual path nothing ------
void sched_trace_switch(const struct thread *previous, const struct thread *next, bool runnable);
void sched_trace_wakeup(const struct thread *thread, uint32_t cpu, bool is_new);
void sched_trace_migrate(const struct thread *thread, uint32_t from_cpu, uint32_t to_cpu);

// ---- placement.c -------------------------------------------------------------------------------
// An online CPU of both masks, from `from` on; CPU_MAX: none.
uint32_t cpumask_first_common(const struct cpumask *a, const struct cpumask *b, uint32_t from);
// An idle CPU where the thread may run, from `from` on; CPU_MAX: none.
uint32_t sched_idle_cpu_for(const struct thread *thread, uint32_t from);
uint32_t sched_choose_cpu(const struct thread *thread, uint32_t previous_cpu, bool sync);
// Brings a waiting thread from another CPU here. Own queue locked, nothing runnable on it. True if
// there is one now.
bool sched_steal(struct run_queue *queue);
void sched_balance(struct run_queue *queue); // from the tick, nothing locked
void sched_mark_overload(struct run_queue *queue);

// ---- urgent.c: FIFO, RR and deadline threads on several CPUs
// --------------------------------------
uint32_t sched_choose_urgent(const struct thread *thread, uint32_t previous_cpu);
// The most urgent thread that waits on the locked queue and may run on `cpu`, or NULL.
struct thread *sched_urgent_candidate(struct run_queue *queue, uint32_t cpu);
void sched_mark_urgent(struct run_queue *queue); // an urgent thread has to wait there; under lock
// The queue, locked, is about to switch to `next`, which is urgent, or what ran until now was.
// Sends `previous` (current if it stays runnable, else NULL) elsewhere or brings a waiting urgent
// thread here. Returns who is next.
struct thread *sched_urgent_switch(
    struct run_queue *queue, struct thread *previous, struct thread *next);

// ---- deadline_run.c: the deadline class on a run queue; under the queue's lock
// -----------------------
void run_queue_deadline_init(struct run_queue *queue);
// Current, a deadline thread, ran for delta_ns. True: another thread should run.
bool run_queue_deadline_account(struct run_queue *queue, uint64_t delta_ns);
void run_queue_deadline_yield(struct run_queue *queue, struct thread *current);
// Before the thread, which becomes runnable, is added to a queue (no lock is needed).
void sched_deadline_wake(struct thread *thread);
// Arms the timer for what comes next. Own CPU, after each change of current or of the queue.
void run_queue_deadline_arm(struct run_queue *queue);

// ---- policy.c ----------------------------------------------------------------------------------
void sched_release_bandwidth(struct thread *thread); // of a dead thread; no lock is held

// ---- hotplug.c ---------------------------------------------------------------------------------
// A CPU that may run the thread, one that takes threads; widens an affinity that has none of those,
// as Linux does. Under the lock of the queue that thread->cpu names.
uint32_t sched_refuge(struct thread *thread);
// The idle thread's end on a CPU that leaves: interrupts and preemption on.
[[noreturn]] void sched_cpu_leave(struct run_queue *queue);

// ---- tick.c ------------------------------------------------------------------------------------
void sched_tick_need(struct run_queue
        *queue); // after the number of runnable threads changed; own CPU or not; under lock
void sched_tick_init(struct run_queue *queue);
// From an interrupt: the tick was left out. Is it time for it now? Own CPU, nothing locked.
void sched_tick_late(struct run_queue *queue);
// The thread is about to sleep: was that a short run, or a brief one? Under lock.
void sched_tick_note_run(struct thread *thread);
// Also of the deadline class: for good; own CPU, interrupts off.
void sched_tick_stop(struct run_queue *queue);

// ---- kthread.c ---------------------------------------------------------------------------------
void kthread_reap(struct thread *thread); // as the reaper of sched.h, for kernel threads

// ---- statistics.c ------------------------------------------------------------------------------
void sched_load_update(uint64_t now_ns); // from the tick, nothing locked
