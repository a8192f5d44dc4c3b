// SPDX-License-Identifier: MIT
// The sampling timer: a timer of each CPU, for machines without a PMU.
//
// It keeps its beat: the next deadline is a period after the last, not after now, and beats that
// were missed are left out, so what a sample stands for stays true on average. CPUs have their
// beats at different phases. An idle CPU is sampled too, unless the event says NO_IDLE: then its
// timer stops when it fires on an idle CPU, and the next context switch starts it again.
#include "kernel/arch/x86/arch.h"
#include "kernel/base/assert.h"
#include "kernel/core/thread.h"
#include "kernel/core/time.h"
#include "perf/collected.h"
#include "perf/state.h"
#include "pv/pv.h"

PERCPU(struct perf_cpu, perf_cpu);
struct perf_config perf_config;

static bool may_rest(const struct thread *thread)
{
    return (thread->flags & THREAD_FLAG_IDLE) &&
           (perf_config.clock_flags & PERF_EXPORT_EVENT_NO_IDLE);
}

static void timer_next(struct perf_cpu *cpu)
{
    uint64_t deadline_ns = timer_deadline_ns(&cpu->timer) + perf_config.period_ns;
    uint64_t now_ns = time_monotonic_ns();
    if (deadline_ns < now_ns)
        deadline_ns += (now_ns - deadline_ns) / perf_config.period_ns * perf_config.period_ns +
                       perf_config.period_ns;
    timer_arm(&cpu->timer, deadline_ns);
}

static void timer_fired(struct timer *timer)
{
    struct perf_cpu *cpu = container_of(timer, struct perf_cpu, timer);
    const struct trap_frame *frame = timer_interrupted_frame();
    // A CPU that went off leaves its timers to another one: it ends there.
    if (!cpu->timer_runs || frame == NULL || cpu != this_cpu_ptr(perf_cpu))
        return;
    perf_sample(frame, perf_config.clock_event, perf_config.clock_flags, 0);
    perf_clock_answer();
    if (may_rest(thread_current()))
        return;
    timer_next(cpu);
}

void perf_timer_start(void)
{
    struct perf_cpu *cpu = this_cpu_ptr(perf_cpu);
    assert_irqs_off();
    if (perf_config.period_ns == 0)
        return;
    cpu->timer_runs = true;
    timer_init(&cpu->timer, timer_fired);
    // Phases: the golden ratio spreads any number of CPUs.
    uint64_t phase = (uint64_t)cpu_current() * UINT64_C(0x9e3779b97f4a7c15) >> 32;
    timer_arm(&cpu->timer,
        time_monotonic_ns() + perf_config.period_ns + (perf_config.period_ns * phase >> 32));
}

void perf_timer_stop(void)
{
    struct perf_cpu *cpu = this_cpu_ptr(perf_cpu);
    assert_irqs_off();
    if (!cpu->timer_runs)
        return;
    cpu->timer_runs = false;
    (void)timer_cancel(&cpu->timer);
}
