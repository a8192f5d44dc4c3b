// SPDX-License-Identifier: MIT
// The backend for a machine about whose hypervisor nothing is known (or that has none): APIC, TSC,
// interrupts between CPUs.

#include "kernel/arch/x86/apic.h"
#include "kernel/arch/x86/arch.h"
#include "kernel/arch/x86/io.h"
#include "kernel/arch/x86/tsc.h"
#include "kernel/core/debug_exit.h"
#include "kernel/core/irq.h"
#include "mm/tlb.h"
#include "pv/pv.h"

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
    smp_call_mask(mask, flush_on_target, &range, true);
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

static bool native_vcpu_is_preempted(uint32_t cpu)
{
    return false;
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

const struct pv_ops pv_native_ops = {
    .name = "native",
    .clock_ns = tsc_clock_ns,
    .timer_arm = apic_timer_arm,
    .send_ipi = apic_send_ipi_mask,
    .flush_tlb_others = native_flush_tlb_others,
    .end_of_interrupt = apic_end_of_interrupt,
    .idle = native_idle,
    .lock_wait = native_lock_wait,
    .lock_kick = native_lock_kick,
    .vcpu_is_preempted = native_vcpu_is_preempted,
    .cpu_online = native_cpu_online,
    .cpu_offline = native_cpu_online,
    .shutdown = native_shutdown,
};
