// SPDX-License-Identifier: MIT
//
// Any bytes as a format with plenty of integer arguments, into a buffer of any size: never outside,
// always terminated. 's' is left out, because an integer is no string.
#include "kernel/base/assert.h"
#include "kernel/base/fmt.h"
#include "kernel/base/string.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

#pragma clang diagnostic ignored "-Wformat-nonliteral"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    char format[32];
    const long value = -0x123456789abcdefl;

    if (size < 1) {
        return 0;
    }
    size_t buffer_size = bytes[0];
    size_t len = string_copy_bytes(format, sizeof(format), (const char *)bytes + 1, size - 1);
    for (size_t i = 0; i < len; i++) {
        // '*' would take `value` as a width of hundreds of millions: correct, but slow.
        if (format[i] == 's' || format[i] == '*') {
            format[i] = 'd';
        }
    }
    char *buffer = malloc(MAX(buffer_size, 1ul));
    int total = fmt_snprintf(buffer, buffer_size, format, value, value, value, value, value, value,
        value, value, value, value, value, value, value, value, value, value);
    assert(total >= 0);
    if (buffer_size > 0) {
        assert(strlen(buffer) <= MIN((size_t)total, buffer_size - 1));
    }
    free(buffer);
    return 0;
}
