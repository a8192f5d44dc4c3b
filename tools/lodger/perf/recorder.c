// SPDX-License-Identifier: MIT
//
// Guest records to perf records.
#include "tools/lodger/perf/recorder.h"

#include "tools/lodger/perf/events.h"
#include "tools/lodger/perf/record_build.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define RUNDOWN_PATIENCE_NS 3000000000ull

// A finished record in recorder->records.
struct pending {
    uint64_t time_ns;
    uint64_t sequence; // records of the same time keep their order
    size_t offset, len_bytes;
};

struct recorded_guest {
    struct collector *collector;
    uint64_t first_id;
    unsigned cpu_count;
    bool gone;
    struct recorder_guest_result result;
};

struct recorder {
    struct data_writer *writer;
    struct recorded_guest guests[RECORDER_GUESTS_MAX];
    size_t guest_count;
    size_t current;    // the guest that is being collected from
    uint64_t open_ns;  // when it was opened
    uint64_t start_ns; // when the first guest was asked to start: no record is older
    uint64_t first_ns, last_ns;
    uint64_t round_max_ns, previous_max_ns; // newest record before the last mark and the one before
    uint64_t sequence;
    struct buffer records;
    struct pending *pending;
    size_t pending_count, pending_capacity;
};

static uint64_t id_of(const struct recorded_guest *guest, unsigned event, unsigned cpu)
{
    assert(event < PERF_EXPORT_EVENTS && cpu < guest->cpu_count);
    return guest->first_id + (uint64_t)event * guest->cpu_count + cpu;
}

// A name from the guest, with what is not printable replaced.
static void copy_printable(char *to, size_t size, const char *from)
{
    size_t i = 0;
    for (; i + 1 < size && from[i] != '\0'; i++) {
        to[i] = isprint((unsigned char)from[i]) ? from[i] : '?';
    }
    to[i] = '\0';
}

// Takes the record at the end of recorder->records in; it began at `offset`.
static void finish_record(struct recorder *recorder, uint64_t time_ns, size_t offset)
{
    if (recorder->pending_count == recorder->pending_capacity) {
        recorder->pending_capacity = recorder->pending_capacity * 2 + 1024;
        recorder->pending =
            xrealloc(recorder->pending, recorder->pending_capacity * sizeof(recorder->pending[0]));
    }
    recorder->pending[recorder->pending_count++] = (struct pending){
        time_ns, recorder->sequence++, offset, recorder->records.len_bytes - offset};
}

// The time that is written for a record (ORDER).
static uint64_t settle_time(struct recorder *recorder, uint64_t time_ns, bool rundown)
{
    if (rundown) {
        return recorder->start_ns > recorder->previous_max_ns ? recorder->start_ns
                                                              : recorder->previous_max_ns;
    }
    if (time_ns < recorder->previous_max_ns || time_ns < recorder->start_ns) {
        recorder->guests[recorder->current].result.late += time_ns >= recorder->start_ns ? 1 : 0;
        return recorder->previous_max_ns > recorder->start_ns ? recorder->previous_max_ns
                                                              : recorder->start_ns;
    }
    // No clock is wrong by seconds: a guest that says so would stop perf's windows from closing.
    uint64_t latest = time_now_ns() + 1000000000;
    return time_ns < latest ? time_ns : latest;
}

static void add_sample(struct recorder *recorder, const struct recorded_guest *guest,
    const struct record_id *id, const struct perf_record *record)
{
    struct collector *collector = guest->collector;
    unsigned event = record->header.event;
    const struct collector_event *known = &collector->events[event];
    uint64_t kernel[COLLECTOR_FRAMES_MAX], user[COLLECTOR_FRAMES_MAX];
    uint64_t usual = collector->attach.status.events[event].period;
    struct record_sample sample = {.id = *id,
        .user = (record->header.mode & PERF_EXPORT_IN_MASK) == PERF_EXPORT_IN_USER,
        .ip = record->sample.ip,
        .period = record->sample.has_period ? record->sample.period : usual,
        .kernel_frames = kernel,
        .user_frames = user,
        .has_raw = known->is_tracepoint};
    collector_frames(collector, record, kernel, &sample.kernel_count, user, &sample.user_count);
    // perf adds periods up: a guest must not make the sum overflow.
    sample.period = sample.period == 0 ? 1 : sample.period;
    sample.period = sample.period < 1ull << 40 ? sample.period : 1ull << 40;
    uint8_t raw[PERF_EXPORT_RECORD_MAX + 512] = {};
    if (known->is_tracepoint) {
        // At least all fields of the format, and of the right kind, whatever the guest wrote.
        uint16_t type = (uint16_t)known->tracepoint_id;
        uint32_t len_bytes = record->sample.raw != NULL ? record->sample.raw_len : 0;
        memcpy(raw, record->sample.raw, len_bytes);
        memcpy(raw, &type, sizeof(type));
        sample.raw = raw;
        sample.raw_bytes = len_bytes > known->raw_bytes ? len_bytes : known->raw_bytes;
    }
    record_add_sample(&recorder->records, &sample);
}

static void add_mmap(struct recorder *recorder, const struct recorded_guest *guest,
    const struct record_id *id, const struct perf_record *record)
{
    const struct perf_export_mmap *fields = record->mmap.fields;
    struct program *program = collector_program(guest->collector, record);
    const char *shown = program != NULL ? program->shown_path : record->mmap.name;
    char path[PERF_EXPORT_RECORD_MAX + 64];
    copy_printable(path, sizeof(path), shown);
    // perf would take the host's file of the same name for it.
    if (program == NULL || (program->build_id_bytes == 0 && program->host_path == NULL)) {
        memmove(path + 6, path, strlen(path) + 1 < sizeof(path) - 6 ? strlen(path) + 1 : 0);
        memcpy(path, "guest:", 6);
    }
    struct record_mmap mmap = {.id = *id,
        .start = fields->start,
        .len_bytes = fields->len,
        .offset_bytes = fields->offset_bytes,
        .protection = fields->protection & (PROT_READ | PROT_WRITE | PROT_EXEC),
        .flags = fields->map_flags & (MAP_SHARED | MAP_PRIVATE),
        .build_id = program != NULL ? program->build_id : NULL,
        .build_id_bytes = program != NULL ? program->build_id_bytes : 0,
        .path = path};
    record_add_mmap(&recorder->records, &mmap);
}

// Both sides of a context switch.
static void add_switch(struct recorder *recorder, const struct record_id *id,
    const struct perf_record *record, uint64_t time_ns)
{
    const struct perf_export_switch *switched = record->switched;
    struct record_id out = *id;
    out.pid = switched->previous_pid;
    out.tid = switched->previous_tid;
    size_t offset = recorder->records.len_bytes;
    record_add_switch(&recorder->records, &out, true, switched->preempted != 0, id->pid, id->tid);
    finish_record(recorder, time_ns, offset);
    record_add_switch(&recorder->records, id, false, false, out.pid, out.tid);
}

// The collectors' sink.
static void take(void *context, struct collector *collector, unsigned cpu, uint64_t time_ns,
    const struct perf_record *record)
{
    struct recorder *recorder = context;
    struct recorded_guest *guest = &recorder->guests[recorder->current];
    const struct perf_export_header *header = &record->header;
    bool rundown = (header->mode & PERF_EXPORT_FLAG_RUNDOWN) != 0 &&
                   (header->type == PERF_EXPORT_COMM || header->type == PERF_EXPORT_MMAP);
    bool is_sample = header->type == PERF_EXPORT_SAMPLE;
    if (cpu >= guest->cpu_count || (is_sample && header->event >= collector->event_count)) {
        return;
    }
    time_ns = settle_time(recorder, time_ns, rundown);
    struct record_id id = {.id = id_of(guest, is_sample ? header->event : 0, cpu),
        .pid = header->pid,
        .tid = header->tid,
        .cpu = cpu,
        .time_ns = time_ns};
    size_t offset = recorder->records.len_bytes;
    char name[17] = {};
    switch (header->type) {
    case PERF_EXPORT_SAMPLE:
        add_sample(recorder, guest, &id, record);
        guest->result.samples++;
        break;
    case PERF_EXPORT_COMM:
        copy_printable(name, sizeof(name), record->comm->name);
        record_add_comm(&recorder->records, &id, name, (header->mode & PERF_EXPORT_FLAG_EXEC) != 0);
        break;
    case PERF_EXPORT_MMAP:
        add_mmap(recorder, guest, &id, record);
        break;
    case PERF_EXPORT_FORK:
        record_add_fork(
            &recorder->records, &id, record->fork->parent_pid, record->fork->parent_tid);
        break;
    case PERF_EXPORT_EXIT:
        record_add_exit(&recorder->records, &id);
        break;
    case PERF_EXPORT_SWITCH:
        add_switch(recorder, &id, record, time_ns);
        offset = recorder->pending[recorder->pending_count - 1].offset +
                 recorder->pending[recorder->pending_count - 1].len_bytes;
        break;
    case PERF_EXPORT_LOST:
        record_add_lost(&recorder->records, &id, record->lost->count);
        guest->result.lost += record->lost->count;
        break;
    default:
        return;
    }
    finish_record(recorder, time_ns, offset);
}

// The kernel's own mapping, once for each guest.
static void add_kernel(struct recorder *recorder, const struct recorded_guest *guest)
{
    const struct kernel_elf *kernel = &guest->collector->kernel;
    struct record_id id = {.id = guest->first_id, .time_ns = recorder->start_ns};
    size_t offset = recorder->records.len_bytes;
    record_add_comm(&recorder->records, &id, "swapper", false);
    finish_record(recorder, recorder->start_ns, offset);
    if (kernel->path == NULL) {
        return;
    }
    struct record_mmap mmap = {.id = id,
        .kernel = true,
        .start = kernel->text_start,
        .len_bytes = kernel->text_end - kernel->text_start,
        .protection = PROT_READ | PROT_EXEC,
        .flags = MAP_PRIVATE,
        .build_id = kernel->build_id,
        .build_id_bytes = kernel->build_id_bytes,
        .path = kernel->path};
    offset = recorder->records.len_bytes;
    record_add_mmap(&recorder->records, &mmap);
    finish_record(recorder, recorder->start_ns, offset);
}

// Everything that stands before the records.
struct head {
    struct data_event events[RECORDER_GUESTS_MAX * PERF_EXPORT_EVENTS];
    size_t event_count;
    uint64_t *ids;
    struct perf_data_id *index;
    struct perf_data_guest_id *guests;
    size_t id_count;
    struct buffer tracing;
};

static void add_head_event(struct head *head, const struct recorder *recorder,
    const struct recorded_guest *guest, unsigned event)
{
    struct collector *collector = guest->collector;
    struct data_event *entry = &head->events[head->event_count++];
    const char *name = collector->events[event].name;
    bool prefixed = recorder->guest_count > 1 && !collector->events[event].is_tracepoint;
    entry->name = prefixed ? xasprintf("%s/%s/", collector->guest.name, name) : xstrdup(name);
    events_make_attr(collector, event, &entry->attr);
    entry->ids = &head->ids[head->id_count];
    entry->id_count = guest->cpu_count;
    for (unsigned cpu = 0; cpu < guest->cpu_count; cpu++) {
        pid_t thread = cpu < GUEST_VCPUS_MAX ? collector->guest.vcpu_threads[cpu] : 0;
        head->ids[head->id_count] = id_of(guest, event, cpu);
        head->index[head->id_count] = (struct perf_data_id){id_of(guest, event, cpu), cpu,
            UINT64_MAX, (uint64_t)(thread != 0 ? thread : collector->guest.pid)};
        head->guests[head->id_count] =
            (struct perf_data_guest_id){(uint64_t)collector->guest.pid, cpu};
        head->id_count++;
    }
}

static int write_head(struct recorder *recorder, const char *path)
{
    size_t ids = 0;
    for (size_t i = 0; i < recorder->guest_count; i++) {
        ids += recorder->guests[i].cpu_count * recorder->guests[i].collector->event_count;
    }
    struct head *head = xmalloc(sizeof(*head));
    *head = (struct head){.ids = xmalloc(ids * sizeof(uint64_t)),
        .index = xmalloc(ids * sizeof(struct perf_data_id)),
        .guests = xmalloc(ids * sizeof(struct perf_data_guest_id))};
    for (size_t i = 0; i < recorder->guest_count; i++) {
        struct recorded_guest *guest = &recorder->guests[i];
        for (unsigned j = 0; j < guest->collector->event_count; j++) {
            add_head_event(head, recorder, guest, j);
        }
        // Guests with the same kernel have the same formats; perf takes one set.
        if (head->tracing.len_bytes == 0) {
            events_add_tracing_data(guest->collector, &head->tracing);
        }
    }
    struct data_head data_head = {.events = head->events,
        .event_count = head->event_count,
        .ids = head->index,
        .guest_ids = head->guests,
        .id_count = head->id_count,
        .tracing_data = head->tracing.len_bytes > 0 ? &head->tracing : NULL};
    int error = data_writer_open(path, &data_head, &recorder->writer);
    for (size_t i = 0; i < head->event_count; i++) {
        free((void *)(uintptr_t)head->events[i].name);
    }
    free(head->ids);
    free(head->index);
    free(head->guests);
    buffer_free(&head->tracing);
    free(head);
    return error;
}

int recorder_open(
    const char *path, struct collector *const *collectors, size_t count, struct recorder **result)
{
    assert(count > 0 && count <= RECORDER_GUESTS_MAX);
    struct recorder *recorder = xmalloc(sizeof(*recorder));
    *recorder =
        (struct recorder){.guest_count = count, .open_ns = time_now_ns(), .start_ns = UINT64_MAX};
    // The host's kernel counts its ids from 1; perf merge puts both into one file.
    uint64_t next_id = 1ull << 40;
    for (size_t i = 0; i < count; i++) {
        struct recorded_guest *guest = &recorder->guests[i];
        guest->collector = collectors[i];
        guest->cpu_count = collectors[i]->attach.status.cpu_count;
        guest->first_id = next_id;
        next_id += (uint64_t)guest->cpu_count * PERF_EXPORT_EVENTS;
        // What lies in a flight recorder's rings is older than we are.
        uint64_t start_ns = collectors[i]->is_flight ? 1 : collectors[i]->start_ns;
        recorder->start_ns = start_ns < recorder->start_ns ? start_ns : recorder->start_ns;
    }
    int error = write_head(recorder, path);
    if (error != 0) {
        free(recorder);
        return error;
    }
    for (size_t i = 0; i < count; i++) {
        recorder->current = i;
        add_kernel(recorder, &recorder->guests[i]);
    }
    *result = recorder;
    return 0;
}

int recorder_collect(struct recorder *recorder, size_t index)
{
    assert(index < recorder->guest_count);
    recorder->current = index;
    struct recorded_guest *guest = &recorder->guests[index];
    int error = collector_round(guest->collector, take, recorder);
    guest->gone = guest->gone || error != 0;
    return error;
}

static int compare_pending(const void *left, const void *right)
{
    const struct pending *a = left, *b = right;
    if (a->time_ns != b->time_ns) {
        return a->time_ns < b->time_ns ? -1 : 1;
    }
    return a->sequence < b->sequence ? -1 : 1;
}

bool recorder_has_names(const struct recorder *recorder)
{
    for (size_t i = 0; i < recorder->guest_count; i++) {
        if (!recorder->guests[i].gone && !recorder->guests[i].collector->rundown_done) {
            return false;
        }
    }
    return true;
}

// Whether all guests have told their tasks, or had the time to.
static bool rundowns_done(const struct recorder *recorder)
{
    return time_now_ns() > recorder->open_ns + RUNDOWN_PATIENCE_NS || recorder_has_names(recorder);
}

// Hands all pending records to the writer, in order and with a mark behind them.
static int write_pending(struct recorder *recorder)
{
    if (recorder->pending_count == 0) {
        return data_writer_publish(recorder->writer);
    }
    qsort(
        recorder->pending, recorder->pending_count, sizeof(recorder->pending[0]), compare_pending);
    struct buffer sorted = {};
    for (size_t i = 0; i < recorder->pending_count; i++) {
        const struct pending *pending = &recorder->pending[i];
        buffer_add(&sorted, recorder->records.data + pending->offset, pending->len_bytes);
    }
    record_add_plain(&sorted, PERF_DATA_RECORD_FINISHED_ROUND);
    data_writer_add(recorder->writer, &sorted);
    buffer_free(&sorted);
    uint64_t newest_ns = recorder->pending[recorder->pending_count - 1].time_ns;
    recorder->first_ns =
        recorder->first_ns == 0 ? recorder->pending[0].time_ns : recorder->first_ns;
    recorder->last_ns = newest_ns > recorder->last_ns ? newest_ns : recorder->last_ns;
    recorder->previous_max_ns = recorder->round_max_ns;
    recorder->round_max_ns = recorder->last_ns;
    recorder->pending_count = 0;
    recorder->records.len_bytes = 0;
    return data_writer_publish(recorder->writer);
}

int recorder_flush(struct recorder *recorder)
{
    return rundowns_done(recorder) ? write_pending(recorder) : 0;
}

int recorder_close(struct recorder *recorder, char *const *command)
{
    int error = write_pending(recorder);
    struct data_tail tail = {
        .command = command, .first_ns = recorder->first_ns, .last_ns = recorder->last_ns};
    int finish_error = data_writer_finish(recorder->writer, &tail);
    buffer_free(&recorder->records);
    free(recorder->pending);
    free(recorder);
    return error != 0 ? error : finish_error;
}

uint64_t recorder_bytes(const struct recorder *recorder)
{
    return data_writer_published_bytes(recorder->writer) + recorder->records.len_bytes;
}

const struct recorder_guest_result *recorder_result(const struct recorder *recorder, size_t index)
{
    assert(index < recorder->guest_count);
    return &recorder->guests[index].result;
}
