// SPDX-License-Identifier: MIT
// The tick's links to the rest of sched/.
#pragma once

#include "kernel/core/percpu.h"

struct thread;

PERCPU_DECLARE(
    bool, sched_tick_pending); // the tick's timer fired in this interrupt; own CPU, interrupts off
// Attributes what the running thread ran since the last sample. Own queue locked.
void sched_sample(struct thread *thread, bool user);
void sched_interrupt_cpu(uint32_t cpu);
