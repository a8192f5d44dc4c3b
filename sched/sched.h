// SPDX-License-Identifier: MIT
// The scheduler: per-CPU run queues with a fair class (eligible earliest virtual deadline), FIFO/RR
// above it, idle below it.
#pragma once

#include "kernel/core/thread.h"
#include "kernel/core/upcall.h"

void sched_init(void); // boot CPU: makes the running context the idle thread's
void sched_cpu_init(uint32_t cpu, struct thread *idle); // secondary CPUs, before they are started
struct thread *sched_idle_thread(uint32_t cpu);
// A new thread, state RUNNING but on no queue: fields set from `parent` (NULL: defaults; nice,
// policy and affinity are inherited).
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
[[nodiscard]] int sched_set_policy(struct thread *thread, uint32_t policy, uint32_t rt_priority);
// Priority inheritance: while somebody of this FIFO/RR priority (0: nobody) waits for the thread,
// it runs at least at that. Any context but NMI; the caller keeps the thread from being freed.
void sched_inherit(struct thread *thread, uint8_t rt_priority);
[[nodiscard]] int sched_set_affinity(
    struct thread *thread, const struct cpumask *mask); // -EINVAL: no online CPU
void sched_get_affinity(struct thread *thread, struct cpumask *mask);

struct sched_parameters {
    uint32_t policy;      // SCHED_*
    uint32_t rt_priority; // 1..99 for FIFO and RR, else 0
    int nice;
    bool reset_on_fork; // children start with the default policy
};
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
