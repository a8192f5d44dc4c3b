// SPDX-License-Identifier: MIT
// The scheduler's core: sleeping, waking, switching.
//
// A thread is on at most one run queue, that of the CPU thread->cpu. The lock of that queue
// protects the thread's scheduling data; whoever holds it may carry the thread elsewhere by
// changing thread->cpu. A CPU takes one run queue's lock at a time (sched_steal() tries a second
// one and does not wait for it).
//
// SLEEPING AND WAKING. thread->state is written by the thread itself (to sleep) and by its wakers
// (to RUNNING).
//
//     sleeper                              waker
//       state = SLEEPING                     condition = true
//       full fence                           full fence
//       condition true? -> RUNNING, go on    state among those to wake? no: done
//       schedule():                          compare and exchange it for RUNNING; lost: done
//         lock queue                         lock the queue of thread->cpu
//         state still SLEEPING?              queue_state == NONE and state == RUNNING?
//           queue_state = NONE                 yes: put it on a queue
//         switch; unlock                     unlock
//
//   S1  No wake-up is lost. Either the sleeper sees the condition, or the waker sees the state
//       (both fence between store and load). If the waker's exchange comes before the sleeper's
//       look under the lock, the sleeper stays on its queue; if it comes after, the waker, who
//       locks later, finds NONE and queues it.
//   S2  Under the lock, NONE means that the thread's context is saved: the lock is held from the
//       removal from the queue until the CPU runs on another stack (sched_finish()). So no waker
//       runs a thread that is still on a CPU, and none has to wait for that in another way than for
//       the lock.
//   S3  No thread is queued twice or woken from a sleep that it began later: a waker that is late
//       (its exchange was long ago, the thread ran on and sleeps again) finds state != RUNNING, or
//       queue_state != NONE, and does nothing. Between the check and the queueing the lock is held,
//       or the thread is in TRANSIT, which is not NONE.
//   S4  The lock's holder may be a vCPU that does not run. A waker on another CPU tries for a
//       while; then it puts the thread on that CPU's wake list, a lock-free stack, and goes on. The
//       CPU empties the list before it picks a thread and before it idles. wake_pending says that a
//       thread is on a list: only who changes it from 0 to 1 links it; the CPU that takes the list
//       sets it to 0 (full fence) before it does what the waker would have done. A waker who finds
//       1 may leave: its exchange of the state came before, so the check that follows sees it.
//   S5  A CPU that idles is told by need_resched. It says how it idles in idle_state: with
//       SCHED_IDLE_POLLS it looks at need_resched all the time; before it halts it stores
//       SCHED_IDLE_HALTS, fences and looks once more. Who sets need_resched fences and reads
//       idle_state: seeing POLLS it sends no interrupt, because the look before the halt is still
//       to come. The interrupt stays pending until the CPU takes it, whenever that is.
//   S6  schedule() clears need_resched before it locks its queue (a full fence) and looks at the
//       queue and the wake list after it. What was queued before the clearing is seen; what comes
//       later sets need_resched again.
//
// HANDING OVER. Two threads that wake each other and sleep are the usual case, so each step has a
// way for it in front of the general one: sched_join_few() for queueing, sched_next_of_few() for
// picking. A waker that is about to sleep, because it says so (sched_wake_sync()) or because it
// always does (sched_sleeps_at_once()), is not preempted by what it wakes, which stays on its CPU
// (docs/decisions/0042).
//
// In none of these steps does a CPU need another one to make progress except for a spin lock's
// holder, and no state that a stopped CPU leaves behind lets another one take a wrong decision:
// sched/model/wakeup.pml is the handshake as a Spin model.
#include "sched/sched.h"

#include "kernel/arch/x86/arch.h"
#include "kernel/core/counter.h"
#include "kernel/core/irq.h"
#include "kernel/core/lockdep.h"
#include "kernel/core/rcu.h"
#include "kernel/core/time.h"
#include "kernel/core/trace_points.h"
#include "mm/address_space.h"
#include "perf/perf.h"
#include "pv/pv.h"
#include "sched/run_queue.h"
#include "sched/tick.h"
#include <linux/errno.h>
#include <linux/sched.h>

#define REMOTE_LOCK_ROUNDS 300 // tries to lock another CPU's queue before its wake list is used

PERCPU(struct run_queue, run_queue);
struct cpumask sched_idle_mask;
struct cpumask sched_overloaded;

static void (*sched_reaper)(struct thread *thread);

// Interrupts that wait for sched_wake_end(). Own CPU, preemption off; interrupts add to the mask.
static PERCPU(uint32_t, wake_depth);
static PERCPU(bool, wake_held_back); // the mask may not be empty
static PERCPU(struct cpumask, wake_mask);

COUNTER(sched, wake_list);
COUNTER(sched, reschedule_interrupts);

// ---- asking a CPU to reschedule ----------------------------------------------------------------

// Out of line like everything rare here that has an array: its callers then need no stack guard.
__noinline void sched_interrupt_cpu(uint32_t cpu)
{
    counter_add(sched, reschedule_interrupts, 1);
    if (this_cpu(wake_depth) != 0) {
        cpumask_set_atomic(this_cpu_ptr(wake_mask), cpu);
        this_cpu_write(wake_held_back, true);
        return;
    }
    struct cpumask mask = {0};
    cpumask_set(&mask, cpu);
    pv_send_ipi(&mask, VECTOR_RESCHEDULE);
}

static __noinline void sched_interrupt_held_back(void)
{
    struct cpumask *held = this_cpu_ptr(wake_mask);
    struct cpumask mask;
    this_cpu_write(wake_held_back, false); // first: an interrupt that adds to it sets it again
    for (int word = 0; word < CPUMASK_WORDS; word++)
        mask.words[word] = atomic_load_relaxed(&held->words[word]) != 0
                               ? atomic_exchange(&held->words[word], 0)
                               : 0;
    if (!cpumask_is_empty(&mask))
        pv_send_ipi(&mask, VECTOR_RESCHEDULE);
}

// Preemption off.
static inline void wake_batch_begin(void)
{
    this_cpu(wake_depth) += 1;
}

static inline void wake_batch_end(void)
{
    this_cpu(wake_depth) -= 1;
    if (unlikely(this_cpu_read(wake_held_back)) && this_cpu(wake_depth) == 0)
        sched_interrupt_held_back();
}

void sched_wake_begin(void)
{
    preempt_disable();
    wake_batch_begin();
}

void sched_wake_end(void)
{
    wake_batch_end();
    preempt_enable();
}

void sched_resched(struct run_queue *queue)
{
    if (queue->cpu == cpu_current()) {
        this_cpu_write(need_resched, 1);
        return;
    }
    // S5. If it was set already, whoever did it has sent or will send the interrupt, or the CPU is
    // about to look.
    if (atomic_exchange(percpu_of(need_resched, queue->cpu), 1u) == 0 &&
        atomic_load(&queue->idle_state) != SCHED_IDLE_POLLS)
        sched_interrupt_cpu(queue->cpu);
}

void sched_kick(struct thread *thread)
{
    preempt_disable();
    uint32_t cpu = atomic_load_relaxed(&thread->cpu);
    // The caller's change of thread->work was a full fence. A thread that is being switched to
    // looks at it before it enters user mode; one that is there already is interrupted.
    if (cpu != cpu_current() && atomic_load(&thread->sched.on_cpu))
        sched_interrupt_cpu(cpu);
    preempt_enable();
}

bool sched_is_running(const struct thread *thread)
{
    return atomic_load_relaxed(&thread->sched.on_cpu);
}

// ---- waking ------------------------------------------------------------------------------------

struct run_queue *run_queue_lock_of(struct thread *thread)
{
    for (;;) {
        struct run_queue *queue = run_queue_of(atomic_load_relaxed(&thread->cpu));
        spin_lock(&queue->lock);
        if (likely(atomic_load_relaxed(&thread->cpu) == queue->cpu))
            return queue;
        spin_unlock_no_resched(&queue->lock);
    }
}

// S4: leaves the thread to the CPU whose queue could not be locked.
static __noinline void sched_wake_later(struct run_queue *queue, struct thread *thread)
{
    counter_add(sched, wake_list, 1);
    if (atomic_exchange(&thread->sched.wake_pending, 1u) != 0)
        return;
    struct thread *first = atomic_load_relaxed(&queue->wake_list);
    do {
        thread->sched.wake_next = first;
    } while (!atomic_cmpxchg(&queue->wake_list, &first, thread));
    sched_resched(queue);
}

static __noinline struct run_queue *sched_lock_remote_for_wake(struct thread *thread)
{
    for (int round = 0;; round++) {
        struct run_queue *queue = run_queue_of(atomic_load_relaxed(&thread->cpu));
        if (queue->cpu == cpu_current()) {
            spin_lock(&queue->lock);
        } else if (!spin_trylock(&queue->lock)) {
            if (round >= REMOTE_LOCK_ROUNDS && likely(run_queue_is_active(queue))) {
                sched_wake_later(queue, thread);
                return NULL;
            }
            spin_hint();
            continue;
        }
        if (likely(atomic_load_relaxed(&thread->cpu) == queue->cpu))
            return queue;
        spin_unlock_no_resched(&queue->lock);
    }
}

// Like run_queue_lock_of(); NULL if that would take long, and then the thread is on a wake list.
static inline struct run_queue *sched_lock_for_wake(struct thread *thread)
{
    struct run_queue *own = this_cpu_ptr(run_queue);
    if (likely(atomic_load_relaxed(&thread->cpu) == own->cpu)) {
        spin_lock(&own->lock);
        if (likely(atomic_load_relaxed(&thread->cpu) == own->cpu))
            return own;
        spin_unlock_no_resched(&own->lock);
    }
    return sched_lock_remote_for_wake(thread);
}

// May the thread run on the locked queue's CPU?
static inline bool sched_may_run_on(const struct thread *thread, const struct run_queue *queue)
{
    return !sched_several_cpus ||
           (cpumask_test(&thread->affinity, queue->cpu) && run_queue_is_active(queue));
}

// The usual wake-ups, of a thread that slept on the own CPU: nobody else is there, and it shall run
// at once; or the running thread is alone, and it shall wait behind that one. False: it is neither.
static __always_inline bool sched_join_few(
    struct run_queue *queue, struct thread *thread, bool sync)
{
    struct fair_queue *fair = &queue->fair;
    if (queue->cpu != cpu_current() || queue->special || !sched_is_fair(thread) ||
        fair->count != 0 || !sched_may_run_on(thread, queue))
        return false;
    if (queue->current == queue->idle) {
        fair_alone_join(fair, &thread->sched);
        this_cpu_write(need_resched, 1);
    } else {
        // Without `sync` a thread goes where a CPU idles, if there is one.
        if ((!sync && sched_several_cpus) || in_interrupt() ||
            thread->sched.policy != SCHED_NORMAL || !fair_pair_may_join(fair, &thread->sched))
            return false;
        fair_pair_join(fair, &thread->sched);
        if (!sync && fair_pair_other_preempts(fair))
            this_cpu_write(need_resched, 1);
    }
    thread->sched.queue_state = SCHED_QUEUE_ON;
    atomic_store_relaxed(&queue->running, queue->running + 1);
    if (trace_is_on(sched_wakeup))
        sched_trace_wakeup(thread, queue->cpu, false);
    if (unlikely(queue->running > 1 && !queue->tick_fast))
        sched_tick_need(queue);
    return true;
}

// Adds a thread to the locked queue of its CPU and sees to it that it runs in time.
static void sched_add_and_preempt(
    struct run_queue *queue, struct thread *thread, bool sync, bool is_new)
{
    // Placing and comparing need what current has run. If current itself wakes the thread, what it
    // ran since it was looked at last is left out: it is about to sleep more often than not, and
    // the error is a tick at most.
    if (queue->current != queue->idle && (queue->cpu != cpu_current() || in_interrupt()))
        (void)run_queue_account(queue, time_monotonic_ns());
    run_queue_add(queue, thread, is_new);
    if (is_new ? trace_is_on(sched_wakeup_new) : trace_is_on(sched_wakeup))
        sched_trace_wakeup(thread, queue->cpu, is_new);
    bool asks = !sync || unlikely(thread->sched.class != SCHED_CLASS_FAIR);
    if (queue->current == queue->idle || (asks && run_queue_should_preempt(queue, thread)))
        sched_resched(queue);
    else if (unlikely(queue->special) && !sched_is_fair(thread))
        sched_mark_urgent(queue);
    if (queue->running > 1) {
        sched_tick_need(queue);
        if (!sync)
            sched_mark_overload(queue);
    }
}

// The thread is in TRANSIT and ours alone; nothing is locked, interrupts off.
void sched_place(struct thread *thread, bool sync, bool is_new)
{
    for (;;) {
        struct run_queue *queue = run_queue_of(atomic_load_relaxed(&thread->cpu));
        spin_lock(&queue->lock);
        // The affinity may have changed on the way, or the CPU leaves; both are stable under the
        // lock.
        if (likely(cpumask_test(&thread->affinity, queue->cpu) && run_queue_is_active(queue))) {
            sched_add_and_preempt(queue, thread, sync, is_new);
            spin_unlock_no_resched(&queue->lock);
            return;
        }
        uint32_t target = sched_choose_cpu(thread, queue->cpu, false);
        if (!cpumask_test(&thread->affinity, target) || !cpumask_test(&cpu_active, target))
            target = sched_refuge(thread);
        atomic_store_relaxed(&thread->cpu, target);
        spin_unlock_no_resched(&queue->lock);
    }
}

// The same for any thread and any number. The queue that the thread slept on is locked; unlocks.
static __noinline void sched_join_any(struct run_queue *queue, struct thread *thread, bool sync)
{
    if (!sched_is_fair(thread) && sched_is_deadline(thread))
        sched_deadline_wake(thread);
    uint32_t target = sched_choose_cpu(thread, queue->cpu, sync);
    if (likely(target == queue->cpu && run_queue_is_active(queue))) {
        sched_add_and_preempt(queue, thread, sync && target == cpu_current(), false);
        spin_unlock_no_resched(&queue->lock);
        return;
    }
    thread->sched.queue_state = SCHED_QUEUE_TRANSIT;
    if (trace_is_on(sched_migrate_task))
        sched_trace_migrate(thread, queue->cpu, target);
    atomic_store_relaxed(&thread->cpu, target);
    spin_unlock_no_resched(&queue->lock);
    sched_place(thread, sync && target == cpu_current(), false);
}

// The second half of a wake-up: state is RUNNING already, and it was this waker (or a wake list)
// that made it so. Interrupts off.
static __always_inline void sched_activate(struct thread *thread, bool sync)
{
    struct run_queue *queue = sched_lock_for_wake(thread);
    if (unlikely(queue == NULL))
        return;
    if (unlikely(thread->sched.queue_state != SCHED_QUEUE_NONE ||
                 atomic_load_relaxed(&thread->state) != THREAD_RUNNING)) {
        spin_unlock_no_resched(&queue->lock); // S1: it did not get to sleep; or S3
        return;
    }
    if (likely(sched_join_few(queue, thread, sync)))
        spin_unlock_no_resched(&queue->lock);
    else
        sched_join_any(queue, thread, sync);
}

// A thread that has slept again at once many times in a row is expected to do so now. What it
// wakes is handed over to: it waits for the waker's sleep rather than preempts it, or is brought to
// another CPU by an interrupt, either of which would take longer. The tick takes it back.
static inline bool sched_sleeps_at_once(void)
{
    return thread_current()->sched.brief_runs >= SCHED_BRIEF_RUNS && !in_interrupt();
}

static bool sched_wake_as(struct thread *thread, uint32_t states, bool sync)
{
    atomic_fence(); // S1
    uint32_t state = atomic_load_relaxed(&thread->state);
    do {
        if ((state & states) == 0)
            return false;
    } while (!atomic_cmpxchg(&thread->state, &state, (uint32_t)THREAD_RUNNING));
    uint64_t flags = arch_irq_save();
    preempt_disable();
    wake_batch_begin();
    sched_activate(thread, sync);
    wake_batch_end(); // no run queue is locked any more
    arch_irq_restore(flags);
    preempt_enable();
    return true;
}

bool sched_wake(struct thread *thread, uint32_t states)
{
    return sched_wake_as(thread, states, sched_sleeps_at_once());
}

bool sched_wake_sync(struct thread *thread, uint32_t states)
{
    return sched_wake_as(thread, states, true);
}

void sched_start(struct thread *thread)
{
    debug_assert(thread->state == THREAD_RUNNING);
    debug_assert(thread->sched.queue_state == SCHED_QUEUE_NONE);
    uint64_t flags = arch_irq_save();
    preempt_disable();
    run_queue_of(cpu_current())->forks++;
    thread->sched.queue_state = SCHED_QUEUE_TRANSIT;
    thread->cpu = sched_choose_cpu(thread, cpu_current(), false);
    wake_batch_begin();
    // Nor does it preempt a parent that is about to sleep.
    sched_place(thread, thread->cpu == cpu_current() && sched_sleeps_at_once(), true);
    wake_batch_end();
    arch_irq_restore(flags);
    preempt_enable();
}

// S4.
__noinline void sched_take_wake_list(struct run_queue *queue)
{
    struct thread *thread = __atomic_exchange_n(&queue->wake_list, NULL, __ATOMIC_ACQ_REL);
    while (thread != NULL) {
        struct thread *next = thread->sched.wake_next;
        atomic_exchange(&thread->sched.wake_pending, 0u);
        sched_activate(thread, false);
        thread = next;
    }
}

// ---- switching ---------------------------------------------------------------------------------

// Those that no wake list names any more.
__noinline void sched_reap(struct run_queue *queue)
{
    preempt_disable();
    struct thread *thread, *following;
    struct list_node ready = LIST_INIT(ready);
    list_for_each_entry_safe (thread, following, &queue->dead, sched.list) {
        if (atomic_load(&thread->sched.wake_pending) == 0)
            list_move_tail(&ready, &thread->sched.list);
    }
    arch_irq_enable();
    list_for_each_entry_safe (thread, following, &ready, sched.list) {
        list_remove(&thread->sched.list);
        if (thread->flags & THREAD_FLAG_KERNEL)
            kthread_reap(thread);
        else
            sched_reaper(thread);
    }
    arch_irq_disable();
    preempt_enable_no_resched();
}

// On the new thread's stack, with the queue locked since before the switch. Interrupts off;
// unlocks.
static void sched_finish(struct thread *previous)
{
    struct run_queue *queue = this_cpu_ptr(run_queue);
    struct thread *migrating = queue->migrating;
    queue->migrating = NULL;
    atomic_store_release(&previous->sched.on_cpu, false);
    if (unlikely(atomic_load_relaxed(&previous->state) == THREAD_DEAD))
        list_add_tail(&queue->dead, &previous->sched.list);
    spin_unlock_no_resched(&queue->lock);
    if (unlikely(migrating != NULL))
        sched_place(migrating, false, false);
    if (unlikely(!list_is_empty(&queue->dead)))
        sched_reap(queue);
}

void sched_switch_finish(struct thread *previous)
{
    sched_finish(previous);
    arch_irq_enable();
    if (unlikely(this_cpu_read(need_resched)))
        sched_preempt();
}

static void sched_clear_request(struct thread *current)
{
    this_cpu_write(need_resched, 0);
    if (unlikely(atomic_load_relaxed(&current->work) & THREAD_WORK_RESCHEDULE))
        thread_work_clear(current, THREAD_WORK_RESCHEDULE);
}

// Locks the own queue with nothing left on the wake list (S6).
static struct run_queue *sched_lock_own(struct thread *current)
{
    struct run_queue *queue = this_cpu_ptr(run_queue);
    for (;;) {
        sched_clear_request(current);
        spin_lock(&queue->lock);
        if (likely(atomic_load_relaxed(&queue->wake_list) == NULL))
            return queue;
        spin_unlock_no_resched(&queue->lock);
        preempt_disable();
        sched_take_wake_list(queue);
        preempt_enable_no_resched();
    }
}

// Takes the running thread off its queue if it sleeps, dies or may not run here. NULL if it did,
// else the thread.
static struct thread *sched_leave(struct run_queue *queue, struct thread *current, bool blocks)
{
    if (current == queue->idle)
        return current;
    if (blocks && atomic_load_relaxed(&current->state) != THREAD_RUNNING) {
        run_queue_remove(queue, current);
        current->sched.switches_voluntary++;
        sched_tick_note_run(current);
        return NULL;
    }
    if (unlikely(!cpumask_test(&current->affinity, queue->cpu) || !run_queue_is_active(queue))) {
        run_queue_remove(queue, current);
        current->sched.queue_state = SCHED_QUEUE_TRANSIT;
        queue->migrating = current;
        return NULL;
    }
    return current;
}

// No more than two threads, of the fair class: who is next is known without a look at the classes.
// NULL: it is not that, and nothing has changed.
static inline struct thread *sched_next_of_few(
    struct run_queue *queue, struct thread *current, bool blocks, bool yields)
{
    struct fair_queue *fair = &queue->fair;
    bool pair = fair_is_pair(fair);
    if (queue->special || !sched_may_run_on(current, queue))
        return NULL;
    if (!blocks || atomic_load_relaxed(&current->state) == THREAD_RUNNING) {
        if (fair_waits_alone(fair))
            return container_of(fair_take_waiting(fair), struct thread, sched);
        if (!pair)
            return NULL;
        if (!yields && !fair_pair_other_is_next(fair))
            return current;
        return container_of(fair_pair_swap(fair), struct thread, sched);
    }
    // With several CPUs, one that would idle looks for a thread that waits elsewhere.
    if (!pair && (fair->count != 0 || sched_several_cpus))
        return NULL;
    current->sched.queue_state = SCHED_QUEUE_NONE;
    atomic_store_relaxed(&queue->running, queue->running - 1);
    current->sched.switches_voluntary++;
    sched_tick_note_run(current);
    if (pair)
        return container_of(fair_pair_leave(fair), struct thread, sched);
    fair_alone_leave(fair);
    return queue->idle;
}

// The same for any number of threads of all classes.
static __noinline struct thread *sched_next_of_all(
    struct run_queue *queue, struct thread *current, bool blocks, bool yields)
{
    struct thread *previous = sched_leave(queue, current, blocks);
    struct thread *next = queue->idle;
    if (likely(run_queue_is_active(queue)))
        next = run_queue_pick(queue, previous, yields);
    if (next == queue->idle && sched_steal(queue))
        next = run_queue_pick(queue, NULL, false);
    if (unlikely(queue->special))
        next = sched_urgent_switch(queue, previous, next);
    return next;
}

// Those who want to know of each switch. Could current, an idle thread included, have gone on?
static __noinline void sched_tell_switch(
    struct run_queue *queue, struct thread *current, struct thread *next)
{
    bool runnable = current == queue->idle || current->sched.queue_state == SCHED_QUEUE_ON;
    sched_trace_switch(current, next, runnable);
    if (perf_switch_wanted)
        perf_note_switch(current, next, runnable);
}

void sched_schedule(bool blocks, bool yields)
{
    struct thread *current = thread_current();
    debug_assert(this_cpu(preempt_count) == 0);
    assert_irqs_off();
    rcu_note_context_switch();
    struct run_queue *queue = sched_lock_own(current);
    (void)run_queue_account(queue, time_monotonic_ns());
    struct thread *next = sched_next_of_few(queue, current, blocks, yields);
    if (next == NULL)
        next = sched_next_of_all(queue, current, blocks, yields);
    if (next == current) {
        if (unlikely(queue->special))
            run_queue_deadline_arm(queue);
        spin_unlock_no_resched(&queue->lock);
        return;
    }
    current->sched.switches_involuntary += current->sched.queue_state == SCHED_QUEUE_ON;
    next->sched.exec_start_ns = queue->clock_ns;
    next->sched.on_cpu = true;
    queue->current = next;
    queue->switches++;
    if (next != queue->idle)
        sched_tick_need(queue);
    if (trace_is_on(sched_switch) || unlikely(perf_switch_wanted))
        sched_tell_switch(queue, current, next);
    if (unlikely(queue->special))
        run_queue_deadline_arm(queue);
    this_cpu(current_thread) = next;
    mm_switch(current, next);
    sched_finish(arch_switch(current, next));
}

void sched_preempt(void)
{
    uint64_t flags = arch_irq_save();
    do {
        sched_schedule(false, false);
    } while (this_cpu_read(need_resched));
    arch_irq_restore(flags);
}

void preempt_enable_slow(void)
{
    if (likely(arch_irqs_enabled())) {
        sched_preempt();
        return;
    }
    // Too early: the way back to user mode looks, if no other preempt_enable() comes before.
    thread_work_set(thread_current(), THREAD_WORK_RESCHEDULE);
}

void sched_yield(void)
{
    arch_irq_disable();
    if (run_queue_of(cpu_current())->running > 1 || this_cpu_read(need_resched) ||
        !sched_is_fair(thread_current()))
        sched_schedule(false, true);
    arch_irq_enable();
}

// ---- blocking ----------------------------------------------------------------------------------

// Does a signal end a sleep in this state?
static bool sched_sleep_is_over(const struct thread *thread, uint32_t state)
{
    uint32_t work = atomic_load_relaxed(&thread->work);
    return ((state & THREAD_INTERRUPTIBLE) && (work & THREAD_WORK_SIGNAL)) ||
           ((state & THREAD_KILLABLE) && (work & THREAD_WORK_KILL));
}

static void sched_block_now(void)
{
    arch_irq_disable();
    sched_schedule(true, false);
    while (unlikely(this_cpu_read(need_resched)))
        sched_schedule(false, false);
    arch_irq_enable();
}

struct sched_timeout {
    struct timer timer;
    struct thread *thread;
    bool expired; // atomic
};

static void sched_timeout_fired(struct timer *timer)
{
    struct sched_timeout *timeout = container_of(timer, struct sched_timeout, timer);
    struct thread *thread = timeout->thread;
    atomic_store_release(&timeout->expired, true);
    sched_wake(thread, THREAD_ANY_SLEEP);
}

static __noinline int sched_block_until(struct thread *thread, uint64_t deadline_ns)
{
    struct sched_timeout timeout = {.thread = thread};
    timer_init(&timeout.timer, sched_timeout_fired);
    timer_arm_within(
        &timeout.timer, deadline_ns, sched_is_fair(thread) ? thread->timer_slack_ns : 0);
    sched_block_now();
    timer_cancel_sync(&timeout.timer);
    return atomic_load_relaxed(&timeout.expired) ? -ETIMEDOUT : 0;
}

int sched_block(uint64_t deadline_ns)
{
    struct thread *thread = thread_current();
    uint32_t state = atomic_load_relaxed(&thread->state);
    might_sleep();
    debug_assert((thread->flags & THREAD_FLAG_IDLE) == 0);
    if (state == THREAD_RUNNING)
        return 0;
    if (unlikely(sched_sleep_is_over(thread, state))) {
        thread_cancel_sleep();
        return -EINTR;
    }
    if (deadline_ns != UINT64_MAX)
        return sched_block_until(thread, deadline_ns);
    sched_block_now();
    return 0;
}

// ---- interrupts --------------------------------------------------------------------------------

PERCPU(bool, sched_tick_pending); // the tick's timer fired in this interrupt

void sched_interrupt_exit(bool to_user, bool interrupts_were_on)
{
    if (unlikely(this_cpu(sched_tick_pending))) {
        this_cpu(sched_tick_pending) = false;
        sched_tick(to_user);
    }
    struct run_queue *queue = this_cpu_ptr(run_queue);
    if (unlikely(queue->tick_left_out))
        sched_tick_late(queue);
    if (unlikely(atomic_load_relaxed(&queue->tick_wanted) != 0)) {
        spin_lock(&queue->lock);
        sched_tick_need(queue);
        spin_unlock_no_resched(&queue->lock);
    }
    if (!interrupts_were_on || this_cpu(preempt_count) != 0)
        return;
    rcu_note_interrupt(true);
    if (unlikely(rcu_callbacks_ready()))
        rcu_run_callbacks();
    while (this_cpu_read(need_resched))
        sched_schedule(false, false);
}

// ---- life and death ----------------------------------------------------------------------------

bool sched_may_fork(const struct thread *thread)
{
    return thread->sched.own_policy != SCHED_DEADLINE || thread->sched.reset_on_fork;
}

void sched_thread_init(struct thread *thread, const struct thread *parent)
{
    thread->state = THREAD_RUNNING;
    thread->sched = (struct sched_entity){.policy = SCHED_NORMAL, .slice_ns = FAIR_SLICE_NS};
    const struct sched_entity *old = parent != NULL ? &parent->sched : NULL;
    if (old != NULL)
        thread->sched.brief_runs = old->brief_runs; // until it has shown what it is like
    if (old != NULL && old->own_policy == SCHED_DEADLINE) {
        thread->sched.nice = 0; // its bandwidth is its own
    } else if (old != NULL && !old->reset_on_fork) {
        thread->sched.policy = thread->sched.own_policy = old->own_policy;
        thread->sched.rt_priority = thread->sched.own_rt_priority = old->own_rt_priority;
        thread->sched.nice = old->nice;
        if (old->own_rt_priority != 0) {
            thread->sched.class = SCHED_CLASS_RT;
            thread->sched.slice_ns = SCHED_RR_SLICE_NS;
        }
    } else if (old != NULL) {
        thread->sched.nice = old->own_rt_priority != 0 ? 0 : MAX(old->nice, (int8_t)0);
    }
    thread->sched.weight = fair_weight(thread->sched.nice);
    if (parent != NULL) {
        thread->affinity = parent->affinity;
    } else {
        for (int word = 0; word < CPUMASK_WORDS; word++)
            thread->affinity.words[word] = UINT64_MAX;
    }
    thread->cpu = cpu_current();
}

void sched_exit(void)
{
    arch_irq_disable();
    lockdep_assert_none_held();
    atomic_store(&thread_current()->state, (uint32_t)THREAD_DEAD);
    if (unlikely(thread_current()->sched.own_policy == SCHED_DEADLINE))
        sched_release_bandwidth(thread_current());
    sched_schedule(true, false);
    assert_unreachable();
}

void sched_thread_set_reaper(void (*reap)(struct thread *thread))
{
    sched_reaper = reap;
}
