// SPDX-License-Identifier: MIT
// Time: the paravirtual clock (pv/pvclock.h), wall clock, and the single-shot timer.
//
// Xen's system time counts from the start of the host. Ours continues where the processor's clock
// was when we took it over: xen_clock_ns() = system time - clock_base. Timers are given to Xen in
// system time.
//
// Each vCPU has its own parameters. Where Xen says XEN_PVCLOCK_TSC_STABLE_BIT, all vCPUs' clocks
// are the same one. Where it does not, a vCPU must use its own (so it must not move meanwhile), and
// what two of them say may differ by a little: the latest time that anybody has been told is kept,
// and nobody is told an earlier one.

#include "kernel/arch/x86/apic.h"
#include "kernel/arch/x86/arch.h"
#include "kernel/arch/x86/tsc.h"
#include "kernel/base/atomic.h"
#include "kernel/core/irq.h"
#include "kernel/core/panic.h"
#include "kernel/core/preempt.h"
#include "pv/apic_timer.h"
#include "pv/pvclock.h"
#include "pv/xen/events.h"
#include "pv/xen/events_core.h"
#include "pv/xen/hypercall.h"
#include "pv/xen/xen.h"
#include "pv/xen/xen_internal.h"

#include <xen/vcpu.h>

#define TRIES_MAX 1000 // reads while Xen writes: far more than a write takes

PV_READ_ONLY_AFTER_INIT static bool clock_is_on = false;
PV_READ_ONLY_AFTER_INIT static uint64_t clock_base = 0; // system time at time 0 of our clock
static uint64_t clock_latest;                           // atomic; for clocks that differ
static PERCPU(evtchn_port_t, timer_port);

// Vcpu 0's parameters once more, on a page that programs may see.
static union {
    struct vcpu_time_info time;
    uint8_t page[PAGE_SIZE];
} user_page __aligned(PAGE_SIZE);
PV_READ_ONLY_AFTER_INIT static bool user_page_is_on = false;

COUNTER(xen, clock_behind_ns);  // furthest that a CPU's own clock was behind another's, added up
COUNTER(xen, clock_unsettled); // Xen never finished writing: the TSC was used instead

static bool clock_read(uint64_t *ns, uint8_t *flags)
{
    const volatile struct vcpu_time_info *time = &this_cpu(xen_vcpu_info)->time;
    for (uint32_t tries = 0; tries < TRIES_MAX; tries++) {
        if (pvclock_try_read(time, arch_tsc_ordered, ns, flags))
            return true;
        arch_pause();
    }
    return false;
}

// Clocks of different vCPUs differ.
__noinline static uint64_t clock_ns_unstable(void)
{
    uint64_t ns = 0;
    uint8_t flags = 0;
    preempt_disable();
    bool settled = clock_read(&ns, &flags);
    preempt_enable();
    uint64_t latest = atomic_load_relaxed(&clock_latest);
    if (unlikely(!settled)) {
        counter_add(xen, clock_unsettled, 1);
        ns = tsc_clock_ns();
    } else if (unlikely(ns < clock_base)) {
        return latest; // a CPU that is being started has no parameters yet
    } else {
        ns -= clock_base;
    }
    do {
        if (ns <= latest) {
            if (unlikely(latest - ns > this_cpu(counter_xen_clock_behind_ns)))
                this_cpu(counter_xen_clock_behind_ns) = latest - ns;
            return latest;
        }
    } while (!atomic_cmpxchg_relaxed(&clock_latest, &latest, ns));
    return ns;
}

uint64_t xen_clock_ns(void)
{
    uint64_t ns;
    uint8_t flags;
    const volatile struct vcpu_time_info *time = &this_cpu(xen_vcpu_info)->time;
    // If this CPU is another one by now, it was still a whole read of a clock that is the same.
    if (likely(pvclock_try_read(time, arch_tsc_ordered, &ns, &flags)) &&
        likely(flags & XEN_PVCLOCK_TSC_STABLE_BIT))
        return ns - clock_base;
    return clock_ns_unstable();
}

const char *xen_clock_start(void)
{
    struct vcpu_time_info parameters;
    if (this_cpu(xen_vcpu_info) == &xen_no_vcpu_info)
        return "there is no vcpu_info";
    if (!pvclock_snapshot(&this_cpu(xen_vcpu_info)->time, TRIES_MAX, &parameters))
        return "its version never settles";
    uint64_t hz = pvclock_tsc_hz(&parameters);
    if (hz == 0)
        return "its parameters make no sense";
    tsc_use_frequency(hz);
    clock_base = pvclock_ns_at(&parameters, arch_tsc_ordered()) - tsc_clock_ns();
    clock_is_on = true;

    struct vcpu_register_time_memory_area area = {.addr.v = &user_page.time};
    user_page_is_on =
        xen_vcpu_op(VCPUOP_register_vcpu_time_memory_area, xen_vcpu_of(0), &area) == 0;
    return NULL;
}

void xen_user_clock(struct pv_user_clock *clock)
{
    struct vcpu_time_info parameters;
    bool stable = user_page_is_on && pvclock_snapshot(&user_page.time, TRIES_MAX, &parameters) &&
                  (parameters.flags & XEN_PVCLOCK_TSC_STABLE_BIT) &&
                  pvclock_tsc_hz(&parameters) != 0;
    *clock = (struct pv_user_clock){
        .kind = stable ? PV_USER_CLOCK_PVCLOCK : PV_USER_CLOCK_NONE, .base_ns = clock_base};
}

uint64_t xen_user_clock_page(void)
{
    return user_page_is_on ? xen_phys_of(&user_page) : 0;
}

bool xen_clock_refine(void)
{
    return false; // Xen keeps its parameters up to date itself
}

// ---- wall clock ---------------------------------------------------------------------------------

static const volatile struct pvclock_wall *wall_clock(void)
{
    return (const volatile void *)&xen_shared_info->wc_version;
}
static_assert(offsetof(struct shared_info, wc_sec) - offsetof(struct shared_info, wc_version) ==
              offsetof(struct pvclock_wall, seconds));
static_assert(offsetof(struct shared_info, wc_nsec) - offsetof(struct shared_info, wc_version) ==
              offsetof(struct pvclock_wall, ns));

const char *xen_wall_clock_start(void)
{
    if (!clock_is_on)
        return "it counts from the clock, which is off";
    if (xen_shared_info == NULL)
        return "there is no shared page";
    return pvclock_wall_ns(wall_clock(), TRIES_MAX) >= 0 ? NULL : "it makes no sense";
}

int64_t xen_wall_clock_ns(uint64_t *at_ns)
{
    int64_t start = pvclock_wall_ns(wall_clock(), TRIES_MAX); // at system time 0
    if (start < 0)
        return -1;
    *at_ns = xen_clock_ns();
    return start + (int64_t)(*at_ns + clock_base);
}

// ---- timer --------------------------------------------------------------------------------------

// The local APIC's timer, by Xen's clock: where there is no timer of Xen's. The clock's rate is not
// the TSC's first one (Xen corrects it while it runs), so the deadline is converted by the vCPU's
// own parameters. By tsc_from_ns() it would be over long before the clock is there, and the timer
// would fire all that time.
void xen_clock_arm_apic(uint64_t deadline_ns)
{
    if (pv_apic_timer_stops(deadline_ns))
        return;
    struct vcpu_time_info parameters;
    uint64_t ns;
    uint64_t tsc = UINT64_MAX;
    if (unlikely(!pvclock_snapshot(&this_cpu(xen_vcpu_info)->time, TRIES_MAX, &parameters)) ||
        unlikely(parameters.tsc_to_system_mul == 0)) // none yet, on a CPU that has just started
        tsc = tsc_from_ns(deadline_ns);
    else if (likely(!__builtin_add_overflow(deadline_ns, clock_base, &ns)))
        tsc = pvclock_tsc_of(&parameters, ns);
    apic_timer_arm(tsc);
}

static void timer_event(void *context, struct trap_frame *frame)
{
    irq_deliver(frame, VECTOR_TIMER);
}

static int timer_set_up(uint32_t cpu)
{
    // Domains that were started in other ways have a periodic one.
    (void)!xen_vcpu_op(VCPUOP_stop_periodic_timer, xen_vcpu_of(cpu), NULL);
    return xen_event_bind_virq(
        VIRQ_TIMER, cpu, timer_event, NULL, "timer", percpu_of(timer_port, cpu));
}

const char *xen_timer_start(void)
{
    if (!clock_is_on)
        return "it goes by the clock, which is off";
    if (!xen_events_up())
        return "it needs events";
    if (xen_error(xen_vcpu_op(VCPUOP_stop_singleshot_timer, xen_vcpu_of(0), NULL)) != 0)
        return "Xen does not offer it";
    return timer_set_up(0) == 0 ? NULL : "Xen refused its event";
}

void xen_timer_cpu(uint32_t cpu)
{
    if (timer_set_up(cpu) != 0)
        panic("xen: CPU %u gets no timer", cpu);
}

void xen_timer_cpu_end(uint32_t cpu)
{
    (void)!xen_vcpu_op(VCPUOP_stop_singleshot_timer, xen_vcpu_of(cpu), NULL);
    xen_event_close_own(*percpu_of(timer_port, cpu));
}

void xen_timer_arm(uint64_t deadline_ns)
{
    assert_irqs_off();
    counter_add(pv, timer_arms, 1);
    uint32_t vcpu = this_cpu(xen_vcpu);
    long result;
    if (unlikely(deadline_ns == UINT64_MAX)) {
        result = xen_vcpu_op(VCPUOP_stop_singleshot_timer, vcpu, NULL);
    } else {
        // Without VCPU_SSHOTTMR_future a time that is over raises the event at once.
        struct vcpu_set_singleshot_timer timer = {.timeout_abs_ns = deadline_ns + clock_base};
        if (unlikely(timer.timeout_abs_ns < clock_base || (int64_t)timer.timeout_abs_ns < 0))
            timer.timeout_abs_ns = INT64_MAX; // never
        result = xen_vcpu_op(VCPUOP_set_singleshot_timer, vcpu, &timer);
    }
    debug_assert(result == 0);
    (void)result;
}
