// SPDX-License-Identifier: MIT
//
// The subcommands of `lodger perf`. Each takes its own arguments (argv[0] is its name) and returns
// the exit code.
#pragma once

#include "tools/lodger/util.h"

int perf_record(int argc, char **argv);
int perf_report(int argc, char **argv);
int perf_top(int argc, char **argv);
int perf_stat(int argc, char **argv);
int perf_trace(int argc, char **argv);
int perf_flamegraph(int argc, char **argv);
int perf_heatmap(int argc, char **argv);
int perf_analyze(int argc, char **argv);
int perf_merge(int argc, char **argv);
int perf_attach(int argc, char **argv);

// Options that several subcommands take: which guests, which events, how often.
struct perf_options {
    struct strings guests; // names, process ids; empty: the only one
    const char *kernel_elf;
    struct strings events;
    uint64_t frequency_hz;
    uint64_t kernel_frames, user_frames;
    uint64_t duration_ns; // 0: until interrupted
    uint64_t wait_ns;     // for the guest's answer
    bool switches, idle, flight, count_only, json;
};

#define PERF_OPTIONS_HELP                                                                          \
    "  GUEST...            names (lodger run --name), process ids; without: the only one "         \
    "running\n"                                                                                    \
    "  -e, --event EVENT   repeatable; SYSTEM:NAME or SYSTEM:* is a tracepoint, probe:FUNCTION\n"  \
    "                      and probe:FUNCTION%return a kernel function (default: cpu-clock)\n"     \
    "  -F, --freq HZ       samples a second and vCPU (default 999)\n"                              \
    "  --duration SECONDS  stop after that time\n"                                                 \
    "  --kernel-elf FILE   the guest's kernel with symbols, if it is not found\n"                  \
    "  --wait SECONDS      for the guest to answer (default 10)\n"

#define PERF_OPTION_DURATION 1000

// Short and long options for getopt_long(), to which a command adds its own.
#define PERF_OPTIONS_SHORT "e:F:"
#define PERF_OPTIONS_LONG                                                                          \
    {"event", required_argument, NULL, 'e'}, {"freq", required_argument, NULL, 'F'},               \
        {"duration", required_argument, NULL, PERF_OPTION_DURATION},                               \
        {"kernel-elf", required_argument, NULL, 'k'}, {"wait", required_argument, NULL, 'w'},      \
    {                                                                                              \
        "json", no_argument, NULL, 'j'                                                             \
    }

void perf_options_init(struct perf_options *options);
// Takes one option in (`argument` is optarg). False: it is none of these. Dies if it is wrong.
bool perf_options_take(struct perf_options *options, int code, const char *argument);

struct collector_settings;
struct collector;

void perf_options_settings(const struct perf_options *options, struct collector_settings *settings);

// Opens and starts a collector for each guest; dies with the reason if one can't be. The array and
// the collectors live as long as the command.
struct collector **perf_start_collectors(const struct perf_options *options, size_t *count);

// Ctrl-C and its relatives set this instead of ending the command.
extern volatile int perf_interrupted;
void perf_catch_signals(void);
// Sleeps until that time or a signal.
void perf_sleep_until(uint64_t time_ns);

// Runs `perf ARGUMENTS` in place of this command; dies if that is not possible.
[[noreturn]] void perf_exec(const struct strings *command);

// A duration such as 5 or 0.5; dies if it is none.
uint64_t perf_parse_seconds(const char *option, const char *text);
