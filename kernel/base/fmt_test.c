// SPDX-License-Identifier: MIT
//
// fmt.h against libc's snprintf: every combination of flags, width, precision, length and
// conversion, into buffers of random size, with random values.
#include "kernel/base/fmt.h"

#include "kernel/base/host/host_base.h"
#include "kernel/base/host/host_cmocka.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#pragma clang diagnostic ignored "-Wformat-nonliteral"
#pragma clang diagnostic ignored "-Wformat-security"

// Both into a buffer of exactly `size` bytes; same text, same length.
#define check_same(size, ...)                                                                      \
    do {                                                                                           \
        char expected_[600];                                                                       \
        char *ours_ = malloc(size);                                                                \
        assert_non_null(ours_);                                                                    \
        int expected_len_ = snprintf(expected_, size, __VA_ARGS__);                                \
        int our_len_ = fmt_snprintf(ours_, size, __VA_ARGS__);                                     \
        if (our_len_ != expected_len_ || ((size) > 0 && strcmp(ours_, expected_) != 0)) {          \
            print_error("format [%s] size %zu: [%s] is not [%s]\n", format_of(__VA_ARGS__),        \
                (size_t)(size), ours_, expected_);                                                 \
        }                                                                                          \
        assert_int_equal(our_len_, expected_len_);                                                 \
        if ((size) > 0) {                                                                          \
            assert_string_equal(ours_, expected_);                                                 \
        }                                                                                          \
        free(ours_);                                                                               \
    } while (0)

static const char *format_of(const char *format, ...)
{
    return format;
}

// Appends a random one of the strings.
static void append_choice(
    char *format, struct prng *prng, const char *const *choices, size_t choice_count)
{
    strcat(format, choices[prng_below(prng, choice_count)]);
}

static uint64_t random_value(struct prng *prng)
{
    static const uint64_t corners[] = {
        0, 1, 9, 10, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, INT_MAX, 1ul << 31, INT64_MAX, 1ul << 63};
    if (prng_below(prng, 3) == 0) {
        uint64_t corner = corners[prng_below(prng, ARRAY_SIZE(corners))];
        return prng_below(prng, 2) == 0 ? corner : 0 - corner;
    }
    return prng_u64(prng) >> prng_below(prng, 64);
}

static void integers_match_libc(void **state)
{
    static const char *const flags[] = {"", "", "-", "+", " ", "0", "#", "-#", "+0", "#0", "- "};
    static const char *const widths[] = {"", "", "1", "5", "20", "40"};
    static const char *const precisions[] = {"", "", ".", ".0", ".1", ".7", ".25"};
    static const char *const lengths[] = {"hh", "h", "", "l", "ll", "z", "j", "t"};
    static const char *const conversions[] = {"d", "i", "u", "x", "X", "o"};
    struct prng prng = host_seed(__func__);

    for (int round = 0; round < 100000; round++) {
        char format[40] = "<%";
        append_choice(format, &prng, flags, ARRAY_SIZE(flags));
        append_choice(format, &prng, widths, ARRAY_SIZE(widths));
        append_choice(format, &prng, precisions, ARRAY_SIZE(precisions));
        size_t length = prng_below(&prng, ARRAY_SIZE(lengths));
        strcat(format, lengths[length]);
        append_choice(format, &prng, conversions, ARRAY_SIZE(conversions));
        strcat(format, ">");
        size_t size = prng_below(&prng, 50);
        uint64_t value = random_value(&prng);
        if (length <= 2) {
            check_same(size, format, (int)value);
        } else {
            check_same(size, format, (long)value);
        }
    }
}

static void texts_match_libc(void **state)
{
    struct prng prng = host_seed(__func__);
    const char *text = "hello, world";
    for (size_t size = 0; size < 40; size++) {
        int width = (int)prng_below(&prng, 60) - 30;
        int precision = (int)prng_below(&prng, 20) - 3;
        check_same(size, "%s", text);
        check_same(size, "a%sb%sc", text, "");
        check_same(size, "%*s|", width, text);
        check_same(size, "%.*s|", precision, text);
        check_same(size, "%*.*s|%d", width, precision, text, 42);
        check_same(size, "%-20s|", text);
        check_same(size, "%c%5c%-5c|", 'x', 'y', 'z');
        check_same(size, "100%%");
        check_same(size, "");
    }
    check_same(100, "%s", (char *)nullptr);
}

static void precision_bounds_the_reading(void **state)
{
    char to[20];
    char *bytes = malloc(3);
    assert_non_null(bytes);
    memcpy(bytes, "abc", 3); // not terminated: ASan watches
    assert_int_equal(fmt_snprintf(to, sizeof(to), "%.3s", bytes), 3);
    assert_string_equal(to, "abc");
    free(bytes);
}

static void pointers_have_16_digits(void **state)
{
    char to[40];
    fmt_snprintf(to, sizeof(to), "%p", (void *)0xffff800000001234ul);
    assert_string_equal(to, "0xffff800000001234");
    fmt_snprintf(to, sizeof(to), "%p", nullptr);
    assert_string_equal(to, "0x0000000000000000");
    fmt_snprintf(to, sizeof(to), "%20p|", nullptr);
    assert_string_equal(to, "  0x0000000000000000|");
}

static void unknown_conversions_print_themselves(void **state)
{
    char to[40];
    const char *bad = "a%yb%";
    fmt_snprintf(to, sizeof(to), bad, 1);
    assert_string_equal(to, "a%yb%");
    bad = "%ll";
    fmt_snprintf(to, sizeof(to), bad, 1);
    assert_string_equal(to, "%ll");
    bad = "%99999999999999999999d";
    assert_true(fmt_snprintf(to, sizeof(to), bad, 1) > 0); // width is limited, nothing overflows
}

static void buffer_remembers_truncation(void **state)
{
    char data[10];
    struct fmt_buffer buffer;
    fmt_buffer_init(&buffer, data, sizeof(data));
    assert_string_equal(data, "");
    fmt_append(&buffer, "%d-", 12);
    fmt_append_string(&buffer, "abc");
    fmt_append_char(&buffer, '!');
    fmt_append_bytes(&buffer, "zzz", 2);
    assert_string_equal(data, "12-abc!zz");
    assert_int_equal(buffer.len, 9);
    assert_false(buffer.truncated);
    fmt_append_bytes(&buffer, "", 0);
    assert_false(buffer.truncated);
    fmt_append_char(&buffer, 'x');
    assert_true(buffer.truncated);
    assert_string_equal(data, "12-abc!zz");
    fmt_append(&buffer, "more %s", "text");
    assert_int_equal(buffer.len, 9);

    // Exactly full is not cut off; one more is.
    fmt_buffer_init(&buffer, data, sizeof(data));
    fmt_append(&buffer, "%s", "123456789");
    assert_int_equal(buffer.len, 9);
    assert_false(buffer.truncated);
    fmt_buffer_init(&buffer, data, sizeof(data));
    fmt_append(&buffer, "%s", "1234567890");
    assert_int_equal(buffer.len, 9);
    assert_true(buffer.truncated);
    assert_string_equal(data, "123456789");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_match_libc),
        cmocka_unit_test(texts_match_libc),
        cmocka_unit_test(precision_bounds_the_reading),
        cmocka_unit_test(pointers_have_16_digits),
        cmocka_unit_test(unknown_conversions_print_themselves),
        cmocka_unit_test(buffer_remembers_truncation),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
