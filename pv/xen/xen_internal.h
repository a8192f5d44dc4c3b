// SPDX-License-Identifier: MIT
// Between the files of the backend: the features' parts, one file a subject. start functions are
// those of struct pv_feature (pv/pv.h); the _cpu functions set the same up on another CPU, by
// itself, with interrupts off, before it is on-line, and are only called when the feature is on.
#pragma once

#include "pv/pv.h"

// ---- xen.c ----
// Leaf `offset` of Xen's block of CPUID leaves; zeros beyond the last one.
struct pv_cpuid xen_cpuid(uint32_t offset, uint32_t subleaf);

// ---- memory.c ----
// Asks for the shared page; xen_vcpu of the boot CPU is set.
void xen_shared_info_start(void);

// ---- upcall.c: the interrupt that says that events are pending ----
const char *xen_vcpu_info_start(void);
void xen_vcpu_info_cpu(uint32_t cpu);
const char *xen_domain_vector_start(void);
const char *xen_vcpu_vector_start(void);
const char *xen_fifo_start(void);
const char *xen_2level_start(void);
void xen_upcall_cpu(uint32_t cpu); // events and their vector

// ---- clock.c ----
const char *xen_clock_start(void);
uint64_t xen_clock_ns(void);
void xen_user_clock(struct pv_user_clock *clock);
uint64_t xen_user_clock_page(void);
bool xen_clock_refine(void);
void xen_clock_arm_apic(uint64_t deadline_ns); // pv_ops.timer_arm, without the timer
const char *xen_wall_clock_start(void);
int64_t xen_wall_clock_ns(uint64_t *at_ns);
const char *xen_timer_start(void);
void xen_timer_cpu(uint32_t cpu);
void xen_timer_cpu_end(uint32_t cpu);
void xen_timer_arm(uint64_t deadline_ns);

// ---- run_state.c ----
const char *xen_run_state_start(void);
void xen_run_state_cpu(uint32_t cpu);
void xen_run_state_cpu_end(uint32_t cpu);
uint64_t xen_steal_ns(void);
bool xen_vcpu_is_preempted(uint32_t cpu);

// ---- cpus.c ----
const char *xen_ipi_start(void);
void xen_ipi_cpu(uint32_t cpu);
void xen_ipi_cpu_end(uint32_t cpu);
void xen_send_ipi(const struct cpumask *mask, uint32_t vector);
const char *xen_multicall_start(void);
const char *xen_flush_start(void);
void xen_flush_tlb_others(const struct cpumask *mask, uintptr_t start, uintptr_t end);
const char *xen_locks_start(void);
void xen_locks_cpu(uint32_t cpu);
void xen_locks_cpu_end(uint32_t cpu);
void xen_lock_wait(uint32_t *word, uint32_t value);
void xen_lock_kick(uint32_t cpu);
void xen_yield_to(uint32_t cpu);
const char *xen_cpu_start_start(void);
int xen_cpu_start(const struct pv_cpu_start *start);
