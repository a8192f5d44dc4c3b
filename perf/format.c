// SPDX-License-Identifier: MIT
// The text that describes a tracepoint's record.
#include "perf/format.h"

#include "kernel/base/assert.h"
#include "kernel/base/fmt.h"

static const struct perf_format_field common_fields[] = {
    {"unsigned short", "common_type", 0, 2, 0, 0, 0},
    {"unsigned char", "common_flags", 2, 1, 0, 0, 0},
    {"unsigned char", "common_preempt_count", 3, 1, 0, 0, 0},
    {"int", "common_pid", 4, 4, 0, 1, 0},
};

// Appends to a text whose whole length is counted, also of what does not fit.
struct counted_text {
    char *text;
    size_t size, len;
};

static __printf_like(2, 3) void append(struct counted_text *out, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    size_t room = out->len < out->size ? out->size - out->len : 0;
    int len = fmt_vsnprintf(room != 0 ? out->text + out->len : NULL, room, format, arguments);
    va_end(arguments);
    assert(len >= 0);
    out->len += (size_t)len;
}

static void append_field(struct counted_text *out, const struct perf_format_field *field)
{
    append(out, "\tfield:%s %s", field->type, field->name);
    if (field->array_len != 0)
        append(out, "[%u]", field->array_len);
    append(out, ";\toffset:%u;\tsize:%u;\tsigned:%u;\n", field->offset, field->size,
        field->is_signed != 0 ? 1u : 0u);
}

size_t perf_format_text(const struct perf_format *format, char *text, size_t size)
{
    assert(format->name != NULL && format->print != NULL);
    struct counted_text out = {.text = text, .size = size};
    append(&out, "name: %s\nID: %u\nformat:\n", format->name, format->id);
    for (size_t i = 0; i < ARRAY_SIZE(common_fields); i++)
        append_field(&out, &common_fields[i]);
    append(&out, "\n");
    for (uint32_t i = 0; i < format->field_count; i++)
        append_field(&out, &format->fields[i]);
    append(&out, "\nprint fmt: %s\n", format->print);
    return out.len;
}
