// SPDX-License-Identifier: MIT
//
// What the unit tests of the command's modules need in place of the command itself.
#include "tools/lodger/test.h"

#include <stdlib.h>

const char *__asan_default_options(void);

// The command does not free what it needs to its end (util.h), so leaks are no errors here.
const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}

// The modules report the results of tests to this; unit tests run none, but for the one that has
// its own.
[[gnu::weak]] void test_finish(struct test *test, enum test_result result, double duration_s,
    const char *output, const char *command)
{
    abort();
}
