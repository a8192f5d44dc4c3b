// SPDX-License-Identifier: MIT
//
// lodger test: builds everything and runs all tests, several at a time.
#include "tools/lodger/build.h"
#include "tools/lodger/commands.h"
#include "tools/lodger/qemu.h"
#include "tools/lodger/test.h"

#include <fnmatch.h>
#include <getopt.h>
#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char help[] =
    "usage: ./lodger test [OPTIONS]\n"
    "\n"
    "Builds everything and runs all tests: unit tests, fuzzers, and guest tests, whose output is\n"
    "compared with that of a Debian kernel under the same QEMU.\n"
    "\n"
    "  --filter GLOB  only tests whose name or title matches, such as '//mm:*' or '*kasan*' "
    "(repeatable)\n"
    "  --quick        fuzzers run for 3 s; guest tests run on the first of their machines only\n"
    "  --fuzz SECONDS how long each fuzzer runs (default: 60 against a hostile host\n"
    "                 or guest, 20 for the rest)\n"
    "  --jobs N       how many tests run at once (default: one a CPU)\n"
    "  --list         print the tests and do nothing\n"
    "  --machine WORDS  guest tests run once, on this machine instead of their own, such as "
    "'xen cpus=4' (repeatable)\n"
    "  --kernel FILE  run the guest tests on this kernel instead of ours, to try the tests "
    "themselves\n"
    "  --json FILE    write the results to a file\n"
    "  --help         this text\n"
    "\n"
    "The last line is the count: N passed, N failed, N skipped. The exit code is 0 if none "
    "failed.\n";

// Guest tests that share a boot, at most.
#define BATCH_TESTS_MAX 40

struct options {
    struct test_settings tests;
    struct strings filters;
    struct strings machines; // for guest tests instead of their own; empty: their own
    bool list;
    const char *json;
    uint64_t job_count;
};

// ---- results ----

static pthread_mutex_t results_lock = PTHREAD_MUTEX_INITIALIZER;
static size_t finished_count; // under results_lock
static size_t total_count;    // set before any test runs
static bool on_terminal;

static const char *const result_names[] = {
    [RESULT_NONE] = "not run",
    [RESULT_PASSED] = "ok",
    [RESULT_FAILED] = "FAILED",
    [RESULT_SKIPPED] = "skipped",
};

void test_finish(struct test *test, enum test_result result, double duration_s, const char *output,
    const char *command)
{
    pthread_mutex_lock(&results_lock);
    test->result = result;
    test->duration_s = duration_s;
    test->output = xstrdup(output != NULL ? output : "");
    test->command = xstrdup(command != NULL ? command : "");
    finished_count++;
    if (on_terminal) {
        fputs("\r\033[K", stdout);
    }
    if (result == RESULT_FAILED || !on_terminal) {
        printf("[%zu/%zu] %s %s (%.1f s)\n", finished_count, total_count, result_names[result],
            test->title, duration_s);
    }
    if (result == RESULT_FAILED) {
        printf("%s\n  again: %s\n\n", test->output, test->command);
    }
    if (on_terminal) {
        printf("[%zu/%zu] %.60s", finished_count, total_count, test->title);
    }
    fflush(stdout);
    pthread_mutex_unlock(&results_lock);
}

static void write_json(const struct test_list *list, const char *path)
{
    json_t *array = json_array();
    for (size_t i = 0; i < list->count; i++) {
        const struct test *test = &list->tests[i];
        if (test->result == RESULT_NONE) {
            continue;
        }
        json_t *entry = json_object();
        json_object_set_new(entry, "name", json_string(test->name));
        json_object_set_new(entry, "machine", json_string(test->machine));
        json_object_set_new(entry, "result", json_string(result_names[test->result]));
        json_object_set_new(entry, "duration_s", json_real(test->duration_s));
        json_object_set_new(entry, "command", json_string(test->command));
        json_t *output = json_string(test->output);
        json_object_set_new(entry, "output", output != NULL ? output : json_string("(not UTF-8)"));
        json_array_append_new(array, entry);
    }
    if (json_dump_file(array, path, JSON_INDENT(2)) != 0) {
        warn("cannot write %s", path);
    }
    json_decref(array);
}

// ---- jobs ----

struct job {
    struct test *test;       // any but a guest test, or
    struct test_batch batch; // guest tests
};

struct queue {
    struct job *jobs;
    size_t count;
    _Atomic size_t next;
    const struct test_settings *settings;
};

static void add_job(struct queue *queue, struct job job)
{
    queue->jobs = xrealloc(queue->jobs, (queue->count + 1) * sizeof(queue->jobs[0]));
    queue->jobs[queue->count++] = job;
}

static void add_to_batch(struct queue *queue, struct test *test)
{
    for (size_t i = 0; i < queue->count; i++) {
        struct test_batch *batch = &queue->jobs[i].batch;
        if (batch->count > 0 && batch->count < BATCH_TESTS_MAX &&
            strcmp(batch->tests[0]->machine, test->machine) == 0 &&
            strcmp(batch->tests[0]->own_machine, test->own_machine) == 0) {
            batch->tests[batch->count++] = test;
            return;
        }
    }
    struct test_batch batch = {
        .tests = xmalloc(BATCH_TESTS_MAX * sizeof(struct test *)), .count = 1};
    batch.tests[0] = test;
    add_job(queue, (struct job){.batch = batch});
}

// The long ones first, so that the end is not one job on one CPU: guest tests, scripts, fuzzers,
// the rest.
static void fill_queue(struct queue *queue, struct test **chosen, size_t count)
{
    static const enum test_kind order[] = {TEST_GUEST, TEST_SCRIPT, TEST_FUZZ, TEST_HOST};
    for (size_t kind = 0; kind < sizeof(order) / sizeof(order[0]); kind++) {
        for (size_t i = 0; i < count; i++) {
            if (chosen[i]->kind != order[kind]) {
                continue;
            }
            if (chosen[i]->kind == TEST_GUEST) {
                add_to_batch(queue, chosen[i]);
            } else {
                add_job(queue, (struct job){.test = chosen[i]});
            }
        }
    }
}

static void *work(void *argument)
{
    struct queue *queue = argument;
    size_t index;
    while ((index = atomic_fetch_add(&queue->next, 1)) < queue->count) {
        struct job *job = &queue->jobs[index];
        if (job->test != NULL) {
            test_run_host(job->test, queue->settings);
        } else {
            test_run_batch(&job->batch, queue->settings);
        }
    }
    return NULL;
}

static void run_queue(struct queue *queue, uint64_t job_count)
{
    pthread_t threads[64];
    for (uint64_t i = 0; i < job_count; i++) {
        if (pthread_create(&threads[i], NULL, work, queue) != 0) {
            die("cannot start a thread");
        }
    }
    for (uint64_t i = 0; i < job_count; i++) {
        pthread_join(threads[i], NULL);
    }
}

// ---- choosing ----

static bool is_chosen(const struct options *options, const struct test_list *list, size_t index)
{
    const struct test *test = &list->tests[index];
    if (options->machines.count > 0 && test->kind != TEST_GUEST) {
        return false;
    }
    if (options->tests.quick && index > 0 && strcmp(list->tests[index - 1].name, test->name) == 0) {
        return false; // a further machine of the same test
    }
    bool chosen = options->filters.count == 0;
    for (size_t i = 0; i < options->filters.count; i++) {
        const char *glob = options->filters.items[i];
        chosen = chosen || fnmatch(glob, test->name, 0) == 0 ||
                 fnmatch(glob, test->title, 0) == 0 || strcmp(glob, test->title) == 0;
    }
    return chosen;
}

// Builds the kernel variants that the chosen tests boot.
static void build_variants(struct test **chosen, size_t count)
{
    static const char *const variants[] = {"release", "debug", "kasan"};
    for (size_t variant = 0; variant < sizeof(variants) / sizeof(variants[0]); variant++) {
        bool needed = false;
        for (size_t i = 0; i < count && !needed; i++) {
            struct machine machine;
            machine_init(&machine);
            struct strings words = {};
            strings_add_words(&words, chosen[i]->machine);
            for (size_t word = 0; word < words.count; word++) {
                if (!machine_set_word(&machine, words.items[word])) {
                    die("%s: unknown word in a machine configuration: %s", chosen[i]->name,
                        words.items[word]);
                }
            }
            strings_free(&words);
            needed =
                chosen[i]->kind == TEST_GUEST && strcmp(machine.variant, variants[variant]) == 0;
        }
        if (needed) {
            build(variants[variant], &(struct strings){});
        }
    }
}

// Makes the lab's host ready before the tests that need it, if any do: that takes a while, and when
// it fails no test has to be waited for.
static void prepare_lab(struct test **chosen, size_t count)
{
    bool needed = false;
    for (size_t i = 0; i < count && !needed; i++) {
        struct strings words = {};
        strings_add_words(&words, chosen[i]->machine);
        needed = strings_contain(&words, "lab");
        strings_free(&words);
    }
    struct machine machine;
    machine_init(&machine);
    machine.accel = ACCEL_LAB;
    char *reason = needed ? machine_settle(&machine) : NULL;
    if (reason != NULL) {
        die("%s", reason);
    }
}

static bool any_compared(struct test **chosen, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (chosen[i]->kind == TEST_GUEST && chosen[i]->compared) {
            return true;
        }
    }
    return false;
}

// ---- the command ----

static void stop_everything(int signal_number)
{
    qemu_stop_all();
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

static void parse_options(int argc, char **argv, struct options *options)
{
    static const struct option known[] = {
        {"filter", required_argument, NULL, 'f'},
        {"quick", no_argument, NULL, 'q'},
        {"fuzz", required_argument, NULL, 'z'},
        {"jobs", required_argument, NULL, 'j'},
        {"list", no_argument, NULL, 'l'},
        {"kernel", required_argument, NULL, 'k'},
        {"machine", required_argument, NULL, 'm'},
        {"json", required_argument, NULL, 'o'},
        {"help", no_argument, NULL, 'h'},
        {},
    };
    long cpu_count = sysconf(_SC_NPROCESSORS_ONLN);
    *options = (struct options){.job_count = cpu_count < 1    ? 1
                                             : cpu_count > 64 ? 64
                                                              : (uint64_t)cpu_count};
    int option;
    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        if (option == 'f') {
            strings_add(&options->filters, optarg);
        } else if (option == 'q') {
            options->tests.quick = true;
            options->tests.fuzz_s = 3;
        } else if (option == 'z' && parse_number(optarg, 1, 86400, &options->tests.fuzz_s)) {
            continue;
        } else if (option == 'j' && parse_number(optarg, 1, 64, &options->job_count)) {
            continue;
        } else if (option == 'k') {
            options->tests.kernel = optarg;
        } else if (option == 'm') {
            strings_add(&options->machines, optarg);
        } else if (option == 'l') {
            options->list = true;
        } else if (option == 'o') {
            options->json = optarg;
        } else if (option == 'h') {
            fputs(help, stdout);
            exit(0);
        } else {
            die("test: see ./lodger test --help");
        }
    }
    if (optind < argc) {
        die("test: unexpected %s (a filter is --filter GLOB)", argv[optind]);
    }
}

static int print_summary(struct test **chosen, size_t count)
{
    size_t counts[RESULT_SKIPPED + 1] = {};
    for (size_t i = 0; i < count; i++) {
        counts[chosen[i]->result]++;
    }
    if (on_terminal) {
        fputs("\r\033[K", stdout);
    }
    if (counts[RESULT_FAILED] > 0) {
        puts("failed:");
    }
    for (size_t i = 0; i < count; i++) {
        if (chosen[i]->result == RESULT_FAILED) {
            printf("  %s\n", chosen[i]->title);
        }
    }
    printf("%zu passed, %zu failed, %zu skipped\n", counts[RESULT_PASSED],
        counts[RESULT_FAILED] + counts[RESULT_NONE], counts[RESULT_SKIPPED]);
    return counts[RESULT_FAILED] + counts[RESULT_NONE] > 0 ? 1 : 0;
}

int cmd_test(int argc, char **argv)
{
    struct options options;
    parse_options(argc, argv, &options);
    build("host", &(struct strings){});
    char *manifest = tree_path("out/host/tests.json");
    struct test_list list;
    test_list_read(&list, manifest);
    free(manifest);
    if (options.machines.count > 0) {
        test_list_set_machines(&list, &options.machines);
    }

    struct test **chosen = xmalloc((list.count + 1) * sizeof(chosen[0]));
    size_t count = 0;
    for (size_t i = 0; i < list.count; i++) {
        if (is_chosen(&options, &list, i)) {
            chosen[count++] = &list.tests[i];
        }
    }
    if (options.list) {
        for (size_t i = 0; i < count; i++) {
            puts(chosen[i]->title);
        }
        return 0;
    }
    if (options.tests.kernel == NULL) {
        build_variants(chosen, count);
        prepare_lab(chosen, count);
    }
    // Without a kernel to compare with, a guest test would prove less than it claims.
    struct test reference = {
        .name = "reference-kernel", .machine = "", .title = "reference kernel"};
    total_count = count;
    on_terminal = isatty(STDOUT_FILENO);
    if (any_compared(chosen, count)) {
        char *reason = NULL;
        options.tests.linux_kernel = reference_kernel(&reason);
        if (options.tests.linux_kernel == NULL) {
            chosen[count++] = &reference;
            total_count = count;
            test_finish(
                &reference, RESULT_FAILED, 0, reason, "apt-get download linux-image-cloud-amd64");
        }
    }
    signal(SIGINT, stop_everything);
    signal(SIGTERM, stop_everything);
    signal(SIGHUP, stop_everything);
    struct queue queue = {.settings = &options.tests};
    fill_queue(&queue, chosen, reference.result == RESULT_FAILED ? count - 1 : count);
    run_queue(&queue, options.job_count);
    if (options.json != NULL) {
        write_json(&list, options.json);
    }
    return print_summary(chosen, count);
}
