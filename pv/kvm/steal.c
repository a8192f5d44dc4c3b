// SPDX-License-Identifier: MIT
// Stolen time, the flag that a vCPU is not running, and TLB flushes that need nobody to run.
//
// A vCPU that the host took off its processor shows KVM_VCPU_PREEMPTED in its record. Who wants its
// TLB flushed exchanges that for PREEMPTED | FLUSH_TLB: if it succeeds, the host flushes all that
// the vCPU has cached before it runs the next instruction. The others get one interrupt request.
// One that is taken off the processor after that is excused in the same way while the caller waits
// (smp_call_mask_excusing()), unless it is in the middle of the handler.

#include "kernel/arch/x86/arch.h"
#include "kernel/arch/x86/cpu.h"
#include "kernel/base/assert.h"
#include "kernel/core/irq.h"
#include "mm/tlb.h"
#include "pv/kvm/kvm.h"

#define TRIES_STEAL 1000

const char *kvm_steal_start(void)
{
    if (!kvm_offers(KVM_FEATURE_STEAL_TIME))
        return "not offered";
    pv_has_steal = true;
    return NULL;
}

void kvm_steal_online(void)
{
    struct kvm_steal_time *record = &this_cpu_ptr(kvm_shared)->steal;
    // `steal` goes on from where it was when this CPU was on-line before.
    record->version = 0;
    atomic_store(&record->preempted, (uint8_t)0);
    kvm_msr_write(MSR_KVM_STEAL_TIME, kvm_phys(record) | KVM_MSR_ENABLED);
}

void kvm_steal_offline(void)
{
    kvm_msr_write(MSR_KVM_STEAL_TIME, 0);
    atomic_store(&this_cpu_ptr(kvm_shared)->steal.preempted, (uint8_t)0);
}

uint64_t kvm_steal_ns(void)
{
    const struct kvm_steal_time *record = &this_cpu_ptr(kvm_shared)->steal;
    uint64_t ns = 0;
    for (int tries = 0; tries < TRIES_STEAL; tries++) {
        uint32_t version = atomic_load_acquire(&record->version);
        ns = atomic_load_relaxed(&record->steal);
        atomic_fence_acquire();
        if ((version & 1) == 0 && atomic_load_relaxed(&record->version) == version)
            break;
        arch_pause();
    }
    return ns; // never settled: a value that is wrong for a moment
}

bool kvm_vcpu_is_preempted(uint32_t cpu)
{
    return atomic_load_relaxed(&percpu_of(kvm_shared, cpu)->steal.preempted) & KVM_VCPU_PREEMPTED;
}

// ---- TLB ----------------------------------------------------------------------------------------

const char *kvm_flush_start(void)
{
    if (!kvm_offers(KVM_FEATURE_PV_TLB_FLUSH))
        return "not offered";
    if (!kvm_steal_is_on())
        return "needs kvm-steal-time";
    if (kvm_never_preempts())
        return "vCPUs are never preempted here";
    return NULL;
}

// True: the host flushes the vCPU before it runs again.
static bool flush_left_to_host(uint32_t cpu)
{
    uint8_t *preempted = &percpu_of(kvm_shared, cpu)->steal.preempted;
    uint8_t state = atomic_load(preempted);
    while (state & KVM_VCPU_PREEMPTED) {
        if ((state & KVM_VCPU_FLUSH_TLB) ||
            atomic_cmpxchg(preempted, &state, (uint8_t)(state | KVM_VCPU_FLUSH_TLB))) {
            counter_add(pv, flush_targets_skipped, 1);
            return true;
        }
    }
    return false;
}

struct flush_range {
    uintptr_t start, end;
};

static void flush_on_target(void *argument)
{
    const struct flush_range *range = argument;
    mm_flush_local(range->start, range->end);
}

void kvm_flush_tlb_others(const struct cpumask *mask, uintptr_t start, uintptr_t end)
{
    struct cpumask running = *mask;
    counter_add(pv, flush_requests, 1);
    cpumask_for_each(cpu, mask)
    {
        if (flush_left_to_host(cpu))
            cpumask_clear(&running, cpu);
    }
    if (cpumask_is_empty(&running))
        return;
    counter_add(pv, flush_targets, cpumask_count(&running));
    struct flush_range range = {start, end};
    smp_call_mask_excusing(&running, flush_on_target, &range, flush_left_to_host);
}
