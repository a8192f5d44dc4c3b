// SPDX-License-Identifier: MIT
// Side-band records: which tasks there are, what they are called and what they have mapped, and who
// runs. They go to the side ring of the CPU where it happens.
#include "kernel/arch/x86/arch.h"
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/counter.h"
#include "kernel/core/thread.h"
#include "kernel/core/time.h"
#include "perf/collector.h"
#include "perf/state.h"

bool perf_side_wanted;
bool perf_switch_wanted;
bool perf_side_to_host;

COUNTER(perf, side_records);
COUNTER(perf, side_lost);

void perf_side_update(void)
{
    bool to_host = atomic_load_relaxed(&perf_side_to_host);
    bool events = atomic_load_relaxed(&perf_events_count) != 0;
    atomic_store_relaxed(&perf_side_wanted, to_host || events);
    // The timers of idle CPUs start again at a switch.
    atomic_store_relaxed(&perf_switch_wanted, to_host || events);
}

void perf_events_changed(void)
{
    perf_side_update();
}

static struct perf_who who_of(const struct thread *thread)
{
    return (struct perf_who){.tsc = arch_tsc(),
        .pid = atomic_load_relaxed(&thread->pid),
        .tid = atomic_load_relaxed(&thread->tid)};
}

// Room in this CPU's side ring, or NULL. Interrupts off.
static uint8_t *side_reserve(uint32_t need, uint64_t tsc)
{
    struct perf_ring *ring = &this_cpu_ptr(perf_cpu)->side;
    assert_irqs_off();
    if (!perf_side_to_host || ring->bytes == 0)
        return NULL;
    uint8_t *at = perf_ring_reserve(ring, need, tsc);
    if (at != NULL)
        counter_add(perf, side_records, 1);
    else
        counter_add(perf, side_lost, 1);
    return at;
}

static void side_commit(uint32_t size)
{
    perf_ring_commit(&this_cpu_ptr(perf_cpu)->side, size);
}

bool perf_note_comm(const struct thread *thread, uint8_t flags)
{
    if (!(flags & PERF_EXPORT_FLAG_RUNDOWN))
        perf_event_note_comm(thread, (flags & PERF_EXPORT_FLAG_EXEC) != 0);
    uint64_t interrupts = arch_irq_save();
    struct perf_who who = who_of(thread);
    uint8_t *at = side_reserve(PERF_ENCODED_COMM, who.tsc);
    if (at != NULL)
        side_commit(perf_encode_comm(at, &who, flags, thread->name));
    arch_irq_restore(interrupts);
    return at != NULL;
}

bool perf_note_mapping(
    const struct thread *thread, const struct perf_mapping *mapping, uint8_t flags)
{
    struct perf_export_mmap fields = {.start = mapping->start,
        .len = mapping->len_bytes,
        .offset_bytes = mapping->offset_bytes,
        .inode = mapping->inode,
        .device_major = mapping->device_major,
        .device_minor = mapping->device_minor,
        .protection = mapping->protection,
        .map_flags = mapping->flags,
        .build_id_len = (uint8_t)mapping->build_id_len};
    assert(mapping->build_id_len <= sizeof(fields.build_id));
    if (mapping->build_id != NULL)
        memcpy(fields.build_id, mapping->build_id, mapping->build_id_len);
    size_t name_len = strlen(mapping->name);
    if (!(flags & PERF_EXPORT_FLAG_RUNDOWN))
        perf_event_note_mapping(thread, mapping);
    uint64_t interrupts = arch_irq_save();
    struct perf_who who = who_of(thread);
    uint8_t *at = side_reserve(perf_encoded_mmap_bytes(name_len), who.tsc);
    if (at != NULL)
        side_commit(perf_encode_mmap(at, &who, flags, &fields, mapping->name, name_len));
    arch_irq_restore(interrupts);
    return at != NULL;
}

static void note_life(const struct thread *thread, enum perf_export_record_type type,
    uint32_t parent_pid, uint32_t parent_tid)
{
    uint64_t interrupts = arch_irq_save();
    struct perf_who who = who_of(thread);
    uint8_t *at = side_reserve(PERF_ENCODED_FORK, who.tsc);
    if (at != NULL)
        side_commit(perf_encode_fork(at, type, &who, parent_pid, parent_tid));
    arch_irq_restore(interrupts);
}

void perf_note_fork(const struct thread *child, const struct thread *parent)
{
    perf_event_note_fork(child, parent);
    note_life(child, PERF_EXPORT_FORK, parent->pid, parent->tid);
}

void perf_note_exit(const struct thread *thread)
{
    perf_event_note_exit(thread);
    note_life(thread, PERF_EXPORT_EXIT, 0, 0);
}

void perf_note_switch(const struct thread *previous, const struct thread *next, bool preempted)
{
    assert_irqs_off();
    struct perf_cpu *cpu = this_cpu_ptr(perf_cpu);
    perf_event_switch(previous, next, preempted);
    if (unlikely(cpu->timer_runs && !timer_is_queued(&cpu->timer)) &&
        !(next->flags & THREAD_FLAG_IDLE))
        timer_arm(&cpu->timer, time_monotonic_ns() + perf_config.period_ns);
    if (!perf_config.wants_switches)
        return;
    struct perf_who who = who_of(next);
    uint8_t *at = side_reserve(PERF_ENCODED_SWITCH, who.tsc);
    if (at == NULL)
        return;
    struct perf_export_switch fields = {
        .previous_pid = previous->pid, .previous_tid = previous->tid, .preempted = preempted};
    side_commit(perf_encode_switch(at, &who, &fields));
}

void perf_note_rundown_end(uint32_t rundown, uint32_t tasks)
{
    uint64_t interrupts = arch_irq_save();
    uint64_t tsc = arch_tsc();
    uint8_t *at = side_reserve(PERF_ENCODED_END, tsc);
    if (at != NULL)
        side_commit(perf_encode_rundown_end(at, tsc, rundown, tasks));
    arch_irq_restore(interrupts);
}
