// SPDX-License-Identifier: MIT
// Where events come from: time, tracepoints, and counters of the processor (hardware.c). There are
// no others: software events of Linux are tracepoints here (page faults, context switches,
// migrations).
#include "kernel/arch/x86/arch.h"
#include "kernel/base/assert.h"
#include "kernel/core/errno.h"
#include "kernel/core/time.h"
#include "kernel/core/trace_points.h"
#include "kernel/process/task.h"
#include "perf/event/event.h"
#include "perf/perf.h"
#include "perf/trace.h"

PERCPU(struct list_node, active_events);
uint32_t perf_events_count;

// ---- finding ------------------------------------------------------------------------------------

static int software_find(struct perf_event *event)
{
    switch (event->attr.config) {
    case PERF_COUNT_SW_CPU_CLOCK:
    case PERF_COUNT_SW_TASK_CLOCK:
        event->kind = PERF_EVENT_CLOCK;
        return 0;
    case PERF_COUNT_SW_PAGE_FAULTS:
    case PERF_COUNT_SW_PAGE_FAULTS_MIN: // there are hardly any others
        event->kind = PERF_EVENT_POINT;
        event->points[0] = &trace_point_page_fault_user;
        event->points[1] = &trace_point_page_fault_kernel;
        return 0;
    case PERF_COUNT_SW_CONTEXT_SWITCHES:
        event->kind = PERF_EVENT_POINT;
        event->points[0] = &trace_point_sched_switch;
        return 0;
    case PERF_COUNT_SW_CPU_MIGRATIONS:
        event->kind = PERF_EVENT_POINT;
        event->points[0] = &trace_point_sched_migrate_task;
        return 0;
    case PERF_COUNT_SW_PAGE_FAULTS_MAJ:
    case PERF_COUNT_SW_ALIGNMENT_FAULTS:
    case PERF_COUNT_SW_EMULATION_FAULTS:
    case PERF_COUNT_SW_DUMMY:
        event->kind = PERF_EVENT_NOTHING;
        return 0;
    default:
        return -ENOENT;
    }
}

int perf_event_source_find(struct perf_event *event)
{
    if (event->attr.type == PERF_TYPE_SOFTWARE)
        return software_find(event);
    if (event->attr.type == PERF_TYPE_HARDWARE || event->attr.type == PERF_TYPE_HW_CACHE ||
        event->attr.type == PERF_TYPE_RAW)
        return perf_hardware_find(event);
    if (event->attr.type != PERF_TYPE_TRACEPOINT)
        return -ENOENT;
    const struct trace_entry *entry = trace_entry_find(event->attr.config);
    if (entry == NULL)
        return -ENOENT;
    event->kind = PERF_EVENT_POINT;
    event->points[0] = entry->point;
    event->raw = true;
    return 0;
}

void perf_event_source_add(struct perf_event *event)
{
    if (atomic_fetch_add(&perf_events_count, 1u) == 0)
        perf_events_changed();
    for (size_t i = 0; i < ARRAY_SIZE(event->points); i++) {
        if (event->points[i] != NULL)
            trace_point_on(event->points[i]);
    }
}

void perf_event_source_remove(struct perf_event *event)
{
    for (size_t i = 0; i < ARRAY_SIZE(event->points); i++) {
        if (event->points[i] != NULL)
            trace_point_off(event->points[i]);
    }
    if (atomic_fetch_sub(&perf_events_count, 1u) == 1)
        perf_events_changed();
}

// ---- clocks -------------------------------------------------------------------------------------

static bool is_sampling(const struct perf_event *event)
{
    return event->attr.sample_period != 0;
}

static int64_t clock_period_ns(const struct perf_event *event)
{
    const uint64_t least = NS_PER_SECOND / atomic_load_relaxed(&perf_event_rate_max);
    uint64_t period = event->attr.sample_period;
    if (event->attr.freq)
        period = NS_PER_SECOND / period;
    return (int64_t)CLAMP(period, least, (uint64_t)INT64_MAX / 4);
}

static void clock_fired(struct timer *timer)
{
    struct perf_event *event = container_of(timer, struct perf_event, timer);
    const struct trap_frame *frame = timer_interrupted_frame();
    if (!event->active || frame == NULL)
        return;
    uint64_t period_ns = (uint64_t)clock_period_ns(event);
    struct perf_event_sample sample = {.frame = frame, .period = period_ns};
    perf_event_sample(event, &sample);
    uint64_t deadline_ns = timer_deadline_ns(timer) + period_ns;
    uint64_t now_ns = time_monotonic_ns();
    if (deadline_ns < now_ns) // beats that were missed are left out
        deadline_ns += ((now_ns - deadline_ns) / period_ns + 1) * period_ns;
    timer_arm(timer, deadline_ns);
}

void perf_event_source_start(struct perf_event *event, uint64_t now_ns)
{
    if (event->kind == PERF_EVENT_COUNTER)
        perf_hardware_start(event, now_ns);
    if (event->kind != PERF_EVENT_CLOCK || !is_sampling(event))
        return;
    if (event->left <= 0 || event->left > clock_period_ns(event))
        event->left = clock_period_ns(event);
    timer_init(&event->timer, clock_fired);
    timer_arm(&event->timer, now_ns + (uint64_t)event->left);
}

void perf_event_source_stop(struct perf_event *event, uint64_t now_ns)
{
    if (event->kind == PERF_EVENT_COUNTER)
        perf_hardware_stop(event, now_ns);
    if (event->kind != PERF_EVENT_CLOCK)
        return;
    event->count += now_ns - event->since_ns;
    if (!is_sampling(event))
        return;
    int64_t left = (int64_t)(timer_deadline_ns(&event->timer) - now_ns);
    event->left = MAX(left, (int64_t)1);
    (void)timer_cancel(&event->timer);
}

// ---- tracepoints --------------------------------------------------------------------------------

// A program's page fault has the registers of the access; other places have those of the kernel.
static const struct trap_frame *point_frame(
    const struct trace_point *point, const struct trap_frame *here)
{
    if (point == &trace_point_page_fault_user)
        return arch_thread_user_frame(thread_current());
    return here;
}

static void point_count(
    struct perf_event *event, const struct trace_point *point, struct perf_event_sample *sample)
{
    atomic_fetch_add_relaxed(&event->count, UINT64_C(1));
    if (!is_sampling(event))
        return;
    // With a frequency every event is a sample.
    uint64_t period = event->attr.freq ? 1 : event->attr.sample_period;
    if (event->left <= 0 || (uint64_t)event->left > period)
        event->left = (int64_t)period;
    if (--event->left > 0)
        return;
    sample->period = period;
    const struct trap_frame *here = sample->frame;
    sample->frame = point_frame(point, here);
    perf_event_sample(event, sample);
    sample->frame = here;
}

// What the event leaves out of what happens in the kernel or in programs.
static bool is_excluded(const struct perf_event *event, const struct trace_point *point)
{
    bool user = point == &trace_point_page_fault_user;
    return user ? event->attr.exclude_user : event->attr.exclude_kernel;
}

void perf_event_point(
    struct trace_point *point, const void *record, uint32_t size, const struct trap_frame *frame)
{
    struct list_node *active = this_cpu_ptr(active_events);
    struct perf_event *event;
    assert_irqs_off();
    if (active->next == NULL)
        return;
    list_for_each_entry (event, active, active_node) {
        if (event->kind != PERF_EVENT_POINT ||
            (event->points[0] != point && event->points[1] != point))
            continue;
        if (!event->raw && is_excluded(event, point))
            continue;
        struct perf_event_sample sample = {.frame = frame};
        if (event->raw) {
            sample.raw = record;
            sample.raw_len = size;
        }
        if (point == &trace_point_page_fault_user || point == &trace_point_page_fault_kernel)
            sample.address = ((const struct trace_record_page_fault_user *)record)->address;
        point_count(event, point, &sample);
    }
}
