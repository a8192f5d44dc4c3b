// SPDX-License-Identifier: MIT
// The backend for a machine about whose hypervisor nothing is known (or that has none): APIC, TSC,
// interrupts between CPUs. The others are copied over it.

#include "kernel/arch/x86/apic.h"
#include "kernel/arch/x86/arch.h"
#include "kernel/arch/x86/io.h"
#include "kernel/arch/x86/tsc.h"
#include "kernel/core/debug_exit.h"
#include "kernel/core/irq.h"
#include "mm/tlb.h"
#include "pv/apic_timer.h"
#include "pv/pv.h"

static void native_timer_arm(uint64_t deadline_ns)
{
    if (!pv_apic_timer_stops(deadline_ns))
        apic_timer_arm(tsc_from_ns(deadline_ns));
}

static uint64_t native_steal_ns(void)
{
    return 0;
}

static void native_send_ipi(const struct cpumask *mask, uint32_t vector)
{
    cpumask_for_each(cpu, mask)
    {
        apic_send_ipi(cpu, vector);
        counter_add(pv, ipis, 1);
        counter_add(pv, ipi_targets, 1);
    }
}

struct flush_range {
    uintptr_t start, end;
};

static void flush_on_target(void *argument)
{
    const struct flush_range *range = argument;
    mm_flush_local(range->start, range->end);
}

static void native_flush_tlb_others(const struct cpumask *mask, uintptr_t start, uintptr_t end)
{
    struct flush_range range = {start, end};
    counter_add(pv, flush_requests, 1);
    counter_add(pv, flush_targets, cpumask_count(mask));
    smp_call_mask(mask, flush_on_target, &range, true);
}

static void native_end_of_interrupt(void)
{
    counter_add(pv, eois, 1);
    apic_end_of_interrupt();
}

static bool native_vcpu_is_preempted(uint32_t cpu)
{
    return false;
}

static void native_yield_to(uint32_t cpu)
{
}

static void native_idle(void)
{
    arch_halt();
}

static void native_lock_wait(uint32_t *word, uint32_t value)
{
    arch_pause();
}

static void native_lock_kick(uint32_t cpu)
{
}

static bool native_page_fault(struct trap_frame *frame, uintptr_t address)
{
    return false;
}

static void native_user_clock(struct pv_user_clock *clock)
{
    struct tsc_parameters own;
    tsc_parameters_read(&own);
    *clock = (struct pv_user_clock){PV_USER_CLOCK_TSC, own.base_tsc, own.base_ns, own.mult};
}

static void native_cpu_online(uint32_t cpu)
{
}

__attribute__((noreturn)) static void native_shutdown(enum pv_shutdown reason, uint32_t code)
{
    switch (reason) {
    case PV_POWER_OFF:
        arch_exit_machine(DEBUG_EXIT_POWER_OFF);
    case PV_REBOOT:
        arch_exit_machine(DEBUG_EXIT_REBOOT);
    case PV_CRASH:
        arch_exit_machine(DEBUG_EXIT_PANIC);
    case PV_EXIT_CODE:
        arch_out8(DEBUG_EXIT_PORT_CODE, (uint8_t)code);
        arch_exit_machine(DEBUG_EXIT_DONE);
    }
    assert_unreachable();
}

PV_FEATURE_OPTION(tsc_deadline, "tsc_deadline",
    "Arm the processor's timer by a TSC value (one exit at most) where it can; off: by a count.");

static const char *tsc_deadline_start(void)
{
    return apic_timer_use_deadline() ? NULL : "the processor has no such timer";
}

static const struct pv_feature features[] = {
    {.name = "tsc-deadline", .wanted = &tsc_deadline, .start = tsc_deadline_start},
};

PV_BACKEND(native) = {
    .name = "native",
    .ops =
        {
            .clock_ns = tsc_clock_ns,
            .timer_arm = native_timer_arm,
            .steal_ns = native_steal_ns,
            .send_ipi = native_send_ipi,
            .flush_tlb_others = native_flush_tlb_others,
            .end_of_interrupt = native_end_of_interrupt,
            .vcpu_is_preempted = native_vcpu_is_preempted,
            .yield_to = native_yield_to,
            .idle = native_idle,
            .lock_wait = native_lock_wait,
            .lock_kick = native_lock_kick,
            .page_fault = native_page_fault,
            .user_clock = native_user_clock,
            .clock_refine = tsc_refine,
            .cpu_online = native_cpu_online,
            .cpu_offline = native_cpu_online,
            .shutdown = native_shutdown,
        },
    .features = features,
    .feature_count = ARRAY_SIZE(features),
};
