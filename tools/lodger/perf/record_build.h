// SPDX-License-Identifier: MIT
//
// Builds the records of a perf.data file, one after another, in a buffer. All records carry the
// fields of SAMPLE_ID (perf_event_attr.sample_id_all), so that perf knows the machine, the time
// and the CPU of each.
//
// Every record that is built is well-formed: strings are cut, counts are limited, and the size is
// a multiple of 8 that fits into its 16 bits. Nothing here fails.
#pragma once

#include "tools/lodger/perf/perf_data.h"
#include "tools/lodger/util.h"

// What each attribute of a recording is made with. Samples may carry RAW as well.
#define RECORD_SAMPLE_TYPE                                                                         \
    (PERF_SAMPLE_IDENTIFIER | PERF_SAMPLE_IP | PERF_SAMPLE_TID | PERF_SAMPLE_TIME |                \
        PERF_SAMPLE_CPU | PERF_SAMPLE_PERIOD | PERF_SAMPLE_CALLCHAIN)

// Whose record it is and when it was written: the fields of SAMPLE_ID.
struct record_id {
    uint64_t id; // of an attribute; perf finds the machine by it
    uint32_t pid, tid;
    uint32_t cpu;
    uint64_t time_ns;
};

struct record_sample {
    struct record_id id;
    bool user; // where the instruction was
    uint64_t ip;
    uint64_t period;
    // Callers, innermost first; `ip` is not among them.
    const uint64_t *kernel_frames, *user_frames;
    unsigned kernel_count, user_count;
    bool has_raw; // the attribute has PERF_SAMPLE_RAW
    const void *raw;
    uint32_t raw_bytes;
};

struct record_mmap {
    struct record_id id;
    bool kernel; // of the kernel; else of process id.pid
    uint64_t start, len_bytes, offset_bytes;
    uint32_t protection, flags; // PROT_*, MAP_*
    const uint8_t *build_id;
    unsigned build_id_bytes; // 0: none; at most 20
    const char *path;
};

void record_add_sample(struct buffer *records, const struct record_sample *sample);
void record_add_mmap(struct buffer *records, const struct record_mmap *mmap);
// `name` is cut to 15 bytes. `exec`: the name comes from an execve().
void record_add_comm(
    struct buffer *records, const struct record_id *id, const char *name, bool exec);
void record_add_fork(
    struct buffer *records, const struct record_id *id, uint32_t parent_pid, uint32_t parent_tid);
void record_add_exit(struct buffer *records, const struct record_id *id);
void record_add_lost(struct buffer *records, const struct record_id *id, uint64_t count);
// Task id->pid, tid takes the CPU over (`out` false) or gives it up to `other`.
void record_add_switch(struct buffer *records, const struct record_id *id, bool out, bool preempted,
    uint32_t other_pid, uint32_t other_tid);

// The list of ids, with the machine of each. It becomes as many records as it needs.
void record_add_id_index(struct buffer *records, const struct perf_data_id *ids,
    const struct perf_data_guest_id *guests, size_t count);
// Names the event of attribute `id`.
void record_add_event_name(struct buffer *records, uint64_t id, const char *name);
// A record that is its header alone, such as FINISHED_ROUND.
void record_add_plain(struct buffer *records, uint32_t type);
