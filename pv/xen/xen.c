// SPDX-License-Identifier: MIT
// The backend for Xen: a PVH domain (or any other with hardware virtualisation). What it is made
// of: hypercalls, the shared page, and a table of features; docs/hypervisors.md says what each is
// for.
//
// Everything that Xen does for us stands on events (events.c). Where those can't be had, the
// processor's own ways remain, as a PVH domain has an emulated local APIC: each feature that is
// missing leaves an operation to pv/native.

#include "pv/xen/xen.h"

#include "kernel/arch/x86/arch.h"
#include "kernel/arch/x86/cpu.h"
#include "kernel/arch/x86/early_console.h"
#include "kernel/arch/x86/phys.h"
#include "kernel/arch/x86/tsc.h"
#include "kernel/base/assert.h"
#include "kernel/core/errno.h"
#include "kernel/core/log.h"
#include "pv/xen/events.h"
#include "pv/xen/hypercall.h"
#include "pv/xen/xen_internal.h"

#include <xen/arch-x86/cpuid.h>
#include <xen/hvm/hvm_op.h>
#include <xen/sched.h>
#include <xen/version.h>

#define SIGNATURE       "XenVMMXenVMM"
#define LEAF_VERSION    1
#define LEAF_HYPERCALLS 2
#define LEAF_TSC        3
#define LEAF_HVM        4
#define RANK            200 // above KVM's, which Xen does not offer

#define HYPERCALL_MSR_FIRST 0x40000000
#define HYPERCALL_MSR_LAST  0x4000ffff
#define UNFILLED            0xcc // hypercall.S

// Reasons beyond those of <xen/sched.h>: the first program's exit code, if it is not 0.
#define SHUTDOWN_EXIT_CODE (SHUTDOWN_MAX + 1)
#define SHUTDOWN_LARGEST   255

extern const uint8_t xen_hypercall_page[]; // hypercall.S

PV_READ_ONLY_AFTER_INIT bool xen_is_running = false;
PV_READ_ONLY_AFTER_INIT static struct pv_identity_block leaves = {0};
PV_READ_ONLY_AFTER_INIT static pv_cpuid_function *cpuid = NULL;
PERCPU(uint32_t, xen_vcpu);

int xen_error(long result)
{
    if (result >= 0)
        return 0;
    return result >= -EHWPOISON ? (int)result : -EIO;
}

struct pv_cpuid xen_cpuid(uint32_t offset, uint32_t subleaf)
{
    if (offset > leaves.last - leaves.base)
        return (struct pv_cpuid){0};
    return cpuid(leaves.base + offset, subleaf);
}

int xen_hvm_param_read(uint32_t index, uint64_t *value)
{
    struct xen_hvm_param param = {.domid = DOMID_SELF, .index = index};
    int error = xen_error(xen_hvm_op(HVMOP_get_param, &param));
    if (error == 0)
        *value = param.value;
    return error;
}

int xen_hvm_param_write(uint32_t index, uint64_t value)
{
    struct xen_hvm_param param = {.domid = DOMID_SELF, .index = index, .value = value};
    return xen_error(xen_hvm_op(HVMOP_set_param, &param));
}

// ---- early console ------------------------------------------------------------------------------

// Xen's own console shows it if it runs with guest_loglvl=all. The hypercall takes whole lines, but
// Xen's release builds refuse it to all but the first domain; the debug port, which every domain
// with hardware virtualisation has, takes bytes.
static void console_write(const char *text, size_t len_bytes)
{
    (void)xen_console_io(CONSOLEIO_write, (unsigned)len_bytes, (void *)(uintptr_t)text);
}

static struct log_console early_console = {.name = "Xen", .write = console_write};
static bool early_console_by_hypercall;

static void early_console_start(void)
{
    char nothing[1] = {0};
    early_console_by_hypercall = xen_console_io(CONSOLEIO_write, 0, nothing) == 0;
    if (early_console_by_hypercall)
        log_console_register(&early_console);
    else
        early_console_use_debug_port(true);
}

void xen_early_console_stop(void)
{
    if (early_console_by_hypercall)
        log_console_unregister(&early_console);
    else
        early_console_use_debug_port(false);
}

// ---- start --------------------------------------------------------------------------------------

static bool detect(const struct pv_identity *identity)
{
    const struct pv_identity_block *block = pv_identity_find(identity, SIGNATURE);
    return block != NULL && block->last >= block->base + LEAF_HYPERCALLS;
}

// Has Xen fill in the hypercall page. NULL, or what is wrong.
static const char *hypercalls_start(void)
{
    struct pv_cpuid leaf = xen_cpuid(LEAF_HYPERCALLS, 0);
    if (leaf.eax == 0 || leaf.ebx < HYPERCALL_MSR_FIRST || leaf.ebx > HYPERCALL_MSR_LAST)
        return "CPUID names no MSR for the hypercall page";
    if (msr_write_safe(leaf.ebx, kernel_image_to_phys(xen_hypercall_page)) != 0)
        return "the MSR for the hypercall page does not exist";
    const volatile uint8_t *entry = &xen_hypercall_page[32 * __HYPERVISOR_xen_version];
    if (*entry == UNFILLED)
        return "the hypercall page stays empty";
    return NULL;
}

// The running vCPU's number. Xen numbers in the order of CPUs; where CPUID says it, that is what is
// used.
static void vcpu_identify(uint32_t cpu)
{
    struct pv_cpuid leaf = xen_cpuid(LEAF_HVM, 0);
    this_cpu(xen_vcpu) = leaf.eax & XEN_HVM_CPUID_VCPU_ID_PRESENT ? leaf.ebx : cpu;
}

static const char *start(const struct pv_identity *identity)
{
    leaves = *pv_identity_find(identity, SIGNATURE);
    cpuid = identity->cpuid;
    const char *why = hypercalls_start();
    if (why != NULL)
        return why;
    xen_is_running = true;
    early_console_start();
    vcpu_identify(0);
    uint32_t tsc_khz = xen_cpuid(LEAF_TSC, 0).ecx;
    if (tsc_khz != 0)
        tsc_use_frequency((uint64_t)tsc_khz * 1000);
    xen_shared_info_start();
    struct pv_cpuid version = xen_cpuid(LEAF_VERSION, 0);
    log_info(
        "xen: version %u.%u, vCPU %u", version.eax >> 16, version.eax & 0xffff, this_cpu(xen_vcpu));
    return NULL;
}

// ---- end ----------------------------------------------------------------------------------------

// Xen keeps the lowest 8 bits of the reason, and the toolstack shows them (xl list -v).
static uint32_t shutdown_reason(enum pv_shutdown how, uint32_t code)
{
    switch (how) {
    case PV_POWER_OFF:
        return SHUTDOWN_poweroff;
    case PV_REBOOT:
        return SHUTDOWN_reboot;
    case PV_CRASH:
        return SHUTDOWN_crash;
    case PV_EXIT_CODE:
        return code == 0 ? SHUTDOWN_poweroff
                         : MIN(SHUTDOWN_EXIT_CODE - 1 + code, (uint32_t)SHUTDOWN_LARGEST);
    }
    assert_unreachable();
}

__attribute__((noreturn)) static void xen_shutdown(enum pv_shutdown how, uint32_t code)
{
    struct sched_shutdown shutdown = {.reason = shutdown_reason(how, code)};
    for (;;) {
        (void)xen_sched_op(SCHEDOP_shutdown, &shutdown);
        arch_irq_disable();
        arch_pause();
    }
}

// ---- features -----------------------------------------------------------------------------------

PV_FEATURE_OPTION(xen_vcpu_info_wanted, "xen_vcpu_info",
    "Xen: place each vCPU's shared record in its own memory; off: in the domain's shared page, "
    "which has room for 32.");
PV_FEATURE_OPTION(xen_domain_vector, "xen_domain_vector",
    "Xen: deliver events by a vector of the domain, which needs no end of interrupt; off: by one "
    "of each vCPU.");
PV_FEATURE_OPTION(xen_vcpu_vector, "xen_vcpu_vector",
    "Xen: deliver events by a vector of each vCPU where the domain's is not used; off: without "
    "either there are no events, and the local APIC does everything.");
PV_FEATURE_OPTION(
    xen_fifo, "xen_fifo", "Xen: use the FIFO interface of event channels; off: the 2-level one.");
PV_FEATURE_OPTION(xen_2level, "xen_2level",
    "Xen: use the 2-level interface of event channels where FIFO is not used; off: no events.");
PV_FEATURE_OPTION(xen_clock, "xen_clock",
    "Xen: read the time from its paravirtual clock; off: from the TSC alone.");
PV_FEATURE_OPTION(xen_wall_clock, "xen_wall_clock",
    "Xen: take the date from the shared page; off: from the machine's real-time clock.");
PV_FEATURE_OPTION(xen_timer, "xen_timer",
    "Xen: arm timers by its single-shot timer, one hypercall; off: the local APIC's.");
PV_FEATURE_OPTION(
    xen_ipi, "xen_ipi", "Xen: interrupt other CPUs by events; off: by the local APIC.");
PV_FEATURE_OPTION(xen_multicall_wanted, "xen_multicall",
    "Xen: interrupt several CPUs by one multicall; off: by one hypercall for each.");
PV_FEATURE_OPTION(xen_run_state, "xen_run_state",
    "Xen: see which vCPUs run and how much time was stolen; off: all run all the time.");
PV_FEATURE_OPTION(xen_tlb_flush, "xen_tlb_flush",
    "Xen: flush the TLBs of several vCPUs by one hypercall; off: by interrupting them.");
PV_FEATURE_OPTION(xen_locks, "xen_locks",
    "Xen: wait for locks in the hypervisor (poll and kick); off: by spinning.");
PV_FEATURE_OPTION(xen_cpu_start_wanted, "xen_cpu_start",
    "Xen: start CPUs by hypercall, in 64-bit mode; off: by INIT and start-up interrupts.");

static const struct pv_feature features[];

enum feature {
    FEATURE_VCPU_INFO,
    FEATURE_DOMAIN_VECTOR,
    FEATURE_VCPU_VECTOR,
    FEATURE_FIFO,
    FEATURE_2LEVEL,
    FEATURE_CLOCK,
    FEATURE_WALL_CLOCK,
    FEATURE_TIMER,
    FEATURE_IPI,
    FEATURE_MULTICALL,
    FEATURE_RUN_STATE,
    FEATURE_TLB_FLUSH,
    FEATURE_LOCKS,
    FEATURE_CPU_START,
    FEATURES
};

static bool is_on(enum feature feature)
{
    return pv_feature_is_on(&features[feature]);
}

// The boot CPU's part was done by the features' start functions.
static void xen_cpu_online(uint32_t cpu)
{
    if (cpu == 0)
        return;
    vcpu_identify(cpu);
    xen_vcpu_info_cpu(cpu);
    xen_upcall_cpu(cpu);
    if (is_on(FEATURE_TIMER))
        xen_timer_cpu(cpu);
    if (is_on(FEATURE_IPI))
        xen_ipi_cpu(cpu);
    if (is_on(FEATURE_RUN_STATE))
        xen_run_state_cpu(cpu);
    if (is_on(FEATURE_LOCKS))
        xen_locks_cpu(cpu);
}

static void xen_cpu_offline(uint32_t cpu)
{
    if (is_on(FEATURE_LOCKS))
        xen_locks_cpu_end(cpu);
    if (is_on(FEATURE_RUN_STATE))
        xen_run_state_cpu_end(cpu);
    if (is_on(FEATURE_IPI))
        xen_ipi_cpu_end(cpu);
    if (is_on(FEATURE_TIMER))
        xen_timer_cpu_end(cpu);
}

// clang-format off
static const struct pv_feature features[] = {
    [FEATURE_VCPU_INFO] = {"vcpu-info", &xen_vcpu_info_wanted, xen_vcpu_info_start, {0}},
    [FEATURE_DOMAIN_VECTOR] = {"domain-vector", &xen_domain_vector, xen_domain_vector_start, {0}},
    [FEATURE_VCPU_VECTOR] = {"vcpu-vector", &xen_vcpu_vector, xen_vcpu_vector_start, {0}},
    [FEATURE_FIFO] = {"events-fifo", &xen_fifo, xen_fifo_start, {0}},
    [FEATURE_2LEVEL] = {"events-2-level", &xen_2level, xen_2level_start, {0}},
    [FEATURE_CLOCK] = {"clock", &xen_clock, xen_clock_start,
        {.clock_ns = xen_clock_ns, .user_clock = xen_user_clock,
            .user_clock_page = xen_user_clock_page, .clock_refine = xen_clock_refine,
            .timer_arm = xen_clock_arm_apic}},
    [FEATURE_WALL_CLOCK] = {"wall-clock", &xen_wall_clock, xen_wall_clock_start,
        {.wall_clock_ns = xen_wall_clock_ns}},
    [FEATURE_TIMER] = {"timer", &xen_timer, xen_timer_start, {.timer_arm = xen_timer_arm}},
    [FEATURE_IPI] = {"ipi", &xen_ipi, xen_ipi_start, {.send_ipi = xen_send_ipi}},
    [FEATURE_MULTICALL] = {"multicall", &xen_multicall_wanted, xen_multicall_start, {0}},
    [FEATURE_RUN_STATE] = {"run-state", &xen_run_state, xen_run_state_start,
        {.steal_ns = xen_steal_ns, .vcpu_is_preempted = xen_vcpu_is_preempted}},
    [FEATURE_TLB_FLUSH] = {"tlb-flush", &xen_tlb_flush, xen_flush_start,
        {.flush_tlb_others = xen_flush_tlb_others}},
    [FEATURE_LOCKS] = {"locks", &xen_locks, xen_locks_start,
        {.lock_wait = xen_lock_wait, .lock_kick = xen_lock_kick, .yield_to = xen_yield_to}},
    [FEATURE_CPU_START] = {"cpu-start", &xen_cpu_start_wanted, xen_cpu_start_start,
        {.cpu_start = xen_cpu_start}},
};
// clang-format on
static_assert(ARRAY_SIZE(features) == FEATURES);

PV_BACKEND(xen) = {
    .name = "xen",
    .detect = detect,
    .rank = RANK,
    .start = start,
    .ops =
        {
            .cpu_online = xen_cpu_online,
            .cpu_offline = xen_cpu_offline,
            .shutdown = xen_shutdown,
        },
    .features = features,
    .feature_count = FEATURES,
};
