// SPDX-License-Identifier: MIT
// Who listens to tracepoints: the collector on the host.
//
// A record goes into the side ring of the CPU where it happens, as a SAMPLE with raw data, with the
// kernel's call chain if the event asks for it.
#include "kernel/arch/x86/arch.h"
#include "kernel/arch/x86/segments.h"
#include "kernel/base/assert.h"
#include "kernel/core/counter.h"
#include "kernel/core/errno.h"
#include "kernel/core/preempt.h"
#include "kernel/core/thread.h"
#include "kernel/core/trace.h"
#include "perf/format.h"
#include "perf/state.h"
#include "perf/trace.h"
#include "perf/unwind.h"

static_assert(sizeof(struct trace_common) == sizeof(struct perf_export_common));
static_assert(sizeof(struct trace_field) == sizeof(struct perf_export_field));
static_assert(offsetof(struct trace_field, offset) == offsetof(struct perf_export_field, offset));
static_assert(
    offsetof(struct trace_field, is_signed) == offsetof(struct perf_export_field, is_signed));
static_assert(sizeof(struct trace_entry) == sizeof(struct perf_export_tracepoint));
static_assert(
    offsetof(struct trace_entry, print) == offsetof(struct perf_export_tracepoint, print));
static_assert(offsetof(struct trace_entry, size) == offsetof(struct perf_export_tracepoint, size));

COUNTER(perf, traces);
COUNTER(perf, traces_lost);

#define TRACE_FLAG_IRQS_OFF 1 // as in Linux' records
#define TRACE_FLAG_HARDIRQ  8

static uint32_t collector_flags[PERF_EXPORT_EVENTS]; // PERF_EXPORT_EVENT_*; P1

const struct trace_entry *trace_entry_find(uint64_t id)
{
    uint64_t index = id - PERF_EXPORT_TRACEPOINT_FIRST;
    size_t count = (size_t)(tracepoints_end - tracepoints_start);
    return index < count ? &tracepoints_start[index] : NULL;
}

uint32_t trace_entry_id(const struct trace_entry *entry)
{
    return (uint32_t)(entry - tracepoints_start) + PERF_EXPORT_TRACEPOINT_FIRST;
}

static void common_fill(struct trace_common *common, const struct trace_point *point, bool irqs_on)
{
    uint32_t count = this_cpu(preempt_count);
    common->type = (uint16_t)trace_entry_id(point->entry);
    common->flags =
        (irqs_on ? 0 : TRACE_FLAG_IRQS_OFF) | (count >= PREEMPT_IRQ_ONE ? TRACE_FLAG_HARDIRQ : 0);
    common->preempt_count = (uint8_t)count;
    common->pid = (int32_t)thread_current()->tid;
}

// Interrupts off.
static void collector_write(uint32_t event, const void *record, uint32_t size, uintptr_t frame)
{
    const struct thread *thread = thread_current();
    struct perf_ring *ring = &this_cpu_ptr(perf_cpu)->side;
    bool chain = (collector_flags[event] & PERF_EXPORT_EVENT_CALLCHAIN) != 0;
    uint32_t max = chain ? perf_config.frames_kernel_max : 0;
    if (!perf_side_to_host || ring->bytes == 0)
        return;
    struct perf_who who = {.tsc = arch_tsc(), .pid = thread->pid, .tid = thread->tid};
    uint8_t *at = perf_ring_reserve(ring, (uint32_t)PERF_ENCODED_SAMPLE(max, 0, size), who.tsc);
    counter_add(perf, traces, 1);
    if (at == NULL) {
        counter_add(perf, traces_lost, 1);
        return;
    }
    struct perf_encoder encoder;
    // What "interrupted" means here: the tracepoint's function, which is the first caller.
    perf_encode_begin(
        &encoder, at, PERF_EXPORT_IN_KERNEL, (uint16_t)event, &who, ((const uintptr_t *)frame)[1]);
    if (max != 0)
        perf_encode_kernel_frames_end(
            &encoder, perf_unwind_kernel(perf_encode_kernel_frames(&encoder), max,
                          ((const uintptr_t *)frame)[0], frame));
    perf_encode_raw(&encoder, record, size);
    perf_ring_commit(ring, perf_encode_end(&encoder));
}

__noinline void trace_write(struct trace_point *point, void *record, uint32_t size)
{
    assert(size <= PERF_ENCODED_RAW_MAX);
    uint64_t flags = arch_irq_save();
    common_fill(record, point, arch_irq_flags_on(flags));
    uint32_t event = atomic_load_relaxed(&point->collector_event);
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    if (event != 0)
        collector_write(event - 1, record, size, here);
    if (atomic_load_relaxed(&perf_events_count) != 0) {
        struct trap_frame frame = {.rip = ((const uintptr_t *)here)[1],
            .rbp = ((const uintptr_t *)here)[0],
            .rsp = here,
            .cs = KERNEL_CS,
            .rflags = flags};
        perf_event_point(point, record, size, &frame);
    }
    arch_irq_restore(flags);
}

int trace_collector_add(uint64_t id, uint16_t event, uint32_t flags)
{
    const struct trace_entry *entry = trace_entry_find(id);
    assert(event < PERF_EXPORT_EVENTS);
    if (entry == NULL)
        return -ENOENT;
    if (entry->point->collector_event != 0)
        return -EBUSY; // two events of one tracepoint
    collector_flags[event] = flags;
    atomic_store_relaxed(&entry->point->collector_event, event + 1u);
    trace_point_on(entry->point);
    return 0;
}

void trace_collector_remove_all(void)
{
    for (const struct trace_entry *entry = tracepoints_start; entry < tracepoints_end; entry++) {
        if (entry->point->collector_event == 0)
            continue;
        trace_point_off(entry->point);
        atomic_store_relaxed(&entry->point->collector_event, 0u);
    }
}
