// SPDX-License-Identifier: MIT
// CPUs that go off and come back.
//
// A CPU goes off in steps, driven by a thread on another one under hotplug_lock:
//
//     driver                                  the CPU
//       hooks: devices' interrupts go
//       elsewhere from now on
//       bit in cpu_active cleared under its
//       queue's lock; asked to reschedule       current thread and all that wait are placed
//                                               elsewhere; wake list, dead threads, free pages and
//                                               objects it keeps are emptied; last interrupts
//       waits                                 <- CPU_ANSWERS: interrupts off for good, does what
//       bit in cpu_online cleared                other CPUs ask of it
//       RCU grace period
//       CPU_DIES                              -> unregisters what the hypervisor writes to, stops
//       waits                                 <- CPU_OFF, halts
//       takes over its timers and callbacks
//
// Invariants:
//   H1  Whoever adds a thread to a queue looks at the queue's bit in cpu_active under its lock, so
//       nothing is added once the CPU has seen its queue empty. A wake list takes nothing then
//       either: who saw the bit before had preemption off, and the grace period waits for that; the
//       CPU looks at the list once more when it dies.
//   H2  Whoever asks CPUs of cpu_online has preemption off from reading the mask until it has the
//       answers. After the grace period nobody asks this CPU any more.
//   H3  From CPU_ANSWERS on the CPU takes no interrupt, so it uses none of the kernel's mappings
//       but its own stack and per-CPU data, and what it is asked to run; it empties its TLB before
//       that. So it does no harm that it is told of no changes.
//   H4  A CPU that is off has nothing registered with the hypervisor (pv_ops.cpu_offline) and is
//       not in RCU's set. It comes back through INIT, with an empty TLB and an empty queue.
#include "kernel/core/hotplug.h"

#include "kernel/arch/x86/arch.h"
#include "kernel/arch/x86/paging.h"
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/counter.h"
#include "kernel/core/irq.h"
#include "kernel/core/log.h"
#include "kernel/core/mutex.h"
#include "kernel/core/rcu.h"
#include "kernel/core/time.h"
#include "kernel/core/timer.h"
#include "kernel/core/wait.h"
#include "mm/address_space.h"
#include "mm/page.h"
#include "pv/pv.h"
#include "sched/run_queue.h"
#include "sched/sched.h"
#include "sched/tick.h"

#include <linux/errno.h>

#define OFF_POLL_NS UINT64_C(200000)

enum cpu_state : uint32_t {
    CPU_IS_ON,   // or never was
    CPU_ANSWERS, // runs no thread, takes no interrupt
    CPU_DIES,    // nobody asks it any more
    CPU_OFF,
};

static struct mutex hotplug_lock = MUTEX_INIT(hotplug_lock, "sched: hot-plug");
static struct list_node hooks = LIST_INIT(hooks); // under hotplug_lock
static uint32_t state_of_leaver = CPU_IS_ON;      // of the one CPU that leaves; atomic
static struct wait_queue leaver_wait = WAIT_QUEUE_INIT(leaver_wait, "sched: leaving CPU");

COUNTER(sched, cpus_taken_off);
COUNTER(sched, cpus_brought_back);

void cpu_hook_add(struct cpu_hook *hook)
{
    mutex_lock(&hotplug_lock);
    list_add_tail(&hooks, &hook->node);
    mutex_unlock(&hotplug_lock);
}

uint32_t sched_refuge(struct thread *thread)
{
    uint32_t cpu;
    assert_irqs_off();
    for (cpu = cpumask_next(&cpu_active, 0); cpu < CPU_MAX;
         cpu = cpumask_next(&cpu_active, cpu + 1)) {
        if (cpumask_test(&thread->affinity, cpu))
            return cpu;
    }
    memset(&thread->affinity, 0xff, sizeof(thread->affinity));
    return 0; // the boot CPU does not leave
}

// ---- on the CPU that leaves ---------------------------------------------------------------------

// A thread that waits on the locked queue; NULL: none.
static struct thread *queue_first(struct run_queue *queue)
{
    struct deadline_entity *deadline = deadline_first(&queue->dl);
    if (deadline == NULL)
        deadline = deadline_first_throttled(&queue->dl); // waits for its budget elsewhere
    if (deadline != NULL)
        return container_of(deadline, struct thread, sched.dl);
    if (queue->running == 0)
        return NULL;
    for (uint32_t priority = 1; queue->rt.count != 0 && priority < RT_PRIORITIES; priority++) {
        if (!list_is_empty(&queue->rt.lists[priority]))
            return container_of(queue->rt.lists[priority].next, struct thread, sched.list);
    }
    return container_of(fair_next_latest(&queue->fair, NULL), struct thread, sched);
}

// Threads, wake list, dead threads: none is left, and none comes (H1). Interrupts off; on meanwhile
// where there are dead threads.
static void queue_empty(struct run_queue *queue)
{
    for (;;) {
        if (atomic_load_relaxed(&queue->wake_list) != NULL)
            sched_take_wake_list(queue);
        if (!list_is_empty(&queue->dead))
            sched_reap(queue);
        spin_lock(&queue->lock);
        struct thread *thread = queue_first(queue);
        if (thread != NULL) {
            run_queue_remove(queue, thread);
            thread->sched.queue_state = SCHED_QUEUE_TRANSIT;
            atomic_store_relaxed(&thread->cpu, sched_refuge(thread));
        }
        spin_unlock_no_resched(&queue->lock);
        if (thread != NULL)
            sched_place(thread, false, false);
        else if (atomic_load_relaxed(&queue->wake_list) == NULL && list_is_empty(&queue->dead))
            return;
    }
}

// What this CPU is asked to do by others; H3.
static void answer(void)
{
    if (irq_calls_wait()) {
        arch_tlb_flush_all();
        irq_calls_run();
    }
    rcu_note_context_switch();
}

[[noreturn]] void sched_cpu_leave(struct run_queue *queue)
{
    assert(queue->cpu != 0);
    assert(thread_current() == queue->idle);
    preempt_disable();
    arch_irq_disable();
    queue_empty(queue);
    arch_irq_enable();
    // Interrupts that came before the devices' were sent elsewhere are taken here at the latest.
    mm_cpu_leave();
    arch_irq_disable();
    queue_empty(queue);
    sched_tick_stop(queue);
    address_space_activate(NULL);
    atomic_store(&state_of_leaver, (uint32_t)CPU_ANSWERS);
    wait_wake_all(&leaver_wait);
    while (atomic_load_acquire(&state_of_leaver) == CPU_ANSWERS) {
        answer();
        arch_pause();
    }
    answer();
    assert(list_is_empty(&queue->dead));
    queue_empty(queue);
    pv_timer_arm(UINT64_MAX);
    pv_ops.cpu_offline(queue->cpu);
    mm_cpu_leave_last();
    rcu_cpu_end();
    arch_cpu_off(&state_of_leaver, CPU_OFF);
}

// ---- on the CPU that drives ---------------------------------------------------------------------

// No thread is added to its queue from here on, and it will look at what is there.
static void send_away(uint32_t cpu)
{
    struct run_queue *queue = run_queue_of(cpu);
    uint64_t flags = spin_lock_irqsave(&queue->lock);
    cpumask_clear_atomic(&cpu_active, cpu);
    cpumask_clear_atomic(&sched_idle_mask, cpu);
    spin_unlock_irqrestore(&queue->lock, flags);
    cpumask_clear_atomic(&sched_overloaded, cpu);
    cpumask_clear_atomic(&sched_urgent_waiting, cpu);
    preempt_disable();
    atomic_store(percpu_of(need_resched, cpu), 1u);
    if (cpu != cpu_current())
        sched_interrupt_cpu(cpu);
    preempt_enable();
}

static bool leaver_is(uint32_t state)
{
    return atomic_load_acquire(&state_of_leaver) == state;
}

// The last step says no word to anybody.
static void wait_until_off(void)
{
    while (!leaver_is(CPU_OFF)) {
        thread_prepare_sleep(THREAD_UNINTERRUPTIBLE);
        (void)sched_block(time_monotonic_ns() + OFF_POLL_NS);
    }
}

static void call_hooks(uint32_t cpu, bool leaves)
{
    struct cpu_hook *hook;
    list_for_each_entry (hook, &hooks, node) {
        if (leaves)
            hook->leaves(cpu);
        else
            hook->is_back(cpu);
    }
}

static void take_off(uint32_t cpu)
{
    atomic_store(&state_of_leaver, (uint32_t)CPU_IS_ON);
    call_hooks(cpu, true); // first: what was on its way to the CPU is taken before it leaves
    send_away(cpu);
    wait_event(&leaver_wait, leaver_is(CPU_ANSWERS));
    rcu_cpu_end_before();
    cpumask_clear_atomic(&cpu_online, cpu);
    rcu_synchronize(); // H1, H2
    atomic_store(&state_of_leaver, (uint32_t)CPU_DIES);
    wait_until_off();
    timer_migrate(cpu);
    rcu_cpu_end_after(cpu);
    counter_add(sched, cpus_taken_off, 1);
}

int cpu_take_off(uint32_t cpu)
{
    if (cpu == 0 || cpu >= cpu_count_possible)
        return cpu == 0 ? -EPERM : -EINVAL;
    mutex_lock(&hotplug_lock);
    if (cpumask_test(&cpu_active, cpu)) {
        take_off(cpu);
        log_info("CPU %u is off", cpu);
    }
    mutex_unlock(&hotplug_lock);
    return 0;
}

int cpu_bring_back(uint32_t cpu)
{
    if (cpu >= cpu_count_possible)
        return -EINVAL;
    mutex_lock(&hotplug_lock);
    int error = 0;
    if (!cpumask_test(&cpu_online, cpu)) {
        error = arch_cpu_start(cpu);
        if (error == 0) {
            call_hooks(cpu, false);
            counter_add(sched, cpus_brought_back, 1);
            log_info("CPU %u is on", cpu);
        }
    }
    mutex_unlock(&hotplug_lock);
    return error;
}
