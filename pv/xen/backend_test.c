// SPDX-License-Identifier: MIT
// Claim: whatever Xen refuses, and whatever CPUID says, the backend starts with what is left or
// leaves the machine to native; a feature that needs another one is off without it.
// Method: the whole backend on a model of Xen (host/fake_xen.h); each start in a process of its
// own. The CPUID leaves are those that Xen 4.17 gave a PVH domain.
#include "kernel/arch/x86/apic.h"
#include "kernel/arch/x86/arch.h"
#include "kernel/arch/x86/cpu.h"
#include "kernel/arch/x86/early_console.h"
#include "kernel/arch/x86/tsc.h"
#include "kernel/base/host/host_base.h"
#include "kernel/base/host/host_cmocka.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/core/irq.h"
#include "kernel/core/log.h"
#include "kernel/core/panic.h"
#include "mm/host/host_mm.h"
#include "mm/tlb.h"
#include "pv/pvclock.h"
#include "pv/select.h"
#include "pv/xen/events.h"
#include "pv/xen/events_core.h"
#include "pv/xen/host/fake_xen.h"
#include "pv/xen/xen.h"
#include "pv/xen/xen_internal.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xen/arch-x86/cpuid.h>
#include <xen/features.h>
#include <xen/hvm/hvm_op.h>
#include <xen/sched.h>

#define HYPERVISOR_BIT BIT(31)
#define TSC_HZ         UINT64_C(2700000000)

// ---- what the backend calls ---------------------------------------------------------------------

struct shared_info *xen_shared_info;
struct cpumask cpu_online;
struct pv_ops pv_ops;
bool pv_faults_asked, pv_has_steal;
static struct pv_selection selection;
static bool msr_exists;
static uint64_t tsc_hz, native_ns, armed_tsc;
static uint32_t vector_without_end, local_flushes, calls, delivered[256];

extern const uint8_t xen_hypercall_page[];
const uint8_t xen_hypercall_page[4096];

PERCPU(uint64_t, counter_pv_hypercalls);
PERCPU(uint64_t, counter_pv_ipis);
PERCPU(uint64_t, counter_pv_ipi_targets);
PERCPU(uint64_t, counter_pv_flush_requests);
PERCPU(uint64_t, counter_pv_flush_targets);
PERCPU(uint64_t, counter_pv_flush_targets_skipped);
PERCPU(uint64_t, counter_pv_timer_arms);
PERCPU(uint64_t, counter_pv_eois_without_exit);
PERCPU(uint64_t, counter_pv_lock_waits);
PERCPU(uint64_t, counter_pv_lock_kicks);
PERCPU(uint64_t, counter_pv_yields);

uint64_t xen_phys_of(const void *address)
{
    return (uintptr_t)address;
}

uint64_t kernel_image_to_phys(const void *address)
{
    return (uintptr_t)address;
}

void xen_shared_info_start(void)
{
    if (fake_xen.refused_calls >> __HYPERVISOR_memory_op & 1)
        return;
    xen_shared_info = &fake_xen.shared;
    xen_vcpu_info[0] = &fake_xen.shared.vcpu_info[0];
}

int msr_write_safe(uint32_t msr, uint64_t value)
{
    return msr_exists ? 0 : -EIO;
}

bool pv_feature_is_on(const struct pv_feature *feature)
{
    const char **why = pv_selection_why(&selection, feature);
    return why != NULL && *why == NULL;
}

void tsc_use_frequency(uint64_t hz)
{
    tsc_hz = hz;
}

uint64_t tsc_clock_ns(void)
{
    return native_ns;
}

uint64_t tsc_from_ns(uint64_t ns)
{
    return ns; // of a TSC that nobody has: who asks is told apart
}

void apic_timer_arm(uint64_t deadline_tsc)
{
    armed_tsc = deadline_tsc;
}

void apic_timer_stop(void)
{
    armed_tsc = 0;
}

void irq_vector_set_without_end(uint32_t vector)
{
    vector_without_end = vector;
}

int irq_vector_alloc(irq_handler *handler, void *context, const char *name)
{
    return VECTOR_DEVICE_FIRST;
}

void irq_deliver(struct trap_frame *frame, uint32_t vector)
{
    delivered[vector]++;
}

void smp_call_mask(
    const struct cpumask *mask, void (*function)(void *argument), void *argument, bool wait)
{
    calls++;
    cpumask_for_each(cpu, mask) function(argument);
}

void mm_flush_local(uintptr_t start, uintptr_t end)
{
    local_flushes++;
}

void log_write(enum log_level level, const char *format, ...)
{
}

void panic(const char *format, ...)
{
    print_error("panic: %s\n", format);
    abort();
}

void log_console_register(struct log_console *console)
{
}

void log_console_unregister(struct log_console *console)
{
}

void early_console_use_debug_port(bool use)
{
}

// ---- machine ------------------------------------------------------------------------------------

static struct pv_cpuid leaf1 = {.ecx = HYPERVISOR_BIT};

static struct pv_cpuid cpuid(uint32_t leaf, uint32_t subleaf)
{
    if (leaf == 1)
        return leaf1;
    if (leaf - XEN_CPUID_FIRST_LEAF < ARRAY_SIZE(fake_xen.leaves))
        return fake_xen.leaves[leaf - XEN_CPUID_FIRST_LEAF];
    return (struct pv_cpuid){0};
}

static void machine_create(void)
{
    fake_xen_create();
    host_arena_create();
    msr_exists = true;
    native_ns = 1000;
    struct pv_cpuid recorded[] = {
        {0x40000005, XEN_CPUID_SIGNATURE_EBX, XEN_CPUID_SIGNATURE_ECX, XEN_CPUID_SIGNATURE_EDX},
        {4 << 16 | 17, 0, 0, 0},
        {1, 0x40000000, 0, 0},
        {0, 2, 2700000, 0},
        {XEN_HVM_CPUID_IOMMU_MAPPINGS | XEN_HVM_CPUID_VCPU_ID_PRESENT | XEN_HVM_CPUID_DOMID_PRESENT,
            0, 1, 0},
        {0, 48, 0, 0},
    };
    memcpy(fake_xen.leaves, recorded, sizeof(recorded));
    for (uint32_t vcpu = 0; vcpu < HOST_CPUS; vcpu++) {
        xen_vcpu_info[vcpu] = &xen_no_vcpu_info;
        fake_xen.shared.vcpu_info[vcpu].time = (struct vcpu_time_info){
            .version = 2,
            .system_time = UINT64_C(3600) * 1000000000,
            .tsc_timestamp = arch_tsc(),
            .tsc_to_system_mul = (uint32_t)((UINT64_C(1000000000) << 32) / TSC_HZ),
            .tsc_shift = 0,
        };
    }
    fake_xen.shared.wc_version = 2;
    fake_xen.shared.wc_sec = 1800000000;
}

static uint64_t native_clock_ns(void)
{
    return native_ns;
}

static void native_timer_arm(uint64_t deadline_ns)
{
}

static void native_cpu(uint32_t cpu)
{
}

static const struct pv_feature no_features[1];
static const struct pv_backend native = {.name = "native",
    .features = no_features,
    .ops = {.clock_ns = native_clock_ns,
        .timer_arm = native_timer_arm,
        .vcpu_is_preempted = xen_vcpu_is_preempted,
        .cpu_online = native_cpu}};

static void start(void)
{
    const struct pv_backend *const backends[] = {&native, &pv_backend_xen};
    pv_select(&selection, &pv_ops, backends, 2, "", cpuid);
}

static void start_others(void)
{
    for (uint32_t cpu = 1; cpu < HOST_CPUS; cpu++) {
        host_cpu = cpu;
        fake_xen.leaves[4].ebx = cpu;
        arch_irq_disable();
        pv_ops.cpu_online(cpu);
        arch_irq_enable();
    }
    host_cpu = 0;
}

static bool is_on(const char *name)
{
    for (uint32_t i = 0; i < pv_backend_xen.feature_count; i++) {
        if (strcmp(pv_backend_xen.features[i].name, name) == 0)
            return pv_feature_is_on(&pv_backend_xen.features[i]);
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

// ---- tests --------------------------------------------------------------------------------------

static void all_is_on(uint32_t argument)
{
    start();
    start_others();
    for (uint32_t i = 0; i < pv_backend_xen.feature_count; i++) {
        const char *name = pv_backend_xen.features[i].name;
        bool other = strcmp(name, "vcpu-vector") == 0 || strcmp(name, "events-2-level") == 0;
        assert_int_equal(pv_feature_is_on(&pv_backend_xen.features[i]), !other);
    }
    assert_true(tsc_hz > TSC_HZ - 10 && tsc_hz < TSC_HZ + 10);
    assert_int_equal(fake_xen.callback_vector, VECTOR_DEVICE_FIRST);

    // The clock goes on from the native one, and timers are armed in Xen's time.
    uint64_t now = pv_ops.clock_ns();
    assert_true(now >= 1000 && now < UINT64_C(60000000000));
    arch_irq_disable();
    pv_ops.timer_arm(now + 5000);
    assert_true(fake_xen.timer_ns[0] >= UINT64_C(3600) * 1000000000);
    pv_ops.timer_arm(UINT64_MAX - 1);
    assert_true((int64_t)fake_xen.timer_ns[0] > 0);
    pv_ops.timer_arm(UINT64_MAX);
    assert_int_equal(fake_xen.timer_ns[0], 0);
    arch_irq_enable();
    uint64_t at_ns;
    assert_true(pv_ops.wall_clock_ns(&at_ns) >= INT64_C(1800003600) * 1000000000);

    // Three targets: one multicall; two vCPUs that run: one flush; one: an interrupt.
    struct cpumask mask = {.words = {BIT(1) | BIT(2) | BIT(5)}};
    pv_ops.send_ipi(&mask, VECTOR_CALL);
    assert_int_equal(fake_xen.multicalls, 2); // the first asked whether there is one
    uint32_t flushes = fake_xen.flushes;
    pv_ops.flush_tlb_others(&mask, 0, PAGE_SIZE);
    assert_int_equal(fake_xen.flushes, flushes + 1);
    mask.words[0] = BIT(3);
    pv_ops.flush_tlb_others(&mask, 0, PAGE_SIZE);
    assert_int_equal(fake_xen.flushes, flushes + 1);
    assert_int_equal(local_flushes, 1);
    fake_xen.run_state[3]->state = RUNSTATE_runnable;
    assert_true(pv_ops.vcpu_is_preempted(3));
    pv_ops.flush_tlb_others(&mask, 0, PAGE_SIZE);
    assert_int_equal(fake_xen.flushes, flushes + 2);

    // A kick before the wait: the poll is made, and would return at once.
    uint32_t word = 2;
    pv_ops.lock_kick(0);
    uint32_t polls = fake_xen.polls;
    pv_ops.lock_wait(&word, 1); // not what it waits for
    assert_int_equal(fake_xen.polls, polls);
    pv_ops.lock_wait(&word, 2);
    assert_int_equal(fake_xen.polls, polls + 1);
    fake_xen.is_up[1] = false;
    assert_int_equal(pv_ops.cpu_start(&(struct pv_cpu_start){.cpu = 1}), 0);
    assert_true(fake_xen.is_up[1]);
}

static void steal_only_grows(uint32_t argument)
{
    start();
    struct vcpu_runstate_info *record = fake_xen.run_state[0];
    record->time[RUNSTATE_runnable] = 700;
    record->time[RUNSTATE_offline] = 50;
    assert_int_equal(pv_ops.steal_ns(), 750);
    record->time[RUNSTATE_runnable] = 3;
    assert_int_equal(pv_ops.steal_ns(), 750);
    record->state_entry_time = XEN_RUNSTATE_UPDATE; // for ever
    record->time[RUNSTATE_runnable] = 9000;
    assert_int_equal(pv_ops.steal_ns(), 750);
}

static void clock_never_settles(uint32_t argument)
{
    fake_xen.shared.vcpu_info[0].time.version = 3;
    start();
    assert_false(is_on("clock"));
    assert_false(is_on("timer"));
    assert_false(is_on("wall-clock"));
    assert_true(is_on("ipi"));
    assert_ptr_equal(pv_ops.clock_ns, native_clock_ns);
    assert_ptr_equal(pv_ops.timer_arm, native_timer_arm);
}

static void clock_stops_settling(uint32_t argument)
{
    start();
    uint64_t before = pv_ops.clock_ns();
    fake_xen_info(0)->time.version = 3;
    native_ns = before + 5;
    assert_int_equal(pv_ops.clock_ns(), before + 5); // the TSC's
    native_ns = 0;
    assert_int_equal(pv_ops.clock_ns(), before + 5); // and never back
}

static void clock_nonsense(uint32_t argument)
{
    fake_xen.shared.vcpu_info[0].time.tsc_to_system_mul = argument == 0 ? 0 : 1;
    fake_xen.shared.vcpu_info[0].time.tsc_shift = argument == 0 ? 0 : -128;
    start();
    assert_false(is_on("clock"));
    assert_ptr_equal(pv_ops.clock_ns, native_clock_ns);
}

// One hypercall fails during the start: everything that is on still works as a whole.
static void one_fails(uint32_t number)
{
    static const long errors[] = {-ENOSYS, -EPERM, -EINVAL, -100000};
    fake_xen.fail_at = number;
    fake_xen.fail_with = errors[number % ARRAY_SIZE(errors)];
    start();
    assert_non_null(pv_ops.clock_ns);
    assert_non_null(pv_ops.timer_arm);
    assert_string_equal(selection.backend->name, "xen");
    bool events = is_on("events-fifo") || is_on("events-2-level");
    assert_int_equal(events, xen_events_up());
    assert_true(events || (!is_on("timer") && !is_on("ipi") && !is_on("locks")));
    assert_true(is_on("clock") || !is_on("timer"));
    fake_xen.fail_at = 0;
    (void)pv_ops.clock_ns();
    start_others();
}

static void group_is_missing(uint32_t call)
{
    fake_xen.refused_calls = UINT64_C(1) << call;
    start();
    (void)pv_ops.clock_ns();
    if (call != __HYPERVISOR_vcpu_op && call != __HYPERVISOR_memory_op)
        start_others();
    if (call == __HYPERVISOR_hvm_op) // no vector
        assert_false(xen_events_up());
    if (call == __HYPERVISOR_xen_version) // is the domain's vector offered? not known
        assert_true(is_on("vcpu-vector") && !is_on("domain-vector"));
    if (call == __HYPERVISOR_multicall)
        assert_true(is_on("ipi") && !is_on("multicall"));
}

static void apic_is_virtual(uint32_t argument)
{
    fake_xen.leaves[4].eax |= XEN_HVM_CPUID_X2APIC_VIRT;
    start();
    start_others();
    assert_true(is_on("vcpu-vector"));
    assert_false(is_on("domain-vector"));
    assert_int_equal(fake_xen.vcpu_vector[HOST_CPUS - 1], VECTOR_DEVICE_FIRST);
    assert_int_equal(vector_without_end, 0);
}

static void end_of_interrupt(uint32_t argument)
{
    start();
    assert_true(is_on("domain-vector"));
    assert_int_equal(vector_without_end, VECTOR_DEVICE_FIRST);
    assert_null(pv_ops.end_of_interrupt); // all others end at the APIC, as without a hypervisor
}

// Without Xen's timer the APIC's goes by Xen's clock, also after Xen has corrected its rate.
static void timer_by_apic(uint32_t argument)
{
    fake_xen.refused_vcpu_op = 1u << VCPUOP_stop_singleshot_timer;
    start();
    assert_false(is_on("timer"));
    assert_true(is_on("clock"));
    arch_irq_disable();
    struct vcpu_time_info *time = &fake_xen_info(0)->time;
    uint64_t base = pvclock_ns_at(time, arch_tsc_ordered());
    uint64_t ns = pv_ops.clock_ns();
    uint64_t base_max = pvclock_ns_at(time, arch_tsc_ordered()) - ns;
    base -= ns;
    for (uint32_t faster = 0; faster < 2; faster++) {
        time->tsc_to_system_mul <<= faster;
        uint64_t deadline = pvclock_ns_at(time, arch_tsc_ordered()) - base + 5000;
        pv_ops.timer_arm(deadline);
        uint64_t at = pvclock_ns_at(time, armed_tsc);
        assert_true(at >= deadline + base && at <= deadline + base_max + 1);
    }
    pv_ops.timer_arm(UINT64_MAX - 1);
    assert_true(armed_tsc > INT64_MAX);
    pv_ops.timer_arm(UINT64_MAX);
    assert_int_equal(armed_tsc, 0);
    fake_xen_info(0)->time.tsc_to_system_mul = 0;
    pv_ops.timer_arm(77);
    assert_int_equal(armed_tsc, 77);
    fake_xen_info(0)->time.version = 3; // never settles
    pv_ops.timer_arm(88);
    assert_int_equal(armed_tsc, 88);
    arch_irq_enable();
}

static void cpuid_nonsense(uint32_t seed)
{
    struct prng prng = {.state = seed};
    for (uint32_t i = seed % 2; i < ARRAY_SIZE(fake_xen.leaves); i++) {
        fake_xen.leaves[i].eax ^= (uint32_t)prng_u64(&prng);
        fake_xen.leaves[i].ebx ^= (uint32_t)prng_u64(&prng) >> prng_below(&prng, 32);
        fake_xen.leaves[i].ecx ^= (uint32_t)prng_u64(&prng);
    }
    if (fake_xen.leaves[4].ebx >= HOST_CPUS) // Xen itself would refuse that vCPU
        fake_xen.leaves[4].ebx = 0;
    start();
    assert_non_null(pv_ops.clock_ns);
    (void)pv_ops.clock_ns();
}

static void no_hypercalls(uint32_t how)
{
    if (how == 0)
        msr_exists = false;
    else if (how == 1)
        fake_xen.leaves[2].eax = 0;
    else if (how == 2)
        fake_xen.leaves[2].ebx = 0x10; // not one that a hypervisor has
    else
        fake_xen.leaves[0].eax = 0x40000001; // no leaf about hypercalls
    start();
    assert_ptr_equal(selection.backend, &native);
    assert_int_equal(fake_xen.hypercalls, 0);
    assert_int_equal(selection.refused != NULL, how != 3);
}

static void ignore(void *context, struct trap_frame *frame)
{
}

// CPU 2 goes and comes back, while an event of a port that it had is still in its queue.
static void offline(uint32_t argument)
{
    evtchn_port_t device, last;
    start();
    start_others();
    assert_int_equal(xen_event_bind_unbound(0, ignore, NULL, "device", &device), 0);
    assert_int_equal(xen_event_set_cpu(device, 2), 0);
    assert_int_equal(xen_event_bind_ipi(2, ignore, NULL, "last", &last), 0);
    xen_events_leave_cpu(2);
    assert_int_equal(fake_xen.ports[device].vcpu, 0);
    host_cpu = 2;
    arch_irq_disable();
    pv_ops.cpu_offline(2);
    fake_xen_raise(last);
    xen_event_close_own(last);
    for (evtchn_port_t port = 0; port < FAKE_PORTS; port++)
        assert_false(fake_xen.ports[port].kind != FAKE_FREE && fake_xen.ports[port].vcpu == 2);
    assert_null(fake_xen.run_state[2]);
    assert_false(pv_ops.vcpu_is_preempted(2));
    assert_int_equal(xen_event_set_cpu(device, 2), 0); // a back end that comes meanwhile
    assert_int_equal(fake_xen.ports[device].vcpu, 0);
    assert_int_equal(fake_xen_info(2)->evtchn_upcall_pending, 1);

    fake_xen.leaves[4].ebx = 2;
    pv_ops.cpu_online(2);
    arch_irq_enable();
    assert_non_null(fake_xen.run_state[2]);
    assert_int_equal(fake_xen_info(2)->evtchn_upcall_pending, 0);
    xen_events_return_to_cpu(2);
    assert_int_equal(fake_xen.ports[device].vcpu, 2);
    fake_xen_raise(device); // not behind what was left in the queue
    assert_int_equal(fake_xen_info(2)->evtchn_upcall_pending, 1);
}

#define TEST(name, count)                                                                          \
    static void test_##name(void **state)                                                          \
    {                                                                                              \
        for (uint32_t i = 0; i < (count); i++)                                                     \
            in_process(name, i);                                                                   \
    }
TEST(all_is_on, 1)
TEST(steal_only_grows, 1)
TEST(clock_never_settles, 1)
TEST(clock_stops_settling, 1)
TEST(clock_nonsense, 2)
TEST(one_fails, 30)
TEST(group_is_missing, 42)
TEST(apic_is_virtual, 1)
TEST(end_of_interrupt, 1)
TEST(timer_by_apic, 1)
TEST(cpuid_nonsense, 200)
TEST(no_hypercalls, 4)
TEST(offline, 1)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_is_on),
        cmocka_unit_test(test_steal_only_grows),
        cmocka_unit_test(test_clock_never_settles),
        cmocka_unit_test(test_clock_stops_settling),
        cmocka_unit_test(test_clock_nonsense),
        cmocka_unit_test(test_one_fails),
        cmocka_unit_test(test_group_is_missing),
        cmocka_unit_test(test_apic_is_virtual),
        cmocka_unit_test(test_end_of_interrupt),
        cmocka_unit_test(test_timer_by_apic),
        cmocka_unit_test(test_cpuid_nonsense),
        cmocka_unit_test(test_no_hypercalls),
        cmocka_unit_test(test_offline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
