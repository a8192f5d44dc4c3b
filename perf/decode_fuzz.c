// SPDX-License-Identifier: MIT
// Any bytes as a ring's contents: the decoder reads inside each record, and goes on.
#include "perf/decode.h"

#include "kernel/base/assert.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

// Touches every byte that the record points to, so that the sanitizer sees it.
static uint64_t touch(const struct perf_record *record)
{
    uint64_t sum = 0;
    if (record->header.type == PERF_EXPORT_SAMPLE) {
        for (uint32_t i = 0; i < record->header.kernel_frames; i++)
            sum += record->sample.kernel_frames[i];
        for (uint32_t i = 0; i < record->header.user_frames; i++)
            sum += record->sample.user_frames[i];
        for (uint32_t i = 0; record->sample.raw != NULL && i < record->sample.raw_len; i++)
            sum += record->sample.raw[i];
        for (uint32_t i = 0; i < 2; i++) {
            sum += record->sample.has_kernel_words ? record->sample.kernel_words[i] : 0;
            sum += record->sample.has_user_words ? record->sample.user_words[i] : 0;
        }
    } else if (record->header.type == PERF_EXPORT_MMAP) {
        assert(strlen(record->mmap.name) == record->mmap.fields->name_len);
    } else if (record->header.type == PERF_EXPORT_COMM) {
        assert(strlen(record->comm->name) < 16);
    }
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    uint8_t *copy = aligned_alloc(8, ALIGN_UP(size + 1, 8ul));
    assert(copy != NULL);
    if (size != 0)
        memcpy(copy, bytes, size);
    volatile uint64_t sum = 0;
    for (size_t at = 0; at < size;) {
        struct perf_record record;
        uint32_t len = perf_decode(copy + at, size - at, &record);
        assert(len <= size - at && len % 8 == 0);
        if (len == 0)
            break;
        sum += touch(&record);
        at += len;
    }
    free(copy);
    return 0;
}
