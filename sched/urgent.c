// SPDX-License-Identifier: MIT
// Urgent threads (FIFO, RR, deadline) on several CPUs.
//
// At each time the most urgent threads should run, wherever they are queued. Three moves come near
// to that; each is made by the CPU where something changes, and looks at a bounded number of
// others:
//   U1  a thread that wakes goes to an idle CPU, else to one that runs nothing urgent, else to the
//       one with the least urgent of those looked at, if that is less urgent than the thread;
//   U2  an urgent thread that has to leave its CPU to a more urgent one goes elsewhere by the same
//       rule;
//   U3  a CPU that goes from an urgent thread to a less urgent one, or to idle, takes an urgent
//       thread that waits elsewhere.
// sched_urgent and sched_urgent_waiting are hints. A CPU sets and clears its own bit in the first;
// in the second it sets its bit, and whoever finds it wrong clears it. Threads of the fair class
// never touch them.
#include "kernel/arch/x86/arch.h"
#include "kernel/core/counter.h"
#include "sched/run_queue.h"
#include "sched/sched.h"

#define URGENT_CANDIDATES 8 // CPUs, or threads of a queue, that are looked at

struct cpumask sched_urgent;
struct cpumask sched_urgent_waiting;

COUNTER(sched, urgent_pushed);
COUNTER(sched, urgent_pulled);

static uint64_t cpu_urgency(uint32_t cpu)
{
    return atomic_load_relaxed(&run_queue_of(cpu)->urgency);
}

static bool cpu_is_allowed(const struct thread *thread, uint32_t cpu)
{
    return cpumask_test(&thread->affinity, cpu) && cpumask_test(&cpu_active, cpu);
}

// A CPU where the thread would run at once; CPU_MAX: none was found (U1).
static uint32_t urgent_target(const struct thread *thread, uint32_t from)
{
    uint32_t idle = sched_idle_cpu_for(thread, from);
    if (idle < CPU_MAX)
        return idle;
    if (cpu_is_allowed(thread, from) && cpu_urgency(from) == SCHED_NOT_URGENT)
        return from;
    struct cpumask calm;
    for (int word = 0; word < CPUMASK_WORDS; word++)
        calm.words[word] = atomic_load_relaxed(&cpu_active.words[word]) &
                           ~atomic_load_relaxed(&sched_urgent.words[word]);
    uint32_t cpu = cpumask_first_common(&calm, &thread->affinity, from);
    if (cpu < CPU_MAX)
        return cpu;
    uint32_t best = CPU_MAX;
    uint64_t best_urgency = sched_urgency(thread);
    cpu = from;
    for (int i = 0; i < URGENT_CANDIDATES; i++) {
        cpu = cpumask_first_common(&cpu_active, &thread->affinity, cpu);
        if (cpu >= CPU_MAX)
            break;
        if (cpu_urgency(cpu) > best_urgency) {
            best = cpu;
            best_urgency = cpu_urgency(cpu);
        }
        cpu++;
    }
    return best;
}

uint32_t sched_choose_urgent(const struct thread *thread, uint32_t previous_cpu)
{
    uint32_t target = urgent_target(thread, previous_cpu);
    if (target < CPU_MAX)
        return target;
    if (cpu_is_allowed(thread, previous_cpu))
        return previous_cpu;
    uint32_t allowed = cpumask_first_common(&cpu_active, &thread->affinity, previous_cpu);
    return allowed < CPU_MAX ? allowed : 0;
}

void sched_mark_urgent(struct run_queue *queue)
{
    if (sched_several_cpus && !cpumask_test(&sched_urgent_waiting, queue->cpu))
        cpumask_set_atomic(&sched_urgent_waiting, queue->cpu);
}

struct thread *sched_urgent_candidate(struct run_queue *queue, uint32_t cpu)
{
    struct deadline_entity *entity = deadline_first(&queue->dl);
    for (int i = 0; entity != NULL && i < URGENT_CANDIDATES; i++) {
        struct thread *thread = container_of(entity, struct thread, sched.dl);
        if (thread != queue->current && cpumask_test(&thread->affinity, cpu))
            return thread;
        entity = deadline_next(entity);
    }
    if (queue->rt.count == 0)
        return NULL;
    int looked_at = 0;
    for (uint32_t priority = RT_PRIORITIES - 1; priority != 0; priority--) {
        struct thread *thread;
        list_for_each_entry (thread, &queue->rt.lists[priority], sched.list) {
            if (thread != queue->current && cpumask_test(&thread->affinity, cpu))
                return thread;
            if (++looked_at == URGENT_CANDIDATES)
                return NULL;
        }
    }
    return NULL;
}

// U3. Takes a thread that is more urgent than `next` off a queue where one waits; it is in TRANSIT
// then.
static struct thread *urgent_pull(struct run_queue *queue, const struct thread *next)
{
    uint32_t victim_cpu = cpumask_first_common(&sched_urgent_waiting, &cpu_active, queue->cpu + 1);
    if (victim_cpu >= CPU_MAX || victim_cpu == queue->cpu)
        return NULL;
    struct run_queue *victim = run_queue_of(victim_cpu);
    if (!spin_trylock(&victim->lock))
        return NULL;
    struct thread *thread = sched_urgent_candidate(victim, queue->cpu);
    if (thread == NULL) {
        cpumask_clear_atomic(&sched_urgent_waiting, victim_cpu);
    } else if (sched_urgency(thread) >= sched_urgency(next)) {
        thread = NULL;
    } else {
        run_queue_remove(victim, thread);
        thread->sched.queue_state = SCHED_QUEUE_TRANSIT;
        atomic_store_relaxed(&thread->cpu, queue->cpu);
        counter_add(sched, urgent_pulled, 1);
    }
    spin_unlock_no_resched(&victim->lock);
    return thread;
}

// U2. `thread`, which was current, waits: sends it where it runs at once, or marks the queue.
static void urgent_push(struct run_queue *queue, struct thread *thread)
{
    uint32_t target = urgent_target(thread, queue->cpu);
    if (target >= CPU_MAX || target == queue->cpu) {
        sched_mark_urgent(queue);
        return;
    }
    run_queue_remove(queue, thread);
    thread->sched.queue_state = SCHED_QUEUE_TRANSIT;
    atomic_store_relaxed(&thread->cpu, target);
    queue->migrating = thread;
    counter_add(sched, urgent_pushed, 1);
}

struct thread *sched_urgent_switch(
    struct run_queue *queue, struct thread *previous, struct thread *next)
{
    assert_lock_held(&queue->lock);
    if (sched_several_cpus) {
        bool eases = run_queue_is_active(queue) &&
                     sched_urgency(next) > atomic_load_relaxed(&queue->urgency);
        struct thread *pulled = eases ? urgent_pull(queue, next) : NULL;
        if (pulled != NULL) {
            run_queue_add(queue, pulled, false);
            next = run_queue_pick(queue, next == queue->idle ? NULL : next, false);
        }
        if (previous != NULL && previous != next && sched_urgency(previous) != SCHED_NOT_URGENT)
            urgent_push(queue, previous);
        bool was_urgent = atomic_load_relaxed(&queue->urgency) != SCHED_NOT_URGENT;
        bool is_urgent = !sched_is_fair(next);
        if (is_urgent && !was_urgent)
            cpumask_set_atomic(&sched_urgent, queue->cpu);
        else if (!is_urgent && was_urgent)
            cpumask_clear_atomic(&sched_urgent, queue->cpu);
    }
    uint64_t urgency = sched_urgency(next);
    atomic_store_relaxed(&queue->urgency, urgency);
    queue->special = urgency != SCHED_NOT_URGENT || !sched_is_fair(next) || queue->rt.count != 0 ||
                     (queue->dl.ready_count | queue->dl.throttled_count) != 0;
    return next;
}
