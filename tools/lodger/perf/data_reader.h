// SPDX-License-Identifier: MIT
//
// Reads perf.data files (not streams) as perf and this program write them: attributes, records
// with their times, feature sections. Everything is checked against the file's size; a file that
// is wrong is refused or ends there.
#pragma once

#include "tools/lodger/perf/perf_data.h"
#include "tools/lodger/util.h"

struct data_reader_attr {
    struct perf_event_attr attr;
    const uint64_t *ids;
    size_t id_count;
};

struct data_reader {
    struct buffer file; // all of it
    struct perf_data_header header;
    struct data_reader_attr *attrs;
    size_t attr_count;
};

// Returns NULL or the reason why not, for the user.
[[nodiscard]] char *data_reader_open(struct data_reader *reader, const char *path);
void data_reader_close(struct data_reader *reader);

// Calls `sink` for each record of the data section. Returns false if the section is damaged; what
// came before has been given.
bool data_reader_walk(const struct data_reader *reader,
    void (*sink)(void *context, const struct perf_event_header *record), void *context);

// The attribute that an id belongs to, or NULL.
const struct data_reader_attr *data_reader_find(const struct data_reader *reader, uint64_t id);

// Time of a record that has PERF_SAMPLE_IDENTIFIER and PERF_SAMPLE_TIME, 0: it has none.
uint64_t data_reader_time(const struct data_reader *reader, const struct perf_event_header *record);

// A feature's section: false if the file does not have it.
bool data_reader_feature(
    const struct data_reader *reader, unsigned feature, const uint8_t **data, size_t *len_bytes);
