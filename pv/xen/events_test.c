// SPDX-License-Identifier: MIT
// Claim: with both interfaces, no event that was raised for a port is lost, however ports are
// masked, moved and closed meanwhile; and whatever Xen writes where it may write, nothing but
// counters and missing events comes of it.
// Method: a model of Xen (host/fake_xen.h); random operations, each port's function counts.
#include "pv/xen/events.h"

#include "kernel/arch/x86/cpu_inline.h"
#include "kernel/base/host/host_base.h"
#include "kernel/base/host/host_cmocka.h"
#include "kernel/core/errno.h"
#include "kernel/core/irq.h"
#include "kernel/core/log.h"
#include "mm/host/host_mm.h"
#include "pv/xen/events_core.h"
#include "pv/xen/host/fake_xen.h"
#include "pv/xen/xen.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CPUS = 3, PORTS = 300 };

struct shared_info *xen_shared_info;
struct vcpu_info xen_no_vcpu_info;
PERCPU(uint32_t, xen_vcpu);
PERCPU(struct vcpu_info *, xen_vcpu_info);
PERCPU(uint64_t, counter_pv_hypercalls);
struct cpumask cpu_online;
struct pv_ops pv_ops;

uint64_t xen_phys_of(const void *address)
{
    return (uintptr_t)address;
}

int xen_error(long result)
{
    return result < 0 ? (int)result : 0;
}

void smp_call_mask(
    const struct cpumask *mask, void (*function)(void *argument), void *argument, bool wait)
{
}

void log_write(enum log_level level, const char *format, ...)
{
}

static struct prng prng;

// What the test knows of each event that it has bound.
static struct bound {
    evtchn_port_t port; // 0: none
    bool masked;
    bool raised; // since the function was called last
    uint64_t calls;
} bounds[PORTS];

static void function(void *context, struct trap_frame *frame)
{
    struct bound *bound = context;
    assert_true(bound->port != 0);
    assert_false(bound->masked);
    assert_false(arch_irqs_enabled());
    bound->raised = false;
    bound->calls++;
}

static void interrupts(void)
{
    for (uint32_t cpu = 0; cpu < CPUS; cpu++) {
        host_cpu = cpu;
        for (int i = 0; i < 3 && fake_xen_info(cpu)->evtchn_upcall_pending != 0; i++) {
            arch_irq_disable();
            xen_events_upcall(NULL);
            arch_irq_enable();
        }
        assert_int_equal(fake_xen_info(cpu)->evtchn_upcall_pending, 0);
    }
    host_cpu = 0;
}

static void start(const struct xen_event_abi *abi)
{
    fake_xen_create();
    host_arena_create();
    xen_shared_info = &fake_xen.shared;
    for (uint32_t cpu = 0; cpu < CPUS; cpu++) {
        xen_vcpu[cpu] = cpu;
        xen_vcpu_info[cpu] = fake_xen_info(cpu);
    }
    assert_int_equal(xen_events_start(abi), 0);
    for (uint32_t cpu = 1; cpu < CPUS; cpu++) {
        host_cpu = cpu;
        assert_int_equal(xen_events_start_cpu(cpu), 0);
    }
    host_cpu = 0;
}

static void bind(struct bound *bound)
{
    *bound = (struct bound){0};
    switch (prng_below(&prng, 3)) {
    case 0:
        assert_int_equal(xen_event_bind_virq(0, (uint32_t)prng_below(&prng, CPUS), function, bound,
                             "virq", &bound->port),
            0);
        break;
    case 1:
        assert_int_equal(xen_event_bind_ipi((uint32_t)prng_below(&prng, CPUS), function, bound,
                             "ipi", &bound->port),
            0);
        break;
    default:
        assert_int_equal(
            xen_event_bind_interdomain(0, 5, function, bound, "device", &bound->port), 0);
    }
    assert_true(bound->port != 0);
}

static void random_step(void)
{
    struct bound *bound = &bounds[prng_below(&prng, PORTS)];
    if (bound->port == 0) {
        bind(bound);
        return;
    }
    switch (prng_below(&prng, 12)) {
    case 0:
        bound->masked = true;
        xen_event_mask(bound->port);
        break;
    case 1:
    case 2:
        bound->masked = false;
        xen_event_unmask(bound->port);
        break;
    case 3:
        interrupts(); // an event that is under way may still come to the CPU before
        if (fake_xen.ports[bound->port].kind == FAKE_INTERDOMAIN && !bound->raised)
            assert_int_equal(xen_event_set_cpu(bound->port, (uint32_t)prng_below(&prng, CPUS)), 0);
        break;
    case 4:
        interrupts();
        xen_event_close(bound->port);
        bound->port = 0;
        break;
    case 5:
        interrupts();
        break;
    default:
        bound->raised = true;
        if (fake_xen.ports[bound->port].kind == FAKE_IPI)
            xen_event_notify(bound->port);
        else
            fake_xen_raise(bound->port);
    }
}

static void nothing_is_lost(const struct xen_event_abi *abi)
{
    start(abi);
    for (int step = 0; step < 200000; step++)
        random_step();
    uint64_t calls = 0;
    for (int i = 0; i < PORTS; i++) {
        if (bounds[i].port == 0)
            continue;
        bounds[i].masked = false;
        xen_event_unmask(bounds[i].port);
    }
    interrupts();
    for (int i = 0; i < PORTS; i++) {
        assert_false(bounds[i].port != 0 && bounds[i].raised);
        calls += bounds[i].calls;
    }
    assert_true(calls > 0);
}

// Words and indices that Xen writes get values that it would never write.
static void nonsense_does_no_harm(const struct xen_event_abi *abi)
{
    start(abi);
    for (int step = 0; step < 100000; step++) {
        random_step();
        if (prng_below(&prng, 20) != 0)
            continue;
        for (int i = 0; i < PORTS; i++) // what is masked and raised is not known any more
            bounds[i].masked = false;
        uint32_t cpu = (uint32_t)prng_below(&prng, CPUS);
        fake_xen_info(cpu)->evtchn_upcall_pending = 1;
        if (abi == &xen_event_fifo) {
            uint32_t queue = (uint32_t)prng_below(&prng, EVTCHN_FIFO_MAX_QUEUES);
            fake_xen.control[cpu]->ready |= (uint32_t)prng_u64(&prng);
            fake_xen.control[cpu]->head[queue] = (uint32_t)prng_u64(&prng) >> prng_below(&prng, 32);
            *fake_xen_word((evtchn_port_t)prng_below(&prng, 1024)) ^= (uint32_t)prng_u64(&prng);
        } else {
            fake_xen_info(cpu)->evtchn_pending_sel |= prng_u64(&prng);
            fake_xen.shared.evtchn_pending[prng_below(&prng, 64)] ^= prng_u64(&prng);
            fake_xen.shared.evtchn_mask[prng_below(&prng, 64)] ^= prng_u64(&prng);
        }
        for (int i = 0; i < CPUS; i++) {
            host_cpu = (uint32_t)i;
            arch_irq_disable();
            xen_events_upcall(NULL);
            arch_irq_enable();
        }
        host_cpu = 0;
    }
}

// Each in a process of its own: what is started stays started.
static void in_process(void (*run)(const struct xen_event_abi *), const struct xen_event_abi *abi)
{
    pid_t child = fork();
    if (child == 0) {
        (void)setenv("CMOCKA_TEST_ABORT", "1", 1); // a failure ends this process, not this test
        run(abi);
        _exit(0);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void test_fifo_nothing_is_lost(void **state)
{
    in_process(nothing_is_lost, &xen_event_fifo);
}

static void test_2level_nothing_is_lost(void **state)
{
    in_process(nothing_is_lost, &xen_event_2level);
}

static void test_fifo_nonsense(void **state)
{
    in_process(nonsense_does_no_harm, &xen_event_fifo);
}

static void test_2level_nonsense(void **state)
{
    in_process(nonsense_does_no_harm, &xen_event_2level);
}

static void wrong_numbers(const struct xen_event_abi *abi)
{
    start(abi);
    evtchn_port_t port = 0;
    // What a toolstack may say: no port, one beyond all, a free one, one of another kind.
    assert_int_equal(xen_event_bind_connected(0, function, bounds, "store"), -EINVAL);
    assert_int_equal(xen_event_bind_connected(1 << 30, function, bounds, "store"), -EINVAL);
    assert_int_equal(xen_event_bind_connected(77, function, bounds, "store"), -ENXIO);
    assert_int_equal(xen_event_bind_unbound(0, function, bounds, "device", &port), 0);
    assert_int_equal(xen_event_bind_connected(port, function, bounds, "store"), -ENXIO);
    assert_int_equal(xen_event_bind_connected(1, function, bounds, "store"), 0);
    assert_int_equal(xen_event_bind_connected(1, function, bounds, "store"), -EBUSY);
    // What Xen may say: a port that we have, one that it can't have.
    fake_xen.ports[1].kind = FAKE_FREE;
    fake_xen.first_free = 1;
    assert_int_equal(xen_event_bind_ipi(0, function, bounds, "ipi", &port), -EBUSY);
    fake_xen.ports[0].kind = FAKE_FREE;
    fake_xen.first_free = 0;
    assert_int_equal(xen_event_bind_ipi(0, function, bounds, "ipi", &port), -EINVAL);
}

static void no_memory(const struct xen_event_abi *abi)
{
    start(abi);
    // The first chunk of events and the first page of words are static.
    evtchn_port_t port = 0;
    fake_xen.first_free = 2500;
    host_page_alloc_fail(0);
    assert_int_equal(xen_event_bind_ipi(0, function, bounds, "ipi", &port), -ENOMEM);
    assert_int_equal(fake_xen.ports[2500].kind, FAKE_FREE);
    host_page_alloc_fail(UINT64_MAX);
    assert_int_equal(xen_event_bind_ipi(0, function, bounds, "ipi", &port), 0);
    bounds[0].port = port;
    xen_event_notify(port);
    interrupts();
    assert_int_equal(bounds[0].calls, 1);
}

static void refused(const struct xen_event_abi *abi)
{
    fake_xen_create();
    fake_xen.refused_event_op = BIT(EVTCHNOP_init_control);
    xen_vcpu_info[0] = fake_xen_info(0);
    assert_int_equal(xen_events_start(&xen_event_fifo), -ENOSYS);
    assert_false(xen_events_up());
    assert_int_equal(xen_events_start(&xen_event_2level), -ENXIO); // no shared page
    xen_shared_info = &fake_xen.shared;
    assert_int_equal(xen_events_start(&xen_event_2level), 0);
    assert_true(xen_events_up());
    assert_string_equal(xen_events_abi(), "2-level");
}

static void test_wrong_numbers(void **state)
{
    in_process(wrong_numbers, &xen_event_fifo);
    in_process(wrong_numbers, &xen_event_2level);
}

static void test_no_memory(void **state)
{
    in_process(no_memory, &xen_event_fifo);
    in_process(no_memory, &xen_event_2level);
}

static void test_refused(void **state)
{
    in_process(refused, NULL);
}

int main(void)
{
    prng = host_seed("xen events");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fifo_nothing_is_lost),
        cmocka_unit_test(test_2level_nothing_is_lost),
        cmocka_unit_test(test_fifo_nonsense),
        cmocka_unit_test(test_2level_nonsense),
        cmocka_unit_test(test_wrong_numbers),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
