// SPDX-License-Identifier: MIT
// The variables behind preempt.h, thread.h and cpumask.h (those of percpu.h:
// kernel/arch/x86/percpu_setup.c).
#include "kernel/core/percpu.h"

#include "kernel/core/cpumask.h"
#include "kernel/core/preempt.h"
#include "kernel/core/thread.h"

uint32_t cpu_count_possible = 1;
struct cpumask cpu_online;
struct cpumask cpu_active;

PERCPU(uint32_t, preempt_count);
PERCPU(uint32_t, need_resched);
PERCPU(struct thread *, current_thread);
