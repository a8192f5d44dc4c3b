// SPDX-License-Identifier: MIT
// `#!` lines: what Linux takes for interpreter and argument, at all the edges of its 256-byte
// window.
#include "kernel/process/script.h"
#include "kernel/base/string.h"
#include <linux/errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static char interpreter[SCRIPT_LINE_MAX];
static char argument[SCRIPT_LINE_MAX];

static int parse(const char *text)
{
    return script_parse(text, strlen(text), interpreter, argument);
}

static void expect(const char *text, const char *want_interpreter, const char *want_argument)
{
    assert_int_equal(parse(text), 0);
    assert_string_equal(interpreter, want_interpreter);
    assert_string_equal(argument, want_argument);
}

static void plain(void **state)
{
    expect("#!/bin/sh\necho\n", "/bin/sh", "");
    expect("#! \t /bin/sh\n", "/bin/sh", "");
    expect("#!/bin/sh", "/bin/sh", "");
    expect("#!/bin/sh \t \n", "/bin/sh", "");
}

static void argument_is_the_rest_of_the_line(void **state)
{
    expect("#!/usr/bin/env  python3 -u \t\n", "/usr/bin/env", "python3 -u");
    expect("#!/bin/awk -f\nx", "/bin/awk", "-f");
}

static void not_scripts(void **state)
{
    assert_int_equal(parse(""), -ENOEXEC);
    assert_int_equal(parse("#"), -ENOEXEC);
    assert_int_equal(parse("#!"), -ENOEXEC);
    assert_int_equal(parse("#!\n"), -ENOEXEC);
    assert_int_equal(parse("#!  \t\n/bin/sh\n"), -ENOEXEC);
    assert_int_equal(parse(" #!/bin/sh\n"), -ENOEXEC);
}

static void long_lines(void **state)
{
    char text[400];
    // A path of which only the beginning is known is no path.
    memset(text, 'b', sizeof(text));
    memcpy(text, "#!/", 3);
    assert_int_equal(script_parse(text, sizeof(text), interpreter, argument), -ENOEXEC);
    // An argument is cut.
    memcpy(text, "#!/bin/sh ", 10);
    assert_int_equal(script_parse(text, sizeof(text), interpreter, argument), 0);
    assert_string_equal(interpreter, "/bin/sh");
    assert_int_equal(strlen(argument), SCRIPT_LINE_MAX - 1 - 10);
    // A file that ends within the window ends the path.
    memset(text, 'c', sizeof(text));
    memcpy(text, "#!/", 3);
    assert_int_equal(script_parse(text, 200, interpreter, argument), 0);
    assert_int_equal(strlen(interpreter), 198);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain),
        cmocka_unit_test(argument_is_the_rest_of_the_line),
        cmocka_unit_test(not_scripts),
        cmocka_unit_test(long_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
