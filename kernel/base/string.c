// SPDX-License-Identifier: MIT
//
// Strings and numbers beyond the C library; for the kernel and the host. Numbers are parsed
// strictly: the whole text has to be the number. Who wants to accept spaces or suffixes takes them
// off first.
#include "kernel/base/string.h"

#include "kernel/base/assert.h"

#include <linux/errno.h>

// As in POSIX.1-2024: the result tells how long the copy would have been.
size_t strlcpy(char *restrict to, const char *restrict from, size_t size)
{
    size_t len = strlen(from);
    assert(size >= 1);
    string_copy_bytes(to, size, from, len);
    return len;
}

// `from` may be NULL if from_len is 0.
size_t string_copy_bytes(char *restrict to, size_t size, const char *restrict from, size_t from_len)
{
    assert(size >= 1);
    size_t len = MIN(from_len, size - 1);
    if (len > 0) {
        memcpy(to, from, len);
    }
    to[len] = '\0';
    return len;
}

bool string_starts_with(const char *string, const char *prefix)
{
    while (*prefix != '\0') {
        if (*string++ != *prefix++) {
            return false;
        }
    }
    return true;
}

// Looks at no more than len + 1 characters of the string: its end must be where the bytes end.
bool string_equals_bytes(const char *string, const char *bytes, size_t len)
{
    return strnlen(string, len + 1) == len && (len == 0 || memcmp(string, bytes, len) == 0);
}

// Value of a digit in bases up to 36; 36 for whatever is no digit.
static unsigned int digit_value(char character)
{
    if (character >= '0' && character <= '9') {
        return (unsigned int)(character - '0');
    }
    if (character >= 'a' && character <= 'z') {
        return (unsigned int)(character - 'a') + 10;
    }
    if (character >= 'A' && character <= 'Z') {
        return (unsigned int)(character - 'A') + 10;
    }
    return 36;
}

// Skips the prefix of a number ("0x", "0b") and returns its base.
static unsigned int skip_prefix(const char **bytes, size_t *len, unsigned int base)
{
    char second = *len > 2 && (*bytes)[0] == '0' ? (*bytes)[1] : '\0';
    unsigned int skipped = 0;
    if ((second == 'x' || second == 'X') && (base == 0 || base == 16)) {
        base = 16;
        skipped = 2;
    } else if ((second == 'b' || second == 'B') && base == 0) {
        base = 2;
        skipped = 2;
    } else if (base == 0) {
        base = *len > 1 && (*bytes)[0] == '0' ? 8 : 10;
    }
    *bytes += skipped;
    *len -= skipped;
    return base;
}

// All digits are looked at even after an overflow: a number with a wrong digit is no number,
// whatever its size.
int parse_u64(const char *bytes, size_t len, unsigned int base, uint64_t *value)
{
    uint64_t result = 0;
    bool overflow = false;

    assert(base == 0 || (base >= 2 && base <= 36));
    base = skip_prefix(&bytes, &len, base);
    if (len == 0) {
        return -EINVAL;
    }
    for (; len > 0; len--, bytes++) {
        unsigned int digit = digit_value(*bytes);
        if (digit >= base) {
            return -EINVAL;
        }
        overflow |= __builtin_mul_overflow(result, (uint64_t)base, &result);
        overflow |= __builtin_add_overflow(result, (uint64_t)digit, &result);
    }
    if (overflow) {
        return -ERANGE;
    }
    *value = result;
    return 0;
}

// The magnitude of INT64_MIN is one more than that of INT64_MAX; the conversion wraps as C23
// defines it.
int parse_s64(const char *bytes, size_t len, unsigned int base, int64_t *value)
{
    bool is_negative = len > 0 && bytes[0] == '-';
    uint64_t magnitude;

    if (len > 0 && (bytes[0] == '-' || bytes[0] == '+')) {
        bytes++;
        len--;
    }
    int error = parse_u64(bytes, len, base, &magnitude);
    if (error != 0) {
        return error;
    }
    if (magnitude > (uint64_t)INT64_MAX + (is_negative ? 1 : 0)) {
        return -ERANGE;
    }
    *value = (int64_t)(is_negative ? 0 - magnitude : magnitude);
    return 0;
}
