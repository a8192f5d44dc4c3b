// SPDX-License-Identifier: MIT
//
// cmdline.h: tokens with and without quotes, the separator, values of each type.
#include "kernel/base/cmdline.h"

#include "kernel/base/host/host_base.h"
#include "kernel/base/host/host_cmocka.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void check_token(struct cmdline_iterator *iterator, const char *name, const char *value)
{
    struct cmdline_token token;
    assert_int_equal(cmdline_next(iterator, &token), 0);
    assert_int_equal(token.name_len, strlen(name));
    assert_memory_equal(token.name, name, token.name_len);
    assert_int_equal(token.value == nullptr, value == nullptr);
    if (value != nullptr) {
        assert_int_equal(token.value_len, strlen(value));
        assert_memory_equal(token.value, value, token.value_len);
    }
}

static void check_argument(struct cmdline_iterator *iterator, const char *text)
{
    struct cmdline_token token;
    assert_int_equal(cmdline_next(iterator, &token), 0);
    assert_true(token.is_init_argument);
    assert_int_equal(token.len, strlen(text));
    assert_memory_equal(token.text, text, token.len);
}

static void words_are_split(void **state)
{
    struct cmdline_iterator iterator;
    struct cmdline_token token;
    const char *line = "  quiet console=ttyS0,115200\troot= a==b \"x y\" name=\"p q\" "
                       "\"name=r s\" =v a\"b c\"d\n-- sh \"-c\" \"echo a=b\" --";
    cmdline_iterator_init(&iterator, line, strlen(line));
    check_token(&iterator, "quiet", nullptr);
    check_token(&iterator, "console", "ttyS0,115200");
    check_token(&iterator, "root", "");
    check_token(&iterator, "a", "=b");
    check_token(&iterator, "x y", nullptr);
    check_token(&iterator, "name", "p q");
    check_token(&iterator, "name", "r s");
    check_token(&iterator, "", "v");
    check_token(&iterator, "a\"b c\"d", nullptr);
    check_argument(&iterator, "sh");
    check_argument(&iterator, "-c");
    check_argument(&iterator, "echo a=b");
    check_argument(&iterator, "--");
    assert_int_equal(cmdline_next(&iterator, &token), -ENOENT);
    assert_int_equal(cmdline_next(&iterator, &token), -ENOENT);
}

static void ends_are_noticed(void **state)
{
    struct cmdline_iterator iterator;
    struct cmdline_token token;

    cmdline_iterator_init(&iterator, "a\0b", 3);
    check_token(&iterator, "a", nullptr);
    assert_int_equal(cmdline_next(&iterator, &token), -ENOENT);

    cmdline_iterator_init(&iterator, "abc", 2);
    check_token(&iterator, "ab", nullptr);
    assert_int_equal(cmdline_next(&iterator, &token), -ENOENT);

    cmdline_iterator_init(&iterator, "a b=\"c d", 8);
    check_token(&iterator, "a", nullptr);
    assert_int_equal(cmdline_next(&iterator, &token), -EINVAL);
    assert_int_equal(cmdline_next(&iterator, &token), -ENOENT);

    cmdline_iterator_init(&iterator, "\"\" \"", 4);
    check_token(&iterator, "", nullptr);
    assert_int_equal(cmdline_next(&iterator, &token), -EINVAL);

    cmdline_iterator_init(&iterator, "", 0);
    assert_int_equal(cmdline_next(&iterator, &token), -ENOENT);
}

static void names_fold_dashes(void **state)
{
    struct cmdline_iterator iterator;
    struct cmdline_token token;
    cmdline_iterator_init(&iterator, "log-level=3", 11);
    assert_int_equal(cmdline_next(&iterator, &token), 0);
    assert_true(cmdline_name_is(&token, "log_level"));
    assert_true(cmdline_name_is(&token, "log-level"));
    assert_false(cmdline_name_is(&token, "log-leve"));
    assert_false(cmdline_name_is(&token, "log-lexel"));
    assert_false(cmdline_name_is(&token, ""));
    assert_false(cmdline_name_is(&token, "log-levels"));
}

static void check_bool(const char *value, int error, bool expected)
{
    bool result = !expected;
    size_t len = value != nullptr ? strlen(value) : 0;
    assert_int_equal(cmdline_parse_bool(value, len, &result), error);
    assert_int_equal(result, error == 0 ? expected : !expected);
}

static void check_u64(const char *value, int error, uint64_t expected)
{
    uint64_t result = 77;
    assert_int_equal(cmdline_parse_u64(value, strlen(value), &result), error);
    assert_true(result == (error == 0 ? expected : 77));
}

static void values_are_typed(void **state)
{
    static const char *const names[] = {"none", "host", "full"};
    unsigned int index = 99;
    char text[5];

    check_bool(nullptr, 0, true);
    check_bool("1", 0, true);
    check_bool("on", 0, true);
    check_bool("yes", 0, true);
    check_bool("y", 0, true);
    check_bool("true", 0, true);
    check_bool("0", 0, false);
    check_bool("off", 0, false);
    check_bool("no", 0, false);
    check_bool("n", 0, false);
    check_bool("false", 0, false);
    check_bool("", -EINVAL, false);
    check_bool("ye", -EINVAL, false);

    check_u64("0", 0, 0);
    check_u64("512", 0, 512);
    check_u64("010", 0, 10);
    check_u64("4k", 0, 4096);
    check_u64("512M", 0, 512ul << 20);
    check_u64("0x10G", 0, 16ul << 30);
    check_u64("1t", 0, 1ul << 40);
    check_u64("2m", 0, 2ul << 20);
    check_u64("3g", 0, 3ul << 30);
    check_u64("18446744073709551615", 0, UINT64_MAX);
    check_u64("18014398509481984k", -ERANGE, 0);
    check_u64("16777215T", 0, 16777215ul << 40);
    check_u64("16777216T", -ERANGE, 0);
    check_u64("", -EINVAL, 0);
    check_u64("k", -EINVAL, 0);
    check_u64("4kk", -EINVAL, 0);
    check_u64("4 k", -EINVAL, 0);
    check_u64("0x", -EINVAL, 0);
    check_u64("-1", -EINVAL, 0);
    assert_int_equal(cmdline_parse_u64(nullptr, 0, (uint64_t[]){0}), -EINVAL);

    assert_int_equal(cmdline_parse_string("abcd", 4, text, sizeof(text)), 0);
    assert_string_equal(text, "abcd");
    assert_int_equal(cmdline_parse_string("abcde", 5, text, sizeof(text)), -ERANGE);
    assert_int_equal(cmdline_parse_string(nullptr, 0, text, sizeof(text)), -EINVAL);
    assert_string_equal(text, "abcd");

    assert_int_equal(cmdline_parse_enum("full", 4, names, 3, &index), 0);
    assert_int_equal(index, 2);
    assert_int_equal(cmdline_parse_enum("ful", 3, names, 3, &index), -EINVAL);
    assert_int_equal(cmdline_parse_enum(nullptr, 0, names, 3, &index), -EINVAL);
    assert_int_equal(index, 2);
}

static void tokens_lie_inside_the_line(void **state)
{
    struct prng prng = host_seed(__func__);
    for (int round = 0; round < 50000; round++) {
        size_t len = prng_below(&prng, 24);
        char *line = malloc(MAX(len, 1ul)); // not terminated: ASan watches the end
        struct cmdline_iterator iterator;
        struct cmdline_token token;
        assert_non_null(line);
        for (size_t i = 0; i < len; i++) {
            line[i] = "a= \"-\t"[prng_below(&prng, 6)];
        }
        cmdline_iterator_init(&iterator, line, len);
        size_t count = 0;
        while (cmdline_next(&iterator, &token) == 0) {
            assert_true(token.text >= line && token.text + token.len <= line + len);
            assert_true(token.name_len <= token.len);
            assert_true(token.value == nullptr ||
                        (token.value >= line && token.value + token.value_len <= line + len));
            assert_true(++count <= len);
        }
        free(line);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_are_split),
        cmocka_unit_test(ends_are_noticed),
        cmocka_unit_test(names_fold_dashes),
        cmocka_unit_test(values_are_typed),
        cmocka_unit_test(tokens_lie_inside_the_line),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
