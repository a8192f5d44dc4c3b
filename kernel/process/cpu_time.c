// SPDX-License-Identifier: MIT
// CPU time: what tasks and processes used, and what depends on it (ITIMER_VIRTUAL, ITIMER_PROF,
// RLIMIT_CPU).
//
// The scheduler counts the run time of each thread exactly, and which share of it was user mode by
// ticks. As a total from one source and two shares from another don't add up, the shares only
// divide the exact total (a thread that was never seen by a tick counts as user time).
//
// Nothing is looked at in the tick. A process's CPU time can't advance faster than real time times
// its threads, so a timer is armed for the moment at which the earliest limit may be reached; it
// then looks, and arms itself again if it came too early.
#include "kernel/core/time.h"
#include "kernel/process/process.h"
#include "mm/address_space.h"
#include "sched/sched.h"

#define RECHECK_MIN_NS (NS_PER_MS)

static void split(uint64_t total, uint64_t user_ticks, uint64_t system_ticks, uint64_t *user_ns,
    uint64_t *system_ns)
{
    uint64_t ticks = user_ticks + system_ticks;
    while (ticks > UINT32_MAX) { // so that the products fit
        ticks >>= 1;
        system_ticks >>= 1;
    }
    uint64_t system = 0;
    if (ticks != 0)
        system = total / ticks * system_ticks + total % ticks * system_ticks / ticks;
    *system_ns = system;
    *user_ns = total - system;
}

void task_cpu_times(const struct task *task, uint64_t *user_ns, uint64_t *system_ns)
{
    split(sched_thread_cpu_ns(&task->thread), atomic_load_relaxed(&task->thread.user_ns),
        atomic_load_relaxed(&task->thread.system_ns), user_ns, system_ns);
}

void task_usage_add_task(struct task_usage *usage, const struct task *task)
{
    uint64_t user_ns, system_ns;
    task_cpu_times(task, &user_ns, &system_ns);
    usage->user_ns += user_ns;
    usage->system_ns += system_ns;
    usage->minor_faults += task->thread.minor_faults;
    usage->major_faults += task->thread.major_faults;
    usage->switches_voluntary += task->thread.sched.switches_voluntary;
    usage->switches_involuntary += task->thread.sched.switches_involuntary;
}

// Sum over dead and living threads; handlers->lock held.
static void usage_sum_locked(struct process *process, struct task_usage *usage)
{
    *usage = process->dead_threads;
    struct task *task;
    list_for_each_entry (task, &process->threads, thread_node) {
        if (!task->accounted)
            task_usage_add_task(usage, task);
    }
}

void process_usage_sum(struct process *process, struct task_usage *usage)
{
    uint64_t flags;
    struct signal_handlers *handlers = process_signals_lock(process, &flags);
    usage_sum_locked(process, usage);
    spin_unlock_irqrestore(&handlers->lock, flags);
}

void process_cpu_times(struct process *process, uint64_t *user_ns, uint64_t *system_ns)
{
    struct task_usage usage;
    process_usage_sum(process, &usage);
    *user_ns = usage.user_ns;
    *system_ns = usage.system_ns;
}

uint64_t process_cpu_ns(struct process *process)
{
    struct task_usage usage;
    process_usage_sum(process, &usage);
    return usage.user_ns + usage.system_ns;
}

uint64_t process_cpu_ns_locked(struct process *process)
{
    struct task_usage usage;
    usage_sum_locked(process, &usage);
    return usage.user_ns + usage.system_ns;
}

// ---- limits and timers -------------------------------------------------------------------------

static uint64_t limit_ns(struct process *process)
{
    uint64_t seconds = atomic_load_relaxed(&process->limits[RLIMIT_CPU].rlim_cur);
    return seconds >= UINT64_MAX / NS_PER_SECOND ? UINT64_MAX
                                                 : MAX(seconds, UINT64_C(1)) * NS_PER_SECOND;
}

// CPU time that is left until something is due, UINT64_MAX: nothing is set. handlers->lock held.
static uint64_t remaining(struct process *process, const struct task_usage *usage)
{
    uint64_t total = usage->user_ns + usage->system_ns;
    uint64_t left = UINT64_MAX;
    uint64_t limit = limit_ns(process);
    if (limit != UINT64_MAX)
        left = limit > total ? limit - total : 0;
    if (process->itimer_prof_ns != 0)
        left = MIN(left, process->itimer_prof_ns > total ? process->itimer_prof_ns - total : 0);
    if (process->itimer_virtual_ns != 0)
        left = MIN(left, process->itimer_virtual_ns > usage->user_ns
                             ? process->itimer_virtual_ns - usage->user_ns
                             : 0);
    return left;
}

static bool nothing_set(struct process *process)
{
    return process->itimer_prof_ns == 0 && process->itimer_virtual_ns == 0 &&
           limit_ns(process) == UINT64_MAX;
}

void cpu_timer_start(struct process *process)
{
    if (nothing_set(process)) {
        timer_cancel(&process->cpu_timer);
        return;
    }
    struct task_usage usage;
    usage_sum_locked(process, &usage);
    uint64_t wait_ns = remaining(process, &usage) / MAX(process->thread_count, UINT32_C(1));
    timer_arm(&process->cpu_timer, time_monotonic_ns() + MAX(wait_ns, RECHECK_MIN_NS));
}

// Interrupt context.
static void cpu_timer_fire(struct timer *timer)
{
    struct process *process = container_of(timer, struct process, cpu_timer);
    uint64_t flags;
    struct signal_handlers *handlers = process_signals_lock(process, &flags);
    struct task_usage usage;
    usage_sum_locked(process, &usage);
    uint64_t total = usage.user_ns + usage.system_ns;
    if (process->itimer_prof_ns != 0 && total >= process->itimer_prof_ns) {
        process->itimer_prof_ns =
            process->itimer_prof_interval_ns != 0 ? total + process->itimer_prof_interval_ns : 0;
        (void)signal_send_locked(process, NULL, SIGPROF, NULL);
    }
    if (process->itimer_virtual_ns != 0 && usage.user_ns >= process->itimer_virtual_ns) {
        process->itimer_virtual_ns = process->itimer_virtual_interval_ns != 0
                                         ? usage.user_ns + process->itimer_virtual_interval_ns
                                         : 0;
        (void)signal_send_locked(process, NULL, SIGVTALRM, NULL);
    }
    uint64_t limit = limit_ns(process);
    if (total >= limit) {
        struct rlimit *setting = &process->limits[RLIMIT_CPU];
        if (setting->rlim_max <= total / NS_PER_SECOND) {
            (void)signal_send_locked(process, NULL, SIGKILL, NULL);
        } else {
            (void)signal_send_locked(process, NULL, SIGXCPU, NULL);
            setting->rlim_cur = total / NS_PER_SECOND + 1; // again each second, as Linux
        }
    }
    if (process->thread_count != 0)
        cpu_timer_start(process);
    spin_unlock_irqrestore(&handlers->lock, flags);
}

void cpu_timer_init(struct process *process)
{
    timer_init(&process->cpu_timer, cpu_timer_fire);
}
