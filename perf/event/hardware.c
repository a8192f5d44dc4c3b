// SPDX-License-Identifier: MIT
// Events that the processor counts: perf/pmu on behalf of perf_event_open(2).
//
// An active event is on its CPU's list of perf/pmu, and has a counter there while there are enough;
// else a timer lets groups take turns. Overflows come as NMIs: the record is made there and waits
// for an interrupt (record.c). The same timer releases events that took too many samples, looks
// after counters that went astray, and brings down the period of an event that is to be sampled by
// frequency but happens rarely.
#include "kernel/arch/x86/arch.h"
#include "kernel/arch/x86/cpu.h"
#include "kernel/base/assert.h"
#include "kernel/core/errno.h"
#include "kernel/core/irq.h"
#include "kernel/core/preempt.h"
#include "kernel/core/time.h"
#include "kernel/process/task.h"
#include "perf/collected.h"
#include "perf/counters.h"
#include "perf/event/event.h"

#define TURN_NS           (4 * NS_PER_MS)
#define WATCH_NS          (100 * NS_PER_MS)
#define WINDOW_NS         NS_PER_MS
#define PERIOD_FIRST      10000 // of an event that is sampled by frequency
#define PERIOD_CHANGE_MAX 8     // at once, up or down
#define PERIOD_MAX        (UINT64_C(1) << 46)

static PERCPU(struct timer, turn_timer); // own CPU, interrupts off
static PERCPU(bool, turn_timer_made);
static PERCPU(bool, hardware_changes); // between begin and end something has

// ---- finding ------------------------------------------------------------------------------------

int perf_hardware_find(struct perf_event *event)
{
    const struct perf_event_attr *attr = &event->attr;
    const struct pmu *pmu = perf_counters();
    struct pmu_selector selector;
    if (pmu == NULL)
        return -ENOENT;
    if (attr->exclusive || attr->exclude_host)
        return -EOPNOTSUPP;
    int error = pmu_find(pmu, attr->type, attr->config, &selector);
    if (error == 0)
        error = perf_event_stage_prepare();
    if (error != 0)
        return error;
    uint64_t period = attr->freq ? PERIOD_FIRST : MIN(attr->sample_period, PERIOD_MAX);
    pmu_event_init(&event->counter, &selector, attr->sample_period != 0 ? period : 0);
    event->counter.in_user = !attr->exclude_user;
    event->counter.in_kernel = !attr->exclude_kernel;
    event->kind = PERF_EVENT_COUNTER;
    return 0;
}

bool perf_hardware_fits(const struct perf_event *event, struct perf_event *leader)
{
    uint64_t counters[PMU_COUNTERS_MAX];
    size_t count = 0;
    const struct perf_event *sibling;
    if (leader->kind == PERF_EVENT_COUNTER)
        counters[count++] = leader->counter.want.counters;
    list_for_each_entry (sibling, &leader->siblings, sibling_node) {
        if (sibling->kind != PERF_EVENT_COUNTER)
            continue;
        if (count == PMU_COUNTERS_MAX - 1)
            return false;
        counters[count++] = sibling->counter.want.counters;
    }
    counters[count++] = event->counter.want.counters;
    return pmu_group_fits(counters, count);
}

// ---- a program's view ---------------------------------------------------------------------------

// What RDPMC needs (linux/perf_event.h, struct perf_event_mmap_page). Counters stand still.
static void page_update(struct perf_event *event, uint64_t now_ns)
{
    const struct pmu_event *counter = &event->counter;
    if (event->buffer == NULL || !event->was_mapped)
        return; // none, or another event's
    struct perf_event_mmap_page *page = event->buffer->page;
    const bool counts = counter->want.has >= 0;
    const struct pmu *pmu = this_cpu_ptr(perf_pmu_cpu)->pmu;
    atomic_store_relaxed(&page->lock, page->lock + 1);
    compiler_barrier();
    page->index = counts ? pmu_rdpmc_index(pmu, counter->want.has) + 1 : 0;
    page->pmc_width = counts ? (uint16_t)pmu_counter_width(pmu, counter->want.has) : 0;
    page->offset = (int64_t)(counter->count - (counts ? counter->previous : 0));
    page->time_enabled = event->running_ns + (event->active ? now_ns - event->since_ns : 0);
    page->time_running = pmu_event_running_ns(counter, now_ns);
    page->cap_user_rdpmc = 1;
    compiler_barrier();
    atomic_store_relaxed(&page->lock, page->lock + 1);
}

static void pages_update(uint64_t now_ns)
{
    struct perf_event *event;
    list_for_each_entry (event, this_cpu_ptr(active_events), active_node) {
        if (event->kind == PERF_EVENT_COUNTER)
            page_update(event, now_ns);
    }
}

// ---- the timer ----------------------------------------------------------------------------------

static bool is_by_frequency(const struct perf_event *event)
{
    return event->attr.sample_period != 0 && event->attr.freq;
}

// It was thought to happen more often than it does.
static void period_lower(struct pmu_cpu *cpu, struct perf_event *event, uint64_t now_ns)
{
    uint64_t wait_ns = PERIOD_CHANGE_MAX * NS_PER_SECOND / event->attr.sample_freq;
    if (event->counter.period > 1 && now_ns - event->sampled_ns > wait_ns) {
        event->sampled_ns = now_ns;
        pmu_event_set_period(
            cpu, &event->counter, MAX(event->counter.period / PERIOD_CHANGE_MAX, UINT64_C(1)));
    }
}

// How soon the timer has to come again; 0: it has not.
static uint64_t timer_needed_ns(const struct pmu_cpu *cpu)
{
    const struct perf_event *event;
    uint64_t needed_ns = cpu->crowded ? TURN_NS : 0;
    list_for_each_entry (event, this_cpu_ptr(active_events), active_node) {
        if (event->kind != PERF_EVENT_COUNTER || event->attr.sample_period == 0)
            continue;
        if (event->counter.held || event->attr.freq)
            return TURN_NS;
        if (needed_ns == 0)
            needed_ns = WATCH_NS;
    }
    return needed_ns;
}

static void turn_fired(struct timer *timer)
{
    struct pmu_cpu *cpu = this_cpu_ptr(perf_pmu_cpu);
    struct perf_event *event;
    if (timer != this_cpu_ptr(turn_timer))
        return; // of a CPU that went off
    uint64_t now_ns = time_monotonic_ns();
    pmu_cpu_watch(cpu);
    pmu_cpu_pause(cpu);
    list_for_each_entry (event, this_cpu_ptr(active_events), active_node) {
        if (event->kind != PERF_EVENT_COUNTER)
            continue;
        if (event->counter.held) {
            pmu_event_release(cpu, &event->counter);
            perf_event_note_throttle(event, false);
        } else if (is_by_frequency(event)) {
            period_lower(cpu, event, now_ns);
        }
    }
    if (cpu->crowded)
        pmu_cpu_rotate(cpu, now_ns);
    pages_update(now_ns);
    pmu_cpu_resume(cpu);
    uint64_t needed_ns = timer_needed_ns(cpu);
    if (needed_ns != 0)
        timer_arm(timer, now_ns + needed_ns);
}

static void timer_provide(const struct pmu_cpu *cpu, uint64_t now_ns)
{
    struct timer *timer = this_cpu_ptr(turn_timer);
    uint64_t needed_ns = timer_needed_ns(cpu);
    if (!this_cpu(turn_timer_made)) {
        this_cpu(turn_timer_made) = true;
        timer_init(timer, turn_fired);
    }
    if (needed_ns == 0)
        (void)timer_cancel(timer);
    else if (!timer_is_queued(timer) || timer_deadline_ns(timer) > now_ns + needed_ns)
        timer_arm(timer, now_ns + needed_ns);
}

// ---- activity -----------------------------------------------------------------------------------

void perf_hardware_begin(void)
{
    this_cpu(hardware_changes) = false;
}

static struct pmu_cpu *change_begin(void)
{
    struct pmu_cpu *cpu = this_cpu_ptr(perf_pmu_cpu);
    if (!this_cpu(hardware_changes)) {
        this_cpu(hardware_changes) = true;
        pmu_cpu_pause(cpu);
    }
    return cpu;
}

void perf_hardware_start(struct perf_event *event, uint64_t now_ns)
{
    if (!this_cpu(perf_cpu_has_counters))
        return;
    event->active_cpu = cpu_current();
    event->sampled_ns = now_ns;
    pmu_event_add(change_begin(), &event->leader->counters, &event->counter);
}

void perf_hardware_stop(struct perf_event *event, uint64_t now_ns)
{
    if (!list_is_linked(&event->counter.member))
        return; // this CPU has no counters
    pmu_event_remove(change_begin(), &event->leader->counters, &event->counter, now_ns);
    page_update(event, now_ns);
}

void perf_hardware_end(uint64_t now_ns)
{
    struct pmu_cpu *cpu = this_cpu_ptr(perf_pmu_cpu);
    if (!this_cpu(hardware_changes))
        return;
    pmu_cpu_schedule(cpu, now_ns);
    pages_update(now_ns);
    pmu_cpu_resume(cpu);
    timer_provide(cpu, now_ns);
}

void perf_hardware_user(const struct perf_context *of_thread)
{
    if (this_cpu(perf_cpu_has_counters))
        cpu_user_counters(of_thread != NULL && atomic_load_relaxed(&of_thread->user_readers) != 0);
}

void perf_hardware_set_period(struct perf_event *event)
{
    uint64_t period = event->attr.freq ? PERIOD_FIRST : MIN(event->attr.sample_period, PERIOD_MAX);
    event->counter.period = period;
    event->counter.left = (int64_t)period;
}

// ---- reading ------------------------------------------------------------------------------------

struct reading {
    struct perf_event *event;
    uint64_t count, enabled_ns, running_ns;
    bool done;
};

// Interrupts off. False: it is active elsewhere.
static bool read_if_here(struct reading *reading)
{
    struct perf_event *event = reading->event;
    struct perf_context *context = event->context;
    if (context != NULL)
        spin_lock(&context->lock);
    reading->done = !event->active || event->active_cpu == cpu_current();
    if (reading->done) {
        uint64_t now_ns = time_monotonic_ns();
        reading->count = pmu_event_count(this_cpu_ptr(perf_pmu_cpu), &event->counter);
        reading->enabled_ns = event->running_ns + (event->active ? now_ns - event->since_ns : 0);
        reading->running_ns = pmu_event_running_ns(&event->counter, now_ns);
    }
    if (context != NULL)
        spin_unlock_no_resched(&context->lock);
    return reading->done;
}

static void read_here(void *argument)
{
    (void)read_if_here(argument);
}

void perf_hardware_read(
    struct perf_event *event, uint64_t *count, uint64_t *enabled_ns, uint64_t *running_ns)
{
    struct reading reading = {.event = event};
    while (!reading.done) { // it may go on to another CPU in between
        preempt_disable();
        uint64_t flags = arch_irq_save();
        bool here = read_if_here(&reading);
        arch_irq_restore(flags);
        if (!here) {
            struct cpumask mask = {0};
            cpumask_set(&mask, atomic_load_relaxed(&event->active_cpu));
            smp_call_mask(&mask, read_here, &reading, true);
        }
        preempt_enable();
    }
    *count = reading.count;
    *enabled_ns = reading.enabled_ns;
    *running_ns = reading.running_ns;
}

// ---- overflows: NMI -----------------------------------------------------------------------------

// The period that would have made as many samples a second as are wanted.
static void period_adapt(
    struct pmu_cpu *cpu, struct perf_event *event, uint64_t events, uint64_t now_ns)
{
    uint64_t elapsed_ns = MAX(now_ns - event->sampled_ns, UINT64_C(1));
    uint64_t period = event->counter.period;
    // Events a second: the product first where it fits.
    uint64_t rate = events < UINT64_MAX / NS_PER_SECOND ? events * NS_PER_SECOND / elapsed_ns
                                                        : events / elapsed_ns * NS_PER_SECOND;
    uint64_t wanted = MIN(rate / event->attr.sample_freq, PERIOD_MAX);
    uint64_t most =
        period >= PERIOD_MAX / PERIOD_CHANGE_MAX ? PERIOD_MAX : period * PERIOD_CHANGE_MAX;
    wanted = CLAMP(wanted, MAX(period / PERIOD_CHANGE_MAX, UINT64_C(1)), most);
    event->counter.left = (int64_t)wanted;
    pmu_event_set_period(cpu, &event->counter, wanted);
}

// More samples than a program may have, in a millisecond or in the time of one sample?
static bool is_too_often(struct perf_event *event, uint64_t now_ns)
{
    const uint32_t rate = atomic_load_relaxed(&perf_event_rate_max);
    const uint64_t most = MAX(rate / (NS_PER_SECOND / WINDOW_NS), UINT64_C(1));
    if (now_ns - event->window_ns >= MAX(WINDOW_NS, NS_PER_SECOND / rate)) {
        event->window_ns = now_ns;
        event->window_samples = 0;
    }
    return ++event->window_samples > most;
}

void perf_event_overflow(
    struct pmu_cpu *cpu, struct pmu_event *counter, uint64_t periods, void *frame)
{
    struct perf_event *event = container_of(counter, struct perf_event, counter);
    uint64_t now_ns = time_monotonic_ns();
    struct perf_event_sample sample = {.frame = frame, .period = periods * counter->period};
    if (event->collector_event != 0)
        perf_sample(
            frame, (uint16_t)(event->collector_event - 1), event->collector_flags, sample.period);
    else
        perf_event_sample_nmi(event, &sample);
    if (is_by_frequency(event))
        period_adapt(cpu, event, sample.period, now_ns);
    event->sampled_ns = now_ns;
    if (is_too_often(event, now_ns)) {
        pmu_event_hold(counter); // until the timer comes
        event->window_samples = 0;
        perf_event_note_throttle(event, true);
    }
}
