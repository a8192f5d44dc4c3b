// SPDX-License-Identifier: MIT
//
// The parts of `lodger test`: the list of tests, and how each kind is run.
#pragma once

#include "tools/lodger/machine.h"

#include <stdatomic.h>

enum test_kind {
    TEST_HOST,   // program on the host: unit tests, models
    TEST_SCRIPT, // script that tries commands, most of them with guests
    TEST_FUZZ,   // libFuzzer program
    TEST_GUEST,  // program in a guest
};

enum test_result {
    RESULT_NONE, // not run yet
    RESULT_PASSED,
    RESULT_FAILED,
    RESULT_SKIPPED,
};

// Exit code by which a test program says that it cannot run here.
#define TEST_EXIT_SKIPPED 77

// One test on one machine configuration.
struct test {
    enum test_kind kind;
    char *name;        // of its GN target, such as //mm:slab_test
    char *machine;     // guest tests: the words of its configuration; else ""
    char *own_machine; // guest tests: one that the test asks for; `machine` may be another one
    char *title;       // name, with the machine in brackets
    char *program;     // absolute path
    uint64_t timeout_s;
    bool exclusive; // uses many cores or much memory: nothing else is run beside it

    // Fuzzers.
    char *corpus; // folder of inputs to start from, or ""
    uint64_t max_len_bytes;
    uint64_t fuzz_s; // how long it runs

    // Guest tests.
    bool compared;        // compared with Linux
    struct strings args;  // of the program
    struct strings files; // host files that it needs

    // How it went. Written by the one thread that runs it.
    enum test_result result;
    char *output;  // for people: what it printed, and what was expected
    char *command; // that repeats it by hand
    double duration_s;
};

struct test_list {
    struct test *tests;
    size_t count;
};

struct test_settings {
    bool quick;
    uint64_t fuzz_s;          // how long each fuzzer runs; 0: as it says itself
    const char *kernel;       // to run guest tests on instead of ours, or NULL
    const char *linux_kernel; // to compare guest tests with; NULL: there is none
};

// Reads tests.json, as the build made it. Dies if that is not possible.
void test_list_read(struct test_list *list, const char *path);

// Has each guest test once on each of these machines instead of its own ones. Memory and boot
// options that the test asks for stay.
void test_list_set_machines(struct test_list *list, const struct strings *machines);

// Takes a test's result and prints it; safe from several threads. `output` and `command` may be
// NULL and are copied.
void test_finish(struct test *test, enum test_result result, double duration_s, const char *output,
    const char *command);

// Runs a test of any kind but guest tests. A script that failed is run once more, as guest tests
// are: time-outs on a loaded host are no fault of what it tests.
void test_run_host(struct test *test, const struct test_settings *settings);

// Guest tests with the same machine configuration that share a boot.
struct test_batch {
    struct test **tests;
    size_t count;
};

// Runs the batch: boots this kernel, and Linux where what it prints is not known yet; as often as
// it takes, because a test that hangs or kills the kernel ends a boot.
void test_run_batch(struct test_batch *batch, const struct test_settings *settings);

// Debian's kernel to compare with, fetched into out/cache if it is not there. NULL, with a reason,
// when there is none.
char *reference_kernel(char **reason);
