// SPDX-License-Identifier: MIT
// Changing how and where a thread is scheduled.
#include "kernel/arch/x86/arch.h"
#include "kernel/base/assert.h"
#include "kernel/core/time.h"
#include "sched/run_queue.h"
#include "sched/sched.h"
#include <linux/errno.h>
#include <linux/sched.h>

int sched_set_nice(struct thread *thread, int nice)
{
    if (nice < -20 || nice > 19)
        return -EINVAL;
    uint64_t flags = arch_irq_save();
    struct run_queue *queue = run_queue_lock_of(thread);
    if (queue->current == thread)
        (void)run_queue_account(queue, time_monotonic_ns());
    bool queued = thread->sched.queue_state == SCHED_QUEUE_ON && !sched_is_rt(thread);
    fair_set_nice(queued ? &queue->fair : NULL, &thread->sched, nice);
    spin_unlock_irqrestore(&queue->lock, flags);
    return 0;
}

// Gives a thread the class that its own and its inherited priority make. Under the queue's lock.
static void policy_apply(struct run_queue *queue, struct thread *thread)
{
    struct sched_entity *entity = &thread->sched;
    bool inherits = entity->inherited_rt_priority > entity->own_rt_priority;
    run_queue_set_class(queue, thread, inherits ? SCHED_FIFO : entity->own_policy,
        inherits ? entity->inherited_rt_priority : entity->own_rt_priority);
    if (entity->queue_state == SCHED_QUEUE_ON && queue->running > 1)
        sched_resched(queue);
}

int sched_set_policy(struct thread *thread, uint32_t policy, uint32_t rt_priority)
{
    bool rt = policy == SCHED_FIFO || policy == SCHED_RR;
    if (!rt && policy != SCHED_NORMAL && policy != SCHED_BATCH && policy != SCHED_IDLE)
        return -EINVAL;
    if (rt != (rt_priority != 0) || rt_priority >= RT_PRIORITIES)
        return -EINVAL;
    uint64_t flags = arch_irq_save();
    struct run_queue *queue = run_queue_lock_of(thread);
    if (queue->current == thread)
        (void)run_queue_account(queue, time_monotonic_ns());
    thread->sched.own_policy = (uint8_t)policy;
    thread->sched.own_rt_priority = (uint8_t)rt_priority;
    policy_apply(queue, thread);
    spin_unlock_irqrestore(&queue->lock, flags);
    return 0;
}

void sched_inherit(struct thread *thread, uint8_t rt_priority)
{
    debug_assert(rt_priority < RT_PRIORITIES);
    uint64_t flags = arch_irq_save();
    struct run_queue *queue = run_queue_lock_of(thread);
    if (thread->sched.inherited_rt_priority != rt_priority) {
        if (queue->current == thread)
            (void)run_queue_account(queue, time_monotonic_ns());
        thread->sched.inherited_rt_priority = rt_priority;
        policy_apply(queue, thread);
    }
    spin_unlock_irqrestore(&queue->lock, flags);
}

// Carries a thread that waits on the locked queue to a CPU of its affinity; unlocks.
static void policy_move_and_unlock(struct run_queue *queue, struct thread *thread, uint64_t flags)
{
    run_queue_remove(queue, thread);
    thread->sched.queue_state = SCHED_QUEUE_TRANSIT;
    atomic_store_relaxed(&thread->cpu, sched_choose_cpu(thread, queue->cpu, false));
    spin_unlock_no_resched(&queue->lock);
    preempt_disable();
    sched_place(thread, false, false);
    arch_irq_restore(flags);
    preempt_enable();
}

int sched_set_affinity(struct thread *thread, const struct cpumask *mask)
{
    struct cpumask allowed;
    for (int word = 0; word < CPUMASK_WORDS; word++)
        allowed.words[word] = mask->words[word] & atomic_load_relaxed(&cpu_online.words[word]);
    if (cpumask_is_empty(&allowed))
        return -EINVAL;
    uint64_t flags = arch_irq_save();
    struct run_queue *queue = run_queue_lock_of(thread);
    thread->affinity = *mask;
    if (thread->sched.queue_state != SCHED_QUEUE_ON || cpumask_test(mask, queue->cpu)) {
        spin_unlock_irqrestore(&queue->lock, flags);
        return 0;
    }
    if (queue->current != thread) {
        policy_move_and_unlock(queue, thread, flags);
        return 0;
    }
    sched_resched(queue); // sched_leave() sends it away; if it is the caller, on the next line
    spin_unlock_irqrestore(&queue->lock, flags);
    return 0;
}

uint64_t sched_rr_interval_ns(const struct thread *thread)
{
    if (thread->sched.own_policy == SCHED_RR)
        return SCHED_RR_SLICE_NS;
    return thread->sched.own_policy == SCHED_FIFO ? 0 : FAIR_SLICE_NS;
}

void sched_get_affinity(struct thread *thread, struct cpumask *mask)
{
    uint64_t flags = arch_irq_save();
    struct run_queue *queue = run_queue_lock_of(thread);
    *mask = thread->affinity;
    spin_unlock_irqrestore(&queue->lock, flags);
}

void sched_parameters_read(struct thread *thread, struct sched_parameters *parameters)
{
    uint64_t flags = arch_irq_save();
    struct run_queue *queue = run_queue_lock_of(thread);
    *parameters = (struct sched_parameters){.policy = thread->sched.own_policy,
        .rt_priority = thread->sched.own_rt_priority,
        .nice = thread->sched.nice,
        .reset_on_fork = thread->sched.reset_on_fork};
    spin_unlock_irqrestore(&queue->lock, flags);
}

void sched_set_reset_on_fork(struct thread *thread, bool reset)
{
    uint64_t flags = arch_irq_save();
    struct run_queue *queue = run_queue_lock_of(thread);
    thread->sched.reset_on_fork = reset;
    spin_unlock_irqrestore(&queue->lock, flags);
}
