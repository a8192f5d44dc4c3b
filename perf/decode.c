// SPDX-License-Identifier: MIT
// Reading records that somebody hostile may have written: every length is checked before its use.
#include "perf/decode.h"

#include "kernel/base/assert.h"
#include "kernel/base/string.h"

// What is left of the record.
struct rest {
    const uint8_t *at;
    size_t len;
};

// The next `len` bytes, or NULL: there are fewer.
static const void *take(struct rest *rest, size_t len)
{
    if (len > rest->len)
        return NULL;
    const void *piece = rest->at;
    rest->at += len;
    rest->len -= len;
    return piece;
}

static bool decode_raw(struct rest *rest, struct perf_record *record)
{
    const uint32_t *head = take(rest, 8);
    if (head == NULL || head[0] > PERF_EXPORT_RECORD_MAX)
        return false;
    record->sample.raw_len = head[0];
    record->sample.raw = take(rest, ALIGN_UP(head[0], 8u));
    return record->sample.raw != NULL;
}

static bool decode_sample(struct rest *rest, struct perf_record *record)
{
    const struct perf_export_header *header = &record->header;
    uint8_t mode = header->mode;
    const uint64_t *ip = take(rest, 8);
    if (ip == NULL || (mode & PERF_EXPORT_IN_MASK) == 0 || header->event >= PERF_EXPORT_EVENTS ||
        header->kernel_frames > PERF_EXPORT_FRAMES_MAX ||
        header->user_frames > PERF_EXPORT_FRAMES_MAX)
        return false;
    record->sample.ip = *ip;
    if (mode & PERF_EXPORT_HAS_PERIOD) {
        const uint64_t *period = take(rest, 8);
        if (period == NULL)
            return false;
        record->sample.has_period = true;
        record->sample.period = *period;
    }
    if (mode & PERF_EXPORT_HAS_KERNEL_WORDS) {
        record->sample.has_kernel_words = true;
        record->sample.kernel_words = take(rest, 16);
        if (record->sample.kernel_words == NULL)
            return false;
    }
    if (mode & PERF_EXPORT_HAS_USER_WORDS) {
        record->sample.has_user_words = true;
        record->sample.user_words = take(rest, 16);
        if (record->sample.user_words == NULL)
            return false;
    }
    record->sample.kernel_frames = take(rest, ALIGN_UP(header->kernel_frames * 4u, 8u));
    if (record->sample.kernel_frames == NULL)
        return false;
    record->sample.user_frames = take(rest, header->user_frames * 8u);
    if (record->sample.user_frames == NULL)
        return false;
    if ((mode & PERF_EXPORT_HAS_RAW) && !decode_raw(rest, record))
        return false;
    return rest->len == 0;
}

static bool decode_mmap(struct rest *rest, struct perf_record *record)
{
    const struct perf_export_mmap *fields = take(rest, sizeof(*fields));
    if (fields == NULL || fields->build_id_len > sizeof(fields->build_id) ||
        rest->len != ALIGN_UP(fields->name_len + 1u, 8u))
        return false;
    const char *name = (const char *)rest->at;
    record->mmap.fields = fields;
    record->mmap.name = name;
    return strnlen(name, rest->len) == fields->name_len;
}

// All that is left, if it is `size` bytes: a record with one structure.
static const void *take_all(struct rest *rest, size_t size)
{
    return rest->len == size ? take(rest, size) : NULL;
}

static bool decode_body(struct rest *rest, struct perf_record *record)
{
    switch ((enum perf_export_record_type)record->header.type) {
    case PERF_EXPORT_SAMPLE:
        return decode_sample(rest, record);
    case PERF_EXPORT_COMM:
        record->comm = take_all(rest, sizeof(*record->comm));
        return record->comm != NULL && record->comm->name[sizeof(record->comm->name) - 1] == 0;
    case PERF_EXPORT_MMAP:
        return decode_mmap(rest, record);
    case PERF_EXPORT_FORK:
    case PERF_EXPORT_EXIT:
        record->fork = take_all(rest, sizeof(*record->fork));
        return record->fork != NULL;
    case PERF_EXPORT_SWITCH:
        record->switched = take_all(rest, sizeof(*record->switched));
        return record->switched != NULL;
    case PERF_EXPORT_LOST:
        record->lost = take_all(rest, sizeof(*record->lost));
        return record->lost != NULL;
    case PERF_EXPORT_RUNDOWN_END:
        record->rundown_end = take_all(rest, sizeof(*record->rundown_end));
        return record->rundown_end != NULL;
    default:
        return true;
    }
}

uint32_t perf_decode(const uint8_t *bytes, size_t available, struct perf_record *record)
{
    debug_assert(IS_ALIGNED((uintptr_t)bytes, 8ul));
    memset(record, 0, sizeof(*record));
    if (available < 8)
        return 0;
    uint16_t size = ((const struct perf_export_header *)bytes)->size;
    if (size < 8 || size % 8 != 0 || size > PERF_EXPORT_RECORD_MAX || size > available)
        return 0;
    record->header.size = size;
    record->header.type = ((const struct perf_export_header *)bytes)->type;
    if (record->header.type == PERF_EXPORT_PAD)
        return size;
    struct rest rest = {.at = bytes, .len = size};
    const struct perf_export_header *header = take(&rest, sizeof(*header));
    if (header == NULL)
        return 0;
    record->header = *header;
    return decode_body(&rest, record) ? size : 0;
}
