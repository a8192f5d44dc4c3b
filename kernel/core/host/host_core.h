// SPDX-License-Identifier: MIT
//
// The surroundings of kernel/core for unit tests on the host. Each thread of a test plays one CPU
// with one thread on it (host_cpu_begin); sleeping is a condition variable, interrupts are taken
// when the test calls host_interrupts(), time is what the test says.
#pragma once

#include "kernel/base/types.h"

// The calling thread plays CPU `cpu` (below HOST_CPUS) from here on.
void host_cpu_begin(uint32_t cpu);
// It stops doing so: an idle CPU that never wakes up.
void host_cpu_end(void);

// Takes the interrupts that are waiting for this CPU: IPIs and timers whose time has come. Not in a
// critical section.
void host_interrupts(void);

extern uint64_t host_now_ns; // what time_monotonic_ns() returns; atomic
// If set, called by panic() instead of aborting.
extern void (*host_panic)(const char *message);
