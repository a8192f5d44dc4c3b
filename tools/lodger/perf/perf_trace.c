// SPDX-License-Identifier: MIT
//
// lodger perf trace: events of a guest as they happen: a recorder writes a stream, perf script (or
// perf trace) prints it.
#include "tools/lodger/perf/perf_commands.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char help[] =
    "usage: ./lodger perf trace [-s] [OPTIONS] [GUEST]\n"
    "\n"
    "Prints events of a guest as they happen, until Ctrl-C: without -e its system calls. Options "
    "are\n"
    "those of ./lodger perf record, such as -e 'sched:*', -e probe:FUNCTION and --duration.\n"
    "\n"
    "  -s, --summary   record first, then print perf trace's summary of the system calls\n"
    "  --syscalls      print system calls with perf trace after the recording has ended\n";

// Options for the recorder: those given, and the default events.
static void add_record_options(
    struct strings *record, int argc, char **argv, const char *output, bool *summary, bool *trace)
{
    strings_add_words(record, "record -o");
    strings_add(record, output);
    bool has_event = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-s") == 0 || strcmp(argv[i], "--summary") == 0) {
            *summary = true;
        } else if (strcmp(argv[i], "--syscalls") == 0) {
            *trace = true;
        } else {
            has_event =
                has_event || strncmp(argv[i], "-e", 2) == 0 || strncmp(argv[i], "--event", 7) == 0;
            strings_add(record, argv[i]);
        }
    }
    if (!has_event) {
        strings_add_words(record, "-e raw_syscalls:*");
    }
    strings_add_words(record, "--user-frames 0 --kernel-frames 0");
}

// Records into a file, then perf trace reads it.
static int trace_file(struct strings *record, const char *path, bool summary)
{
    pid_t child = fork();
    if (child < 0) {
        die("fork: %s", strerror(errno));
    }
    if (child == 0) {
        exit(perf_record((int)record->count, record->items));
    }
    // Ctrl-C is for the recorder.
    signal(SIGINT, SIG_IGN);
    int status;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    signal(SIGINT, SIG_DFL);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        return EXIT_OWN_ERROR;
    }
    struct strings command = {};
    strings_add_words(&command, summary ? "perf trace -s -i" : "perf trace -i");
    strings_add(&command, path);
    pid_t reader = fork();
    if (reader == 0) {
        perf_exec(&command);
    }
    while (reader > 0 && waitpid(reader, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_OWN_ERROR;
}

int perf_trace(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            fputs(help, stdout);
            return 0;
        }
    }
    bool summary = false, trace = false;
    struct strings record = {};
    char *path = xasprintf("%s/trace.data", folder_temporary());
    add_record_options(&record, argc, argv, path, &summary, &trace);
    if (summary || trace) {
        return trace_file(&record, path, summary);
    }
    // The recorder's standard output becomes perf script's input.
    free(record.items[2]);
    record.items[2] = xstrdup("-");
    int ends[2];
    if (pipe(ends) != 0) {
        die("pipe: %s", strerror(errno));
    }
    pid_t reader = fork();
    if (reader == 0) {
        signal(SIGINT, SIG_IGN); // it ends when the stream does
        dup2(ends[0], STDIN_FILENO);
        close(ends[0]);
        close(ends[1]);
        struct strings command = {};
        strings_add_words(&command, "perf script -i - --ns");
        perf_exec(&command);
    }
    dup2(ends[1], STDOUT_FILENO);
    close(ends[0]);
    close(ends[1]);
    int code = perf_record((int)record.count, record.items);
    close(STDOUT_FILENO);
    int status;
    while (reader > 0 && waitpid(reader, &status, 0) < 0 && errno == EINTR) {
    }
    return code;
}
