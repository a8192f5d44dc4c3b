// SPDX-License-Identifier: MIT
// The KVM backend: its features, in the order in which they start, and the pages that are
// registered on each CPU.
//
// Every feature stands for itself: one that the host does not offer, or that is switched off,
// leaves its operations as they were. Where one needs another (a flush needs the flag that a vCPU
// is preempted), its start() asks for it.

#include "pv/kvm/kvm.h"

#include "kernel/arch/x86/arch.h"
#include "kernel/arch/x86/cpu.h"
#include "kernel/arch/x86/hypercall.h"
#include "kernel/arch/x86/paging.h"
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/irq.h"
#include "kernel/core/log.h"
#include "kernel/core/preempt.h"
#include "mm/page.h"

#define LEAF_FEATURES 1 // behind the block's first
#define RANK_KVM      10

PERCPU(struct kvm_shared, kvm_shared);
PV_READ_ONLY_AFTER_INIT struct kvm_offer kvm_offer = {0};

int64_t kvm_hypercall(uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    counter_add(pv, hypercalls, 1);
    return arch_vmcall(kvm_offer.vmmcall, number, a, b, c, d);
}

void kvm_msr_write(uint32_t msr, uint64_t value)
{
    if (msr_write_safe(msr, value) != 0)
        log_warning(
            "kvm: CPU %u: the host refuses %#lx for register %#x", cpu_current(), value, msr);
}

uint64_t kvm_phys(const void *address)
{
    // The boot CPU's per-CPU data lie in the image, the others' in the direct map.
    if ((uintptr_t)address >= KERNEL_IMAGE_BASE)
        return kernel_image_to_phys(address);
    return virt_to_phys(address);
}

static bool kvm_detect(const struct pv_identity *identity)
{
    return pv_identity_find(identity, KVM_SIGNATURE) != NULL;
}

static const char *kvm_start(const struct pv_identity *identity)
{
    const struct pv_identity_block *block = pv_identity_find(identity, KVM_SIGNATURE);
    if (block->last < block->base + LEAF_FEATURES)
        return "CPUID has no leaf with its features";
    struct pv_cpuid leaf = identity->cpuid(block->base + LEAF_FEATURES, 0);
    struct pv_cpuid vendor = identity->cpuid(0, 0);
    char name[12];
    memcpy(name, &vendor.ebx, 4);
    memcpy(name + 4, &vendor.edx, 4);
    memcpy(name + 8, &vendor.ecx, 4);
    kvm_offer = (struct kvm_offer){
        .features = leaf.eax,
        .hints = leaf.edx,
        .vmmcall = memcmp(name, "AuthenticAMD", sizeof(name)) == 0 ||
                   memcmp(name, "HygonGenuine", sizeof(name)) == 0,
    };
    return NULL;
}

PV_FEATURE_OPTION(kvm_clock, "kvm_clock", "Read KVM's clock page. On by default.");
PV_FEATURE_OPTION(kvm_wall_clock, "kvm_wall_clock",
    "Take the time of day from KVM, not from the real-time clock. On by default.");
PV_FEATURE_OPTION(kvm_pairing, "kvm_pairing",
    "Take the time of day from KVM's clock pairing, to the nanosecond. On by default.");
PV_FEATURE_OPTION(kvm_eoi, "kvm_eoi", "End interrupts in memory, without an exit. On by default.");
PV_FEATURE_OPTION(kvm_ipi, "kvm_ipi", "Interrupt several CPUs by one hypercall. On by default.");
PV_FEATURE_OPTION(kvm_steal, "kvm_steal",
    "Let KVM tell stolen time and which vCPUs are preempted. On by default.");
PV_FEATURE_OPTION(
    kvm_tlb, "kvm_tlb", "Let KVM flush preempted vCPUs' TLBs when they run again. On by default.");
PV_FEATURE_OPTION(
    kvm_unhalt, "kvm_unhalt", "Halt while waiting for a lock, and kick who waits. On by default.");
PV_FEATURE_OPTION(kvm_yield, "kvm_yield",
    "Give the processor to a preempted vCPU that is waited for. On by default.");
PV_FEATURE_OPTION(
    kvm_poll, "kvm_poll", "Poll a while before halting, and tell KVM not to. On by default.");
PV_FEATURE_OPTION(kvm_async_pf, "kvm_async_pf",
    "Run something else while KVM brings in a page that was swapped out. On by default.");

enum {
    CLOCK,
    WALL_CLOCK,
    PAIRING,
    EOI,
    IPI,
    STEAL,
    FLUSH,
    UNHALT,
    YIELD,
    POLL,
    ASYNC_FAULT,
    FEATURE_COUNT
};

static const struct pv_feature features[FEATURE_COUNT] = {
    [CLOCK] = {.name = "kvm-clock",
        .wanted = &kvm_clock,
        .start = kvm_clock_start,
        .ops = {.clock_ns = kvm_clock_ns,
            .timer_arm = kvm_timer_arm,
            .user_clock = kvm_user_clock,
            .user_clock_page = kvm_user_clock_page,
            .clock_refine = kvm_clock_refine}},
    [WALL_CLOCK] = {.name = "kvm-wall-clock",
        .wanted = &kvm_wall_clock,
        .start = kvm_wall_clock_start,
        .ops = {.wall_clock_ns = kvm_wall_clock_ns}},
    [PAIRING] = {.name = "kvm-clock-pairing",
        .wanted = &kvm_pairing,
        .start = kvm_pairing_start,
        .ops = {.wall_clock_ns = kvm_pairing_ns}},
    [EOI] = {.name = "kvm-eoi",
        .wanted = &kvm_eoi,
        .start = kvm_eoi_start,
        .ops = {.end_of_interrupt = kvm_end_of_interrupt}},
    [IPI] = {.name = "kvm-ipi",
        .wanted = &kvm_ipi,
        .start = kvm_ipi_start,
        .ops = {.send_ipi = kvm_send_ipi}},
    [STEAL] = {.name = "kvm-steal-time",
        .wanted = &kvm_steal,
        .start = kvm_steal_start,
        .ops = {.steal_ns = kvm_steal_ns, .vcpu_is_preempted = kvm_vcpu_is_preempted}},
    [FLUSH] = {.name = "kvm-tlb-flush",
        .wanted = &kvm_tlb,
        .start = kvm_flush_start,
        .ops = {.flush_tlb_others = kvm_flush_tlb_others}},
    [UNHALT] = {.name = "kvm-unhalt",
        .wanted = &kvm_unhalt,
        .start = kvm_unhalt_start,
        .ops = {.lock_wait = kvm_lock_wait, .lock_kick = kvm_lock_kick}},
    [YIELD] = {.name = "kvm-yield",
        .wanted = &kvm_yield,
        .start = kvm_yield_start,
        .ops = {.yield_to = kvm_yield_to}},
    [POLL] = {.name = "kvm-halt-poll", .wanted = &kvm_poll, .start = kvm_poll_start},
    [ASYNC_FAULT] = {.name = "kvm-async-pf",
        .wanted = &kvm_async_pf,
        .start = kvm_async_fault_start,
        .ops = {.page_fault = kvm_page_fault}},
};

bool kvm_steal_is_on(void)
{
    return pv_feature_is_on(&features[STEAL]);
}

static void kvm_cpu_online(uint32_t cpu)
{
    assert_irqs_off();
    if (pv_feature_is_on(&features[CLOCK]))
        kvm_clock_online(cpu);
    if (pv_feature_is_on(&features[EOI]))
        kvm_eoi_online();
    if (pv_feature_is_on(&features[STEAL]))
        kvm_steal_online();
    if (pv_feature_is_on(&features[POLL]))
        kvm_poll_online();
    if (pv_feature_is_on(&features[ASYNC_FAULT]))
        kvm_async_fault_online();
}

// In the opposite order. The end of an interrupt must be by the APIC again before the page goes.
static void kvm_cpu_offline(uint32_t cpu)
{
    assert_irqs_off();
    if (pv_feature_is_on(&features[ASYNC_FAULT]))
        kvm_async_fault_offline();
    if (pv_feature_is_on(&features[POLL]))
        kvm_poll_offline();
    if (pv_feature_is_on(&features[STEAL]))
        kvm_steal_offline();
    if (pv_feature_is_on(&features[EOI]))
        kvm_eoi_offline();
    if (pv_feature_is_on(&features[CLOCK]))
        kvm_clock_offline();
}

// The bare registers.
static void kvm_cpu_forget(void)
{
    static const struct {
        uint32_t feature, msr;
    } registers[] = {
        {ASYNC_FAULT, MSR_KVM_ASYNC_PF_EN},
        {STEAL, MSR_KVM_STEAL_TIME},
        {EOI, MSR_KVM_PV_EOI_EN},
        {CLOCK, MSR_KVM_SYSTEM_TIME_NEW},
    };
    for (size_t i = 0; i < ARRAY_SIZE(registers); i++) {
        if (pv_feature_is_on(&features[registers[i].feature]))
            (void)msr_write_safe(registers[i].msr, 0); // a panic does not stop at one refused
    }
}

static void kvm_leave(void *argument)
{
    kvm_cpu_offline(cpu_current());
}

// Nothing stays registered when the machine begins anew or another kernel takes over. The CPUs run
// on without, for the moment that is left. A crash does not wait for anybody: each CPU that it
// stops forgets by itself.
__attribute__((noreturn)) static void kvm_shutdown(enum pv_shutdown reason, uint32_t code)
{
    if (reason != PV_CRASH && arch_irqs_enabled()) {
        preempt_disable();
        smp_call_mask(&cpu_online, kvm_leave, NULL, true);
        arch_irq_disable();
        kvm_leave(NULL);
        arch_irq_enable();
    } else if (reason == PV_CRASH) {
        kvm_cpu_forget();
    }
    pv_native_shutdown(reason, code);
}

static void kvm_init_late(void)
{
    if (pv_feature_is_on(&features[ASYNC_FAULT]))
        kvm_async_fault_init();
}

PV_BACKEND(kvm) = {
    .name = "kvm",
    .detect = kvm_detect,
    .rank = RANK_KVM,
    .start = kvm_start,
    .ops = {.cpu_online = kvm_cpu_online,
        .cpu_offline = kvm_cpu_offline,
        .cpu_forget = kvm_cpu_forget,
        .shutdown = kvm_shutdown},
    .features = features,
    .feature_count = FEATURE_COUNT,
    .init_late = kvm_init_late,
};
