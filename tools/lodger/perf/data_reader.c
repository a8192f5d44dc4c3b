// SPDX-License-Identifier: MIT
//
// Reading perf.data.
#include "tools/lodger/perf/data_reader.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ATTRS_MAX 4096u

// The bytes of a section, or NULL: it is not in the file.
static const uint8_t *section(
    const struct data_reader *reader, const struct perf_data_section *place)
{
    uint64_t size_bytes = reader->file.len_bytes;
    bool fits = place->offset <= size_bytes && place->size_bytes <= size_bytes - place->offset;
    return fits ? reader->file.data + place->offset : NULL;
}

static char *read_attrs(struct data_reader *reader)
{
    const struct perf_data_header *header = &reader->header;
    uint64_t entry_bytes = header->attr_size_bytes;
    const uint8_t *attrs = section(reader, &header->attrs);
    if (attrs == NULL || entry_bytes < PERF_ATTR_SIZE_VER0 + sizeof(struct perf_data_section) ||
        entry_bytes > 4096 || header->attrs.size_bytes / entry_bytes > ATTRS_MAX) {
        return xstrdup("its attribute section is damaged");
    }
    reader->attr_count = header->attrs.size_bytes / entry_bytes;
    reader->attrs = xmalloc((reader->attr_count + 1) * sizeof(reader->attrs[0]));
    for (size_t i = 0; i < reader->attr_count; i++) {
        struct data_reader_attr *attr = &reader->attrs[i];
        *attr = (struct data_reader_attr){};
        // An attribute of another version is shorter or longer; fields that we do not know are 0.
        size_t attr_bytes = entry_bytes - sizeof(struct perf_data_section);
        size_t known = attr_bytes < sizeof(attr->attr) ? attr_bytes : sizeof(attr->attr);
        memcpy(&attr->attr, attrs + i * entry_bytes, known);
        attr->attr.size = (uint32_t)known;
        struct perf_data_section ids;
        memcpy(&ids, attrs + i * entry_bytes + attr_bytes, sizeof(ids));
        attr->ids = (const uint64_t *)section(reader, &ids);
        attr->id_count = attr->ids != NULL ? ids.size_bytes / sizeof(uint64_t) : 0;
    }
    return NULL;
}

char *data_reader_open(struct data_reader *reader, const char *path)
{
    *reader = (struct data_reader){};
    int error = file_read(path, &reader->file);
    if (error != 0) {
        return xasprintf("%s: %s", path, strerror(-error));
    }
    char *reason = NULL;
    if (reader->file.len_bytes < sizeof(reader->header)) {
        reason = xstrdup("it is too short");
    } else {
        memcpy(&reader->header, reader->file.data, sizeof(reader->header));
        if (reader->header.magic != PERF_DATA_MAGIC) {
            reason = xstrdup("it is no perf.data file");
        } else if (reader->header.size_bytes != sizeof(reader->header)) {
            reason = xstrdup("it is a stream (perf record -o -) or of another version");
        } else if (section(reader, &reader->header.data) == NULL) {
            reason = xstrdup("its data section is not complete");
        } else {
            reason = read_attrs(reader);
        }
    }
    if (reason != NULL) {
        char *whole = xasprintf("%s: %s", path, reason);
        free(reason);
        data_reader_close(reader);
        return whole;
    }
    return NULL;
}

void data_reader_close(struct data_reader *reader)
{
    buffer_free(&reader->file);
    free(reader->attrs);
    *reader = (struct data_reader){};
}

bool data_reader_walk(const struct data_reader *reader,
    void (*sink)(void *context, const struct perf_event_header *record), void *context)
{
    const uint8_t *data = section(reader, &reader->header.data);
    uint64_t size_bytes = reader->header.data.size_bytes;
    uint64_t at = 0;
    while (size_bytes - at >= sizeof(struct perf_event_header)) {
        const struct perf_event_header *record = (const struct perf_event_header *)(data + at);
        if (record->size < sizeof(*record) || record->size % 8 != 0 ||
            record->size > size_bytes - at) {
            return false;
        }
        sink(context, record);
        at += record->size;
    }
    return at == size_bytes;
}

const struct data_reader_attr *data_reader_find(const struct data_reader *reader, uint64_t id)
{
    for (size_t i = 0; i < reader->attr_count; i++) {
        for (size_t j = 0; j < reader->attrs[i].id_count; j++) {
            if (reader->attrs[i].ids[j] == id) {
                return &reader->attrs[i];
            }
        }
    }
    return NULL;
}

uint64_t data_reader_time(const struct data_reader *reader, const struct perf_event_header *record)
{
    const uint64_t *words = (const uint64_t *)(record + 1);
    size_t count = (record->size - sizeof(*record)) / sizeof(uint64_t);
    if (record->type >= PERF_DATA_RECORD_ATTR || count < 2) {
        return 0;
    }
    // The id is the first word of a sample, and the last of other records.
    bool is_sample = record->type == PERF_RECORD_SAMPLE;
    const struct data_reader_attr *attr =
        data_reader_find(reader, is_sample ? words[0] : words[count - 1]);
    uint64_t type = attr != NULL ? attr->attr.sample_type : 0;
    if ((type & PERF_SAMPLE_IDENTIFIER) == 0 || (type & PERF_SAMPLE_TIME) == 0) {
        return 0;
    }
    size_t place;
    if (is_sample) {
        place = 1 + ((type & PERF_SAMPLE_IP) != 0) + ((type & PERF_SAMPLE_TID) != 0);
    } else {
        // Behind the time: ID, STREAM_ID, CPU, IDENTIFIER, as far as they are there.
        size_t behind = 2 + ((type & PERF_SAMPLE_ID) != 0) + ((type & PERF_SAMPLE_STREAM_ID) != 0) +
                        ((type & PERF_SAMPLE_CPU) != 0);
        place = count >= behind ? count - behind : count;
    }
    return place < count ? words[place] : 0;
}

bool data_reader_feature(
    const struct data_reader *reader, unsigned feature, const uint8_t **data, size_t *len_bytes)
{
    assert(feature < 256);
    const struct perf_data_header *header = &reader->header;
    if ((header->features[feature / 64] >> (feature % 64) & 1) == 0) {
        return false;
    }
    uint64_t index = 0;
    for (unsigned i = 0; i < feature; i++) {
        index += header->features[i / 64] >> (i % 64) & 1;
    }
    struct perf_data_section entry = {
        header->data.offset + header->data.size_bytes + index * sizeof(entry), sizeof(entry)};
    const uint8_t *place = section(reader, &entry);
    if (place == NULL) {
        return false;
    }
    memcpy(&entry, place, sizeof(entry));
    *data = section(reader, &entry);
    *len_bytes = entry.size_bytes;
    return *data != NULL;
}
