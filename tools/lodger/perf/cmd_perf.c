// SPDX-License-Identifier: MIT
//
// lodger perf: the guest in the host's perf.
#include "tools/lodger/commands.h"
#include "tools/lodger/perf/perf_commands.h"

#include <stdio.h>
#include <string.h>

struct perf_command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
};

static const struct perf_command commands[] = {
    {"record", perf_record, "record running guests into a perf.data file"},
    {"report", perf_report, "show a recording with perf"},
    {"top", perf_top, "what a guest does now, live"},
    {"stat", perf_stat, "how often things happen in a guest, by interval"},
    {"trace", perf_trace, "print events of a guest as they happen"},
    {"flamegraph", perf_flamegraph, "a picture of all call chains, for a browser"},
    {"heatmap", perf_heatmap, "a picture of samples over time, for a browser"},
    {"analyze", perf_analyze, "name bottlenecks and what has changed, in words"},
    {"merge", perf_merge, "weave recordings of guests into one of the host"},
    {"attach", perf_attach, "which guests can be looked into; flight recorder"},
};

static void print_help(void)
{
    puts("usage: ./lodger perf COMMAND [OPTIONS]\n"
         "\n"
         "What runs in a guest, seen from its host, in the ordinary perf. docs/profiling.md "
         "explains.\n");
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        printf("  %-10s  %s\n", commands[i].name, commands[i].summary);
    }
    puts("\n./lodger perf COMMAND --help says more.");
}

int cmd_perf(int argc, char **argv)
{
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_help();
        return argc < 2 ? EXIT_OWN_ERROR : 0;
    }
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(commands[i].name, argv[1]) == 0) {
            return commands[i].run(argc - 1, argv + 1);
        }
    }
    die("perf: unknown command: %s (./lodger perf --help lists them)", argv[1]);
}

int cmd_stat(int argc, char **argv)
{
    return perf_stat(argc, argv);
}
