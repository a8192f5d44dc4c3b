// SPDX-License-Identifier: MIT
//
// Unit tests of tools/tidy: each rule with text that breaks it and text that does not.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "tools/tidy/rules.h"

#define LICENCE "// SPDX-License-Identifier: MIT\n"

struct found {
    unsigned counts[RULE_COUNT];
    unsigned last_line;
};

static void note(void *context, const char *path, unsigned line, enum tidy_rule rule)
{
    struct found *found = context;
    found->counts[rule]++;
    found->last_line = line;
}

// How often `text` breaks `rule`; fails if it breaks another one.
static unsigned breaches(const char *path, const char *text, enum tidy_rule rule)
{
    struct found found = {};
    tidy_check_file(path, text, note, &found);
    for (int other = 0; other < RULE_COUNT; other++) {
        if (other != (int)rule) {
            assert_int_equal(found.counts[other], 0);
        }
    }
    return found.counts[rule];
}

static void test_licence(void **state)
{
    assert_int_equal(breaches("mm/a.c", LICENCE "int a;\n", RULE_LICENCE), 0);
    assert_int_equal(breaches("mm/a.S", "/* SPDX-License-Identifier: MIT */\n", RULE_LICENCE), 0);
    assert_int_equal(breaches("mm/a.c", "int a;\n", RULE_LICENCE), 1);
}

static void test_pragma_once(void **state)
{
    assert_int_equal(breaches("mm/a.h", LICENCE "#pragma once\n", RULE_PRAGMA_ONCE), 0);
    assert_int_equal(breaches("mm/a.h", LICENCE "int a;\n", RULE_PRAGMA_ONCE), 1);
}

static void test_extern(void **state)
{
    assert_int_equal(breaches("mm/a.c", LICENCE "extern int a;\n", RULE_EXTERN_IN_C), 1);
    assert_int_equal(
        breaches("mm/a.h", LICENCE "#pragma once\nextern int a;\n", RULE_EXTERN_IN_C), 0);
    assert_int_equal(breaches("mm/a.c", LICENCE "int external;\n", RULE_EXTERN_IN_C), 0);
    assert_int_equal(
        breaches("mm/a.c", LICENCE "extern char start[], end[];\n", RULE_EXTERN_IN_C), 0);
}

static void test_nogncheck(void **state)
{
    assert_int_equal(
        breaches("mm/a.c", LICENCE "#include \"b.h\" // nogncheck\n", RULE_NOGNCHECK), 1);
    assert_int_equal(
        breaches("mm/a.c", LICENCE "#include \"b.h\" // nogncheck: made by the build itself\n",
            RULE_NOGNCHECK),
        0);
}

static void test_assembly(void **state)
{
    const char *text = LICENCE "    asm volatile(\"hlt\");\n";
    assert_int_equal(breaches("mm/a.c", text, RULE_ASSEMBLY), 1);
    assert_int_equal(breaches("kernel/core/a.c", text, RULE_ASSEMBLY), 1);
    assert_int_equal(breaches("kernel/arch/x86/a.c", text, RULE_ASSEMBLY), 0);
    assert_int_equal(breaches("tests/guest/a.c", text, RULE_ASSEMBLY), 0);
    assert_int_equal(breaches("mm/a.c", LICENCE "#include <asm/unistd_64.h>\n", RULE_ASSEMBLY), 0);
}

static void test_unfinished(void **state)
{
    assert_int_equal(breaches("mm/a.c",
                         LICENCE "// TO"
                                 "DO: more\n",
                         RULE_UNFINISHED),
        1);
    assert_int_equal(breaches("mm/a.c", LICENCE "int mastodon;\n", RULE_UNFINISHED), 0);
}

static void test_long_line(void **state)
{
    char text[256];
    snprintf(text, sizeof(text), "%s%.*s\n", LICENCE, 100,
        "//////////////////////////////////////////////////////////////////////////////////////////"
        "/////"
        "//////////////");
    assert_int_equal(breaches("mm/a.c", text, RULE_LONG_LINE), 0);
    snprintf(text, sizeof(text), "%s%.*s\n", LICENCE, 101,
        "//////////////////////////////////////////////////////////////////////////////////////////"
        "/////"
        "//////////////");
    assert_int_equal(breaches("mm/a.c", text, RULE_LONG_LINE), 1);
}

// A function whose body has so many lines.
static unsigned function_breaches(unsigned body_lines)
{
    char text[4096] = LICENCE "static void f(void)\n{\n";
    for (unsigned i = 0; i < body_lines; i++) {
        strcat(text, "    g();\n");
    }
    strcat(text, "}\n");
    return breaches("mm/a.c", text, RULE_LONG_FUNCTION);
}

static void test_long_function(void **state)
{
    assert_int_equal(function_breaches(69), 0);
    assert_int_equal(function_breaches(70), 1);
}

static void test_long_file(void **state)
{
    static char text[1 << 16] = LICENCE;
    for (unsigned i = 0; i < 799; i++) {
        strcat(text, "int a;\n");
    }
    assert_int_equal(breaches("mm/a.c", text, RULE_LONG_FILE), 0);
    strcat(text, "int a;\n");
    assert_int_equal(breaches("mm/a.c", text, RULE_LONG_FILE), 1);
}

static void test_header_in_target(void **state)
{
    assert_true(tidy_header_is_listed("mm/page.h", "mm", "public = [ \"page.h\" ]"));
    assert_true(tidy_header_is_listed("mm/x/page.h", "mm", "public = [ \"x/page.h\" ]"));
    assert_true(tidy_header_is_listed("mm/page.h", "mm", "public = [ \"//mm/page.h\" ]"));
    assert_false(tidy_header_is_listed("mm/page.h", "mm", "public = [ \"other_page.h\" ]"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_licence),
        cmocka_unit_test(test_pragma_once),
        cmocka_unit_test(test_extern),
        cmocka_unit_test(test_nogncheck),
        cmocka_unit_test(test_assembly),
        cmocka_unit_test(test_unfinished),
        cmocka_unit_test(test_long_line),
        cmocka_unit_test(test_long_function),
        cmocka_unit_test(test_long_file),
        cmocka_unit_test(test_header_in_target),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
