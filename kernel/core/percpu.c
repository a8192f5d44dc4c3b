// SPDX-License-Identifier: MIT
// The variables behind percpu.h, preempt.h and cpumask.h.
#include "kernel/core/percpu.h"

#include "kernel/core/cpumask.h"
#include "kernel/core/preempt.h"
#include "kernel/core/thread.h"

uintptr_t percpu_offset[CPU_MAX];
uint32_t cpu_count_possible = 1;
struct cpumask cpu_online;

PERCPU(uint32_t, cpu_index);
PERCPU(uint32_t, preempt_count);
PERCPU(uint32_t, need_resched);
PERCPU(struct thread *, current_thread);
