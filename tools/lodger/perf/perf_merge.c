// SPDX-License-Identifier: MIT
//
// lodger perf merge: weaves recordings of guests into one of the host, so that one profile shows
// QEMU, KVM, the guest's kernel and its programs on one clock.
//
// All records of all files are sorted by time; they are on one clock already (CLOCK_MONOTONIC).
// The host's records without a time (what was there when the recording began) come first.
// Attributes and ids of all files are put together; ids of guests are numbers that the host's
// kernel does not reach (recorder.c).
#include "tools/lodger/perf/perf_commands.h"

#include "tools/lodger/perf/data_reader.h"
#include "tools/lodger/perf/data_writer.h"
#include "tools/lodger/perf/record_build.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FILES_MAX 16u
// Records between two marks of perf's windows. All are sorted, so any number is right.
#define ROUND_RECORDS 1000u

static const char help[] =
    "usage: ./lodger perf merge -o FILE HOST GUEST...\n"
    "\n"
    "Weaves recordings of guests (./lodger perf record) into a recording of their host:\n"
    "\n"
    "  perf record -k CLOCK_MONOTONIC --sample-identifier --sample-cpu -g -a -o HOST\n"
    "\n"
    "or, for the guest's QEMU only, with --switch-events -p PID in place of -a. Both must run at "
    "the\n"
    "same time.\n"
    "\n"
    "  -o, --output FILE   default perf.merged.data\n";

struct item {
    uint64_t time_ns, sequence;
    const struct perf_event_header *record;
};

struct merge {
    struct data_reader readers[FILES_MAX];
    size_t file_count, current;
    struct item *items;
    size_t count, capacity;
    struct buffer first; // records that must come before all others
    const char *refusal;
};

static void take(void *context, const struct perf_event_header *record)
{
    struct merge *merge = context;
    switch (record->type) {
    case PERF_DATA_RECORD_FINISHED_ROUND:
    case PERF_DATA_RECORD_FINISHED_INIT:
        return; // of the old order
    case 81:
        merge->refusal = "is compressed: record without -z";
        return;
    case 71: // AUXTRACE: its data is no record
        merge->refusal = "holds hardware traces, which cannot be merged";
        return;
    case PERF_DATA_RECORD_ID_INDEX:
    case PERF_DATA_RECORD_EVENT_UPDATE:
        buffer_add(&merge->first, record, record->size);
        return;
    default:
        break;
    }
    if (merge->count == merge->capacity) {
        merge->capacity = merge->capacity * 2 + 65536;
        merge->items = xrealloc(merge->items, merge->capacity * sizeof(merge->items[0]));
    }
    merge->items[merge->count] = (struct item){
        data_reader_time(&merge->readers[merge->current], record), merge->count, record};
    merge->count++;
}

static int compare_items(const void *left, const void *right)
{
    const struct item *a = left, *b = right;
    if (a->time_ns != b->time_ns) {
        return a->time_ns < b->time_ns ? -1 : 1;
    }
    return a->sequence < b->sequence ? -1 : 1;
}

// The host's recording must tell clock and attribute of each record.
static void check_host(const struct data_reader *host, const char *path)
{
    for (size_t i = 0; i < host->attr_count; i++) {
        const struct perf_event_attr *attr = &host->attrs[i].attr;
        if (!attr->use_clockid || attr->clockid != CLOCK_MONOTONIC) {
            die("%s is on another clock: record it with perf record -k CLOCK_MONOTONIC", path);
        }
        if ((attr->sample_type & PERF_SAMPLE_IDENTIFIER) == 0 || !attr->sample_id_all ||
            (attr->sample_type & PERF_SAMPLE_TIME) == 0) {
            die("%s does not name the event of each record: record it with perf record "
                "--sample-identifier",
                path);
        }
    }
}

static bool ids_differ(const struct merge *merge, size_t file)
{
    const struct data_reader *reader = &merge->readers[file];
    for (size_t i = 0; i < reader->attr_count; i++) {
        for (size_t j = 0; j < reader->attrs[i].id_count; j++) {
            for (size_t other = 0; other < file; other++) {
                if (data_reader_find(&merge->readers[other], reader->attrs[i].ids[j]) != NULL) {
                    return false;
                }
            }
        }
    }
    return true;
}

static void read_files(struct merge *merge, int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        merge->current = merge->file_count;
        struct data_reader *reader = &merge->readers[merge->file_count++];
        char *reason = data_reader_open(reader, argv[i]);
        if (reason != NULL) {
            die("%s", reason);
        }
        if (i == 0) {
            check_host(reader, argv[i]);
        }
        if (!ids_differ(merge, merge->current)) {
            die("%s has the same event ids as another file: give the host's recording first, and "
                "record several guests with one ./lodger perf record",
                argv[i]);
        }
        if (!data_reader_walk(reader, take, merge)) {
            warn("%s is damaged at its end; what is before is taken", argv[i]);
        }
        if (merge->refusal != NULL) {
            die("%s %s", argv[i], merge->refusal);
        }
    }
    qsort(merge->items, merge->count, sizeof(merge->items[0]), compare_items);
}

// Formats of tracepoints: perf takes one set for a file.
static bool tracing_data(const struct merge *merge, struct buffer *section)
{
    for (size_t i = 0; i < merge->file_count; i++) {
        const uint8_t *data;
        size_t len_bytes;
        if (data_reader_feature(&merge->readers[i], PERF_DATA_TRACING_DATA, &data, &len_bytes)) {
            if (section->len_bytes > 0) {
                die("two of the files hold tracepoints; perf reads one set of formats: merge "
                    "recordings of which one at most has tracepoints");
            }
            buffer_add(section, data, len_bytes);
        }
    }
    return section->len_bytes > 0;
}

static int open_output(const struct merge *merge, const char *path, struct data_writer **writer)
{
    size_t attrs = 0;
    for (size_t i = 0; i < merge->file_count; i++) {
        attrs += merge->readers[i].attr_count;
    }
    struct data_event *events = xmalloc((attrs + 1) * sizeof(events[0]));
    attrs = 0;
    for (size_t i = 0; i < merge->file_count; i++) {
        const struct data_reader *reader = &merge->readers[i];
        for (size_t j = 0; j < reader->attr_count; j++) {
            struct data_event *event = &events[attrs++];
            *event = (struct data_event){.attr = reader->attrs[j].attr,
                .ids = reader->attrs[j].ids,
                .id_count = reader->attrs[j].id_count};
            // All entries of the section have the same size.
            event->attr.size = sizeof(event->attr);
        }
    }
    struct buffer tracing = {};
    struct data_head head = {.events = events,
        .event_count = attrs,
        .tracing_data = tracing_data(merge, &tracing) ? &tracing : NULL};
    int error = data_writer_open(path, &head, writer);
    buffer_free(&tracing);
    free(events);
    return error;
}

static int write_items(const struct merge *merge, struct data_writer *writer)
{
    struct buffer part = {};
    data_writer_add(writer, &merge->first);
    int error = 0;
    for (size_t i = 0; i < merge->count && error == 0; i++) {
        buffer_add(&part, merge->items[i].record, merge->items[i].record->size);
        if ((i + 1) % ROUND_RECORDS == 0 || i + 1 == merge->count) {
            record_add_plain(&part, PERF_DATA_RECORD_FINISHED_ROUND);
            data_writer_add(writer, &part);
            part.len_bytes = 0;
            error = data_writer_publish(writer);
        }
    }
    buffer_free(&part);
    return error;
}

int perf_merge(int argc, char **argv)
{
    static const struct option options[] = {
        {"output", required_argument, NULL, 'o'},
        {"help", no_argument, NULL, 'h'},
        {},
    };
    const char *output = "perf.merged.data";
    int code;
    while ((code = getopt_long(argc, argv, "o:h", options, NULL)) != -1) {
        if (code == 'o') {
            output = optarg;
        } else if (code == 'h') {
            fputs(help, stdout);
            return 0;
        } else {
            die("see ./lodger perf merge --help");
        }
    }
    if (argc - optind < 2 || argc - optind > (int)FILES_MAX) {
        die("expected the host's recording and at least one of a guest (./lodger perf merge "
            "--help)");
    }
    static struct merge merge;
    read_files(&merge, argc - optind, argv + optind);
    struct data_writer *writer;
    int error = open_output(&merge, output, &writer);
    if (error != 0) {
        die("%s: %s", output, strerror(-error));
    }
    error = write_items(&merge, writer);
    char *command[64] = {"lodger", "perf"};
    for (int i = 0; i < argc && i < 60; i++) {
        command[i + 2] = argv[i];
    }
    uint64_t first_ns = 0;
    for (size_t i = 0; i < merge.count && first_ns == 0; i++) {
        first_ns = merge.items[i].time_ns;
    }
    struct data_tail tail = {.command = command,
        .first_ns = first_ns,
        .last_ns = merge.count > 0 ? merge.items[merge.count - 1].time_ns : 0};
    (void)data_reader_feature(
        &merge.readers[0], PERF_DATA_BUILD_ID, &tail.build_ids, &tail.build_ids_bytes);
    int finish_error = data_writer_finish(writer, &tail);
    error = error != 0 ? error : finish_error;
    if (error != 0) {
        die("%s: %s", output, strerror(-error));
    }
    fprintf(
        stderr, "lodger: %zu records of %zu files in %s\n", merge.count, merge.file_count, output);
    return 0;
}
