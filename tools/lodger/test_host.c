// SPDX-License-Identifier: MIT
//
// Running unit tests, scripts and fuzzers on the host.
#include "tools/lodger/process.h"
#include "tools/lodger/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

// A fuzzer ends by itself; this is how much later it counts as hanging.
#define FUZZ_GRACE_S 60

static char *output_text(struct buffer *output)
{
    buffer_add(output, "", 1);
    return (char *)output->data;
}

// libFuzzer keeps what it found interesting in out/host/fuzz/NAME, so that every run goes on where
// the last one ended.
static void fuzz_command(
    struct test *test, const struct test_settings *settings, struct strings *command)
{
    const char *short_name = strrchr(test->name, ':');
    char *found = tree_path("out/host/fuzz/%s", short_name != NULL ? short_name + 1 : test->name);
    folder_create(found);
    uint64_t seconds = settings->fuzz_s != 0 ? settings->fuzz_s : test->fuzz_s;
    strings_add(command, test->program);
    strings_addf(command, "-max_total_time=%llu", (unsigned long long)seconds);
    strings_addf(command, "-max_len=%llu", (unsigned long long)test->max_len_bytes);
    strings_add(command, "-timeout=10");
    strings_add(command, "-rss_limit_mb=2048");
    strings_add(command, "-print_final_stats=1");
    strings_addf(command, "-artifact_prefix=%s/", found);
    strings_add(command, found);
    if (test->corpus[0] != '\0') {
        strings_addf(command, "%s/out/host/%s", tree_root(), test->corpus);
    }
    test->timeout_s = seconds + FUZZ_GRACE_S;
    free(found);
}

static enum test_result result_of(struct process_result *run)
{
    if (process_succeeded(run)) {
        return RESULT_PASSED;
    }
    if (run->timed_out) {
        static const char message[] = "\n(killed: it ran longer than its timeout_s)\n";
        buffer_add(&run->output, message, sizeof(message) - 1);
    } else if (WIFEXITED(run->status) && WEXITSTATUS(run->status) == TEST_EXIT_SKIPPED) {
        return RESULT_SKIPPED;
    } else if (WIFSIGNALED(run->status)) {
        char *message = xasprintf("\n(ended by signal %d)\n", WTERMSIG(run->status));
        buffer_add(&run->output, message, strlen(message));
        free(message);
    }
    return RESULT_FAILED;
}

// Runs a script that failed once more; `run` is its first run, and then the one that counts. What
// a script prints when a kernel of its guests has panicked is never excused.
static enum test_result try_again(
    struct test *test, char *const *command, struct process_result *run)
{
    struct process_result again;
    const char *output = output_text(&run->output);
    if (strstr(output, "panic: ") != NULL) {
        return RESULT_FAILED;
    }
    process_run(command, tree_root(), test->timeout_s * 1000000000u, &again);
    enum test_result result = result_of(&again);
    if (result == RESULT_PASSED) {
        printf("unsteady: %s failed, and passed when it was run again. It had printed:\n%s\n",
            test->title, output);
        struct process_result failed = *run;
        *run = again;
        again = failed;
    } else {
        result = RESULT_FAILED;
    }
    buffer_free(&again.output);
    return result;
}

void test_run_host(struct test *test, const struct test_settings *settings)
{
    struct strings command = {};
    if (test->kind == TEST_FUZZ) {
        fuzz_command(test, settings, &command);
    } else {
        strings_add(&command, test->program);
        for (size_t i = 0; i < test->args.count; i++) {
            strings_add(&command, test->args.items[i]);
        }
    }
    struct process_result run;
    process_run(command.items, tree_root(), test->timeout_s * 1000000000u, &run);
    enum test_result result = result_of(&run);
    if (result == RESULT_FAILED && test->kind == TEST_SCRIPT) {
        result = try_again(test, command.items, &run);
    }
    char *shown = shell_quote_all(command.items);
    test_finish(test, result, (double)run.duration_ns / 1e9, output_text(&run.output), shown);
    free(shown);
    buffer_free(&run.output);
    strings_free(&command);
}
