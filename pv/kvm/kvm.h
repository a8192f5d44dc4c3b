// SPDX-License-Identifier: MIT
// What the files of the KVM backend share.
//
// Constants and structures are those of asm/kvm_para.h; what they mean is in the kernel's
// Documentation/virt/kvm/x86: cpuid.rst, msr.rst, hypercalls.rst.
#pragma once

#include "kernel/core/cpumask.h"
#include "kernel/core/percpu.h"
#include "pv/pv.h"
#include "pv/pvclock.h"

#include <linux/kvm_para.h>

struct trap_frame;

#ifdef LODGER_HOST
extern const struct pv_backend pv_backend_kvm; // for the test
#endif

// Memory of each CPU that the host writes to (and for some words reads). Each line is registered by
// an MSR of its own.
struct kvm_shared {
    // MSR_KVM_STEAL_TIME. `preempted` is also changed by other CPUs, to ask for a flush; atomic.
    struct kvm_steal_time steal __aligned(64);
    struct kvm_vcpu_pv_apf_data async_fault __aligned(64); // MSR_KVM_ASYNC_PF_EN
    struct vcpu_time_info time __aligned(64);              // MSR_KVM_SYSTEM_TIME_NEW
    uint32_t eoi;                                          // MSR_KVM_PV_EOI_EN; own CPU
};
static_assert(sizeof(struct kvm_steal_time) == 64);
PERCPU_DECLARE(struct kvm_shared, kvm_shared);

// What CPUID says, fixed by kvm_start().
extern struct kvm_offer {
    uint32_t features; // bits KVM_FEATURE_*
    uint32_t hints;    // bits KVM_HINTS_*
    bool vmmcall;
} kvm_offer;

static inline bool kvm_offers(unsigned feature)
{
    return (kvm_offer.features >> feature) & 1;
}

// The host promises that vCPUs are never preempted.
static inline bool kvm_never_preempts(void)
{
    return (kvm_offer.hints >> KVM_HINTS_REALTIME) & 1;
}

// Result: negative -KVM_E*, else the call's own.
int64_t kvm_hypercall(uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d);
// Writes one of KVM's registers. A host that offers a feature and refuses its register is told of
// in the log; the feature does nothing on that CPU then.
void kvm_msr_write(uint32_t msr, uint64_t value);
// Physical address of per-CPU data or data in the image.
uint64_t kvm_phys(const void *address);

// Each feature's start() (see struct pv_feature), what it does on every CPU, and its operations.
// ---- clock.c ----
const char *kvm_clock_start(void);
void kvm_clock_online(uint32_t cpu);
void kvm_clock_offline(void);
uint64_t kvm_clock_ns(void);
void kvm_timer_arm(uint64_t deadline_ns);
void kvm_user_clock(struct pv_user_clock *clock);
uint64_t kvm_user_clock_page(void);
bool kvm_clock_refine(void);
const char *kvm_wall_clock_start(void);
int64_t kvm_wall_clock_ns(uint64_t *at_ns);
const char *kvm_pairing_start(void);
int64_t kvm_pairing_ns(uint64_t *at_ns);
// ---- interrupt.c ----
const char *kvm_eoi_start(void);
void kvm_eoi_online(void);
void kvm_eoi_offline(void);
void kvm_end_of_interrupt(void);
const char *kvm_ipi_start(void);
void kvm_send_ipi(const struct cpumask *mask, uint32_t vector);
// ---- kvm.c ----
bool kvm_steal_is_on(void); // after its start()
// ---- steal.c ----
const char *kvm_steal_start(void);
void kvm_steal_online(void);
void kvm_steal_offline(void);
uint64_t kvm_steal_ns(void);
bool kvm_vcpu_is_preempted(uint32_t cpu);
const char *kvm_flush_start(void);
void kvm_flush_tlb_others(const struct cpumask *mask, uintptr_t start, uintptr_t end);
// ---- wait.c ----
const char *kvm_unhalt_start(void);
void kvm_lock_wait(uint32_t *word, uint32_t value);
void kvm_lock_kick(uint32_t cpu);
const char *kvm_yield_start(void);
void kvm_yield_to(uint32_t cpu);
const char *kvm_poll_start(void);
void kvm_poll_online(void);
void kvm_poll_offline(void);
// ---- async_fault.c ----
const char *kvm_async_fault_start(void);
void kvm_async_fault_init(void); // once, when vectors can be set
void kvm_async_fault_online(void);
void kvm_async_fault_offline(void);
bool kvm_page_fault(struct trap_frame *frame, uintptr_t address);
