// SPDX-License-Identifier: MIT
// The text that describes a tracepoint's record: as in the files `format` of Linux' tracefs, which
// perf and its relatives parse.
#pragma once

#include "kernel/base/types.h"
#include "perf/export.h"

// struct perf_export_field with pointers where that has addresses: in the kernel they are the same.
struct perf_format_field {
    const char *type, *name;
    uint16_t offset, size;
    uint16_t array_len;
    uint8_t is_signed, reserved;
};
static_assert(sizeof(struct perf_format_field) == sizeof(struct perf_export_field));
static_assert(
    offsetof(struct perf_format_field, offset) == offsetof(struct perf_export_field, offset));

struct perf_format {
    const char *name, *print;
    uint32_t id;
    uint32_t field_count;
    const struct perf_format_field *fields;
};

// Writes the text and a 0 to `text` as far as `size` bytes go; returns its whole length.
size_t perf_format_text(const struct perf_format *format, char *text, size_t size);
