// SPDX-License-Identifier: MIT
// Which CPU a thread runs on.
//
// At a wake-up: the waker's CPU if the waker is about to sleep and nobody else waits there (the
// woken thread starts with what the waker left in the cache, and no interrupt is sent); else the
// CPU where it ran, if that idles; else an idle CPU, looked for in sched_idle_mask from that CPU
// on; else where it ran. A CPU whose vCPU the host has taken off its processor while it had
// something to do is passed over where another will do: nothing runs there before the host comes
// round. While the waker's own CPU sees time stolen, the host has fewer processors than there are
// vCPUs that want one, and a halted one would have to wait for ours: then one thread may wait
// behind the waker instead. A CPU that runs out of work takes a thread from a CPU in
// sched_overloaded. Both masks are hints: bits are set by the CPU in question when it idles, or
// when a thread has to wait there, and cleared by whoever finds them wrong; so in the steady state
// nobody writes them. A wake-up looks at four words at most. The tick of a CPU where threads wait
// calls an idle CPU; without one, now and then, it compares its queue with one other overloaded
// CPU's, chosen by chance, and takes a thread from it if that has two more.
#include "kernel/arch/x86/arch.h"
#include "kernel/base/random.h"
#include "kernel/core/counter.h"
#include "kernel/core/time.h"
#include "pv/pv.h"
#include "sched/run_queue.h"
#include "sched/sched.h"

#define STEAL_CANDIDATES 8  // threads of a queue that are looked at
#define IDLE_CANDIDATES  4  // idle CPUs that are looked at
#define BALANCE_TICKS    16 // between comparisons of busy CPUs

COUNTER(sched, avoided_away);  // CPUs passed over because the host does not run them
COUNTER(sched, kept_squeezed); // woken threads that wait here because processors are short
COUNTER(sched, stolen);
COUNTER(sched, balanced);

__noinline uint32_t cpumask_first_common(
    const struct cpumask *a, const struct cpumask *b, uint32_t from)
{
    struct cpumask common;
    for (int word = 0; word < CPUMASK_WORDS; word++)
        common.words[word] = atomic_load_relaxed(&a->words[word]) & b->words[word];
    uint32_t cpu = cpumask_next(&common, from);
    return cpu < CPU_MAX ? cpu : cpumask_next(&common, 0);
}

static bool cpu_is_idle(uint32_t cpu)
{
    return atomic_load_relaxed(&run_queue_of(cpu)->running) == 0;
}

// Has the host taken the processor from it? One that halted gave it away and gets it when it is
// woken.
static bool cpu_is_away(uint32_t cpu)
{
    return unlikely(pv_has_steal) &&
           atomic_load_relaxed(&run_queue_of(cpu)->idle_state) != SCHED_IDLE_HALTS &&
           pv_vcpu_is_preempted(cpu);
}

// Has this CPU to share its processor with other vCPUs, so that a woken one would wait for it?
static bool cpu_is_squeezed(uint32_t cpu)
{
    if (likely(!pv_has_steal))
        return false;
    uint64_t until_ns = atomic_load_relaxed(&run_queue_of(cpu)->squeezed_until_ns);
    return unlikely(until_ns != 0) && time_monotonic_ns() < until_ns;
}

// One that is not away if there is.
uint32_t sched_idle_cpu_for(const struct thread *thread, uint32_t from)
{
    uint32_t first = cpumask_first_common(&sched_idle_mask, &thread->affinity, from);
    uint32_t cpu = first;
    for (int i = 0; i < IDLE_CANDIDATES && cpu < CPU_MAX && cpu_is_away(cpu); i++) {
        counter_add(sched, avoided_away, 1);
        cpu = cpumask_first_common(&sched_idle_mask, &thread->affinity, cpu + 1);
        if (cpu == first)
            break;
    }
    return cpu;
}

uint32_t sched_choose_cpu(const struct thread *thread, uint32_t previous_cpu, bool sync)
{
    uint32_t here = cpu_current();
    if (!sched_several_cpus)
        return 0;
    bool here_allowed = cpumask_test(&thread->affinity, here) && cpumask_test(&cpu_active, here);
    if (sync && here_allowed && run_queue_of(here)->running <= 1)
        return here;
    if (unlikely(!sched_is_fair(thread)))
        return sched_choose_urgent(thread, previous_cpu);
    if (cpu_is_squeezed(here) && here_allowed && run_queue_of(here)->running <= 1) {
        counter_add(sched, kept_squeezed, 1);
        return here;
    }
    bool previous_allowed =
        cpumask_test(&thread->affinity, previous_cpu) && cpumask_test(&cpu_active, previous_cpu);
    bool previous_away = cpu_is_away(previous_cpu);
    if (previous_allowed && !previous_away && cpu_is_idle(previous_cpu))
        return previous_cpu;
    uint32_t idle = sched_idle_cpu_for(thread, previous_cpu);
    if (idle < CPU_MAX)
        return idle;
    if (previous_allowed && !(previous_away && here_allowed))
        return previous_cpu;
    if (previous_away && here_allowed) {
        counter_add(sched, avoided_away, 1);
        return here;
    }
    uint32_t allowed = cpumask_first_common(&cpu_active, &thread->affinity, previous_cpu);
    // An affinity without such a CPU can't be set, but one may have gone: sched_place() sees to it.
    return allowed < CPU_MAX ? allowed : previous_cpu;
}

void sched_mark_overload(struct run_queue *queue)
{
    if (!sched_several_cpus || queue->overloaded)
        return;
    queue->overloaded = true;
    cpumask_set_atomic(&sched_overloaded, queue->cpu);
}

// A waiting thread of the locked queue that may run on `cpu`: the most urgent, or of
// the fair class the one that will run there last.
static struct thread *steal_candidate(struct run_queue *victim, uint32_t cpu)
{
    struct thread *urgent = sched_urgent_candidate(victim, cpu);
    if (unlikely(urgent != NULL))
        return urgent;
    struct sched_entity *entity = fair_next_latest(&victim->fair, NULL);
    for (int i = 0; entity != NULL && i < STEAL_CANDIDATES; i++) {
        struct thread *thread = container_of(entity, struct thread, sched);
        if (cpumask_test(&thread->affinity, cpu))
            return thread;
        entity = fair_next_latest(&victim->fair, entity);
    }
    return NULL;
}

// Takes a thread off another queue. The own queue may be locked: the other one is not waited for.
static struct thread *steal_from(uint32_t victim_cpu, uint32_t cpu, uint32_t least_running)
{
    struct run_queue *victim = run_queue_of(victim_cpu);
    if (!spin_trylock(&victim->lock))
        return NULL;
    struct thread *thread = NULL;
    bool waits = victim->running > (victim->current != victim->idle ? 1u : 0u);
    if (waits && victim->running >= least_running)
        thread = steal_candidate(victim, cpu);
    if (thread != NULL) {
        run_queue_remove(victim, thread);
        thread->sched.queue_state = SCHED_QUEUE_TRANSIT;
        atomic_store_relaxed(&thread->cpu, cpu);
    }
    if (!waits) {
        victim->overloaded = false;
        cpumask_clear_atomic(&sched_overloaded, victim_cpu);
    }
    spin_unlock_no_resched(&victim->lock);
    return thread;
}

bool sched_steal(struct run_queue *queue)
{
    if (!sched_several_cpus || unlikely(!run_queue_is_active(queue)))
        return false;
    uint32_t victim = cpumask_first_common(&sched_overloaded, &cpu_online, queue->cpu + 1);
    if (likely(victim == CPU_MAX) || victim == queue->cpu)
        return false;
    struct thread *thread = steal_from(victim, queue->cpu, 1);
    if (thread == NULL)
        return false;
    counter_add(sched, stolen, 1);
    run_queue_add(queue, thread, false);
    return true;
}

void sched_balance(struct run_queue *queue)
{
    if (!sched_several_cpus || queue->running == 0)
        return;
    if (queue->running > 1) {
        sched_mark_overload(queue);
        uint32_t idle = cpumask_next(&sched_idle_mask, 0);
        if (idle < CPU_MAX) {
            sched_resched(run_queue_of(idle)); // it will steal
            return;
        }
    }
    if (++queue->balance_ticks % BALANCE_TICKS != 0)
        return;
    struct prng prng = {.state = queue->random_state};
    uint32_t victim =
        cpumask_first_common(&sched_overloaded, &cpu_online, (uint32_t)prng_below(&prng, CPU_MAX));
    queue->random_state = prng.state;
    if (victim >= CPU_MAX || victim == queue->cpu)
        return;
    struct thread *thread = steal_from(victim, queue->cpu, queue->running + 2);
    if (thread == NULL)
        return;
    counter_add(sched, balanced, 1);
    sched_place(thread, false, false);
}
