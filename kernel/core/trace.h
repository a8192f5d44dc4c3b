// SPDX-License-Identifier: MIT
// Static tracepoints: places in the kernel that can tell what happens there.
//
//     trace(sched_wakeup, .comm = trace_comm(thread), .pid = ..., ...);
//
// While nobody listens it is one no-op (static_branch.h), and the fields are not computed. Else a
// record with these fields is handed to trace_write(). All tracepoints are declared in
// kernel/core/trace_points.h, with names and fields of Linux' where Linux has the same event, so
// that tools which know those understand them.
//
// Any context but NMI handlers.
#pragma once

#include "kernel/arch/x86/static_branch.h"
#include "kernel/base/types.h"
#include "kernel/core/thread.h"

struct trace_entry;

// What can change of a tracepoint.
struct trace_point {
    struct static_key key;
    struct static_key *gate;         // a test before that of `key`, which is on as often; or NULL
    uint16_t id;                     // set once, before the first listener
    const struct trace_entry *entry; // its description
    // The listeners' (perf/trace.c): entry of the collector's event table + 1, 0: none; programs.
    uint32_t collector_event;
    void *listeners; // RCU
};

// As struct perf_export_common, with which each record begins.
struct trace_common {
    uint16_t type;
    uint8_t flags, preempt_count;
    int32_t pid;
};

// As struct perf_export_field.
struct trace_field {
    const char *type, *name;
    uint16_t offset, size, array_len;
    uint8_t is_signed, reserved;
};

// As struct perf_export_tracepoint. In the section .tracepoints.
struct trace_entry {
    const char *system, *name;
    const struct trace_field *fields;
    const char *print;
    uint32_t field_count;
    uint32_t size; // of the record
    struct trace_point *point;
};
// The gate of both tracepoints of system calls: one test on a path that has none to spare.
extern struct static_key syscall_trace_key;
extern const struct trace_entry tracepoints_start[], tracepoints_end[]; // kernel.lds

// Hands a record, whose common fields are not filled in yet, to the listeners. Defined in perf/.
void trace_write(struct trace_point *point, void *record, uint32_t size);

// Somebody more, or less, listens. Task context; may wait for other CPUs.
void trace_point_on(struct trace_point *point);
void trace_point_off(struct trace_point *point);

// A thread's name as a field.
struct trace_name {
    char text[16];
};
static inline struct trace_name trace_comm(const struct thread *thread)
{
    struct trace_name name;
    __builtin_memcpy(name.text, thread->name, sizeof(name.text));
    return name;
}

// Does somebody listen? For records that need more than initialisers, and trace_write() then.
#ifdef LODGER_HOST
#define trace_is_on(name) false
#define trace(name, ...)                                                                           \
    do {                                                                                           \
        if (false) {                                                                               \
            struct trace_record_##name trace_record_ = {__VA_ARGS__};                              \
            (void)trace_record_;                                                                   \
        }                                                                                          \
    } while (0)
#else
#define trace_is_on(name) unlikely(static_branch(&trace_point_##name.key))
#define trace(name, ...)                                                                           \
    do {                                                                                           \
        if (trace_is_on(name)) {                                                                   \
            struct trace_record_##name trace_record_ = {__VA_ARGS__};                              \
            trace_write(&trace_point_##name, &trace_record_, sizeof(trace_record_));               \
        }                                                                                          \
    } while (0)
#endif
