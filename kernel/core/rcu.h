// SPDX-License-Identifier: MIT
// Read-copy-update. A reader disables preemption; a grace period has passed when every CPU went
// through a quiescent state (context switch, idle, user mode). Idle CPUs are never waited for nor
// woken: their extended quiescent state is a counter that the grace-period machinery reads.
#pragma once

#include "kernel/base/atomic.h"
#include "kernel/base/rcu_head.h"
#include "kernel/core/preempt.h"

static inline void rcu_read_lock(void)
{
    preempt_disable();
}
static inline void rcu_read_unlock(void)
{
    preempt_enable();
}
// Loads and publishes pointers that readers follow. Dependency-ordered: an acquire load, which is
// free on x86.
#define rcu_load(pointer)         __atomic_load_n(&(pointer), __ATOMIC_ACQUIRE)
#define rcu_store(pointer, value) __atomic_store_n(&(pointer), (value), __ATOMIC_RELEASE)

// Calls function(head) after a grace period, from deferred work context (may not sleep). Any
// context but NMI.
void rcu_call(struct rcu_head *head, void (*function)(struct rcu_head *head));
// Waits for a grace period. Task context, may sleep.
void rcu_synchronize(void);
void rcu_barrier(void); // waits until all callbacks queued before have run

// Called by the scheduler and the idle loop, on their own CPU with preemption off and no run queue
// locked.
PERCPU_DECLARE(uint32_t, rcu_owes); // 1: asked and has not answered; atomic
void rcu_report(void);              // the running CPU is in a quiescent state
static inline void rcu_note_context_switch(void)
{
    if (unlikely(this_cpu_read(rcu_owes) != 0))
        rcu_report();
}
void rcu_note_interrupt(
    bool interrupted_preemptible); // an interrupt found preemption on (or user mode)
void rcu_idle_enter(void);
void rcu_idle_exit(
    void); // interrupts off; also fine when an interrupt has left the idle state already

PERCPU_DECLARE(uint32_t, rcu_idle); // even while this CPU can't be reading; own CPU

// First thing of an interrupt: one that ended the processor's wait in the idle loop may read.
static inline void rcu_interrupt_enter(void)
{
    if (unlikely((this_cpu(rcu_idle) & 1) == 0))
        rcu_idle_exit();
}
// A CPU begins to take part, before it reads anything, and ends. On the CPU, interrupts off.
void rcu_cpu_begin(void);
void rcu_cpu_end(void);
// Around the end of a CPU, by the one who drives it (task context, may sleep): until after() no
// rcu_barrier() begins, which takes over what the dead CPU had still to call.
void rcu_cpu_end_before(void);
void rcu_cpu_end_after(uint32_t cpu);
void rcu_tick(bool was_user);
bool rcu_needs_cpu(void); // does this CPU owe a quiescent state?
// Callbacks whose grace period is over are run where preemption and interrupts are on: at the end
// of an interrupt and in the idle loop.
bool rcu_callbacks_ready(void);
void rcu_run_callbacks(void);
