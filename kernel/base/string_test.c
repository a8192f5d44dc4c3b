// SPDX-License-Identifier: MIT
//
// string_generic.c against libc, string.c, hash.h and the numbers' parser. The buffers end exactly
// where ASan's red zone begins.
#include "kernel/base/hash.h"
#include "kernel/base/host/host_base.h"
#include "kernel/base/host/host_cmocka.h"
#include "kernel/base/string.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The kernel's functions under names of their own.
#define memcpy  generic_memcpy
#define memmove generic_memmove
#define memset  generic_memset
#define memcmp  generic_memcmp
#define memchr  generic_memchr
#define bcmp    generic_bcmp
#define strlen  generic_strlen
#define strnlen generic_strnlen
#define strcmp  generic_strcmp
#define strncmp generic_strncmp
#define strchr  generic_strchr
#define strrchr generic_strrchr
void *memcpy(void *restrict to, const void *restrict from, size_t len);
void *memmove(void *to, const void *from, size_t len);
void *memset(void *to, int byte, size_t len);
int memcmp(const void *a, const void *b, size_t len);
void *memchr(const void *bytes, int byte, size_t len);
size_t strlen(const char *string);
size_t strnlen(const char *string, size_t max_len);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t max_len);
char *strchr(const char *string, int character);
char *strrchr(const char *string, int character);
#include "kernel/base/string_generic.c"
#undef memcpy
#undef memmove
#undef memset
#undef memcmp
#undef memchr
#undef bcmp
#undef strlen
#undef strnlen
#undef strcmp
#undef strncmp
#undef strchr
#undef strrchr

static int sign(int value)
{
    return (value > 0) - (value < 0);
}

static void memory_functions_match_libc(void **state)
{
    struct prng prng = host_seed(__func__);
    for (int round = 0; round < 20000; round++) {
        size_t len = prng_below(&prng, 70);
        uint8_t *a = malloc(len + 1);
        uint8_t *b = malloc(len + 1);
        uint8_t *expected = malloc(len + 1);
        assert_true(a != nullptr && b != nullptr && expected != nullptr);
        for (size_t i = 0; i < len; i++) {
            a[i] = (uint8_t)prng_below(&prng, 3);
            b[i] = prng_below(&prng, 30) == 0 ? (uint8_t)prng_u64(&prng) : a[i];
        }
        assert_int_equal(sign(generic_memcmp(a, b, len)), sign(memcmp(a, b, len)));
        assert_int_equal(sign(generic_bcmp(a, b, len)) != 0, memcmp(a, b, len) != 0);
        int byte = (int)prng_below(&prng, 4);
        assert_ptr_equal(generic_memchr(a, byte, len), memchr(a, byte, len));

        assert_ptr_equal(generic_memcpy(b, a, len), b);
        assert_memory_equal(a, b, len);

        size_t from = prng_below(&prng, len + 1);
        size_t to = prng_below(&prng, len + 1);
        size_t count = prng_below(&prng, len + 1 - MAX(from, to));
        memcpy(expected, a, len);
        memmove(expected + to, expected + from, count);
        assert_ptr_equal(generic_memmove(a + to, a + from, count), a + to);
        assert_memory_equal(a, expected, len);

        memset(expected + from, byte - 200, len - from);
        assert_ptr_equal(generic_memset(a + from, byte - 200, len - from), a + from);
        assert_memory_equal(a, expected, len);
        free(a);
        free(b);
        free(expected);
    }
}

static void string_functions_match_libc(void **state)
{
    struct prng prng = host_seed(__func__);
    for (int round = 0; round < 20000; round++) {
        char a[20] = {};
        char b[20] = {};
        size_t len = prng_below(&prng, 19);
        for (size_t i = 0; i < len; i++) {
            a[i] = (char)("ab/\xff"[prng_below(&prng, 4)]);
            b[i] = prng_below(&prng, 8) == 0 ? '\0' : a[i];
        }
        size_t limit = prng_below(&prng, 20);
        int character = (unsigned char)"ab/\xff"[prng_below(&prng, 5)];
        assert_int_equal(generic_strlen(b), strlen(b));
        assert_int_equal(generic_strnlen(b, limit), strnlen(b, limit));
        assert_int_equal(sign(generic_strcmp(a, b)), sign(strcmp(a, b)));
        assert_int_equal(sign(generic_strncmp(a, b, limit)), sign(strncmp(a, b, limit)));
        assert_ptr_equal(generic_strchr(a, character), strchr(a, character));
        assert_ptr_equal(generic_strrchr(a, character), strrchr(a, character));
    }
}

static void copies_are_bounded_and_terminated(void **state)
{
    char to[4];
    const char *volatile source = "ab"; // so that the compiler does not do the work
    assert_int_equal(strlcpy(to, source, sizeof(to)), 2);
    assert_string_equal(to, "ab");
    source = "abcdef";
    assert_int_equal(strlcpy(to, source, sizeof(to)), 6);
    assert_string_equal(to, "abc");
    assert_int_equal(strlcpy(to, source, 1), 6);
    assert_string_equal(to, "");
    assert_int_equal(string_copy_bytes(to, sizeof(to), "xyzw", 2), 2);
    assert_string_equal(to, "xy");
    assert_int_equal(string_copy_bytes(to, sizeof(to), "xyzw", 4), 3);
    assert_string_equal(to, "xyz");
    assert_true(string_starts_with("virtio_blk", "virtio"));
    assert_false(string_starts_with("virt", "virtio"));
    assert_true(string_starts_with("", ""));
    assert_true(string_equals_bytes("abc", "abcd", 3));
    assert_false(string_equals_bytes("abc", "abcd", 4));
    assert_false(string_equals_bytes("abc", "ab", 2));
    assert_true(string_equals_bytes("", "x", 0));
    assert_false(string_equals_bytes("a", "a\0b", 3));
}

static void check_u64(const char *text, unsigned int base, int error, uint64_t value)
{
    uint64_t parsed = 12345;
    assert_int_equal(parse_u64(text, strlen(text), base, &parsed), error);
    assert_true(parsed == (error == 0 ? value : 12345));
}

static void check_s64(const char *text, int error, int64_t value)
{
    int64_t parsed = 12345;
    assert_int_equal(parse_s64(text, strlen(text), 0, &parsed), error);
    assert_true(parsed == (error == 0 ? value : 12345));
}

static void numbers_are_parsed_exactly(void **state)
{
    check_u64("0", 10, 0, 0);
    check_u64("18446744073709551615", 10, 0, UINT64_MAX);
    check_u64("18446744073709551616", 10, -ERANGE, 0);
    check_u64("99999999999999999999999", 10, -ERANGE, 0);
    check_u64("ffffffffffffffff", 16, 0, UINT64_MAX);
    check_u64("10000000000000000", 16, -ERANGE, 0);
    check_u64("0xFf", 16, 0, 255);
    check_u64("A", 16, 0, 10);
    check_u64("Z", 36, 0, 35);
    check_u64("0xff", 0, 0, 255);
    check_u64("0b101", 0, 0, 5);
    check_u64("0b1", 16, 0, 0xb1);
    check_u64("0777", 0, 0, 0777);
    check_u64("089", 0, -EINVAL, 0);
    check_u64("089", 10, 0, 89);
    check_u64("z", 36, 0, 35);
    check_u64("", 10, -EINVAL, 0);
    check_u64("0x", 0, -EINVAL, 0);
    check_u64("0x", 16, -EINVAL, 0);
    check_u64("-1", 10, -EINVAL, 0);
    check_u64(" 1", 10, -EINVAL, 0);
    check_u64("1 ", 10, -EINVAL, 0);
    check_u64("2", 2, -EINVAL, 0);
    check_u64("99999999999999999999999x", 10, -EINVAL, 0);
    check_s64("-1", 0, -1);
    check_s64("+7", 0, 7);
    check_s64("-9223372036854775808", 0, INT64_MIN);
    check_s64("9223372036854775807", 0, INT64_MAX);
    check_s64("9223372036854775808", -ERANGE, 0);
    check_s64("-9223372036854775809", -ERANGE, 0);
    check_s64("--1", -EINVAL, 0);
    check_s64("-", -EINVAL, 0);
}

static void numbers_round_trip(void **state)
{
    struct prng prng = host_seed(__func__);
    for (int round = 0; round < 20000; round++) {
        uint64_t value = prng_u64(&prng) >> prng_below(&prng, 64);
        uint64_t parsed;
        char text[32];
        snprintf(text, sizeof(text), "%lu", value);
        assert_int_equal(parse_u64(text, strlen(text), 10, &parsed), 0);
        assert_true(parsed == value);
        snprintf(text, sizeof(text), "%#lx", value);
        assert_int_equal(parse_u64(text, strlen(text), 0, &parsed), 0);
        assert_true(parsed == value);
    }
}

// Ordinary names spread evenly over a table, and nothing behind the end counts.
static void hash_spreads_names(void **state)
{
    enum { BUCKETS = 1024, NAMES = 8192 };
    static uint32_t counts[BUCKETS];
    char name[32];
    memset(counts, 0, sizeof(counts));
    for (int i = 0; i < NAMES; i++) {
        int len = snprintf(name, sizeof(name), "file%d.txt", i);
        uint64_t hash = hash_bytes(name, (size_t)len, 1);
        memset(name + len, 0x55, sizeof(name) - (size_t)len);
        assert_true(hash == hash_bytes(name, (size_t)len, 1));
        assert_true(hash != hash_bytes(name, (size_t)len, 2));
        counts[hash_to_index(hash, 10)]++;
    }
    for (int i = 0; i < BUCKETS; i++) {
        assert_true(counts[i] < 32); // mean 8; 32 is 8 standard deviations away
    }
}

static void hash_sees_every_byte(void **state)
{
    struct prng prng = host_seed(__func__);
    for (size_t len = 1; len <= 64; len++) {
        char *bytes = malloc(len); // exact size: ASan sees any byte read outside
        assert_non_null(bytes);
        for (size_t i = 0; i < len; i++) {
            bytes[i] = (char)prng_u64(&prng);
        }
        uint64_t hash = hash_bytes(bytes, len, 7);
        for (size_t i = 0; i < len; i++) {
            bytes[i] ^= (char)(1 << prng_below(&prng, 8));
            uint64_t changed = hash_bytes(bytes, len, 7);
            assert_true(hash != changed);
            hash = changed;
        }
        free(bytes);
    }
    assert_true(hash_bytes("a", 1, 0) != hash_bytes("a\0", 2, 0));
    assert_true(hash_u64(1) != hash_u64(2));
    assert_true(hash_combine(1, 2) != hash_combine(2, 1));
    assert_int_equal(hash_to_index(UINT64_MAX, 0), 0);
    assert_int_equal(hash_to_index(UINT64_MAX, 8), 255);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_functions_match_libc),
        cmocka_unit_test(string_functions_match_libc),
        cmocka_unit_test(copies_are_bounded_and_terminated),
        cmocka_unit_test(numbers_are_parsed_exactly),
        cmocka_unit_test(numbers_round_trip),
        cmocka_unit_test(hash_spreads_names),
        cmocka_unit_test(hash_sees_every_byte),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
