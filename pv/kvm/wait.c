// SPDX-License-Identifier: MIT
// Waiting that gives the processor to others: locks, directed yield, polling before a halt.

#include "kernel/arch/x86/arch.h"
#include "kernel/arch/x86/cpu.h"
#include "kernel/arch/x86/firmware.h"
#include "kernel/base/assert.h"
#include "kernel/core/percpu.h"
#include "pv/kvm/kvm.h"

#define GUEST_POLL_NS                                                                              \
    UINT64_C(                                                                                      \
        50000) // longest poll of an idle CPU: about what an exit and its way                 \
                    // back, with the host's scheduler in between, cost

// ---- locks --------------------------------------------------------------------------------------

const char *kvm_unhalt_start(void)
{
    if (!kvm_offers(KVM_FEATURE_PV_UNHALT))
        return "not offered";
    if (kvm_never_preempts())
        return "vCPUs are never preempted here";
    return NULL;
}

// A kick that comes before the halt is remembered by the host and ends it at once. It also ends a
// halt with interrupts off.
void kvm_lock_wait(uint32_t *word, uint32_t value)
{
    counter_add(pv, lock_waits, 1);
    if (!arch_irqs_enabled()) {
        if (atomic_load(word) == value)
            arch_halt_plain();
        return;
    }
    arch_irq_disable();
    if (atomic_load(word) == value)
        arch_halt();
    else
        arch_irq_enable();
}

void kvm_lock_kick(uint32_t cpu)
{
    counter_add(pv, lock_kicks, 1);
    (void)kvm_hypercall(KVM_HC_KICK_CPU, 0, firmware.cpu_apic_ids[cpu], 0, 0);
}

// ---- directed yield -----------------------------------------------------------------------------

const char *kvm_yield_start(void)
{
    if (!kvm_offers(KVM_FEATURE_PV_SCHED_YIELD))
        return "not offered";
    if (kvm_never_preempts())
        return "vCPUs are never preempted here";
    return NULL;
}

void kvm_yield_to(uint32_t cpu)
{
    counter_add(pv, yields, 1);
    (void)kvm_hypercall(KVM_HC_SCHED_YIELD, firmware.cpu_apic_ids[cpu], 0, 0, 0);
}

// ---- polling ------------------------------------------------------------------------------------

const char *kvm_poll_start(void)
{
    if (!kvm_offers(KVM_FEATURE_POLL_CONTROL))
        return "not offered";
    pv_idle_poll_ns = GUEST_POLL_NS;
    return NULL;
}

// The host shall not poll as well: what it polls for, the guest has polled for before.
void kvm_poll_online(void)
{
    kvm_msr_write(MSR_KVM_POLL_CONTROL, 0);
}

void kvm_poll_offline(void)
{
    kvm_msr_write(MSR_KVM_POLL_CONTROL, 1);
}
