// SPDX-License-Identifier: MIT
// The scheduler: per-CPU run queues with a fair class (eligible earliest virtual deadline), FIFO/RR
// above it, earliest deadline first with constant-bandwidth servers above that, idle below all.
#pragma once

#include "kernel/core/thread.h"
#include "kernel/core/upcall.h"

void sched_init(void); // boot CPU: makes the running context the idle thread's
void sched_cpu_init(uint32_t cpu, struct thread *idle); // secondary CPUs, before they are started
struct thread *sched_idle_thread(uint32_t cpu);
// A new thread, state RUNNING but on no queue: fields set from `parent` (NULL: defaults; nice,
// policy, unless it is SCHED_DEADLINE, and affinity are inherited).
void sched_thread_init(struct thread *thread, const struct thread *parent);
void sched_start(struct thread *thread); // first wake-up: chooses a CPU and queues it
[[noreturn]] void sched_exit(
    void); // the running thread never runs again; its stack is released by reap()
// `reap` is called after the last switch away from a dead user thread, on another stack: it
// releases its kernel stack and drops the reference to it that running was. Set once by process/;
// kernel threads are sched's own. Preemption off, interrupts on: it must not sleep. The memory of
// struct thread itself may be freed only after an RCU grace period (kfree_rcu): wakers and spinning
// lock waiters may look at it until then.
void sched_thread_set_reaper(void (*reap)(struct thread *thread));

[[nodiscard]] int sched_set_nice(struct thread *thread, int nice);

// How urgent a thread is that is not of the fair class; less is more urgent. Deadline threads:
// their absolute deadline; above that FIFO and RR by priority.
#define SCHED_NOT_URGENT           UINT64_MAX
#define SCHED_URGENCY_RT_BASE      (UINT64_C(1) << 63)
#define SCHED_URGENCY_RT(priority) (SCHED_URGENCY_RT_BASE + 100 - (priority))
// Racy unless the thread is the running one or cannot run. Any context.
uint64_t sched_urgency(const struct thread *thread);
// Priority inheritance: while somebody of this urgency (SCHED_NOT_URGENT: nobody) waits for the
// thread, it runs at least at that. Any context but NMI; the caller keeps the thread from being
// freed.
void sched_inherit(struct thread *thread, uint64_t urgency);
// -EINVAL: no online CPU; -EBUSY: a deadline thread has to be able to run on all.
[[nodiscard]] int sched_set_affinity(struct thread *thread, const struct cpumask *mask);
void sched_get_affinity(struct thread *thread, struct cpumask *mask);

struct sched_parameters {
    uint32_t policy;      // SCHED_*
    uint32_t rt_priority; // 1..99 for FIFO and RR, else 0
    int nice;
    bool reset_on_fork;                          // children start with the default policy
    bool overrun_signal;                         // SIGXCPU when a budget is used up
    uint64_t runtime_ns, deadline_ns, period_ns; // SCHED_DEADLINE, else 0
};
bool sched_parameters_valid(const struct sched_parameters *parameters);
// Sets the policy and what belongs to it, not nice and reset_on_fork. -EINVAL: not valid. For
// SCHED_DEADLINE: -EPERM: the thread may not run on all CPUs; -EBUSY: the bandwidth is not to be
// had. Task context.
[[nodiscard]] int sched_set_policy(
    struct thread *thread, const struct sched_parameters *parameters);
bool sched_may_fork(
    const struct thread *thread); // a deadline thread may not, but for reset_on_fork
// For the way back to user mode: has the running thread to get SIGXCPU for a budget?
bool sched_take_overrun(void);
void sched_parameters_read(struct thread *thread, struct sched_parameters *parameters);
void sched_set_reset_on_fork(struct thread *thread, bool reset);
uint64_t sched_thread_cpu_ns(const struct thread *thread); // CPU time incl. the current stretch
// The same split into user and system time, as sampled by the tick. Monotonic for a thread that
// asks about itself. Task context.
void sched_thread_times(struct thread *thread, uint64_t *user_ns, uint64_t *system_ns);
uint64_t sched_rr_interval_ns(const struct thread *thread);

struct sched_statistics {
    uint64_t context_switches, forks, running,
        load_average[3]; // load: fixed point << 16 for 1, 5, 15 min
    uint64_t idle_ns, user_ns, system_ns, interrupt_ns, steal_ns; // of `cpu`
};
void sched_statistics_read(
    uint32_t cpu, struct sched_statistics *statistics); // cpu UINT32_MAX: all
