// SPDX-License-Identifier: MIT
//
// Building records. The order of the fields is that of <linux/perf_event.h> ("enum
// perf_event_type").
#include "tools/lodger/perf/record_build.h"

#include <assert.h>
#include <string.h>

// Longest path and raw data that are written; perf itself cuts paths at PATH_MAX.
#define PATH_MAX_BYTES 4000
#define RAW_MAX_BYTES  32768
// Frames of one stack; with two stacks, their marks and the raw data a record stays below 64 KiB.
#define FRAMES_MAX 512

// Begins a record and returns its position for record_end().
static size_t record_begin(struct buffer *records, uint32_t type, uint16_t misc)
{
    assert(records->len_bytes % 8 == 0);
    struct perf_event_header header = {.type = type, .misc = misc};
    size_t position = records->len_bytes;
    buffer_add(records, &header, sizeof(header));
    return position;
}

static void record_end(struct buffer *records, size_t position)
{
    buffer_align(records, 8);
    size_t size_bytes = records->len_bytes - position;
    assert(size_bytes >= sizeof(struct perf_event_header));
    assert(size_bytes <= PERF_DATA_RECORD_MAX_BYTES);
    struct perf_event_header header;
    memcpy(&header, records->data + position, sizeof(header));
    header.size = (uint16_t)size_bytes;
    memcpy(records->data + position, &header, sizeof(header));
}

static void add_u32(struct buffer *records, uint32_t value)
{
    buffer_add(records, &value, sizeof(value));
}

static void add_u64(struct buffer *records, uint64_t value)
{
    buffer_add(records, &value, sizeof(value));
}

// SAMPLE_ID of RECORD_SAMPLE_TYPE.
static void add_record_id(struct buffer *records, const struct record_id *id)
{
    add_u32(records, id->pid);
    add_u32(records, id->tid);
    add_u64(records, id->time_ns);
    add_u32(records, id->cpu);
    add_u32(records, 0);
    add_u64(records, id->id);
}

// A string with its end, padded to `alignment` and cut to `max_bytes`.
static void add_string(struct buffer *records, const char *text, size_t alignment, size_t max_bytes)
{
    size_t start = records->len_bytes;
    size_t len_bytes = strnlen(text, max_bytes);
    buffer_add(records, text, len_bytes);
    buffer_add(records, "", 1);
    while ((records->len_bytes - start) % alignment != 0) {
        buffer_add(records, "", 1);
    }
}

static void add_callchain(struct buffer *records, const struct record_sample *sample)
{
    unsigned kernel_count = sample->kernel_count < FRAMES_MAX ? sample->kernel_count : FRAMES_MAX;
    unsigned user_count = sample->user_count < FRAMES_MAX ? sample->user_count : FRAMES_MAX;
    assert(!sample->user || kernel_count == 0);
    bool has_user = sample->user || user_count > 0;
    bool has_kernel = !sample->user;
    // In the chain of a guest's sample the marks are the host's: with the guest ones perf drops
    // it.
    uint64_t count = (has_kernel ? 2 + kernel_count : 0) +
                     (has_user ? 1 + (sample->user ? 1 : 0) + user_count : 0);
    add_u64(records, count);
    if (has_kernel) {
        add_u64(records, (uint64_t)PERF_CONTEXT_KERNEL);
        add_u64(records, sample->ip);
        buffer_add(records, sample->kernel_frames, kernel_count * sizeof(uint64_t));
    }
    if (has_user) {
        add_u64(records, (uint64_t)PERF_CONTEXT_USER);
        if (sample->user) {
            add_u64(records, sample->ip);
        }
        buffer_add(records, sample->user_frames, user_count * sizeof(uint64_t));
    }
}

void record_add_sample(struct buffer *records, const struct record_sample *sample)
{
    uint16_t misc = sample->user ? PERF_RECORD_MISC_GUEST_USER : PERF_RECORD_MISC_GUEST_KERNEL;
    size_t position = record_begin(records, PERF_RECORD_SAMPLE, misc);
    add_u64(records, sample->id.id);
    add_u64(records, sample->ip);
    add_u32(records, sample->id.pid);
    add_u32(records, sample->id.tid);
    add_u64(records, sample->id.time_ns);
    add_u32(records, sample->id.cpu);
    add_u32(records, 0);
    add_u64(records, sample->period);
    add_callchain(records, sample);
    if (sample->has_raw) {
        uint32_t len_bytes = sample->raw_bytes < RAW_MAX_BYTES ? sample->raw_bytes : RAW_MAX_BYTES;
        // The size word and the data together are a multiple of 8.
        uint32_t padded_bytes = ((len_bytes + 4 + 7) & ~7u) - 4;
        add_u32(records, padded_bytes);
        buffer_add(records, sample->raw, len_bytes);
    }
    record_end(records, position);
}

void record_add_mmap(struct buffer *records, const struct record_mmap *mmap)
{
    assert(mmap->build_id_bytes <= 20);
    uint16_t misc = mmap->kernel ? PERF_RECORD_MISC_GUEST_KERNEL : PERF_RECORD_MISC_GUEST_USER;
    if (mmap->build_id_bytes > 0) {
        misc |= PERF_RECORD_MISC_MMAP_BUILD_ID;
    }
    size_t position = record_begin(records, PERF_RECORD_MMAP2, misc);
    add_u32(records, mmap->kernel ? UINT32_MAX : mmap->id.pid);
    add_u32(records, mmap->kernel ? 0 : mmap->id.tid);
    add_u64(records, mmap->start);
    add_u64(records, mmap->len_bytes);
    add_u64(records, mmap->offset_bytes);
    uint8_t file[24] = {}; // device and inode, or the build-id
    if (mmap->build_id_bytes > 0) {
        file[0] = (uint8_t)mmap->build_id_bytes;
        memcpy(&file[4], mmap->build_id, mmap->build_id_bytes);
    }
    buffer_add(records, file, sizeof(file));
    add_u32(records, mmap->protection);
    add_u32(records, mmap->flags);
    add_string(records, mmap->path, 8, PATH_MAX_BYTES);
    add_record_id(records, &mmap->id);
    record_end(records, position);
}

void record_add_comm(
    struct buffer *records, const struct record_id *id, const char *name, bool exec)
{
    uint16_t misc = PERF_RECORD_MISC_GUEST_USER | (exec ? PERF_RECORD_MISC_COMM_EXEC : 0);
    size_t position = record_begin(records, PERF_RECORD_COMM, misc);
    add_u32(records, id->pid);
    add_u32(records, id->tid);
    add_string(records, name, 8, 15);
    add_record_id(records, id);
    record_end(records, position);
}

static void add_task(struct buffer *records, uint32_t type, const struct record_id *id,
    uint32_t parent_pid, uint32_t parent_tid)
{
    size_t position = record_begin(records, type, PERF_RECORD_MISC_GUEST_USER);
    add_u32(records, id->pid);
    add_u32(records, parent_pid);
    add_u32(records, id->tid);
    add_u32(records, parent_tid);
    add_u64(records, id->time_ns);
    add_record_id(records, id);
    record_end(records, position);
}

void record_add_fork(
    struct buffer *records, const struct record_id *id, uint32_t parent_pid, uint32_t parent_tid)
{
    add_task(records, PERF_RECORD_FORK, id, parent_pid, parent_tid);
}

void record_add_exit(struct buffer *records, const struct record_id *id)
{
    add_task(records, PERF_RECORD_EXIT, id, id->pid, id->tid);
}

void record_add_lost(struct buffer *records, const struct record_id *id, uint64_t count)
{
    size_t position = record_begin(records, PERF_RECORD_LOST, PERF_RECORD_MISC_GUEST_KERNEL);
    add_u64(records, id->id);
    add_u64(records, count);
    add_record_id(records, id);
    record_end(records, position);
}

void record_add_switch(struct buffer *records, const struct record_id *id, bool out, bool preempted,
    uint32_t other_pid, uint32_t other_tid)
{
    uint16_t misc = PERF_RECORD_MISC_GUEST_KERNEL;
    misc |= out ? PERF_RECORD_MISC_SWITCH_OUT : 0;
    misc |= out && preempted ? PERF_RECORD_MISC_SWITCH_OUT_PREEMPT : 0;
    size_t position = record_begin(records, PERF_RECORD_SWITCH_CPU_WIDE, misc);
    add_u32(records, other_pid);
    add_u32(records, other_tid);
    add_record_id(records, id);
    record_end(records, position);
}

void record_add_id_index(struct buffer *records, const struct perf_data_id *ids,
    const struct perf_data_guest_id *guests, size_t count)
{
    const size_t max_count = (PERF_DATA_RECORD_MAX_BYTES - 16) / (sizeof(*ids) + sizeof(*guests));
    for (size_t first = 0; first < count; first += max_count) {
        size_t part = count - first < max_count ? count - first : max_count;
        size_t position = record_begin(records, PERF_DATA_RECORD_ID_INDEX, 0);
        add_u64(records, part);
        buffer_add(records, &ids[first], part * sizeof(*ids));
        buffer_add(records, &guests[first], part * sizeof(*guests));
        record_end(records, position);
    }
}

void record_add_event_name(struct buffer *records, uint64_t id, const char *name)
{
    size_t position = record_begin(records, PERF_DATA_RECORD_EVENT_UPDATE, 0);
    add_u64(records, PERF_DATA_UPDATE_NAME);
    add_u64(records, id);
    add_string(records, name, 8, 255);
    record_end(records, position);
}

void record_add_plain(struct buffer *records, uint32_t type)
{
    record_end(records, record_begin(records, type, 0));
}
