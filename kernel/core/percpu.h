// SPDX-License-Identifier: MIT
// Per-CPU data.
//
// A per-CPU variable is an ordinary variable in the section .percpu. That section itself is the
// boot CPU's copy; every other CPU gets a copy of the pristine section at start. GS holds the
// distance between a CPU's copy and the section, so a gs-relative access to the link-time address
// reaches the running CPU's copy, and the boot CPU (GS base 0) has working per-CPU data from its
// first instruction on.
//
// this_cpu(x) is an lvalue; it may be used only where the task can't move to another CPU
// (preemption off, interrupts off, or bound to the CPU), except for reads of a variable that has
// the same value for the running task on every CPU, such as current_thread.
#pragma once

#include "kernel/base/types.h"

#define CPU_MAX 256 // most CPUs that the kernel drives

#ifdef LODGER_HOST
// Host tests have a few "CPUs": each thread of the test says with host_cpu which one it plays. No
// initial values there.
#define HOST_CPUS 8
extern _Thread_local uint32_t host_cpu;
#define PERCPU(type, name)         type name[HOST_CPUS]
#define PERCPU_DECLARE(type, name) extern type name[HOST_CPUS]
#define PERCPU_INITIAL(...)
#define this_cpu(name)              (name[host_cpu])
#define this_cpu_read(name)         __atomic_load_n(&name[host_cpu], __ATOMIC_RELAXED)
#define this_cpu_write(name, value) __atomic_store_n(&name[host_cpu], (value), __ATOMIC_RELAXED)
#define percpu_of(name, cpu)        (&name[(cpu)])
#else
// Definition and declaration of a per-CPU variable.
#define PERCPU(type, name)         __attribute__((section(".percpu"))) type name
#define PERCPU_DECLARE(type, name) extern __attribute__((section(".percpu"))) type name
// Initial value of all copies: PERCPU(struct foo, name) PERCPU_INITIAL({.lock = ...});
#define PERCPU_INITIAL(...)        = __VA_ARGS__
// The running CPU's instance, as an lvalue reached through GS.
#define this_cpu(name)             (*(__seg_gs typeof(name) *)(uintptr_t)&(name))
// The same for scalars that other CPUs or interrupts write too: exactly one access.
#define this_cpu_read(name)        (*(volatile __seg_gs typeof(name) *)(uintptr_t)&(name))
#define this_cpu_write(name, value)                                                                \
    ((void)(*(volatile __seg_gs typeof(name) *)(uintptr_t)&(name) = (value)))
// Pointer to the instance of CPU number `cpu`, which must be one that has been set up.
#define percpu_of(name, cpu) ((typeof(name) *)((uintptr_t)&(name) + percpu_offset[(cpu)]))
#endif

// Distance of each CPU's copy from the section. Written once when a CPU is set up, read-only then.
extern uintptr_t percpu_offset[CPU_MAX];

PERCPU_DECLARE(uint32_t, cpu_index); // number of this CPU, 0 is the boot CPU

// Number of the running CPU. The caller must not be able to move, or must treat it as a hint.
static inline uint32_t cpu_current(void)
{
#ifdef LODGER_HOST
    return host_cpu;
#else
    return this_cpu(cpu_index);
#endif
}

// Pointer (ordinary address) to this CPU's instance; preemption must be off.
#define this_cpu_ptr(name) percpu_of(name, cpu_current())

extern uint32_t cpu_count_possible; // CPUs found in the firmware's tables; fixed after start-up
