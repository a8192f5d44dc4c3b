// SPDX-License-Identifier: MIT
// The hypervisor interface: what a guest kernel asks of the machine below it.
//
// Each backend (native, kvm, xen) is one const struct pv_ops. Detection copies the winner,
// operation by operation, over the native table into pv_ops, which is read-only after start-up;
// identity (who is below) and features (what it offers) are separate questions, and each feature
// has a boot option that turns it off.
#pragma once

#include "kernel/base/types.h"
#include "kernel/core/cpumask.h"

enum pv_shutdown { PV_POWER_OFF, PV_REBOOT, PV_CRASH, PV_EXIT_CODE };

struct pv_ops {
    const char *name;
    // Monotonic raw clock in ns; any context.
    uint64_t (*clock_ns)(void);
    // Arms this CPU's one-shot timer for the absolute monotonic time; UINT64_MAX stops it.
    // Interrupts off.
    void (*timer_arm)(uint64_t deadline_ns);
    // Raises `vector` on all CPUs of the mask (not the own). Preemption off.
    void (*send_ipi)(const struct cpumask *mask, uint32_t vector);
    // Flushes TLB entries on other CPUs: of address space tag `space_id`, addresses [start, end) or
    // everything (end == UINT64_MAX); returns when no CPU of the mask can use an old entry any
    // more. Interrupts on, preemption off.
    void (*flush_tlb_others)(const struct cpumask *mask, uintptr_t start, uintptr_t end);
    void (*end_of_interrupt)(void);
    // Idle: waits for an interrupt; entered with interrupts off, returns with them on.
    void (*idle)(void);
    // Waits (may return early at any time) until kicked, while *word == value; and wakes such a
    // waiter.
    void (*lock_wait)(uint32_t *word, uint32_t value);
    void (*lock_kick)(uint32_t cpu);
    // Is the vCPU not running at the moment (a hint)?
    bool (*vcpu_is_preempted)(uint32_t cpu);
    // Per-CPU registration of shared pages; called on the CPU itself, also after hot-plug; and its
    // undoing.
    void (*cpu_online)(uint32_t cpu);
    void (*cpu_offline)(uint32_t cpu);
    void (*shutdown)(enum pv_shutdown reason, uint32_t code) __attribute__((noreturn));
};

extern struct pv_ops pv_ops; // read-only after pv_init()
extern const struct pv_ops pv_native_ops;

// First thing at boot: the native operations, so that a panic can end the machine
void pv_start(void);
void pv_init(void); // after option_parse(), before the clock is first needed

#define pv_clock_ns()                pv_ops.clock_ns()
#define pv_timer_arm(deadline)       pv_ops.timer_arm(deadline)
#define pv_send_ipi(mask, vector)    pv_ops.send_ipi((mask), (vector))
#define pv_flush_tlb_others(m, s, e) pv_ops.flush_tlb_others((m), (s), (e))
#define pv_end_of_interrupt()        pv_ops.end_of_interrupt()
#define pv_idle()                    pv_ops.idle()
#define pv_lock_wait(word, value)    pv_ops.lock_wait((word), (value))
#define pv_lock_kick(cpu)            pv_ops.lock_kick(cpu)
#define pv_vcpu_is_preempted(cpu)    pv_ops.vcpu_is_preempted(cpu)
#define pv_shutdown(reason, code)    pv_ops.shutdown((reason), (code))
