// SPDX-License-Identifier: MIT
// A CPU's counters at work: loading, counting, overflowing, changing hands. pmu.h has the rules
// (C1 to C4).
//
// ORDER IN AN INTERRUPT. All counters off; read what has overflowed and acknowledge it; count,
// tell and load again; unmask the local APIC's entry; counters on. An entry that is masked when
// a counter overflows loses that interrupt for good, and with it the counter, which nobody loads
// again; a status that is acknowledged after the counters are on may take a new overflow with
// it.
//
// LATE INTERRUPTS. Two counters that overflow one after the other may raise two interrupts, the
// first of which deals with both; a counter that is stopped may have raised one that has not come
// yet. Each such case allows one interrupt (`late`) in the next tenth of a second that finds
// nothing to do. Any other belongs to somebody else.
#include "kernel/base/assert.h"
#include "kernel/base/atomic.h"
#include "perf/pmu/backend.h"

#define PROBE_EVENTS 0x1234 // any number
#define LATE_NS      UINT64_C(100000000)

// ---- life ---------------------------------------------------------------------------------------

// A hypervisor without counters says so nowhere on AMD, and some ignore writes to registers that
// they do not have: what was loaded is there, then.
static bool counters_keep_values(const struct pmu *pmu)
{
    const int counter = (int)bit_lowest(pmu->counters);
    pmu->backend->counter_load(pmu, counter, PROBE_EVENTS);
    uint64_t shown = pmu->backend->counter_read(pmu, counter);
    pmu->backend->counter_load(pmu, counter, 0);
    return pmu_sign_extend(shown, pmu_counter_width(pmu, counter)) == (uint64_t)-PROBE_EVENTS;
}

bool pmu_cpu_init(struct pmu_cpu *cpu, const struct pmu *pmu)
{
    void (*on_overflow)(struct pmu_cpu *, struct pmu_event *, uint64_t, void *) = cpu->on_overflow;
    *cpu = (struct pmu_cpu){.pmu = pmu, .on_overflow = on_overflow};
    list_init(&cpu->groups);
    return pmu->backend->reset(pmu) && counters_keep_values(pmu);
}

void pmu_group_init(struct pmu_group *group, bool pinned)
{
    *group = (struct pmu_group){.pinned = pinned};
    list_init(&group->members);
}

void pmu_event_init(struct pmu_event *event, const struct pmu_selector *selector, uint64_t period)
{
    event->want = (struct pmu_want){.counters = selector->counters, .has = -1, .planned = -1};
    event->select = selector->bits;
    event->period = period;
    event->left = period != 0 ? (int64_t)period : INT64_MAX;
}

void pmu_event_inherit(struct pmu_event *event)
{
    const struct pmu_event original = *event;
    const struct pmu_selector selector = {
        .bits = original.select, .counters = original.want.counters};
    *event = (struct pmu_event){.in_user = original.in_user, .in_kernel = original.in_kernel};
    pmu_event_init(event, &selector, original.period);
}

// ---- pausing ------------------------------------------------------------------------------------

void pmu_cpu_pause(struct pmu_cpu *cpu)
{
    cpu->paused++;
    compiler_barrier(); // an NMI from here on leaves the counters alone
    if (cpu->paused == 1)
        cpu->pmu->backend->pause(cpu->pmu, cpu->in_use);
}

static void late_allow(struct pmu_cpu *cpu, uint32_t count, uint64_t now_ns)
{
    cpu->late = (now_ns < cpu->late_until_ns ? cpu->late : 0) + count;
    cpu->late_until_ns = now_ns + LATE_NS;
}

void pmu_cpu_resume(struct pmu_cpu *cpu)
{
    assert(cpu->paused != 0);
    if (cpu->paused != 1) {
        cpu->paused--;
        return;
    }
    cpu->handled++;
    compiler_barrier();
    cpu->paused = 0;
    compiler_barrier();
    // An NMI from here on does its work, and ends with the counters on as well.
    const bool missed = cpu->missed;
    if (unlikely(missed)) {
        cpu->missed = false;
        cpu->raised = true;
        cpu->pmu->access->unmask();
    }
    cpu->pmu->backend->resume(cpu);
    if (unlikely(missed))
        cpu->pmu->access->raise(); // what the other would have found is found by this one
}

// ---- counting -----------------------------------------------------------------------------------

static uint64_t counter_now(const struct pmu *pmu, int counter)
{
    return pmu->backend->counter_read(pmu, counter);
}

// Events since `previous` of a counter that shows `now`.
static uint64_t counter_delta(const struct pmu *pmu, int counter, uint64_t previous, uint64_t now)
{
    uint32_t width_bits = pmu_counter_width(pmu, counter);
    uint64_t delta = now - previous;
    return width_bits < 64 ? delta & ((UINT64_C(1) << width_bits) - 1) : delta;
}

// Takes over what the counter shows; C1.
static void event_update(const struct pmu *pmu, struct pmu_event *event)
{
    uint64_t now = counter_now(pmu, event->want.has);
    uint64_t delta = counter_delta(pmu, event->want.has, event->previous, now);
    event->previous = pmu_sign_extend(now, pmu_counter_width(pmu, event->want.has));
    event->count += delta;
    if (event->period != 0) // without signs: a counter may show anything
        event->left = (int64_t)((uint64_t)event->left - delta);
}

// Loads the counter for what is left, as far as it can hold that. What is due comes at once.
static void event_load(const struct pmu *pmu, struct pmu_event *event)
{
    uint64_t most = pmu->period_max;
    uint64_t events = event->left > 0 ? (uint64_t)event->left : 1;
    events = MIN(events, most);
    event->previous = -events;
    pmu->backend->counter_load(pmu, event->want.has, events);
}

uint64_t pmu_event_count(const struct pmu_cpu *cpu, const struct pmu_event *event)
{
    uint64_t count;
    uint32_t handled;
    do {
        handled = atomic_load_relaxed(&cpu->handled);
        compiler_barrier();
        count = atomic_load_relaxed(&event->count);
        if (event->want.has >= 0)
            count += counter_delta(cpu->pmu, event->want.has, atomic_load_relaxed(&event->previous),
                counter_now(cpu->pmu, event->want.has));
        compiler_barrier();
    } while (atomic_load_relaxed(&cpu->handled) != handled); // C2
    return count;
}

uint64_t pmu_event_running_ns(const struct pmu_event *event, uint64_t now_ns)
{
    return event->running_ns + (event->want.has >= 0 ? now_ns - event->running_since_ns : 0);
}

void pmu_event_set_period(struct pmu_cpu *cpu, struct pmu_event *event, uint64_t period)
{
    assert(period != 0);
    assert(event->period != 0);
    const bool counts = event->want.has >= 0 && cpu->paused != 0; // else the caller loads it
    if (counts)
        event_update(cpu->pmu, event);
    event->period = period;
    if (!event->held)
        event->left = MIN(event->left, (int64_t)period);
    if (counts)
        event_load(cpu->pmu, event);
}

void pmu_event_hold(struct pmu_event *event)
{
    event->held = true;
    event->left = INT64_MAX;
}

void pmu_event_release(struct pmu_cpu *cpu, struct pmu_event *event)
{
    assert(cpu->paused != 0);
    event->held = false;
    pmu_event_set_period(cpu, event, event->period);
}

// ---- changing hands: paused ---------------------------------------------------------------------

static void counter_take(struct pmu_cpu *cpu, struct pmu_event *event, uint64_t now_ns)
{
    const struct pmu *pmu = cpu->pmu;
    int counter = event->want.has;
    assert(cpu->assigned[counter] == event);
    event_update(pmu, event);
    // Its interrupt may be under way; the next user of the counter has nothing to do with it.
    if (pmu->backend->overflowed(pmu, BIT(counter)) & BIT(counter)) {
        late_allow(cpu, 1, now_ns);
        pmu->backend->acknowledge(pmu, BIT(counter));
    }
    pmu->backend->stop(pmu, counter);
    cpu->assigned[counter] = NULL;
    cpu->in_use &= ~BIT(counter);
    event->want.has = -1;
    event->running_ns += now_ns - event->running_since_ns;
}

static void counter_give(struct pmu_cpu *cpu, int counter, struct pmu_event *event, uint64_t now_ns)
{
    assert(cpu->assigned[counter] == NULL && event->want.has < 0);
    assert(event->want.counters & BIT(counter));
    event->want.has = (int8_t)counter;
    event->running_since_ns = now_ns;
    event_load(cpu->pmu, event);
    cpu->pmu->backend->start(cpu->pmu, counter, event);
    cpu->assigned[counter] = event;
    cpu->in_use |= BIT(counter);
}

void pmu_event_add(struct pmu_cpu *cpu, struct pmu_group *group, struct pmu_event *event)
{
    assert(cpu->paused != 0);
    if (list_is_empty(&group->members))
        list_add_tail(&cpu->groups, &group->node);
    list_add_tail(&group->members, &event->member);
}

void pmu_event_remove(
    struct pmu_cpu *cpu, struct pmu_group *group, struct pmu_event *event, uint64_t now_ns)
{
    assert(cpu->paused != 0);
    if (event->want.has >= 0)
        counter_take(cpu, event, now_ns);
    list_remove(&event->member);
    if (list_is_empty(&group->members))
        list_remove(&group->node);
}

void pmu_cpu_schedule(struct pmu_cpu *cpu, uint64_t now_ns)
{
    struct pmu_plan plan;
    assert(cpu->paused != 0);
    cpu->crowded = !pmu_plan(cpu, &plan);
    pmu_for_each(counter, cpu->in_use)
    {
        if (plan.owner[counter] != &cpu->assigned[counter]->want)
            counter_take(cpu, cpu->assigned[counter], now_ns);
    }
    pmu_for_each(counter, cpu->pmu->counters & ~cpu->in_use)
    {
        if (plan.owner[counter] != NULL)
            counter_give(
                cpu, counter, container_of(plan.owner[counter], struct pmu_event, want), now_ns);
    }
}

void pmu_cpu_rotate(struct pmu_cpu *cpu, uint64_t now_ns)
{
    struct pmu_group *group;
    list_for_each_entry (group, &cpu->groups, node) {
        if (!group->pinned) {
            list_remove(&group->node);
            list_add_tail(&cpu->groups, &group->node);
            break;
        }
    }
    pmu_cpu_schedule(cpu, now_ns);
}

void pmu_cpu_leave(struct pmu_cpu *cpu, uint64_t now_ns)
{
    pmu_cpu_pause(cpu);
    pmu_for_each(counter, cpu->in_use) counter_take(cpu, cpu->assigned[counter], now_ns);
}

bool pmu_cpu_return(struct pmu_cpu *cpu, uint64_t now_ns)
{
    assert(cpu->paused == 1);
    assert(cpu->in_use == 0);
    if (!cpu->pmu->backend->reset(cpu->pmu))
        return false;
    cpu->pmu->access->unmask();
    pmu_cpu_schedule(cpu, now_ns);
    pmu_cpu_resume(cpu);
    return true;
}

// ---- interrupts ---------------------------------------------------------------------------------

static void overflow_handle(struct pmu_cpu *cpu, struct pmu_event *event, void *context)
{
    uint64_t periods = 0;
    event_update(cpu->pmu, event);
    if (event->period != 0 && event->left <= 0) {
        periods = -(uint64_t)event->left / event->period + 1;
        event->left = (int64_t)((uint64_t)event->left + periods * event->period);
    }
    if (periods != 0)
        cpu->on_overflow(cpu, event, periods, context);
    event_load(cpu->pmu, event);
}

// None that anybody sent or could have sent is somebody else's.
static bool is_late(struct pmu_cpu *cpu, bool raised, uint64_t now_ns)
{
    if (raised)
        return true;
    if (cpu->late == 0 || now_ns >= cpu->late_until_ns)
        return false;
    cpu->late--;
    cpu->late_interrupts++;
    return true;
}

bool pmu_cpu_interrupt(struct pmu_cpu *cpu, uint64_t now_ns, void *context)
{
    const struct pmu_backend *backend = cpu->pmu->backend;
    if (cpu->paused != 0) {
        cpu->missed = true;
        return true;
    }
    const bool raised = cpu->raised;
    if (cpu->in_use == 0 && !raised && cpu->late == 0)
        return false;
    cpu->raised = false;
    backend->pause(cpu->pmu, cpu->in_use);
    const uint64_t status = backend->overflowed(cpu->pmu, cpu->in_use);
    const uint64_t ours = status & cpu->in_use;
    if (status != 0)
        backend->acknowledge(cpu->pmu, status);
    pmu_for_each(counter, ours) overflow_handle(cpu, cpu->assigned[counter], context);
    bool known = true;
    if (ours != 0) {
        const uint32_t more = bit_count(ours) - 1 + (raised ? 1 : 0);
        cpu->interrupts++;
        if (more != 0)
            late_allow(cpu, more, now_ns);
    } else {
        known = is_late(cpu, raised, now_ns);
    }
    cpu->handled++;
    cpu->pmu->access->unmask();
    backend->resume(cpu);
    return known;
}

void pmu_cpu_watch(struct pmu_cpu *cpu)
{
    const struct pmu *pmu = cpu->pmu;
    if (cpu->paused != 0 || cpu->in_use == 0 ||
        (pmu->backend->overflowed(pmu, cpu->in_use) & cpu->in_use) == 0)
        return;
    cpu->raised = true;
    compiler_barrier();
    pmu->access->raise(); // whose handler unmasks
}
