// SPDX-License-Identifier: MIT
// What the scheduler tells about itself: CPU times, load averages.
//
// The load averages are brought up to date every five seconds by whichever CPU's tick comes first;
// while no CPU has a tick nothing runs, and the time missed is caught up with at the next look.
#include "kernel/core/spinlock.h"
#include "kernel/core/time.h"
#include "sched/run_queue.h"
#include "sched/sched.h"
#include "sched/tick.h"

#define LOAD_PERIOD_NS (5 * NS_PER_SECOND)
#define LOAD_ONE       UINT64_C(65536)

// e^(-5/60), e^(-5/300), e^(-5/900) as fractions of LOAD_ONE.
static const uint64_t load_decay[3] = {60296, 64453, 65173};

static struct {
    struct spinlock lock;
    uint64_t next_ns; // when the next sample is due; under lock, read without
    uint64_t average[3];
} load = {.lock = SPINLOCK_INIT("sched: load"), .next_ns = LOAD_PERIOD_NS};

static uint64_t threads_running(void)
{
    uint64_t running = 0;
    cpumask_for_each(cpu, &cpu_online) running += atomic_load_relaxed(&run_queue_of(cpu)->running);
    return running;
}

static void load_sample(uint64_t running)
{
    for (int i = 0; i < 3; i++)
        load.average[i] =
            (load.average[i] * load_decay[i] + running * LOAD_ONE * (LOAD_ONE - load_decay[i])) /
            LOAD_ONE;
}

void sched_load_update(uint64_t now_ns)
{
    if (likely(now_ns < atomic_load_relaxed(&load.next_ns)))
        return;
    uint64_t flags = spin_lock_irqsave(&load.lock);
    if (now_ns >= load.next_ns) {
        uint64_t missed = (now_ns - load.next_ns) / LOAD_PERIOD_NS;
        atomic_store_relaxed(&load.next_ns, load.next_ns + (missed + 1) * LOAD_PERIOD_NS);
        for (uint64_t i = 0; i < MIN(missed, UINT64_C(1000)); i++)
            load_sample(0);
        load_sample(threads_running());
    }
    spin_unlock_irqrestore(&load.lock, flags);
}

uint64_t sched_thread_cpu_ns(const struct thread *thread)
{
    if (!atomic_load_relaxed(&thread->sched.on_cpu))
        return atomic_load_relaxed(&thread->sched.sum_exec_ns);
    struct thread *running = (struct thread *)(uintptr_t)thread;
    uint64_t flags = arch_irq_save();
    struct run_queue *queue = run_queue_lock_of(running);
    if (queue->current == running) {
        uint64_t now_ns = time_monotonic_ns();
        int64_t stretch_ns = (int64_t)(now_ns - running->sched.exec_start_ns);
        uint64_t sum_ns = running->sched.sum_exec_ns + (stretch_ns > 0 ? (uint64_t)stretch_ns : 0);
        spin_unlock_irqrestore(&queue->lock, flags);
        return sum_ns;
    }
    spin_unlock_irqrestore(&queue->lock, flags);
    return atomic_load_relaxed(&thread->sched.sum_exec_ns);
}

// The part of `rest_ns` that was user time if it was like what was sampled.
static uint64_t user_share(uint64_t rest_ns, uint64_t user_ns, uint64_t system_ns)
{
    uint64_t sum_ns = user_ns + system_ns;
    if (sum_ns == 0)
        return rest_ns;
    while (sum_ns >= UINT64_C(1) << 40) {
        sum_ns >>= 1;
        user_ns >>= 1;
    }
    uint64_t share = MIN((user_ns << 16) / sum_ns, UINT64_C(65536));
    return (rest_ns >> 16) * share + ((rest_ns & 0xffff) * share >> 16);
}

void sched_thread_times(struct thread *thread, uint64_t *user_ns, uint64_t *system_ns)
{
    uint64_t total_ns = sched_thread_cpu_ns(thread);
    uint64_t user = atomic_load_relaxed(&thread->user_ns);
    uint64_t system = atomic_load_relaxed(&thread->system_ns);
    uint64_t rest_ns = total_ns > user + system ? total_ns - user - system : 0;
    uint64_t rest_user_ns = user_share(rest_ns, user, system);
    *user_ns = user + rest_user_ns;
    *system_ns = system + rest_ns - rest_user_ns;
    if (thread != thread_current())
        return;
    // What a thread was told of itself stays: later samples divide only what comes after.
    uint64_t flags = arch_irq_save();
    thread->user_ns = *user_ns;
    thread->system_ns = *system_ns;
    thread->sched.sample_exec_ns = total_ns;
    arch_irq_restore(flags);
}

static void statistics_add(uint32_t cpu, struct sched_statistics *sum)
{
    struct run_queue *queue = run_queue_of(cpu);
    uint64_t idle_ns = sched_thread_cpu_ns(queue->idle);
    uint64_t now_ns = time_monotonic_ns();
    uint64_t user_ns = atomic_load_relaxed(&queue->user_ns);
    uint64_t system_ns = atomic_load_relaxed(&queue->system_ns);
    uint64_t stolen_ns = atomic_load_relaxed(&queue->stolen_ns);
    uint64_t busy_ns = now_ns > idle_ns + stolen_ns ? now_ns - idle_ns - stolen_ns : 0;
    uint64_t sampled_ns = user_ns + system_ns;
    uint64_t rest_ns = busy_ns > sampled_ns ? busy_ns - sampled_ns : 0;
    uint64_t rest_user_ns = sampled_ns != 0 ? user_share(rest_ns, user_ns, system_ns) : 0;
    sum->idle_ns += idle_ns;
    sum->steal_ns += stolen_ns;
    sum->user_ns += user_ns + rest_user_ns;
    sum->system_ns += system_ns + rest_ns - rest_user_ns;
    sum->interrupt_ns += atomic_load_relaxed(&queue->interrupt_ns);
    sum->context_switches += atomic_load_relaxed(&queue->switches);
    sum->forks += atomic_load_relaxed(&queue->forks);
    sum->running += atomic_load_relaxed(&queue->running);
}

void sched_statistics_read(uint32_t cpu, struct sched_statistics *statistics)
{
    *statistics = (struct sched_statistics){0};
    sched_load_update(time_monotonic_ns());
    for (int i = 0; i < 3; i++)
        statistics->load_average[i] = atomic_load_relaxed(&load.average[i]);
    if (cpu != UINT32_MAX) {
        statistics_add(cpu, statistics);
        return;
    }
    // Also those that are off now: the sums never go back.
    for (uint32_t other = 0; other < cpu_count_possible; other++) {
        if (other == 0 || percpu_offset[other] != 0)
            statistics_add(other, statistics);
    }
}
