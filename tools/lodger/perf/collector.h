// SPDX-License-Identifier: MIT
//
// A guest that is being collected from: found, attached, its clock known, its tasks followed. What
// `record`, `top`, `trace` and `stat` are made of.
//
// Life: collector_open(), collector_start(), then collector_round() again and again (ten times a
// second or so), collector_stop(), collector_close().
#pragma once

#include "tools/lodger/perf/attach.h"
#include "tools/lodger/perf/clock.h"
#include "tools/lodger/perf/guest_find.h"
#include "tools/lodger/perf/kernel_elf.h"
#include "tools/lodger/perf/tasks.h"

// Frames of a sample after the leaf's caller was put in.
#define COLLECTOR_FRAMES_MAX (PERF_EXPORT_FRAMES_MAX + 1)

struct collector_event {
    char *name; // as perf shows it
    struct perf_export_event event;
    bool is_tracepoint;
    uint64_t tracepoint_id;
    uint32_t raw_bytes; // of a tracepoint's record, at least
};

struct collector {
    struct guest guest;
    int alive_fd; // of the VMM's process (pidfd): readable when it has ended; -1: not known
    struct guest_memory memory;
    struct kernel_elf kernel; // path NULL: not found, kernel symbols are missing
    struct attach attach;
    struct guest_clock clock;
    struct programs programs;
    struct tasks tasks;
    struct program *kernel_program; // or NULL
    struct collector_event events[PERF_EXPORT_EVENTS];
    unsigned event_count;
    bool is_flight;
    uint64_t start_ns;   // when it was asked to start
    bool rundown_done;   // all tasks are known
    uint64_t rundown_ns; // when it was asked for
    uint64_t next_handshake_ns;
    uint64_t max_error_ns; // of all times that were given
    uint64_t records, early_records;
    // For the sink of the round that is under way.
    void (*sink)(void *context, struct collector *collector, unsigned cpu, uint64_t time_ns,
        const struct perf_record *record);
    void *context;
};

// How it is started.
struct collector_settings {
    const char *const *events; // NULL-terminated; see collector_add_event(); NULL: the default
    uint64_t frequency_hz;
    unsigned kernel_frames, user_frames;
    uint32_t ring_bytes; // 0: the guest chooses
    bool switches;       // context switches as records of their own
    bool idle;           // samples of idle CPUs
    bool count_only;     // no samples
    bool flight;         // leave rings overwritten; read them once
};

// Finds the guest (guest_find()), its memory and kernel. Returns NULL or the reason, for the user.
[[nodiscard]] char *collector_open(
    struct collector *collector, const char *guest, const char *kernel_elf);

// The same with memory that is open already (tests).
[[nodiscard]] char *collector_open_memory(
    struct collector *collector, const struct guest_memory *memory, uint64_t descriptor);

// Asks the guest for the events and waits until it has started, its clock is known and the rundown
// has been asked for. `patience_ns` limits it. Returns NULL or the reason.
[[nodiscard]] char *collector_start(
    struct collector *collector, const struct collector_settings *settings, uint64_t patience_ns);

// One round: keeps the lease, the clock, and gives what came since. `time_ns` is on the host's
// clock. Task records have been taken in by then. Returns 0 or a negative errno: the guest is
// gone.
[[nodiscard]] int collector_round(struct collector *collector,
    void (*sink)(void *context, struct collector *collector, unsigned cpu, uint64_t time_ns,
        const struct perf_record *record),
    void *context);

// Ends the collecting in the guest; what is in the rings can still be read by one more round.
void collector_stop(struct collector *collector);
void collector_close(struct collector *collector);

// The callers of a SAMPLE, with a leaf's caller put in by call frame information. Both arrays hold
// COLLECTOR_FRAMES_MAX. In kernel mode the first user frame is where the kernel was entered.
void collector_frames(struct collector *collector, const struct perf_record *record,
    uint64_t *kernel, unsigned *kernel_count, uint64_t *user, unsigned *user_count);

// The program of a mapping record.
struct program *collector_program(struct collector *collector, const struct perf_record *record);

// Name of the function at an address, for live views: "[unknown]" if there is none. `dso` gets the
// file's name. Both live as long as the collector.
const char *collector_symbol(
    struct collector *collector, bool user, uint32_t pid, uint64_t address, const char **dso);
