// SPDX-License-Identifier: MIT
// The processor's registers for perf/pmu, its NMI, and each CPU's counters.
//
// Nothing is looked at before somebody asks for a hardware event: a boot costs nothing for them.
#include "perf/counters.h"

#include "kernel/arch/x86/apic.h"
#include "kernel/arch/x86/arch.h"
#include "kernel/arch/x86/cpu.h"
#include "kernel/arch/x86/nmi.h"
#include "kernel/core/counter.h"
#include "kernel/core/hotplug.h"
#include "kernel/core/irq.h"
#include "kernel/core/log.h"
#include "kernel/core/preempt.h"
#include "kernel/core/time.h"

COUNTER(perf, counter_interrupts);

PERCPU(struct pmu_cpu, perf_pmu_cpu);
PERCPU(bool, perf_cpu_has_counters);

static struct pmu pmu; // fixed once `state` is FOUND
static enum { UNKNOWN, NONE, FOUND } state;

// ---- registers ----------------------------------------------------------------------------------

static void access_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t result[4])
{
    struct cpuid values = cpuid_read(leaf, subleaf);
    result[0] = values.eax;
    result[1] = values.ebx;
    result[2] = values.ecx;
    result[3] = values.edx;
}

static uint64_t access_read(uint32_t msr)
{
    return msr_read(msr);
}

static void access_write(uint32_t msr, uint64_t value)
{
    msr_write(msr, value);
}

static bool access_try_read(uint32_t msr, uint64_t *value)
{
    return msr_read_safe(msr, value) == 0;
}

static bool access_try_write(uint32_t msr, uint64_t value)
{
    return msr_write_safe(msr, value) == 0;
}

static void access_raise(void)
{
    apic_send_nmi(cpu_current());
}

static const struct pmu_access access = {
    .cpuid = access_cpuid,
    .read = access_read,
    .write = access_write,
    .try_read = access_try_read,
    .try_write = access_try_write,
    .unmask = apic_counters_unmask,
    .raise = access_raise,
};

// ---- CPUs ---------------------------------------------------------------------------------------

static bool counters_nmi(struct trap_frame *frame)
{
    if (!this_cpu(perf_cpu_has_counters))
        return false;
    if (!pmu_cpu_interrupt(this_cpu_ptr(perf_pmu_cpu), time_monotonic_ns(), frame))
        return false;
    counter_add(perf, counter_interrupts, 1);
    return true;
}

// Interrupts off.
static void prepare_here(void *argument)
{
    struct pmu_cpu *cpu = this_cpu_ptr(perf_pmu_cpu);
    (void)argument;
    cpu->on_overflow = perf_event_overflow;
    this_cpu(perf_cpu_has_counters) = pmu_cpu_init(cpu, &pmu);
    if (this_cpu(perf_cpu_has_counters))
        apic_counters_unmask();
}

static void leave_here(void *argument)
{
    (void)argument;
    if (this_cpu(perf_cpu_has_counters))
        pmu_cpu_leave(this_cpu_ptr(perf_pmu_cpu), time_monotonic_ns());
}

static void return_here(void *argument)
{
    (void)argument;
    struct pmu_cpu *cpu = this_cpu_ptr(perf_pmu_cpu);
    if (cpu->pmu == NULL) // it was off when counters were found
        prepare_here(NULL);
    else if (this_cpu(perf_cpu_has_counters))
        this_cpu(perf_cpu_has_counters) = pmu_cpu_return(cpu, time_monotonic_ns());
}

static void call_on(uint32_t cpu, void (*function)(void *argument))
{
    struct cpumask mask = {0};
    cpumask_set(&mask, cpu);
    preempt_disable();
    smp_call_mask(&mask, function, NULL, true);
    preempt_enable();
}

static void cpu_leaves(uint32_t cpu)
{
    call_on(cpu, leave_here);
}

static void cpu_is_back(uint32_t cpu)
{
    call_on(cpu, return_here);
}

static void find(void)
{
    static struct cpu_hook hook = {.leaves = cpu_leaves, .is_back = cpu_is_back};
    state = NONE;
    if (!pmu_detect(&pmu, &access) || nmi_handler_add(counters_nmi) != 0)
        return;
    preempt_disable();
    smp_call_mask(&cpu_online, prepare_here, NULL, true);
    uint64_t flags = arch_irq_save();
    prepare_here(NULL);
    bool works = this_cpu(perf_cpu_has_counters);
    arch_irq_restore(flags);
    preempt_enable();
    if (!works)
        return;
    cpu_hook_add(&hook);
    state = FOUND;
    log_info("perf: %s counters, version %u: %u, %u bits", pmu_name(&pmu), pmu.version,
        bit_count(pmu.counters), pmu_counter_width(&pmu, (int)bit_lowest(pmu.counters)));
}

const struct pmu *perf_counters(void)
{
    if (state == UNKNOWN)
        find();
    return state == FOUND ? &pmu : NULL;
}
