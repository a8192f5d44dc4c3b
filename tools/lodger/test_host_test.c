// SPDX-License-Identifier: MIT
//
// Running scripts as tests: what counts as passed, what is run once more, what is never excused.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/lodger/test.h"

static char folder[] = "/tmp/lodger-test-host.XXXXXX";
static enum test_result finished;
static char *finished_output;

// In place of test_support.c's.
void test_finish(struct test *test, enum test_result result, double duration_s, const char *output,
    const char *command)
{
    (void)test;
    (void)duration_s;
    (void)command;
    finished = result;
    free(finished_output);
    finished_output = xstrdup(output);
}

// Runs a script of these lines as a test. Each run adds a line to the file "runs".
static unsigned run_script(enum test_kind kind, const char *lines)
{
    char *program = xasprintf("%s/script", folder);
    char *runs = xasprintf("%s/runs", folder);
    unlink(runs);
    FILE *file = fopen(program, "w");
    assert_non_null(file);
    fprintf(file, "#!/bin/sh\ncd %s && echo run >>runs\n%s\n", folder, lines);
    fclose(file);
    chmod(program, 0755);
    struct test test = {
        .kind = kind, .title = "//some:script", .program = program, .timeout_s = 10};
    struct test_settings settings = {};
    test_run_host(&test, &settings);
    char word[16];
    unsigned count = 0;
    file = fopen(runs, "r");
    assert_non_null(file);
    while (fscanf(file, "%15s", word) == 1) {
        count++;
    }
    fclose(file);
    free(program);
    free(runs);
    return count;
}

static void scripts_that_pass(void **state)
{
    (void)state;
    assert_int_equal(run_script(TEST_SCRIPT, "echo well"), 1);
    assert_int_equal(finished, RESULT_PASSED);
    assert_string_equal(finished_output, "well\n");
    assert_int_equal(run_script(TEST_SCRIPT, "exit 77"), 1);
    assert_int_equal(finished, RESULT_SKIPPED);
}

static void scripts_that_fail_once(void **state)
{
    (void)state;
    assert_int_equal(run_script(TEST_SCRIPT, "[ $(wc -l <runs) = 2 ]"), 2);
    assert_int_equal(finished, RESULT_PASSED);
}

static void scripts_that_fail(void **state)
{
    (void)state;
    assert_int_equal(run_script(TEST_SCRIPT, "echo bad; exit 1"), 2);
    assert_int_equal(finished, RESULT_FAILED);
    assert_string_equal(finished_output, "bad\n");
    // Not excused by being skipped the second time.
    assert_int_equal(run_script(TEST_SCRIPT, "[ $(wc -l <runs) = 2 ] && exit 77; exit 1"), 2);
    assert_int_equal(finished, RESULT_FAILED);
    assert_int_equal(run_script(TEST_SCRIPT, "kill -KILL $$"), 2);
    assert_int_equal(finished, RESULT_FAILED);
    assert_non_null(strstr(finished_output, "ended by signal 9"));
}

static void what_is_not_excused(void **state)
{
    (void)state;
    assert_int_equal(
        run_script(TEST_SCRIPT, "[ $(wc -l <runs) = 2 ] || { echo panic: a wall; exit 1; }"), 1);
    assert_int_equal(finished, RESULT_FAILED);
    assert_int_equal(run_script(TEST_HOST, "[ $(wc -l <runs) = 2 ]"), 1);
    assert_int_equal(finished, RESULT_FAILED);
}

int main(void)
{
    if (mkdtemp(folder) == NULL) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scripts_that_pass),
        cmocka_unit_test(scripts_that_fail_once),
        cmocka_unit_test(scripts_that_fail),
        cmocka_unit_test(what_is_not_excused),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char *command = xasprintf("rm -r %s", folder);
    failed += system(command) != 0;
    free(command);
    return failed;
}
