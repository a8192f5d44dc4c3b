// SPDX-License-Identifier: MIT
// Claim: whatever KVM offers, and whichever register it refuses, the backend starts with what is
// left; each feature does what it is for; going off-line leaves nothing registered; a clock page
// that never settles stops nobody. Method: the whole backend on a model of KVM: CPUID leaves as
// QEMU 7.2 on Linux 6.1 gave them, registers, hypercalls. Each test in a process of its own.
#include "kernel/arch/x86/apic.h"
#include "kernel/arch/x86/arch.h"
#include "kernel/arch/x86/cpu.h"
#include "kernel/arch/x86/firmware.h"
#include "kernel/arch/x86/hypercall.h"
#include "kernel/arch/x86/tsc.h"
#include "kernel/base/host/host_base.h"
#include "kernel/base/host/host_cmocka.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/core/irq.h"
#include "kernel/core/log.h"
#include "kernel/core/panic.h"
#include "kernel/core/thread.h"
#include "kernel/core/upcall.h"
#include "mm/host/host_mm.h"
#include "mm/page.h"
#include "mm/tlb.h"
#include "pv/kvm/kvm.h"
#include "pv/select.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define FEATURES_RECORDED 0x01007efb
#define REGISTERS         9 // MSR_KVM_WALL_CLOCK_NEW and on
#define APIC_ID_STEP      3 // APIC ids are not CPU numbers

// ---- the model of KVM ---------------------------------------------------------------------------

static struct {
    uint32_t features, hints;
    uint32_t refused;                         // register that does not exist, or 0
    uint64_t registers[HOST_CPUS][REGISTERS]; // what was written last
    bool is_silent;                           // a clock page is not filled in
    struct vcpu_time_info time;               // what goes there
    // Hypercalls
    bool used_vmmcall, used_vmcall;
    uint32_t calls[16]; // how often, by number
    uint64_t ipi_bits[2];
    uint32_t ipi_lowest, ipi_vector, last_apic_id;
    int64_t pairing_error;
    struct kvm_clock_pairing pairing;
} host;

static uint32_t apic_eois, apic_ipis, apic_arms, apic_stops, halts, local_flushes, interrupted;
static uint64_t armed_tsc;
static const struct pv_backend *backends[2];
static struct pv_selection selection;

struct pv_ops pv_ops;
struct cpumask cpu_online;
struct cpu_features cpu_features;
struct firmware firmware;
bool pv_faults_asked, pv_has_steal;
uint64_t pv_idle_poll_ns;
PERCPU(struct thread *, current_thread);

#define COUNTER_FAKE(name) PERCPU(uint64_t, counter_pv_##name)
COUNTER_FAKE(ipis);
COUNTER_FAKE(ipi_targets);
COUNTER_FAKE(flush_requests);
COUNTER_FAKE(flush_targets);
COUNTER_FAKE(flush_targets_skipped);
COUNTER_FAKE(hypercalls);
COUNTER_FAKE(timer_arms);
COUNTER_FAKE(eois);
COUNTER_FAKE(eois_without_exit);
COUNTER_FAKE(lock_waits);
COUNTER_FAKE(lock_kicks);
COUNTER_FAKE(yields);
COUNTER_FAKE(async_faults);

static struct pv_cpuid cpuid(uint32_t leaf, uint32_t subleaf)
{
    switch (leaf) {
    case 0:
        return (struct pv_cpuid){0xd, 0x68747541, 0x444d4163, 0x69746e65}; // AuthenticAMD
    case 1:
        return (struct pv_cpuid){.ecx = BIT(31)};
    case KVM_CPUID_SIGNATURE:
        return (struct pv_cpuid){KVM_CPUID_FEATURES, 0x4b4d564b, 0x564b4d56, 0x4d};
    case KVM_CPUID_FEATURES:
        return (struct pv_cpuid){.eax = host.features, .edx = host.hints};
    default:
        return (struct pv_cpuid){0};
    }
}

int msr_write_safe(uint32_t msr, uint64_t value)
{
    if (msr == host.refused)
        return -EIO;
    if (msr < MSR_KVM_WALL_CLOCK_NEW || msr - MSR_KVM_WALL_CLOCK_NEW >= REGISTERS)
        return -EIO;
    host.registers[host_cpu][msr - MSR_KVM_WALL_CLOCK_NEW] = value;
    if (msr == MSR_KVM_SYSTEM_TIME_NEW && (value & KVM_MSR_ENABLED) && !host.is_silent)
        *(struct vcpu_time_info *)phys_to_virt(value & ~UINT64_C(1)) = host.time;
    if (msr == MSR_KVM_WALL_CLOCK_NEW)
        *(struct pvclock_wall *)phys_to_virt(value) =
            (struct pvclock_wall){.version = 2, .seconds = 1800000000, .ns = 5};
    return 0;
}

int64_t arch_vmcall(bool vmmcall, uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    host.used_vmmcall |= vmmcall;
    host.used_vmcall |= !vmmcall;
    host.calls[number & 15]++;
    switch (number) {
    case KVM_HC_SEND_IPI:
        host.ipi_bits[0] = a;
        host.ipi_bits[1] = b;
        host.ipi_lowest = (uint32_t)c;
        host.ipi_vector = (uint32_t)d;
        return __builtin_popcountll(a) + __builtin_popcountll(b);
    case KVM_HC_KICK_CPU:
        host.last_apic_id = (uint32_t)b;
        return 0;
    case KVM_HC_SCHED_YIELD:
        host.last_apic_id = (uint32_t)a;
        return 0;
    case KVM_HC_CLOCK_PAIRING:
        *(struct kvm_clock_pairing *)phys_to_virt(a) = host.pairing;
        return host.pairing_error;
    default:
        return -KVM_ENOSYS;
    }
}

// ---- what the backend calls ---------------------------------------------------------------------

uint64_t kernel_image_to_phys(const void *address)
{
    return virt_to_phys(address);
}

bool pv_feature_is_on(const struct pv_feature *feature)
{
    const char **why = pv_selection_why(&selection, feature);
    return why != NULL && *why == NULL;
}

static void (*at_shutdown)(void); // what is to be true then; NULL: it must not come to that

void pv_native_shutdown(enum pv_shutdown reason, uint32_t code)
{
    if (at_shutdown == NULL)
        abort();
    at_shutdown();
    _exit(0);
}

uint64_t tsc_clock_ns(void)
{
    return 1000;
}

void apic_end_of_interrupt(void)
{
    apic_eois++;
}

void apic_send_ipi(uint32_t cpu, uint32_t vector)
{
    apic_ipis++;
}

void apic_timer_arm(uint64_t deadline_tsc)
{
    apic_arms++;
    armed_tsc = deadline_tsc;
}

void apic_timer_stop(void)
{
    apic_stops++;
}

void arch_halt_plain(void)
{
    halts++;
}

int irq_vector_alloc(irq_handler *handler, void *context, const char *name)
{
    return VECTOR_DEVICE_FIRST;
}

void smp_call_mask(
    const struct cpumask *mask, void (*function)(void *argument), void *argument, bool wait)
{
    uint32_t self = host_cpu;
    uint64_t flags = arch_irq_save();
    cpumask_for_each(cpu, mask)
    {
        host_cpu = cpu;
        if (cpu != self)
            function(argument);
    }
    host_cpu = self;
    arch_irq_restore(flags);
}

int sched_block(uint64_t deadline_ns)
{
    return 0;
}

bool sched_wake(struct thread *thread, uint32_t states)
{
    return true;
}

void log_write(enum log_level level, const char *format, ...)
{
}

void panic(const char *format, ...)
{
    print_error("panic: %s\n", format);
    abort();
}

void mm_flush_local(uintptr_t start, uintptr_t end)
{
    local_flushes++;
}

// Those that do not run are excused; the others answer.
void smp_call_mask_excusing(const struct cpumask *mask, void (*function)(void *argument),
    void *argument, bool (*excused)(uint32_t cpu))
{
    cpumask_for_each(cpu, mask)
    {
        interrupted++;
        if (!excused(cpu))
            function(argument);
    }
}

// ---- machine ------------------------------------------------------------------------------------

static uint64_t native_ns(void)
{
    return 7;
}

static void native_arm(uint64_t deadline_ns)
{
}

static void native_ipi(const struct cpumask *mask, uint32_t vector)
{
}

static const struct pv_feature no_features[1];
static const struct pv_backend native = {.name = "native",
    .features = no_features,
    .ops = {.clock_ns = native_ns, .timer_arm = native_arm, .send_ipi = native_ipi}};

static void machine_create(void)
{
    host.features = FEATURES_RECORDED;
    host.time = (struct vcpu_time_info){.version = 2,
        .tsc_timestamp = arch_tsc(),
        .system_time = UINT64_C(3600) * 1000000000,
        .tsc_to_system_mul = 3181457256u, // 2.7 GHz
        .tsc_shift = -1,
        .flags = XEN_PVCLOCK_TSC_STABLE_BIT};
    host.pairing = (struct kvm_clock_pairing){.sec = 1800000007, .nsec = 9, .tsc = arch_tsc()};
    cpu_features.x2apic = true;
    for (uint32_t cpu = 0; cpu < CPU_MAX; cpu++)
        firmware.cpu_apic_ids[cpu] = APIC_ID_STEP * cpu;
    pv_ops = (struct pv_ops){0};
    host_arena_create();
    arch_irq_disable();
}

static void start(void)
{
    backends[0] = &native;
    backends[1] = &pv_backend_kvm;
    pv_select(&selection, &pv_ops, backends, 2, "", cpuid);
    assert_ptr_equal(selection.backend, &pv_backend_kvm);
    pv_backend_kvm.init_late();
    for (uint32_t cpu = 0; cpu < HOST_CPUS; cpu++) {
        host_cpu = cpu;
        pv_ops.cpu_online(cpu);
    }
    host_cpu = 0;
}

static bool is_on(const char *name)
{
    for (uint32_t i = 0; i < pv_backend_kvm.feature_count; i++) {
        if (strcmp(pv_backend_kvm.features[i].name, name) == 0)
            return pv_feature_is_on(&pv_backend_kvm.features[i]);
    }
    fail();
    return false;
}

static void in_process(void (*run)(uint32_t argument), uint32_t argument)
{
    pid_t child = fork();
    if (child == 0) {
        (void)setenv("CMOCKA_TEST_ABORT", "1", 1); // a failure ends this process, not this test
        machine_create();
        run(argument);
        _exit(0);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (status != 0)
        print_error("with %u\n", argument);
    assert_int_equal(status, 0);
}

static uint64_t registered(uint32_t cpu, uint32_t msr)
{
    return host.registers[cpu][msr - MSR_KVM_WALL_CLOCK_NEW];
}

// ---- tests --------------------------------------------------------------------------------------

static void all_is_on(uint32_t argument)
{
    start();
    for (uint32_t i = 0; i < pv_backend_kvm.feature_count; i++)
        assert_true(pv_feature_is_on(&pv_backend_kvm.features[i]));
    assert_true(host.used_vmmcall);
    assert_false(host.used_vmcall);
    for (uint32_t cpu = 0; cpu < HOST_CPUS; cpu++) {
        assert_true(registered(cpu, MSR_KVM_SYSTEM_TIME_NEW) & KVM_MSR_ENABLED);
        assert_true(registered(cpu, MSR_KVM_STEAL_TIME) & KVM_MSR_ENABLED);
        assert_int_equal(registered(cpu, MSR_KVM_STEAL_TIME) & KVM_STEAL_RESERVED_MASK, 0);
        assert_true(registered(cpu, MSR_KVM_PV_EOI_EN) & KVM_MSR_ENABLED);
        assert_int_equal(registered(cpu, MSR_KVM_ASYNC_PF_EN) & 63,
            KVM_ASYNC_PF_ENABLED | KVM_ASYNC_PF_DELIVERY_AS_INT);
        assert_int_equal(registered(cpu, MSR_KVM_ASYNC_PF_INT), VECTOR_DEVICE_FIRST);
    }
    assert_true(pv_idle_poll_ns != 0);
    assert_true(pv_has_steal);
}

static void clock_and_timer(uint32_t argument)
{
    start();
    uint64_t first = pv_ops.clock_ns();
    assert_in_range(first, 1000, UINT64_C(60000000000));
    assert_true(pv_ops.clock_ns() >= first);
    pv_ops.timer_arm(first + 1000000);
    assert_in_range(armed_tsc, host.time.tsc_timestamp + 2690000, arch_tsc() + 2700001);
    pv_ops.timer_arm(0);
    pv_ops.timer_arm(UINT64_MAX - 1);
    assert_true(armed_tsc > arch_tsc() + (UINT64_C(1) << 50));
    pv_ops.timer_arm(UINT64_MAX);
    assert_int_equal(apic_stops, 1);
    struct pv_user_clock clock;
    pv_ops.user_clock(&clock);
    assert_int_equal(clock.kind, PV_USER_CLOCK_PVCLOCK);
    uint64_t at_ns;
    int64_t wall_ns = pv_ops.wall_clock_ns(&at_ns); // by pairing
    assert_int_equal(wall_ns, INT64_C(1800000007000000009));
    host.pairing.nsec = 1000000000;
    assert_true(pv_ops.wall_clock_ns(&at_ns) < 0);
}

static void end_of_interrupt(uint32_t argument)
{
    start();
    pv_ops.end_of_interrupt();
    assert_int_equal(apic_eois, 1);
    *(uint32_t *)phys_to_virt(registered(0, MSR_KVM_PV_EOI_EN) & ~UINT64_C(1)) = 1;
    pv_ops.end_of_interrupt();
    assert_int_equal(apic_eois, 1);
    pv_ops.end_of_interrupt();
    assert_int_equal(apic_eois, 2);
}

// One hypercall for any number of targets within reach, and every target is in it.
static void interrupts(uint32_t seed)
{
    start();
    struct prng prng = {.state = seed};
    struct cpumask mask = {0};
    uint32_t count = 1 + (uint32_t)prng_below(&prng, 40);
    for (uint32_t i = 0; i < CPU_MAX; i++) // in any order of ids
        firmware.cpu_apic_ids[i] = (uint32_t)prng_below(&prng, 120) + 1000 * (uint32_t)(i / 64);
    for (uint32_t i = 0; i < count; i++)
        cpumask_set(&mask, (uint32_t)prng_below(&prng, 64));
    pv_ops.send_ipi(&mask, VECTOR_CALL);
    if (cpumask_count(&mask) == 1) {
        assert_int_equal(apic_ipis, 1);
        return;
    }
    assert_int_equal(host.calls[KVM_HC_SEND_IPI], 1);
    assert_int_equal(host.ipi_vector, VECTOR_CALL);
    cpumask_for_each(cpu, &mask)
    {
        uint32_t bit = firmware.cpu_apic_ids[cpu] - host.ipi_lowest;
        assert_true(bit < 128);
        assert_true(host.ipi_bits[bit / 64] >> (bit % 64) & 1);
    }
    cpumask_set(&mask, 70); // out of reach of the others: another call
    pv_ops.send_ipi(&mask, VECTOR_CALL);
    assert_int_equal(host.calls[KVM_HC_SEND_IPI], 2);
    assert_int_equal(apic_ipis, 1);
}

static struct kvm_steal_time *record_of(uint32_t cpu)
{
    return phys_to_virt(registered(cpu, MSR_KVM_STEAL_TIME) & ~UINT64_C(63));
}

static void flushes(uint32_t argument)
{
    start();
    struct cpumask mask = {.words = {BIT(1) | BIT(2) | BIT(3)}};
    record_of(1)->preempted = KVM_VCPU_PREEMPTED;
    record_of(3)->preempted = KVM_VCPU_PREEMPTED | KVM_VCPU_FLUSH_TLB;
    assert_true(pv_ops.vcpu_is_preempted(1));
    assert_false(pv_ops.vcpu_is_preempted(2));
    pv_ops.flush_tlb_others(&mask, 0, PAGE_SIZE);
    assert_int_equal(record_of(1)->preempted, KVM_VCPU_PREEMPTED | KVM_VCPU_FLUSH_TLB);
    assert_int_equal(record_of(2)->preempted, 0);
    assert_int_equal(interrupted, 1);
    assert_int_equal(local_flushes, 1);
    record_of(2)->preempted = KVM_VCPU_PREEMPTED;
    pv_ops.flush_tlb_others(&mask, 0, PAGE_SIZE);
    assert_int_equal(interrupted, 1); // nobody runs, nobody is interrupted
}

static void steal(uint32_t argument)
{
    start();
    *record_of(0) = (struct kvm_steal_time){.version = 2, .steal = 12345};
    assert_int_equal(pv_ops.steal_ns(), 12345);
    record_of(0)->version = 3; // for ever: it comes back all the same
    (void)pv_ops.steal_ns();
}

static void waiting(uint32_t argument)
{
    start();
    uint32_t word = 2;
    pv_ops.lock_wait(&word, 1); // not what it waits for
    assert_int_equal(halts, 0);
    pv_ops.lock_wait(&word, 2); // interrupts are off
    assert_int_equal(halts, 1);
    arch_irq_enable();
    pv_ops.lock_wait(&word, 1);
    assert_true(arch_irqs_enabled());
    pv_ops.lock_kick(2);
    assert_int_equal(host.last_apic_id, 2 * APIC_ID_STEP);
    pv_ops.yield_to(3);
    assert_int_equal(host.last_apic_id, 3 * APIC_ID_STEP);
    assert_int_equal(host.calls[KVM_HC_SCHED_YIELD], 1);
}

static void offline(uint32_t argument)
{
    start();
    for (uint32_t cpu = 0; cpu < HOST_CPUS; cpu++) {
        host_cpu = cpu;
        arch_irq_disable();
        pv_ops.cpu_offline(cpu);
        assert_int_equal(registered(cpu, MSR_KVM_SYSTEM_TIME_NEW), 0);
        assert_int_equal(registered(cpu, MSR_KVM_STEAL_TIME), 0);
        assert_int_equal(registered(cpu, MSR_KVM_PV_EOI_EN), 0);
        assert_int_equal(registered(cpu, MSR_KVM_ASYNC_PF_EN), 0);
        assert_int_equal(registered(cpu, MSR_KVM_POLL_CONTROL), 1); // as after reset
        assert_false(pv_ops.vcpu_is_preempted(cpu));
    }
    host_cpu = 2; // and again
    arch_irq_disable();
    pv_ops.cpu_online(2);
    assert_true(registered(2, MSR_KVM_STEAL_TIME) & KVM_MSR_ENABLED);
}

static bool is_registered(uint32_t cpu)
{
    return registered(cpu, MSR_KVM_SYSTEM_TIME_NEW) != 0 ||
           registered(cpu, MSR_KVM_STEAL_TIME) != 0 || registered(cpu, MSR_KVM_PV_EOI_EN) != 0 ||
           registered(cpu, MSR_KVM_ASYNC_PF_EN) != 0;
}

static void none_is_registered(void)
{
    for (uint32_t cpu = 0; cpu < HOST_CPUS; cpu++)
        assert_false(is_registered(cpu));
}

static void only_others_are_registered(void)
{
    for (uint32_t cpu = 0; cpu < HOST_CPUS; cpu++)
        assert_int_equal(is_registered(cpu), cpu != host_cpu);
}

// A reboot and a power-off leave nothing behind on any CPU. A crash asks nobody else; each CPU that
// it stops calls cpu_forget().
static void shutdown_of(uint32_t reason)
{
    start();
    for (uint32_t cpu = 0; cpu < HOST_CPUS; cpu++) {
        cpumask_set(&cpu_online, cpu);
        assert_true(is_registered(cpu));
    }
    host_cpu = 1;
    arch_irq_enable();
    at_shutdown = reason == PV_CRASH ? only_others_are_registered : none_is_registered;
    pv_ops.shutdown((enum pv_shutdown)reason, 0);
}

static void forget(uint32_t argument)
{
    start();
    for (uint32_t cpu = 0; cpu < HOST_CPUS; cpu++) {
        host_cpu = cpu;
        pv_ops.cpu_forget();
    }
    none_is_registered();
}

// Each bit of the recorded features missing, one by one, and all of them.
static void feature_missing(uint32_t bit)
{
    host.features = bit < 32 ? FEATURES_RECORDED & ~BIT(bit) : 0;
    start();
    assert_int_equal(is_on("kvm-clock"), bit < 32); // the old registers' bit or the new ones'
    assert_int_equal(is_on("kvm-eoi"), bit < 32 && bit != KVM_FEATURE_PV_EOI);
    assert_int_equal(is_on("kvm-ipi"), bit < 32 && bit != KVM_FEATURE_PV_SEND_IPI);
    assert_int_equal(is_on("kvm-tlb-flush"),
        bit < 32 && bit != KVM_FEATURE_PV_TLB_FLUSH && bit != KVM_FEATURE_STEAL_TIME);
    assert_int_equal(is_on("kvm-async-pf"),
        bit < 32 && bit != KVM_FEATURE_ASYNC_PF && bit != KVM_FEATURE_ASYNC_PF_INT);
    assert_int_equal(is_on("kvm-unhalt"), bit < 32 && bit != KVM_FEATURE_PV_UNHALT);
    assert_non_null(pv_ops.clock_ns);
    (void)pv_ops.clock_ns();
    if (bit == 32)
        assert_ptr_equal(pv_ops.send_ipi, native_ipi);
    pv_ops.cpu_offline(0);
}

// The old clock registers are below the others: the model has none.
static void old_clock_only(uint32_t argument)
{
    host.features = FEATURES_RECORDED & ~(uint32_t)BIT(KVM_FEATURE_CLOCKSOURCE2);
    backends[0] = &native;
    backends[1] = &pv_backend_kvm;
    pv_select(&selection, &pv_ops, backends, 2, "", cpuid);
    assert_false(is_on("kvm-clock"));
    assert_ptr_equal(pv_ops.clock_ns, native_ns);
}

// A register that CPUID promises and the host refuses: nothing else suffers.
static void register_refused(uint32_t number)
{
    host.refused = MSR_KVM_WALL_CLOCK_NEW + number;
    start();
    assert_int_equal(is_on("kvm-clock"), host.refused != MSR_KVM_SYSTEM_TIME_NEW);
    (void)pv_ops.clock_ns();
    pv_ops.end_of_interrupt == NULL ? (void)0 : pv_ops.end_of_interrupt();
    (void)pv_ops.steal_ns();
    pv_ops.cpu_offline(0);
}

static void never_preempts(uint32_t argument)
{
    host.hints = BIT(KVM_HINTS_REALTIME);
    start();
    assert_false(is_on("kvm-tlb-flush"));
    assert_false(is_on("kvm-unhalt"));
    assert_false(is_on("kvm-yield"));
    assert_true(is_on("kvm-steal-time"));
}

static void clock_never_settles(uint32_t how)
{
    if (how == 0)
        host.time.version = 3;
    else if (how == 1)
        host.is_silent = true;
    else if (how == 2)
        host.time.tsc_to_system_mul = 0;
    else
        host.time.tsc_shift = -100;
    start();
    assert_false(is_on("kvm-clock"));
    assert_false(is_on("kvm-wall-clock"));
    assert_false(is_on("kvm-clock-pairing"));
    assert_ptr_equal(pv_ops.clock_ns, native_ns);
    assert_ptr_equal(pv_ops.timer_arm, native_arm);
    assert_int_equal(registered(0, MSR_KVM_SYSTEM_TIME_NEW), 0);
}

// Later: the clock goes on, never back, and timers are armed.
static void clock_stops_settling(uint32_t argument)
{
    start();
    uint64_t before = pv_ops.clock_ns();
    struct vcpu_time_info *page =
        phys_to_virt(registered(0, MSR_KVM_SYSTEM_TIME_NEW) & ~UINT64_C(1));
    page->version = 5;
    uint64_t first = pv_ops.clock_ns();
    assert_true(first >= before);
    assert_true(pv_ops.clock_ns() >= first);
    pv_ops.timer_arm(first + 1000);
    assert_int_equal(apic_arms, 1);
}

// The host loses the flag that TSCs are the same: each CPU reads its own page, the clock never goes
// back, programs ask the kernel.
static void clock_not_stable(uint32_t argument)
{
    start();
    for (uint32_t cpu = 0; cpu < HOST_CPUS; cpu++) {
        struct vcpu_time_info *page =
            phys_to_virt(registered(cpu, MSR_KVM_SYSTEM_TIME_NEW) & ~UINT64_C(1));
        page->flags = 0;
        page->system_time -= cpu * UINT64_C(1000000); // each a little behind the one before
    }
    uint64_t last = pv_ops.clock_ns();
    for (uint32_t round = 0; round < 1000; round++) {
        host_cpu = round % HOST_CPUS;
        uint64_t now = pv_ops.clock_ns();
        assert_true(now >= last);
        last = now;
    }
    host_cpu = 0;
    struct pv_user_clock clock;
    pv_ops.user_clock(&clock);
    assert_int_equal(clock.kind, PV_USER_CLOCK_NONE);
}

static void pairing_refused(uint32_t how)
{
    host.pairing_error = how == 0 ? -KVM_ENOSYS : how == 1 ? -KVM_EOPNOTSUPP : 3;
    start();
    assert_false(is_on("kvm-clock-pairing"));
    uint64_t at_ns;
    assert_int_equal(pv_ops.wall_clock_ns(&at_ns), INT64_C(1800000000000000005));
}

#define TEST(name, count)                                                                          \
    static void test_##name(void **state)                                                          \
    {                                                                                              \
        for (uint32_t i = 0; i < (count); i++)                                                     \
            in_process(name, i);                                                                   \
    }
TEST(all_is_on, 1)
TEST(clock_and_timer, 1)
TEST(end_of_interrupt, 1)
TEST(interrupts, 100)
TEST(flushes, 1)
TEST(steal, 1)
TEST(waiting, 1)
TEST(offline, 1)
TEST(shutdown_of, PV_CRASH + 1)
TEST(forget, 1)
TEST(old_clock_only, 1)
TEST(register_refused, REGISTERS)
TEST(never_preempts, 1)
TEST(clock_never_settles, 4)
TEST(clock_stops_settling, 1)
TEST(clock_not_stable, 1)
TEST(pairing_refused, 3)

static void test_feature_missing(void **state)
{
    for (uint32_t bit = 0; bit <= 32; bit++) {
        if (bit != KVM_FEATURE_CLOCKSOURCE2) // old_clock_only()
            in_process(feature_missing, bit);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_is_on),
        cmocka_unit_test(test_clock_and_timer),
        cmocka_unit_test(test_end_of_interrupt),
        cmocka_unit_test(test_interrupts),
        cmocka_unit_test(test_flushes),
        cmocka_unit_test(test_steal),
        cmocka_unit_test(test_waiting),
        cmocka_unit_test(test_offline),
        cmocka_unit_test(test_shutdown_of),
        cmocka_unit_test(test_forget),
        cmocka_unit_test(test_feature_missing),
        cmocka_unit_test(test_old_clock_only),
        cmocka_unit_test(test_register_refused),
        cmocka_unit_test(test_never_preempts),
        cmocka_unit_test(test_clock_never_settles),
        cmocka_unit_test(test_clock_stops_settling),
        cmocka_unit_test(test_clock_not_stable),
        cmocka_unit_test(test_pairing_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
