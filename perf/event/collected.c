// SPDX-License-Identifier: MIT
// Counters for the collector on the host; perf/collected.h says how.
#include "perf/collected.h"

#include "kernel/base/atomic.h"
#include "kernel/core/cpumask.h"
#include "kernel/core/errno.h"
#include "mm/slab.h"
#include "perf/event/event.h"

static struct list_node collected = LIST_INIT(collected); // perf_event.child_node; the worker's

static int attr_make(const struct perf_export_event *asked, struct perf_event_attr *attr)
{
    if (asked->flags & PERF_EXPORT_EVENT_COUNT_ONLY)
        return -EOPNOTSUPP;
    if (asked->period == 0 || asked->period >> 63 != 0)
        return -EINVAL;
    *attr = (struct perf_event_attr){.type = asked->type,
        .size = sizeof(*attr),
        .config = asked->config,
        .sample_period = asked->period,
        .disabled = 1,
        .exclude_user = (asked->flags & PERF_EXPORT_EVENT_NO_USER) != 0,
        .exclude_kernel = (asked->flags & PERF_EXPORT_EVENT_NO_KERNEL) != 0};
    if (asked->flags & PERF_EXPORT_EVENT_FREQ) {
        const uint64_t most =
            MIN(atomic_load_relaxed(&perf_event_rate_max), (uint32_t)PERF_EXPORT_RATE_HZ_MAX);
        attr->freq = 1;
        attr->sample_freq = MIN(asked->period, most);
    }
    return 0;
}

// events_lock.
static int add_on(uint32_t cpu, const struct perf_event_attr *attr, uint16_t index, uint32_t flags)
{
    struct perf_event *event = perf_event_new(attr, NULL, (int)cpu);
    if (event == NULL)
        return -ENOMEM;
    event->collector_event = index + 1u;
    event->collector_flags = flags;
    int error = perf_event_source_find(event);
    struct perf_context *context = error == 0 ? perf_context_for(NULL, (int)cpu) : NULL;
    if (context == NULL) {
        kfree(event);
        return error != 0 ? error : -ENOMEM;
    }
    perf_event_source_add(event);
    perf_event_attach(event, context);
    list_add_tail(&collected, &event->child_node);
    return 0;
}

// Those of one entry of the event table, or with 0 of all. events_lock.
static void collected_remove(uint32_t collector_event)
{
    struct perf_event *event;
    struct perf_event *next;
    list_for_each_entry_safe (event, next, &collected, child_node) {
        if (collector_event != 0 && event->collector_event != collector_event)
            continue;
        list_remove(&event->child_node);
        perf_event_detach(event);
        perf_event_free(event);
    }
}

int perf_collected_add(
    const struct perf_export_event *asked, uint16_t index, struct perf_export_event_status *status)
{
    struct perf_event_attr attr;
    int error = attr_make(asked, &attr);
    if (error != 0)
        return error;
    mutex_lock(&events_lock);
    cpumask_for_each(cpu, &cpu_online)
    {
        error = add_on(cpu, &attr, index, asked->flags);
        if (error != 0)
            break;
    }
    if (error != 0)
        collected_remove(index + 1u);
    mutex_unlock(&events_lock);
    if (error != 0)
        return error;
    status->source = PERF_EXPORT_SOURCE_PMU;
    status->period = attr.freq ? 0 : attr.sample_period; // with a frequency each sample has its own
    status->frequency = attr.freq ? attr.sample_freq : 0;
    return 0;
}

void perf_collected_start(void)
{
    struct perf_event *event;
    if (list_is_empty(&collected))
        return;
    mutex_lock(&events_lock);
    list_for_each_entry (event, &collected, child_node)
        perf_event_set_enabled(event, true);
    perf_event_sync_all();
    mutex_unlock(&events_lock);
}

void perf_collected_remove_all(void)
{
    if (list_is_empty(&collected))
        return;
    mutex_lock(&events_lock);
    collected_remove(0);
    mutex_unlock(&events_lock);
}
