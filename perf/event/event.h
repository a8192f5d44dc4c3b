// SPDX-License-Identifier: MIT
// Events of perf_event_open(2): what the files of this folder share.
//
// An event counts on behalf of a task, of a CPU, or of a task while it is on a CPU. It belongs to a
// context, which is the task's or the CPU's. While the task runs (or always, for a CPU's) its
// enabled events are active: on the list of that CPU, from which clocks and tracepoints find them.
//
//   V1  The set of a context's events, and whether each is enabled and active, change under
//       context->lock, with interrupts off. An event becomes active and inactive only on the CPU
//       where it is so: at a context switch, or in event_sync(), which runs on all CPUs after a
//       change of `enabled`.
//   V2  active_events of a CPU is read and written by that CPU alone, interrupts off. So an event
//       that is inactive after event_sync_all() is seen by nobody but its users.
//   V3  events_lock (a mutex) orders everything that system calls change: groups, children, the
//       buffer that an event writes to. An event's buffer changes only while it is inactive.
//   V4  Records are made with interrupts off, one at a time on a CPU (`events_nesting`): what
//       happens while one is made makes no other.
//
// Lock order: events_lock -> context->lock -> buffer->lock -> (timer queues). context->lock is also
// taken under a run queue's.
#pragma once

#include "kernel/base/list.h"
#include "kernel/core/mutex.h"
#include "kernel/core/timer.h"
#include "kernel/core/trace.h"
#include "kernel/core/wait.h"
#include "perf/event/buffer.h"
#include "perf/pmu/pmu.h"

#include <linux/perf_event.h>

struct file;
struct task;
struct trap_frame;

struct perf_context {
    struct spinlock lock;
    uint32_t user_readers;   // its events whose counters programs may read (RDPMC); lock
    struct list_node events; // perf_event.context_node; lock
    uint32_t refcount;       // its thread and its events; atomic
};

enum perf_event_kind : uint8_t {
    PERF_EVENT_NOTHING, // counts nothing: dummy, and what cannot happen here
    PERF_EVENT_CLOCK,   // time
    PERF_EVENT_POINT,   // tracepoints
    PERF_EVENT_COUNTER, // the processor's
};

struct perf_event {
    struct perf_event_attr attr;   // fixed, but for sample_period (events_lock)
    uint64_t id;                   // fixed
    enum perf_event_kind kind;     // fixed
    struct trace_point *points[2]; // fixed; the second may be NULL
    bool raw;                      // fixed: the tracepoint's record is the sample's raw data
    int32_t cpu;                   // fixed; -1: any
    struct task *task;             // fixed; with a reference; NULL: a CPU's
    struct perf_event *parent;     // fixed; NULL: not inherited
    struct perf_context *context;  // with a reference; NULL: its task has ended. events_lock

    struct list_node context_node; // V1
    struct list_node active_node;  // V2
    bool enabled, active;          // V1
    uint64_t count;                // atomic; of a clock without the time since `since_ns`
    uint64_t running_ns;           // V1: time active before since_ns; a counter's is its own
    uint64_t since_ns;             // V1: when it became active
    int64_t left;                  // until the next sample: ns or events; V2 while active, else V1
    struct timer timer;            // samples of a clock
    uint64_t lost;                 // atomic
    // Fixed: its samples are the host's collector's, as those of the event table's entry before
    // this, 0: a program's; and PERF_EXPORT_EVENT_* for them (perf/collected.h).
    uint32_t collector_event, collector_flags;
    // PERF_EVENT_COUNTER; both by the rules of perf/pmu/pmu.h, on the CPU where it is active.
    struct pmu_event counter;
    struct pmu_group counters; // of the group's leader, whatever kind it is
    uint32_t active_cpu;       // V1: where it is or was last active
    uint64_t sampled_ns;       // when a sample was last taken; NMI
    uint64_t window_ns;        // of which samples are counted, for the limit; NMI
    uint32_t window_samples;   // NMI

    // events_lock:
    struct perf_event *leader; // of the group; itself
    struct list_node siblings; // leader: the others' sibling_node
    struct list_node sibling_node;
    uint32_t sibling_count;
    struct list_node children; // inherited copies: child_node (collected.c: all events)
    struct list_node child_node;
    // Of copies whose tasks have ended.
    uint64_t child_count, child_enabled_ns, child_running_ns;
    struct perf_buffer *buffer;   // with a reference; own or SET_OUTPUT's; NULL: none
    bool was_mapped;              // its own buffer was mapped
    struct wait_queue wait;       // poll
    uint32_t ready;               // EPOLLIN, EPOLLHUP; atomic
    uint32_t wake_queued;         // is on some CPU's list of those to wake; atomic
    struct perf_event *wake_next; // of that list
};

// Most samples a second that an event may ask for, and gets: what
// /proc/sys/kernel/perf_event_max_sample_rate says, at most PERF_EVENT_RATE_MAX; atomic.
#define PERF_EVENT_RATE_MAX 100000u
extern uint32_t perf_event_rate_max;

extern struct mutex events_lock;

// ---- open.c ----
struct perf_event *perf_event_of_file(const struct file *file); // NULL: another kind of file
// One of a task (NULL: a CPU's) that is in no group and no context and counts nothing yet. NULL: no
// memory.
struct perf_event *perf_event_new(const struct perf_event_attr *attr, struct task *task, int cpu);
// Copy of `event` for a child of its task. NULL: no memory. events_lock.
struct perf_event *perf_event_inherit(struct perf_event *event, struct task *child);
// Not in a context any more; nobody uses it.
void perf_event_free(struct perf_event *event);

// ---- context.c ----
struct perf_context *perf_context_create(void);
void perf_context_put(struct perf_context *context);
// The context of the event's task (made when there is none) or CPU, with a reference. NULL: no
// memory. events_lock.
struct perf_context *perf_context_for(struct task *task, int32_t cpu);
void perf_event_attach(struct perf_event *event, struct perf_context *context);
void perf_event_detach(struct perf_event *event); // inactive everywhere afterwards
void perf_event_set_enabled(struct perf_event *event, bool enabled);
void perf_event_sync_all(void); // task context
// What it has counted, how long it was active, and for how much of that it counted. Task context.
void perf_event_read(
    struct perf_event *event, uint64_t *count, uint64_t *enabled_ns, uint64_t *running_ns);

// ---- source.c: own CPU, interrupts off ----
void perf_event_source_start(struct perf_event *event, uint64_t now_ns);
void perf_event_source_stop(struct perf_event *event, uint64_t now_ns);
// 0 or -errno: what attr.type and config mean here.
[[nodiscard]] int perf_event_source_find(struct perf_event *event);
void perf_event_source_add(struct perf_event *event); // tracepoints go on; task context
void perf_event_source_remove(struct perf_event *event);
PERCPU_DECLARE(struct list_node, active_events);
extern uint32_t perf_events_count; // atomic: whether there are any

// ---- hardware.c ----
// 0, -ENOENT: no counters, or none for this; -EINVAL. events_lock.
[[nodiscard]] int perf_hardware_find(struct perf_event *event);
// Could its group, with it, ever have counters at once? events_lock.
[[nodiscard]] bool perf_hardware_fits(const struct perf_event *event, struct perf_event *leader);
// Own CPU, interrupts off, context locked: between begin and end counters stand still.
void perf_hardware_begin(void);
void perf_hardware_start(struct perf_event *event, uint64_t now_ns);
void perf_hardware_stop(struct perf_event *event, uint64_t now_ns);
void perf_hardware_end(uint64_t now_ns);
// The thread with this context (NULL: none) runs on: may it read counters itself?
void perf_hardware_user(const struct perf_context *of_thread);
// As perf_event_read(). Task context, unless the event is inactive.
void perf_hardware_read(
    struct perf_event *event, uint64_t *count, uint64_t *enabled_ns, uint64_t *running_ns);
void perf_hardware_set_period(struct perf_event *event); // inactive

// ---- record.c: own CPU, interrupts off ----
struct perf_event_sample {
    const struct trap_frame *frame; // what was interrupted, or where the tracepoint is
    uint64_t address, period;
    const void *raw;
    uint32_t raw_len;
};
void perf_event_sample(struct perf_event *event, const struct perf_event_sample *sample);
// The same in an NMI: the record waits in memory of this CPU for perf_event_records_flush(), which
// an interrupt sees to that is raised.
void perf_event_sample_nmi(struct perf_event *event, const struct perf_event_sample *sample);
void perf_event_records_flush(void);              // interrupts off
[[nodiscard]] int perf_event_stage_prepare(void); // memory for them; -ENOMEM; task context
// PERF_RECORD_SWITCH of this CPU's events: `thread` comes, or goes (misc: PERF_RECORD_MISC_*), and
// `other` is whom it takes turns with. From the scheduler.
void perf_event_note_switch(const struct thread *thread, const struct thread *other, uint16_t misc);
// PERF_RECORD_THROTTLE or UNTHROTTLE. Interrupts off.
void perf_event_note_throttle(struct perf_event *event, bool throttled);
[[nodiscard]] int perf_event_records_prepare(void); // memory for them; -ENOMEM; task context

// ---- file.c ----
extern const struct file_ops perf_event_file_ops;
int perf_event_set_output(struct perf_event *event, struct perf_event *target); // events_lock
// Wakes who polls, from an interrupt that follows at once: the caller may hold any lock.
// Interrupts off.
void perf_event_wake(struct perf_event *event, uint32_t events);
// The same at once. No lock but events_lock.
void perf_event_wake_now(struct perf_event *event, uint32_t events);
