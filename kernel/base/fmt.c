// SPDX-License-Identifier: MIT
//
// Formatted text in three steps: a conversion is parsed into a struct spec (parse_spec), its
// argument is fetched by its length and kind (signed_argument, unsigned_argument), and the result
// goes through an output that stores what fits and counts the rest (put_bytes, put_repeated).
//
// Output is never needed twice and never held back: no intermediate buffer but the 64 digits of a
// number. This code runs in a panic, on the smallest of stacks, and must not depend on anything
// that could have broken.
#include "kernel/base/fmt.h"

#include "kernel/base/assert.h"
#include "kernel/base/string.h"

struct output {
    char *buffer;
    size_t size; // of the buffer
    size_t len;  // of the whole text so far; characters at and behind `size` are only counted
};

struct spec {
    bool left;      // '-'
    bool plus;      // '+'
    bool space;     // ' '
    bool zero;      // '0'
    bool alternate; // '#'
    size_t width;
    bool has_precision;
    size_t precision;
    char conversion;
    // Size in bytes of the integer argument after promotion: 1 and 2 are passed as int and cut
    // down.
    unsigned int integer_size;
};

// Stores what fits and counts everything, so that the result is the length of the whole text.
static void put_bytes(struct output *out, const char *bytes, size_t len)
{
    if (out->len < out->size) {
        size_t room = out->size - out->len;
        memcpy(out->buffer + out->len, bytes, MIN(len, room));
    }
    out->len += len;
}

// The same for padding. The width may be large; the work is limited by the buffer.
static void put_repeated(struct output *out, char character, size_t count)
{
    if (out->len < out->size) {
        size_t room = out->size - out->len;
        memset(out->buffer + out->len, character, MIN(count, room));
    }
    out->len += count;
}

// Digits of `value` into the end of digits[64]; returns how many (none for 0: the precision decides
// what 0 looks like).
static size_t make_digits(uint64_t value, unsigned int base, bool upper, char digits[64])
{
    const char *alphabet = upper ? "0123456789ABCDEF" : "0123456789abcdef";
    size_t count = 0;
    while (value != 0) {
        // The constant divisors become multiplications and shifts.
        unsigned int digit;
        if (base == 10) {
            digit = (unsigned int)(value % 10);
            value /= 10;
        } else if (base == 16) {
            digit = value & 15;
            value >>= 4;
        } else {
            digit = value & 7;
            value >>= 3;
        }
        digits[64 - ++count] = alphabet[digit];
    }
    return count;
}

// sign, then prefix ("0x"), then zeros, then digits; padded to the width on one of three places.
static void put_number(struct output *out, const struct spec *spec, uint64_t value,
    unsigned int base, char sign, const char *prefix)
{
    char digits[64];
    size_t digit_count = make_digits(value, base, spec->conversion == 'X', digits);
    size_t prefix_len = strlen(prefix);
    size_t sign_len = sign != '\0' ? 1 : 0;
    size_t min_digits = spec->has_precision ? spec->precision : 1;

    if (base == 8 && spec->alternate && min_digits <= digit_count) {
        min_digits = digit_count + 1; // %#o: a leading 0
    }
    size_t zeros = min_digits > digit_count ? min_digits - digit_count : 0;
    size_t len = sign_len + prefix_len + zeros + digit_count;
    size_t padding = spec->width > len ? spec->width - len : 0;
    if (spec->zero && !spec->left && !spec->has_precision) {
        zeros += padding;
        padding = 0;
    }
    if (!spec->left) {
        put_repeated(out, ' ', padding);
    }
    put_bytes(out, &sign, sign_len);
    put_bytes(out, prefix, prefix_len);
    put_repeated(out, '0', zeros);
    put_bytes(out, digits + 64 - digit_count, digit_count);
    if (spec->left) {
        put_repeated(out, ' ', padding);
    }
}

// The magnitude of the smallest number does not exist as a signed one: it is computed in
// unsigned arithmetic.
static void put_signed(struct output *out, const struct spec *spec, int64_t value)
{
    char sign = value < 0 ? '-' : spec->plus ? '+' : spec->space ? ' ' : '\0';
    uint64_t magnitude = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    put_number(out, spec, magnitude, 10, sign, "");
}

// The prefix of %#x is left out for 0, as in C; that of %#o is a matter of the digits.
static void put_unsigned(struct output *out, const struct spec *spec, uint64_t value)
{
    switch (spec->conversion) {
    case 'o':
        put_number(out, spec, value, 8, '\0', "");
        break;
    case 'x':
        put_number(out, spec, value, 16, '\0', spec->alternate && value != 0 ? "0x" : "");
        break;
    case 'X':
        put_number(out, spec, value, 16, '\0', spec->alternate && value != 0 ? "0X" : "");
        break;
    default:
        put_number(out, spec, value, 10, '\0', "");
        break;
    }
}

// Text and padding on one of two sides.
static void put_text(struct output *out, const struct spec *spec, const char *text, size_t len)
{
    size_t padding = spec->width > len ? spec->width - len : 0;
    if (!spec->left) {
        put_repeated(out, ' ', padding);
    }
    put_bytes(out, text, len);
    if (spec->left) {
        put_repeated(out, ' ', padding);
    }
}

// With a precision, a string need not be terminated: nothing is read behind its first
// `precision` bytes.
static void put_string(struct output *out, const struct spec *spec, const char *text)
{
    if (text == nullptr) {
        text = "(null)";
    }
    put_text(out, spec, text, spec->has_precision ? strnlen(text, spec->precision) : strlen(text));
}

// Always 16 digits, so that addresses in tables and traces line up.
static void put_pointer(struct output *out, const struct spec *spec, const void *pointer)
{
    struct spec hex = *spec;
    hex.conversion = 'x';
    hex.has_precision = true;
    hex.precision = 16;
    put_number(out, &hex, (uintptr_t)pointer, 16, '\0', "0x");
}

// Decimal number at *format; limited so that nothing overflows.
static size_t parse_number(const char **format)
{
    size_t number = 0;
    for (; **format >= '0' && **format <= '9'; (*format)++) {
        number = MIN(number * 10 + (size_t)(**format - '0'), (size_t)INT32_MAX);
    }
    return number;
}

// Any number of flags in any order.
static void parse_flags(const char **format, struct spec *spec)
{
    for (;; (*format)++) {
        switch (**format) {
        case '-':
            spec->left = true;
            break;
        case '+':
            spec->plus = true;
            break;
        case ' ':
            spec->space = true;
            break;
        case '0':
            spec->zero = true;
            break;
        case '#':
            spec->alternate = true;
            break;
        default:
            return;
        }
    }
}

// Length modifier; all long forms have 8 bytes on x86-64.
static void parse_length(const char **format, struct spec *spec)
{
    spec->integer_size = sizeof(int);
    switch (**format) {
    case 'h':
        (*format)++;
        spec->integer_size = sizeof(short);
        if (**format == 'h') {
            (*format)++;
            spec->integer_size = sizeof(char);
        }
        break;
    case 'l':
        (*format)++;
        if (**format == 'l') {
            (*format)++;
        }
        spec->integer_size = sizeof(long);
        break;
    case 'z':
    case 'j':
    case 't':
        (*format)++;
        spec->integer_size = sizeof(long);
        break;
    default:
        break;
    }
}

// A va_list as a structure, so that functions can take arguments from the same list.
struct arguments {
    va_list list;
};

// *format is behind the '%'; moves to the conversion character.
static void parse_spec(const char **format, struct spec *spec, struct arguments *arguments)
{
    *spec = (struct spec){};
    parse_flags(format, spec);
    if (**format == '*') {
        (*format)++;
        int width = va_arg(arguments->list, int);
        spec->left |= width < 0;
        spec->width = width < 0 ? 0 - (size_t)width : (size_t)width;
    } else {
        spec->width = parse_number(format);
    }
    if (**format == '.') {
        (*format)++;
        spec->has_precision = true;
        if (**format == '*') {
            (*format)++;
            int precision = va_arg(arguments->list, int);
            spec->has_precision = precision >= 0;
            spec->precision = precision >= 0 ? (size_t)precision : 0;
        } else {
            spec->precision = parse_number(format);
        }
    }
    parse_length(format, spec);
    spec->conversion = **format;
}

// Everything shorter than int was promoted to int by the call: the value is cut down to what the
// length says.
static int64_t signed_argument(const struct spec *spec, struct arguments *arguments)
{
    switch (spec->integer_size) {
    case sizeof(char):
        return (signed char)va_arg(arguments->list, int);
    case sizeof(short):
        return (short)va_arg(arguments->list, int);
    case sizeof(int):
        return va_arg(arguments->list, int);
    default:
        return va_arg(arguments->list, long);
    }
}

// The same; the narrow types must not be sign-extended.
static uint64_t unsigned_argument(const struct spec *spec, struct arguments *arguments)
{
    switch (spec->integer_size) {
    case sizeof(char):
        return (unsigned char)va_arg(arguments->list, unsigned int);
    case sizeof(short):
        return (unsigned short)va_arg(arguments->list, unsigned int);
    case sizeof(int):
        return va_arg(arguments->list, unsigned int);
    default:
        return va_arg(arguments->list, unsigned long);
    }
}

// False for a conversion that does not exist.
static bool put_conversion(struct output *out, const struct spec *spec, struct arguments *arguments)
{
    switch (spec->conversion) {
    case 'd':
    case 'i':
        put_signed(out, spec, signed_argument(spec, arguments));
        return true;
    case 'u':
    case 'o':
    case 'x':
    case 'X':
        put_unsigned(out, spec, unsigned_argument(spec, arguments));
        return true;
    case 'c': {
        char character = (char)va_arg(arguments->list, int);
        put_text(out, spec, &character, 1);
        return true;
    }
    case 's':
        put_string(out, spec, va_arg(arguments->list, const char *));
        return true;
    case 'p':
        put_pointer(out, spec, va_arg(arguments->list, const void *));
        return true;
    case '%':
        put_bytes(out, "%", 1);
        return true;
    default:
        return false;
    }
}

// Plain text is put in runs up to the next '%', not character by character. A conversion that
// does not exist is put as it stands in the format. The terminating 0 has its place reserved
// from the start: the output is one byte shorter than the buffer.
int fmt_vsnprintf(char *buffer, size_t size, const char *format, va_list list)
{
    struct output out = {.buffer = buffer, .size = size > 0 ? size - 1 : 0};
    struct arguments arguments;

    va_copy(arguments.list, list);
    while (*format != '\0') {
        const char *start = format;
        while (*format != '\0' && *format != '%') {
            format++;
        }
        put_bytes(&out, start, (size_t)(format - start));
        if (*format == '\0') {
            break;
        }
        struct spec spec;
        start = format++;
        parse_spec(&format, &spec, &arguments);
        if (*format != '\0') {
            format++;
        }
        if (!put_conversion(&out, &spec, &arguments)) {
            put_bytes(&out, start, (size_t)(format - start));
        }
    }
    va_end(arguments.list);
    if (size > 0) {
        buffer[MIN(out.len, size - 1)] = '\0';
    }
    return (int)MIN(out.len, (size_t)INT32_MAX);
}

int fmt_snprintf(char *buffer, size_t size, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    int len = fmt_vsnprintf(buffer, size, format, list);
    va_end(list);
    return len;
}

void fmt_buffer_init(struct fmt_buffer *buffer, char *data, size_t size)
{
    assert(size >= 1);
    *buffer = (struct fmt_buffer){.data = data, .size = size};
    data[0] = '\0';
}

// Writes behind what is there. If it did not fit, fmt_vsnprintf has filled the buffer to its
// last byte.
void fmt_append_va(struct fmt_buffer *buffer, const char *format, va_list list)
{
    size_t room = buffer->size - buffer->len;
    debug_assert(fmt_buffer_is_valid(buffer));
    size_t len = (size_t)fmt_vsnprintf(buffer->data + buffer->len, room, format, list);
    buffer->truncated |= len >= room;
    buffer->len += MIN(len, room - 1);
}

void fmt_append(struct fmt_buffer *buffer, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    fmt_append_va(buffer, format, list);
    va_end(list);
}

void fmt_append_char(struct fmt_buffer *buffer, char character)
{
    fmt_append_bytes(buffer, &character, 1);
}

void fmt_append_string(struct fmt_buffer *buffer, const char *string)
{
    fmt_append_bytes(buffer, string, strlen(string));
}

void fmt_append_bytes(struct fmt_buffer *buffer, const char *bytes, size_t len)
{
    size_t room = buffer->size - buffer->len;
    debug_assert(fmt_buffer_is_valid(buffer));
    buffer->truncated |= len >= room;
    buffer->len += string_copy_bytes(buffer->data + buffer->len, room, bytes, len);
}
