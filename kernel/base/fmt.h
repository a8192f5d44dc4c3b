// SPDX-License-Identifier: MIT
//
// Formatted text into a buffer of limited size, like vsnprintf.
//
//   conversions  d i u x X o c s p %
//   flags        - + space 0 #       width and precision as numbers or *
//   length       hh h l ll z j t
//
// %p prints 0x and 16 digits; %s with NULL prints "(null)"; %n and floating point do not exist. An
// unknown conversion prints itself, so that a mistake is visible. Nothing is allocated or locked;
// context: any, including NMI.
#pragma once

#include "kernel/base/types.h"

// Writes at most size bytes including the terminating 0 (always written if size > 0) and returns
// the length that the whole text has.
int fmt_vsnprintf(char *buffer, size_t size, const char *format, va_list arguments)
    __printf_like(3, 0);
int fmt_snprintf(char *buffer, size_t size, const char *format, ...) __printf_like(3, 4);

// A text that grows in a fixed buffer: always terminated, remembers whether something did not fit.
struct fmt_buffer {
    char *data;
    size_t size; // of data, >= 1
    size_t len;  // strlen(data)
    bool truncated;
};

// Length, size and terminating 0 agree.
static inline bool fmt_buffer_is_valid(const struct fmt_buffer *buffer)
{
    return buffer->len < buffer->size && buffer->data[buffer->len] == '\0';
}

void fmt_buffer_init(struct fmt_buffer *buffer, char *data, size_t size);
void fmt_append(struct fmt_buffer *buffer, const char *format, ...) __printf_like(2, 3);
void fmt_append_va(struct fmt_buffer *buffer, const char *format, va_list arguments)
    __printf_like(2, 0);
void fmt_append_char(struct fmt_buffer *buffer, char character);
void fmt_append_string(struct fmt_buffer *buffer, const char *string);
void fmt_append_bytes(struct fmt_buffer *buffer, const char *bytes, size_t len);
