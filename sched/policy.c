// SPDX-License-Identifier: MIT
// Changing how and where a thread is scheduled.
#include "kernel/arch/x86/arch.h"
#include "kernel/base/assert.h"
#include "kernel/core/spinlock.h"
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
    bool queued = thread->sched.queue_state == SCHED_QUEUE_ON && sched_is_fair(thread);
    fair_set_nice(queued ? &queue->fair : NULL, &thread->sched, nice);
    spin_unlock_irqrestore(&queue->lock, flags);
    return 0;
}

// ---- classes -----------------------------------------------------------------------------------
//
// What decides a thread's class is changed while it is on no queue: policy_begin() takes it off,
// policy_end() finds out its class and puts it back. Both under the queue's lock.

struct policy_change {
    bool queued, is_current;
};

static struct policy_change policy_begin(struct run_queue *queue, struct thread *thread)
{
    struct policy_change change = {.queued = thread->sched.queue_state == SCHED_QUEUE_ON,
        .is_current = queue->current == thread};
    if (change.is_current)
        (void)run_queue_account(queue, time_monotonic_ns());
    if (change.queued)
        run_queue_remove(queue, thread);
    return change;
}

// The class that a thread's own policy and what it inherits make.
static void policy_resolve(struct sched_entity *entity)
{
    bool inherits = entity->inherited_rt_priority > entity->own_rt_priority;
    if (entity->own_policy == SCHED_DEADLINE || entity->dl.boosted_until_ns != 0) {
        entity->class = SCHED_CLASS_DEADLINE;
        entity->policy = SCHED_DEADLINE;
        entity->rt_priority = 0;
    } else {
        entity->policy = inherits ? SCHED_FIFO : entity->own_policy;
        entity->rt_priority = inherits ? entity->inherited_rt_priority : entity->own_rt_priority;
        entity->class = entity->rt_priority != 0 ? SCHED_CLASS_RT : SCHED_CLASS_FAIR;
    }
    entity->slice_ns = entity->class == SCHED_CLASS_FAIR ? FAIR_SLICE_NS : SCHED_RR_SLICE_NS;
}

static void policy_end(struct run_queue *queue, struct thread *thread, struct policy_change change)
{
    struct sched_entity *entity = &thread->sched;
    policy_resolve(entity);
    if (!change.queued)
        return;
    if (entity->class == SCHED_CLASS_DEADLINE)
        sched_deadline_wake(thread);
    run_queue_add(queue, thread, false);
    if (change.is_current && entity->class == SCHED_CLASS_FAIR)
        fair_set_current(&queue->fair, entity);
    sched_resched(queue); // it may have been throttled, and its CPU idle
}

// ---- policies ----------------------------------------------------------------------------------

// Bandwidth that deadline threads have reserved, of all CPUs together. Lock order: before the run
// queues' locks.
static struct {
    struct spinlock lock;
    uint64_t total;
} reserved = {.lock = SPINLOCK_INIT("sched: reserved")};

bool sched_parameters_valid(const struct sched_parameters *parameters)
{
    uint32_t policy = parameters->policy;
    bool rt = policy == SCHED_FIFO || policy == SCHED_RR;
    if (rt != (parameters->rt_priority != 0) || parameters->rt_priority >= RT_PRIORITIES)
        return false;
    if (policy == SCHED_DEADLINE)
        return deadline_parameters_valid(
            parameters->runtime_ns, parameters->deadline_ns, parameters->period_ns);
    return rt || policy == SCHED_NORMAL || policy == SCHED_BATCH || policy == SCHED_IDLE;
}

static uint64_t entity_bandwidth(const struct sched_entity *entity)
{
    return entity->own_policy == SCHED_DEADLINE
               ? deadline_bandwidth(entity->dl.runtime_ns, entity->dl.period_ns)
               : 0;
}

// Both locks are held. Reserves what the thread wants instead of what it has. 0, or as
// sched_set_policy().
static int bandwidth_exchange(struct thread *thread, const struct sched_parameters *parameters)
{
    uint64_t released = entity_bandwidth(&thread->sched);
    uint64_t wanted = 0;
    if (parameters->policy == SCHED_DEADLINE) {
        if (!cpumask_covers(&thread->affinity, &cpu_online))
            return -EPERM;
        uint64_t period_ns =
            parameters->period_ns != 0 ? parameters->period_ns : parameters->deadline_ns;
        wanted = deadline_bandwidth(parameters->runtime_ns, period_ns);
        if (wanted > released &&
            !deadline_is_admitted(reserved.total, released, wanted, cpumask_count(&cpu_online)))
            return -EBUSY;
    }
    reserved.total += wanted - released;
    return 0;
}

int sched_set_policy(struct thread *thread, const struct sched_parameters *parameters)
{
    struct sched_entity *entity = &thread->sched;
    if (!sched_parameters_valid(parameters))
        return -EINVAL;
    uint64_t flags = spin_lock_irqsave(&reserved.lock);
    struct run_queue *queue = run_queue_lock_of(thread);
    int error = bandwidth_exchange(thread, parameters);
    if (error == 0) {
        struct policy_change change = policy_begin(queue, thread);
        entity->own_policy = (uint8_t)parameters->policy;
        entity->own_rt_priority = (uint8_t)parameters->rt_priority;
        entity->deadline_signal =
            parameters->policy == SCHED_DEADLINE && parameters->overrun_signal;
        if (parameters->policy == SCHED_DEADLINE)
            deadline_set(&entity->dl, parameters->runtime_ns, parameters->deadline_ns,
                parameters->period_ns);
        else
            entity->dl.runtime_ns = 0;
        policy_end(queue, thread, change);
    }
    spin_unlock_no_resched(&queue->lock);
    spin_unlock_irqrestore(&reserved.lock, flags);
    atomic_fence();
    if (unlikely(atomic_load_relaxed(&thread->state) == THREAD_DEAD))
        sched_release_bandwidth(thread);
    return error;
}

// The thread is dead: state is set, with a full fence. It looks at its policy after that, and who
// changes the policy looks at the state after that (Dekker): one of both gives the bandwidth back.
void sched_release_bandwidth(struct thread *thread)
{
    struct sched_entity *entity = &thread->sched;
    uint64_t flags = spin_lock_irqsave(&reserved.lock);
    reserved.total -= entity_bandwidth(entity);
    struct run_queue *queue = run_queue_lock_of(thread);
    struct policy_change change = policy_begin(queue, thread);
    entity->own_policy = SCHED_NORMAL;
    entity->dl.runtime_ns = 0;
    policy_end(queue, thread, change);
    spin_unlock_no_resched(&queue->lock);
    spin_unlock_irqrestore(&reserved.lock, flags);
}

void sched_inherit(struct thread *thread, uint64_t urgency)
{
    struct sched_entity *entity = &thread->sched;
    bool deadline = urgency < SCHED_URGENCY_RT_BASE;
    uint64_t until_ns = deadline ? urgency : 0;
    uint8_t rt_priority =
        deadline || urgency == SCHED_NOT_URGENT ? 0 : (uint8_t)(SCHED_URGENCY_RT(0) - urgency);
    debug_assert(rt_priority < RT_PRIORITIES);
    uint64_t flags = arch_irq_save();
    struct run_queue *queue = run_queue_lock_of(thread);
    if (entity->inherited_rt_priority != rt_priority || entity->dl.boosted_until_ns != until_ns) {
        struct policy_change change = policy_begin(queue, thread);
        entity->inherited_rt_priority = rt_priority;
        entity->dl.boosted_until_ns = until_ns;
        policy_end(queue, thread, change);
    }
    spin_unlock_irqrestore(&queue->lock, flags);
}

bool sched_take_overrun(void)
{
    struct sched_entity *entity = &thread_current()->sched;
    if (!atomic_load_relaxed(&entity->deadline_overrun))
        return false;
    atomic_store_relaxed(&entity->deadline_overrun, false);
    return true;
}

// ---- where -------------------------------------------------------------------------------------

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
        allowed.words[word] = mask->words[word] & atomic_load_relaxed(&cpu_active.words[word]);
    if (cpumask_is_empty(&allowed))
        return -EINVAL;
    uint64_t flags = arch_irq_save();
    struct run_queue *queue = run_queue_lock_of(thread);
    if (thread->sched.own_policy == SCHED_DEADLINE && !cpumask_covers(mask, &cpu_online)) {
        spin_unlock_irqrestore(&queue->lock, flags);
        return -EBUSY;
    }
    // What is not there now is not remembered, as Linux 6.1 has it.
    thread->affinity = allowed;
    if (thread->sched.queue_state != SCHED_QUEUE_ON || cpumask_test(&allowed, queue->cpu)) {
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
    bool endless =
        thread->sched.own_policy == SCHED_FIFO || thread->sched.own_policy == SCHED_DEADLINE;
    return endless ? 0 : FAIR_SLICE_NS;
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
        .reset_on_fork = thread->sched.reset_on_fork,
        .overrun_signal = thread->sched.deadline_signal};
    if (thread->sched.own_policy == SCHED_DEADLINE) {
        parameters->runtime_ns = thread->sched.dl.runtime_ns;
        parameters->deadline_ns = thread->sched.dl.deadline_ns;
        parameters->period_ns = thread->sched.dl.period_ns;
    }
    spin_unlock_irqrestore(&queue->lock, flags);
}

void sched_set_reset_on_fork(struct thread *thread, bool reset)
{
    uint64_t flags = arch_irq_save();
    struct run_queue *queue = run_queue_lock_of(thread);
    thread->sched.reset_on_fork = reset;
    spin_unlock_irqrestore(&queue->lock, flags);
}
