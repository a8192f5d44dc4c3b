// SPDX-License-Identifier: MIT
// Reading records of perf/export.h, which somebody hostile may have written. For collectors.
#pragma once

#include "kernel/base/types.h"
#include "perf/export.h"

// A record with pointers into the bytes it was read from, which must be a copy that nobody changes.
struct perf_record {
    struct perf_export_header header;
    union {
        struct {
            uint64_t ip;
            bool has_period, has_kernel_words, has_user_words;
            uint64_t period;
            const uint64_t *kernel_words, *user_words; // two each, or NULL
            const uint32_t *kernel_frames;             // header.kernel_frames of them
            const uint64_t *user_frames;               // header.user_frames of them
            const uint8_t *raw;                        // NULL: none
            uint32_t raw_len;
        } sample;
        const struct perf_export_comm *comm; // the name ends with a 0
        struct {
            const struct perf_export_mmap *fields;
            const char *name; // fields->name_len bytes without a 0 in them, and a 0
        } mmap;
        const struct perf_export_fork *fork;
        const struct perf_export_switch *switched;
        const struct perf_export_lost *lost;
        const struct perf_export_rundown_end *rundown_end;
    };
};

// The record at `bytes` (8-byte aligned), of which `available` can be read. Its size, or 0: not
// well-formed. A PAD fills header.size and header.type alone. Types that are not known have only a
// header: leave them out.
[[nodiscard]] uint32_t perf_decode(
    const uint8_t *bytes, size_t available, struct perf_record *record);

// Address of a kernel frame.
static inline uint64_t perf_decode_kernel_frame(uint32_t frame)
{
    return UINT64_C(0xffffffff00000000) | frame;
}
