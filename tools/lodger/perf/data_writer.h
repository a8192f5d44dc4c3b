// SPDX-License-Identifier: MIT
//
// Writes a perf.data file that the ordinary `perf` can read at any moment while it grows, or the
// same as a stream (pipe mode).
//
// A file that grows. Its header names the size of the data section, so what lies behind that size
// does not exist for a reader. data_writer_publish() appends whole records first and moves the
// size over them then. A full disk or a killed recorder therefore leaves the file as it was
// published last. Two things are known only at the end (statistics, host): data_writer_finish()
// appends them.
//
// Formats of tracepoints must be known when a reader opens the file, and their table of sections
// must follow the data section. With tracepoints each publication therefore writes, after the
// records, the 16 bytes of that table, and turns the table before it into a record without meaning
// (FINISHED_INIT). A reader that reads the header just before that and the table just after it
// finds no formats and has to be started again: some microseconds in each publication.
#pragma once

#include "tools/lodger/perf/perf_data.h"
#include "tools/lodger/util.h"

// One event of one machine.
struct data_event {
    struct perf_event_attr attr;
    const char *name;
    const uint64_t *ids;
    size_t id_count;
};

struct data_head {
    const struct data_event *events;
    size_t event_count;
    // The machines of all ids; none if they are among the records.
    const struct perf_data_id *ids;
    const struct perf_data_guest_id *guest_ids;
    size_t id_count;
    const struct buffer *tracing_data; // formats of tracepoints, or NULL
};

// What the file says about itself at its end.
struct data_tail {
    char *const *command; // the recorder's, NULL-terminated
    uint64_t first_ns, last_ns;
    const uint8_t *build_ids; // section "build-id" of another file, or NULL
    size_t build_ids_bytes;
};

struct data_writer;

// Creates the file, or with the path "-" writes to standard output. Returns 0 or a negative errno.
[[nodiscard]] int data_writer_open(
    const char *path, const struct data_head *head, struct data_writer **result);

// Appends records. They reach the file with data_writer_publish().
void data_writer_add(struct data_writer *writer, const struct buffer *records);

// Makes what was added readable. Returns 0 or a negative errno: then the file is what it was
// before, and later calls do nothing but return the same.
[[nodiscard]] int data_writer_publish(struct data_writer *writer);

// Publishes, completes the file and closes it. Returns 0 or the first error that occurred; what
// was published is readable also then.
[[nodiscard]] int data_writer_finish(struct data_writer *writer, const struct data_tail *tail);

// Bytes of records that a reader sees.
uint64_t data_writer_published_bytes(const struct data_writer *writer);
