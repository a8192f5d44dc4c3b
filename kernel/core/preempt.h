// SPDX-License-Identifier: MIT
// Preemption and interrupt context.
//
// preempt_count is per CPU: bits 0..7 nested disables (each spin lock held is one), bits 8..15 soft
// nesting (deferred work running), bits 16..19 hardware interrupt nesting, bit 20 NMI. A thread may
// sleep only when the whole word is 0 and interrupts are on. The context switch saves and restores
// nothing: it only happens with a count of exactly one disable.
#pragma once

#include "kernel/base/atomic.h"
#include "kernel/base/types.h"
#include "kernel/core/percpu.h"

#define PREEMPT_DISABLE_ONE UINT32_C(1)
#define PREEMPT_SOFT_ONE    (UINT32_C(1) << 8)
#define PREEMPT_IRQ_ONE     (UINT32_C(1) << 16)
#define PREEMPT_NMI         (UINT32_C(1) << 20)

PERCPU_DECLARE(uint32_t, preempt_count);

// Defined in sched/: called when the last disable is undone and a reschedule is wanted.
void sched_preempt(void);

static inline void preempt_disable(void)
{
    this_cpu(preempt_count) += PREEMPT_DISABLE_ONE;
    compiler_barrier();
}

// Undoes a disable without looking whether a reschedule is wanted (the caller is about to, or
// can't).
static inline void preempt_enable_no_resched(void)
{
    compiler_barrier();
    this_cpu(preempt_count) -= PREEMPT_DISABLE_ONE;
}

void preempt_enable_slow(void); // count reached 0 with a reschedule wanted; in sched/

PERCPU_DECLARE(
    uint32_t, need_resched); // this CPU should call the scheduler soon; own CPU or IPI sets it

static inline void preempt_enable(void)
{
    compiler_barrier();
    if ((this_cpu(preempt_count) -= PREEMPT_DISABLE_ONE) == 0 && this_cpu_read(need_resched))
        preempt_enable_slow();
}

static inline bool in_interrupt(void)
{
    return this_cpu(preempt_count) >= PREEMPT_SOFT_ONE;
}
