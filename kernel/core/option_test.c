// SPDX-License-Identifier: MIT
//
// option.h: values of all types, quotes, unknown options and bad values, arguments of init.
#include "kernel/core/option_table.h"

#include "kernel/base/host/host_cmocka.h"
#include "kernel/core/log.h"

#include <stdio.h>
#include <string.h>

static bool flag;
static uint64_t number;
static const char *string;
static char parsed[32];
static char warnings[256];

static int parse_function(const char *value)
{
    if (strcmp(value, "bad") == 0)
        return -22;
    strcpy(parsed, value);
    return 0;
}

static const struct boot_option options[] = {
    {.name = "flag", .type = OPTION_BOOL, .value = &flag},
    {.name = "number", .type = OPTION_U64, .value = &number},
    {.name = "a-string", .type = OPTION_STRING, .value = &string},
    {.name = "function", .type = OPTION_FUNCTION, .parse = parse_function},
};

void log_write(enum log_level level, const char *format, ...)
{
    size_t used = strlen(warnings);
    va_list arguments;
    (void)level;
    va_start(arguments, format);
    vsnprintf(warnings + used, sizeof(warnings) - used, format, arguments);
    va_end(arguments);
}

static void parse(const char *text)
{
    static char line[256];
    flag = false;
    number = 7;
    string = "default";
    parsed[0] = 0;
    warnings[0] = 0;
    strcpy(line, text);
    option_parse_table(options, ARRAY_SIZE(options), line, strlen(line));
}

static void values_arrive(void **state)
{
    (void)state;
    parse("flag number=0x10 a_string=abc function=x/y");
    assert_true(flag);
    assert_int_equal(number, 16);
    assert_string_equal(string, "abc");
    assert_string_equal(parsed, "x/y");
    assert_string_equal(warnings, "");

    parse("  a-string=\"two words\"   number=4k flag=no ");
    assert_string_equal(string, "two words");
    assert_int_equal(number, 4096);
    assert_false(flag);

    parse("a-string=");
    assert_string_equal(string, "");
    parse("");
    assert_string_equal(string, "default");
}

static void bad_values_leave_the_default(void **state)
{
    (void)state;
    parse("number=12x flag=maybe function=bad unknown=1 a-string=ok");
    assert_int_equal(number, 7);
    assert_false(flag);
    assert_string_equal(string, "ok");
    assert_non_null(strstr(warnings, "bad value: number=12x"));
    assert_non_null(strstr(warnings, "bad value: flag=maybe"));
    assert_non_null(strstr(warnings, "bad value: function=bad"));
    assert_non_null(strstr(warnings, "unknown option unknown=1"));
}

static void what_is_for_init_is_left_alone(void **state)
{
    (void)state;
    parse("flag -- number=3 flag=no");
    assert_true(flag);
    assert_int_equal(number, 7);
    parse("number=3 a-string=\"open");
    assert_int_equal(number, 3);
    assert_string_equal(string, "default");
    assert_non_null(strstr(warnings, "quote"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_arrive),
        cmocka_unit_test(bad_values_leave_the_default),
        cmocka_unit_test(what_is_for_init_is_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
