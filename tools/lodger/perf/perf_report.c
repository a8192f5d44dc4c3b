// SPDX-License-Identifier: MIT
//
// lodger perf report: hands over to perf, with the options that suit a guest's recording.
#include "tools/lodger/perf/perf_commands.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char help[] =
    "usage: ./lodger perf report [FILE] [-- PERF OPTIONS]\n"
    "       ./lodger perf report --script | --annotate FUNCTION | --sched | --trace [FILE]\n"
    "\n"
    "Shows a recording (default perf.data) with perf itself. The options of perf report, such as\n"
    "--stdio or --sort, follow --; perf report -i FILE shows the same.\n"
    "\n"
    "  --script    perf script: each sample\n"
    "  --annotate FUNCTION\n"
    "              perf annotate: instructions of a function\n"
    "  --sched     perf sched timehist: who ran when, and who waited (-e 'sched:*')\n"
    "  --trace     perf trace: system calls (-e 'raw_syscalls:*')\n";

int perf_report(int argc, char **argv)
{
    const char *mode = "report", *function = NULL, *file = NULL;
    int rest = argc;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            fputs(help, stdout);
            return 0;
        }
        if (strcmp(argv[i], "--") == 0) {
            rest = i + 1;
            break;
        }
        if (strcmp(argv[i], "--annotate") == 0 && i + 1 < argc) {
            mode = "annotate";
            function = argv[++i];
        } else if (strcmp(argv[i], "--script") == 0 || strcmp(argv[i], "--sched") == 0 ||
                   strcmp(argv[i], "--trace") == 0) {
            mode = argv[i] + 2;
        } else if (argv[i][0] != '-' && file == NULL) {
            file = argv[i];
        } else {
            die("report: %s: see ./lodger perf report --help (options of perf follow --)", argv[i]);
        }
    }
    file = file != NULL ? file : "perf.data";
    if (access(file, R_OK) != 0) {
        die("%s: %s", file, strerror(errno));
    }
    struct strings command = {};
    strings_add(&command, "perf");
    strings_add(&command, mode);
    if (strcmp(mode, "sched") == 0) {
        strings_add_words(&command, "timehist");
    }
    strings_add(&command, "-i");
    strings_add(&command, file);
    if (strcmp(mode, "script") == 0) {
        strings_add_words(&command, "--ns -F +machine_pid,+vcpu");
    } else if (strcmp(mode, "report") == 0) {
        // Guests first: the host's share of a merged recording is the children's sum otherwise.
        strings_add_words(&command, "--no-children --sort overhead,comm,dso,symbol");
    }
    if (function != NULL) {
        strings_add(&command, function);
    }
    for (int i = rest; i < argc; i++) {
        strings_add(&command, argv[i]);
    }
    perf_exec(&command);
}
