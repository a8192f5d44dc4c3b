// SPDX-License-Identifier: MIT
//
// Writing perf.data.
//
// Layout of a file: header, ids, attributes, formats of tracepoints | records | table of sections
// | sections. Everything before the first bar is written once.
#include "tools/lodger/perf/data_writer.h"

#include "tools/lodger/perf/record_build.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

struct data_writer {
    int fd;
    bool is_pipe;
    int error;             // first one, or 0
    struct buffer pending; // whole records that are not in the file yet
    struct perf_data_header header;
    struct perf_data_section tracing; // of the file; size 0: none
};

static int write_all(int fd, const void *data, size_t len_bytes)
{
    const uint8_t *at = data;
    while (len_bytes > 0) {
        ssize_t done = write(fd, at, len_bytes);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done <= 0) {
            return done < 0 ? -errno : -ENOSPC;
        }
        at += done;
        len_bytes -= (size_t)done;
    }
    return 0;
}

static int write_at(int fd, const void *data, size_t len_bytes, uint64_t offset)
{
    const uint8_t *at = data;
    while (len_bytes > 0) {
        ssize_t done = pwrite(fd, at, len_bytes, (off_t)offset);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done <= 0) {
            return done < 0 ? -errno : -ENOSPC;
        }
        at += done;
        offset += (uint64_t)done;
        len_bytes -= (size_t)done;
    }
    return 0;
}

static bool has_feature(const struct perf_data_header *header, unsigned feature)
{
    return (header->features[feature / 64] >> (feature % 64) & 1) != 0;
}

static void set_feature(struct perf_data_header *header, unsigned feature)
{
    header->features[feature / 64] |= 1ull << (feature % 64);
}

// The records with which the data begins: machines and names.
static void add_first_records(struct buffer *records, const struct data_head *head)
{
    record_add_id_index(records, head->ids, head->guest_ids, head->id_count);
    for (size_t i = 0; i < head->event_count; i++) {
        const struct data_event *event = &head->events[i];
        if (event->name != NULL && event->id_count > 0) {
            record_add_event_name(records, event->ids[0], event->name);
        }
    }
}

// Pipe mode: everything is a record.
static void add_pipe_head(struct buffer *start, const struct data_head *head)
{
    struct perf_data_pipe_header header = {PERF_DATA_MAGIC, sizeof(header)};
    buffer_add(start, &header, sizeof(header));
    for (size_t i = 0; i < head->event_count; i++) {
        const struct data_event *event = &head->events[i];
        size_t size_bytes =
            sizeof(struct perf_event_header) + sizeof(event->attr) + event->id_count * 8;
        assert(size_bytes <= PERF_DATA_RECORD_MAX_BYTES);
        struct perf_event_header record = {
            .type = PERF_DATA_RECORD_ATTR, .size = (uint16_t)size_bytes};
        buffer_add(start, &record, sizeof(record));
        buffer_add(start, &event->attr, sizeof(event->attr));
        buffer_add(start, event->ids, event->id_count * sizeof(uint64_t));
    }
    const struct buffer *tracing = head->tracing_data;
    if (tracing != NULL) {
        size_t padded_bytes = (tracing->len_bytes + 7) & ~(size_t)7;
        struct perf_event_header record = {
            .type = PERF_DATA_RECORD_TRACING_DATA, .size = sizeof(record) + 8};
        uint32_t size[2] = {(uint32_t)tracing->len_bytes, 0};
        buffer_add(start, &record, sizeof(record));
        buffer_add(start, size, sizeof(size));
        buffer_add(start, tracing->data, tracing->len_bytes);
        static const uint8_t zero[8];
        buffer_add(start, zero, padded_bytes - tracing->len_bytes);
    }
}

// File mode: what comes before the records.
static void add_file_head(
    struct data_writer *writer, struct buffer *start, const struct data_head *head)
{
    struct perf_data_header *header = &writer->header;
    *header = (struct perf_data_header){
        .magic = PERF_DATA_MAGIC,
        .size_bytes = sizeof(*header),
        .attr_size_bytes = sizeof(struct perf_data_attr),
    };
    buffer_add(start, header, sizeof(*header)); // again below, when it is complete
    struct buffer attrs = {};
    for (size_t i = 0; i < head->event_count; i++) {
        const struct data_event *event = &head->events[i];
        struct perf_data_attr attr = {
            .attr = event->attr, .ids = {start->len_bytes, event->id_count * sizeof(uint64_t)}};
        buffer_add(&attrs, &attr, sizeof(attr));
        buffer_add(start, event->ids, event->id_count * sizeof(uint64_t));
    }
    header->attrs = (struct perf_data_section){start->len_bytes, attrs.len_bytes};
    buffer_add(start, attrs.data, attrs.len_bytes);
    buffer_free(&attrs);
    if (head->tracing_data != NULL) {
        writer->tracing =
            (struct perf_data_section){start->len_bytes, head->tracing_data->len_bytes};
        buffer_add(start, head->tracing_data->data, head->tracing_data->len_bytes);
        buffer_align(start, 8);
        set_feature(header, PERF_DATA_TRACING_DATA);
    }
    header->data = (struct perf_data_section){start->len_bytes, 0};
    memcpy(start->data, header, sizeof(*header));
    // The table, which an empty data section has too.
    if (writer->tracing.size_bytes > 0) {
        buffer_add(start, &writer->tracing, sizeof(writer->tracing));
    }
}

int data_writer_open(const char *path, const struct data_head *head, struct data_writer **result)
{
    assert(head->event_count > 0);
    bool is_pipe = strcmp(path, "-") == 0;
    int fd = STDOUT_FILENO;
    if (!is_pipe) {
        fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (fd < 0) {
            return -errno;
        }
    }
    struct data_writer *writer = xmalloc(sizeof(*writer));
    *writer = (struct data_writer){.fd = fd, .is_pipe = is_pipe};
    struct buffer start = {};
    if (is_pipe) {
        add_pipe_head(&start, head);
    } else {
        add_file_head(writer, &start, head);
    }
    int error = write_all(fd, start.data, start.len_bytes);
    buffer_free(&start);
    if (error != 0) {
        if (!is_pipe) {
            close(fd);
        }
        free(writer);
        return error;
    }
    add_first_records(&writer->pending, head);
    *result = writer;
    return 0;
}

void data_writer_add(struct data_writer *writer, const struct buffer *records)
{
    assert(records->len_bytes % 8 == 0);
    if (writer->error == 0) {
        buffer_add(&writer->pending, records->data, records->len_bytes);
    }
}

uint64_t data_writer_published_bytes(const struct data_writer *writer)
{
    return writer->header.data.size_bytes;
}

// Appends the pending records and, with tracepoints, the new table; then moves the size, then
// turns the old table into a record.
static int publish_to_file(struct data_writer *writer)
{
    struct perf_data_header header = writer->header;
    uint64_t table = header.data.offset + header.data.size_bytes;
    uint64_t start = table + (writer->tracing.size_bytes > 0 ? sizeof(writer->tracing) : 0);
    int error = write_at(writer->fd, writer->pending.data, writer->pending.len_bytes, start);
    if (error != 0) {
        return error;
    }
    header.data.size_bytes = start + writer->pending.len_bytes - header.data.offset;
    if (writer->tracing.size_bytes > 0) {
        error = write_at(writer->fd, &writer->tracing, sizeof(writer->tracing),
            header.data.offset + header.data.size_bytes);
        if (error != 0) {
            return error;
        }
    }
    error = write_at(writer->fd, &header, sizeof(header), 0);
    if (error == 0 && writer->tracing.size_bytes > 0) {
        struct {
            struct perf_event_header header;
            uint64_t unused;
        } record = {{.type = PERF_DATA_RECORD_FINISHED_INIT, .size = sizeof(record)}, 0};
        error = write_at(writer->fd, &record, sizeof(record), table);
    }
    writer->header = header;
    return error;
}

int data_writer_publish(struct data_writer *writer)
{
    if (writer->error != 0 || writer->pending.len_bytes == 0) {
        return writer->error;
    }
    if (writer->is_pipe) {
        writer->error = write_all(writer->fd, writer->pending.data, writer->pending.len_bytes);
    } else {
        writer->error = publish_to_file(writer);
    }
    writer->pending.len_bytes = 0;
    return writer->error;
}

// Appends a string as feature sections hold it.
static void add_feature_string(struct buffer *section, const char *text)
{
    uint32_t len_bytes = (uint32_t)(strlen(text) + 1);
    uint32_t padded_bytes =
        (len_bytes + PERF_DATA_NAME_ALIGN - 1) / PERF_DATA_NAME_ALIGN * PERF_DATA_NAME_ALIGN;
    buffer_add(section, &padded_bytes, sizeof(padded_bytes));
    buffer_add(section, text, len_bytes);
    static const uint8_t zero[PERF_DATA_NAME_ALIGN];
    buffer_add(section, zero, padded_bytes - len_bytes);
}

static void add_clock_data(struct buffer *section)
{
    struct timespec wall, monotonic;
    clock_gettime(CLOCK_REALTIME, &wall);
    clock_gettime(CLOCK_MONOTONIC, &monotonic);
    uint32_t versions[2] = {1, CLOCK_MONOTONIC};
    uint64_t times[2] = {(uint64_t)wall.tv_sec * 1000000000 + (uint64_t)wall.tv_nsec,
        (uint64_t)monotonic.tv_sec * 1000000000 + (uint64_t)monotonic.tv_nsec};
    buffer_add(section, versions, sizeof(versions));
    buffer_add(section, times, sizeof(times));
}

// The content of one section that says something about the recording.
static void add_feature(struct buffer *section, unsigned feature, const struct data_tail *tail)
{
    struct utsname host;
    uname(&host);
    uint32_t count = 0;
    switch (feature) {
    case PERF_DATA_BUILD_ID:
        buffer_add(section, tail->build_ids, tail->build_ids_bytes);
        break;
    case PERF_DATA_HOSTNAME:
        add_feature_string(section, host.nodename);
        break;
    case PERF_DATA_OSRELEASE:
        add_feature_string(section, host.release);
        break;
    case PERF_DATA_VERSION:
        add_feature_string(section, "lodger");
        break;
    case PERF_DATA_ARCH:
        add_feature_string(section, host.machine);
        break;
    case PERF_DATA_NRCPUS:
        for (int i = 0; i < 2; i++) {
            count = (uint32_t)sysconf(i == 0 ? _SC_NPROCESSORS_CONF : _SC_NPROCESSORS_ONLN);
            buffer_add(section, &count, sizeof(count));
        }
        break;
    case PERF_DATA_CMDLINE:
        while (tail->command[count] != NULL) {
            count++;
        }
        buffer_add(section, &count, sizeof(count));
        for (uint32_t i = 0; i < count; i++) {
            add_feature_string(section, tail->command[i]);
        }
        break;
    case PERF_DATA_SAMPLE_TIME:
        buffer_add(section, &tail->first_ns, sizeof(tail->first_ns));
        buffer_add(section, &tail->last_ns, sizeof(tail->last_ns));
        break;
    case PERF_DATA_CLOCK_DATA:
        add_clock_data(section);
        break;
    default:
        assert(false);
    }
}

// Appends table and sections behind the data and then sets the bits.
static int finish_file(struct data_writer *writer, const struct data_tail *tail)
{
    static const unsigned features[] = {PERF_DATA_BUILD_ID, PERF_DATA_HOSTNAME, PERF_DATA_OSRELEASE,
        PERF_DATA_VERSION, PERF_DATA_ARCH, PERF_DATA_NRCPUS, PERF_DATA_CMDLINE,
        PERF_DATA_SAMPLE_TIME, PERF_DATA_CLOCK_DATA};
    const size_t first = tail->build_ids == NULL ? 1 : 0;
    const size_t count = sizeof(features) / sizeof(features[0]) - first;
    struct perf_data_header header = writer->header;
    uint64_t table_offset = header.data.offset + header.data.size_bytes;
    bool has_tracing = has_feature(&header, PERF_DATA_TRACING_DATA);
    struct perf_data_section table[1 + sizeof(features) / sizeof(features[0])];
    size_t table_count = 0;
    if (has_tracing) {
        table[table_count++] = writer->tracing;
    }
    struct buffer sections = {};
    uint64_t sections_offset = table_offset + (count + (has_tracing ? 1 : 0)) * sizeof(table[0]);
    for (size_t i = first; i < first + count; i++) {
        size_t start = sections.len_bytes;
        add_feature(&sections, features[i], tail);
        buffer_align(&sections, 8);
        table[table_count++] =
            (struct perf_data_section){sections_offset + start, sections.len_bytes - start};
        set_feature(&header, features[i]);
    }
    int error = write_at(writer->fd, sections.data, sections.len_bytes, sections_offset);
    buffer_free(&sections);
    // The first entry of the table is the one that stands there already, if any.
    if (error == 0) {
        error = write_at(writer->fd, table, table_count * sizeof(table[0]), table_offset);
    }
    if (error == 0) {
        error = write_at(writer->fd, &header, sizeof(header), 0);
    }
    return error;
}

int data_writer_finish(struct data_writer *writer, const struct data_tail *tail)
{
    int error = data_writer_publish(writer);
    if (error == 0 && !writer->is_pipe) {
        error = finish_file(writer, tail);
    }
    if (!writer->is_pipe && close(writer->fd) != 0 && error == 0) {
        error = -errno;
    }
    buffer_free(&writer->pending);
    free(writer);
    return error;
}
