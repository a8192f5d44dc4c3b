// SPDX-License-Identifier: MIT
// Start-up of the run queues, and what a CPU does without work.
//
// An idle CPU first polls need_resched, for as long as polling lately paid (up to
// sched_idle_poll_max_ns, which is the hypervisor backend's choice), then halts. Polling pays when
// the next wake-up comes within the time: then the waker needs no interrupt and this CPU no exit.
// Where time was stolen lately, others need the processor more than this CPU needs to poll: it
// halts at once. S5 in sched.c says why no wake-up is missed.
#include "kernel/arch/x86/arch.h"
#include "kernel/base/string.h"
#include "kernel/core/counter.h"
#include "kernel/core/irq.h"
#include "kernel/core/lockdep.h"
#include "kernel/core/option.h"
#include "kernel/core/rcu.h"
#include "kernel/core/time.h"
#include "kernel/core/trace_points.h"
#include "mm/page.h"
#include "pv/pv.h"
#include "sched/run_queue.h"
#include "sched/sched.h"
#include "sched/tick.h"
#include <linux/sched.h>

#define IDLE_STOLEN_NS UINT64_C(20000) // less is what a host's own interrupts take

bool sched_several_cpus;
static uint64_t sched_idle_poll_max_ns = UINT64_MAX; // UINT64_MAX until sched_init()
BOOT_OPTION_U64(sched_idle_poll_max_ns, "idle_poll_ns",
    "Longest time in nanoseconds that an idle CPU polls for work before it halts. Default: what "
    "suits the hypervisor.");

static PERCPU(uint64_t, idle_poll_ns);   // how long this CPU polls now; own CPU
static PERCPU(uint64_t, idle_stolen_ns); // stolen time when it last began to idle; own CPU

COUNTER(idle, halts);
COUNTER(idle, polls_successful);

// The context that started the kernel, and the boot CPU's idle thread.
static struct thread boot_thread;

static void idle_thread_init(struct thread *thread, uint32_t cpu)
{
    sched_thread_init(thread, NULL);
    thread->flags = THREAD_FLAG_KERNEL | THREAD_FLAG_IDLE;
    thread->cpu = cpu;
    thread->affinity = (struct cpumask){0};
    cpumask_set(&thread->affinity, cpu);
    thread->sched.on_cpu = true;
    strlcpy(thread->name, "idle", sizeof(thread->name));
}

static void sched_interrupt(void *context, struct trap_frame *frame)
{
    (void)context; // all that it is for happens in sched_interrupt_exit()
    (void)frame;
}

void sched_init(void)
{
    if (sched_idle_poll_max_ns == UINT64_MAX)
        sched_idle_poll_max_ns = pv_idle_poll_ns;
    idle_thread_init(&boot_thread, 0);
    run_queue_init(run_queue_of(0), 0, &boot_thread);
    this_cpu(current_thread) = &boot_thread;
    cpumask_set_atomic(&cpu_online, 0);
    cpumask_set_atomic(&cpu_active, 0);
    rcu_cpu_begin();
    irq_vector_set(VECTOR_RESCHEDULE, sched_interrupt, NULL, "reschedule");
}

void sched_cpu_init(uint32_t cpu, struct thread *idle)
{
    idle_thread_init(idle, cpu);
    run_queue_init(run_queue_of(cpu), cpu, idle);
    *percpu_of(current_thread, cpu) = idle;
}

struct thread *sched_idle_thread(uint32_t cpu)
{
    return run_queue_of(cpu)->idle;
}

// Has something come up that the idle loop must look at?
static bool idle_is_over(struct run_queue *queue)
{
    return this_cpu_read(need_resched) != 0 || atomic_load_relaxed(&queue->wake_list) != NULL ||
           rcu_callbacks_ready();
}

// Did the host run something else on our processor since the last look?
static bool idle_was_stolen_from(void)
{
    if (!pv_has_steal)
        return false;
    uint64_t stolen_ns = pv_steal_ns();
    bool grew = stolen_ns - this_cpu(idle_stolen_ns) >= IDLE_STOLEN_NS;
    this_cpu(idle_stolen_ns) = stolen_ns;
    return grew;
}

// True if work came while polling.
static bool idle_poll(struct run_queue *queue)
{
    uint64_t limit_ns = this_cpu(idle_poll_ns);
    if (limit_ns == 0 || idle_was_stolen_from())
        return idle_is_over(queue);
    uint64_t start_ns = time_monotonic_ns();
    do {
        if (idle_is_over(queue)) {
            counter_add(idle, polls_successful, 1);
            return true;
        }
        arch_pause();
    } while (time_monotonic_ns() - start_ns < limit_ns);
    return false;
}

// Twice as long when polling a little longer would have been enough, half as long when the halt was
// a long one.
static void idle_adapt(uint64_t halted_ns)
{
    uint64_t limit_ns = this_cpu(idle_poll_ns);
    if (sched_idle_poll_max_ns == 0)
        return;
    if (halted_ns <= sched_idle_poll_max_ns)
        this_cpu(idle_poll_ns) = CLAMP(limit_ns * 2, UINT64_C(1000), sched_idle_poll_max_ns);
    else
        this_cpu(idle_poll_ns) = limit_ns / 2;
}

static void idle_halt(struct run_queue *queue)
{
    arch_irq_disable();
    atomic_store(&queue->idle_state, (uint32_t)SCHED_IDLE_HALTS); // S5
    if (idle_is_over(queue)) {
        arch_irq_enable();
    } else {
        uint64_t start_ns = sched_idle_poll_max_ns != 0 ? time_monotonic_ns() : 0;
        counter_add(idle, halts, 1);
        rcu_idle_enter();
        if (likely(!idle_is_over(
                queue))) { // the grace period that it may have ended has made callbacks ready
            trace(cpu_idle, .state = 1, .cpu_id = queue->cpu);
            pv_idle();
            arch_irq_disable();
            trace(cpu_idle, .state = TRACE_IDLE_END, .cpu_id = queue->cpu);
        }
        rcu_idle_exit();
        arch_irq_enable();
        if (sched_idle_poll_max_ns != 0)
            idle_adapt(time_monotonic_ns() - start_ns);
    }
    atomic_store_relaxed(&queue->idle_state, (uint32_t)SCHED_IDLE_POLLS);
}

static void idle_wait(struct run_queue *queue)
{
    atomic_store(&queue->idle_state, (uint32_t)SCHED_IDLE_POLLS);
    // One that leaves is not offered; its bit is cleared by who sent it away, or here.
    if (sched_several_cpus) {
        cpumask_set_atomic(&sched_idle_mask, queue->cpu);
        if (unlikely(!run_queue_is_active(queue))) {
            cpumask_clear_atomic(&sched_idle_mask, queue->cpu);
            return;
        }
    }
    while (this_cpu_read(need_resched) == 0 && atomic_load_relaxed(&queue->wake_list) == NULL) {
        if (!idle_poll(queue))
            idle_halt(queue);
        if (rcu_callbacks_ready())
            rcu_run_callbacks();
    }
    if (sched_several_cpus)
        cpumask_clear_atomic(&sched_idle_mask, queue->cpu);
    atomic_store(&queue->idle_state, (uint32_t)SCHED_BUSY);
}

void sched_idle_loop(void)
{
    struct run_queue *queue = this_cpu_ptr(run_queue);
    assert(thread_current() == queue->idle);
    lockdep_assert_none_held();
    if (queue->cpu != 0)
        atomic_store(&sched_several_cpus, true);
    arch_irq_disable();
    spin_lock(&queue->lock);
    cpumask_set_atomic(&cpu_active, queue->cpu);
    spin_unlock_no_resched(&queue->lock);
    // Last: who waits for the CPU finds all done.
    cpumask_set_atomic(&cpu_online, queue->cpu);
    arch_irq_enable();
    for (;;) {
        // Look for work first: others may have queued some before this CPU was ready.
        arch_irq_disable();
        sched_schedule(false, false);
        arch_irq_enable();
        if (unlikely(!run_queue_is_active(queue)))
            sched_cpu_leave(queue);
        preempt_disable();
        idle_wait(queue);
        preempt_enable_no_resched();
    }
}
