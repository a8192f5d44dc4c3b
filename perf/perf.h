// SPDX-License-Identifier: MIT
// What the rest of the kernel tells the profiler, and what it asks of the rest.
//
// Nothing is allocated and no time is spent, but for a test here and there, until somebody wants
// records: a collector on the host (export.h), the boot option perf_flight, or a program with
// perf_event_open(2).
#pragma once

#include "kernel/base/types.h"
#include "kernel/core/percpu.h"
#include "perf/export.h"

struct thread;
struct trap_frame;

// ---- start-up and the collector's words ---------------------------------------------------------

// Makes the descriptor valid. Boot CPU, before the first program; allocates nothing.
void perf_init(void);
// Once kernel threads can be made: starts the flight recorder if the boot options say so.
void perf_start(void);

// Looks whether the host has written something: from the timer interrupt of each CPU, for a few
// instructions. What there is to do is done by a kernel thread.
void perf_poll_slow(void);
extern struct perf_export_descriptor perf_export_descriptor;
extern uint32_t perf_seen_generation, perf_seen_rundown; // atomic; perf/collector.c
// Events of programs; atomic. And what wakes those who wait for their records.
extern uint32_t perf_events_count;
void perf_event_wake_queued(void);

// Has the host asked for something that nobody has seen yet? Any context.
static inline bool perf_is_asked(void)
{
    const struct perf_export_request *request = &perf_export_descriptor.request;
    return __atomic_load_n(&request->generation, __ATOMIC_RELAXED) != perf_seen_generation ||
           __atomic_load_n(&request->rundown, __ATOMIC_RELAXED) != perf_seen_rundown ||
           __atomic_load_n(&request->clock, __ATOMIC_RELAXED) !=
               perf_export_descriptor.status.clock;
}

static inline void perf_poll(void)
{
    if (unlikely(__atomic_load_n(&perf_events_count, __ATOMIC_RELAXED) != 0))
        perf_event_wake_queued();
    if (unlikely(perf_is_asked()))
        perf_poll_slow();
}

// ---- what happens to tasks ----------------------------------------------------------------------

// Does anybody want the records below? A hint: read without order.
extern bool perf_side_wanted;

// A mapping that can be executed.
struct perf_mapping {
    uint64_t start, len_bytes, offset_bytes;
    uint64_t inode;
    uint32_t device_major, device_minor;
    uint32_t protection, flags; // PROT_*, MAP_*
    const uint8_t *build_id;    // NULL: none
    uint32_t build_id_len;      // at most 20
    const char *name;
};

// Any context but NMI, on behalf of `thread`. False: some ring had no room (which is counted).
// flags: PERF_EXPORT_FLAG_EXEC, PERF_EXPORT_FLAG_RUNDOWN.
bool perf_note_comm(const struct thread *thread, uint8_t flags);
bool perf_note_mapping(
    const struct thread *thread, const struct perf_mapping *mapping, uint8_t flags);
void perf_note_fork(const struct thread *child, const struct thread *parent);
void perf_note_exit(const struct thread *thread);

// The running CPU's context switch, from the scheduler, run queue locked, interrupts off.
// `preempted`: `previous` could have gone on.
void perf_note_switch(const struct thread *previous, const struct thread *next, bool preempted);
// Does perf_note_switch() want to be called? The scheduler's test.
extern bool perf_switch_wanted;

// ---- events of programs (perf/event/), bound at link time ---------------------------------------

struct trace_point;

// That changed between none and some. Defined in side.c.
void perf_events_changed(void);
// What the running CPU counts changes with a context switch. As perf_note_switch().
void perf_event_switch(const struct thread *previous, const struct thread *next, bool preempted);
// A tracepoint was passed; `frame` has its place. Interrupts off.
void perf_event_point(
    struct trace_point *point, const void *record, uint32_t size, const struct trap_frame *frame);
void perf_event_note_comm(const struct thread *thread, bool exec);
void perf_event_note_mapping(const struct thread *thread, const struct perf_mapping *mapping);
void perf_event_note_fork(const struct thread *child, const struct thread *parent);
void perf_event_note_exit(const struct thread *thread);
// A task begins (before it can run), ends, or runs a new program. Task context, may sleep.
[[nodiscard]] int perf_event_fork(struct thread *child, struct thread *parent); // -ENOMEM
void perf_event_exit(struct thread *thread);
void perf_event_exec(struct thread *thread);

// Calls the function for each task that lives, from a kernel thread: it notes its name and its
// mappings (perf_note_*() with PERF_EXPORT_FLAG_RUNDOWN) and answers how many tasks could not be
// noted. Set once by process/.
extern uint32_t (*perf_rundown)(uint32_t *tasks);
