// SPDX-License-Identifier: MIT
//
// lodger perf record: samples of running guests into a perf.data file.
#include "tools/lodger/perf/perf_commands.h"

#include "tools/lodger/perf/collector.h"
#include "tools/lodger/perf/counters.h"
#include "tools/lodger/perf/recorder.h"

#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROUND_NS    100000000ull
#define COUNTERS_NS 1000000000ull
#define NAMES_NS    5000000000ull

static const char help[] =
    "usage: ./lodger perf record [OPTIONS] [GUEST...]\n"
    "\n"
    "Records what runs in guests, which go on undisturbed, until Ctrl-C, into a file that perf "
    "can\n"
    "read at any moment. Times are those of the host's CLOCK_MONOTONIC.\n"
    "\n" PERF_OPTIONS_HELP
    "  -o, --output FILE   default perf.data; - is standard output, for `perf script -i -`\n"
    "  --max-size SIZE     stop when the file has that size (default 4G)\n"
    "  --user-frames N, --kernel-frames N  callers of a sample, 0 to 127 (default 64)\n"
    "  --switch-events     a record for each context switch\n"
    "  --idle              samples of idle vCPUs too\n"
    "  --flight            take what the guest's flight recorder holds (boot option\n"
    "                      perf_flight=HZ), and end\n"
    "  --json              say how it went as one JSON object\n";

struct recording {
    struct perf_options options;
    const char *output;
    uint64_t max_bytes;
    struct collector **collectors;
    size_t count;
    bool gone[RECORDER_GUESTS_MAX];
    struct counters counters[RECORDER_GUESTS_MAX]; // count 0: none
    FILE *counters_file;
};

static void parse(struct recording *recording, int argc, char **argv)
{
    static const struct option options[] = {
        PERF_OPTIONS_LONG,
        {"output", required_argument, NULL, 'o'},
        {"max-size", required_argument, NULL, 'm'},
        {"user-frames", required_argument, NULL, 'u'},
        {"kernel-frames", required_argument, NULL, 'n'},
        {"switch-events", no_argument, NULL, 's'},
        {"idle", no_argument, NULL, 'i'},
        {"flight", no_argument, NULL, 'f'},
        {"help", no_argument, NULL, 'h'},
        {},
    };
    perf_options_init(&recording->options);
    int code;
    while ((code = getopt_long(argc, argv, PERF_OPTIONS_SHORT "o:h", options, NULL)) != -1) {
        if (perf_options_take(&recording->options, code, optarg)) {
            continue;
        }
        uint64_t *frames =
            code == 'u' ? &recording->options.user_frames : &recording->options.kernel_frames;
        switch (code) {
        case 'o':
            recording->output = optarg;
            break;
        case 'm':
            if (!parse_size(optarg, &recording->max_bytes)) {
                die("--max-size %s: expected a size such as 500M", optarg);
            }
            break;
        case 'u':
        case 'n':
            if (!parse_number(optarg, 0, PERF_EXPORT_FRAMES_MAX, frames)) {
                die("%s: expected 0 to %u frames", optarg, PERF_EXPORT_FRAMES_MAX);
            }
            break;
        case 's':
            recording->options.switches = true;
            break;
        case 'i':
            recording->options.idle = true;
            break;
        case 'f':
            recording->options.flight = true;
            break;
        case 'h':
            fputs(help, stdout);
            exit(0);
        default:
            die("see ./lodger perf record --help");
        }
    }
    for (int i = optind; i < argc; i++) {
        strings_add(&recording->options.guests, argv[i]);
    }
}

// The counters go into a file of their own beside the recording: a JSON object a line.
static void open_counters(struct recording *recording)
{
    if (strcmp(recording->output, "-") == 0) {
        return;
    }
    char *path = xasprintf("%s.counters", recording->output);
    recording->counters_file = fopen(path, "w");
    if (recording->counters_file == NULL) {
        warn("%s: %s; counters are not recorded", path, strerror(errno));
    }
    free(path);
    for (size_t i = 0; i < recording->count; i++) {
        if (counters_open(&recording->counters[i], &recording->collectors[i]->attach) != 0) {
            recording->counters[i].count = 0;
        }
    }
}

static void write_counters(struct recording *recording, size_t index)
{
    struct counters *counters = &recording->counters[index];
    struct collector *collector = recording->collectors[index];
    if (recording->counters_file == NULL || counters->count == 0 || counters_read(counters) != 0 ||
        attach_read_counts(&collector->attach) != 0) {
        return;
    }
    json_t *values = json_object();
    for (size_t i = 0; i < counters->count; i++) {
        json_object_set_new(
            values, counters->names[i], json_integer((json_int_t)counters->values[i]));
    }
    json_t *cpus = json_array();
    for (uint32_t i = 0; i < collector->attach.status.cpu_count; i++) {
        const struct attach_cpu *cpu = &collector->attach.cpus[i];
        json_array_append_new(cpus, json_pack("{s:I,s:I}", "steal_ns", (json_int_t)cpu->steal_ns,
                                        "idle_ns", (json_int_t)cpu->idle_ns));
    }
    json_t *line = json_pack("{s:I,s:s,s:o,s:o}", "time_ns", (json_int_t)time_now_ns(), "guest",
        collector->guest.name, "cpus", cpus, "counters", values);
    json_dumpf(line, recording->counters_file, JSON_COMPACT);
    fputc('\n', recording->counters_file);
    fflush(recording->counters_file);
    json_decref(line);
}

// One round of all guests. False: none of them lives.
static bool collect(struct recording *recording, struct recorder *recorder)
{
    bool any = false;
    for (size_t i = 0; i < recording->count; i++) {
        if (recording->gone[i]) {
            continue;
        }
        int error = recorder_collect(recorder, i);
        if (error != 0) {
            recording->gone[i] = true;
            warn("%s has ended (%s); what it ran until then is recorded",
                recording->collectors[i]->guest.name, strerror(-error));
        }
        any = any || error == 0;
    }
    return any;
}

// Rounds until something ends the recording. Returns the error of writing, if that was it.
static int run(struct recording *recording, struct recorder *recorder)
{
    uint64_t start_ns = time_now_ns(), next_ns = start_ns, counters_ns = 0;
    int error = 0;
    while (error == 0 && !perf_interrupted && collect(recording, recorder)) {
        error = recorder_flush(recorder);
        if (time_now_ns() >= counters_ns) {
            for (size_t i = 0; i < recording->count; i++) {
                write_counters(recording, i);
            }
            counters_ns = time_now_ns() + COUNTERS_NS;
        }
        uint64_t duration_ns = recording->options.duration_ns;
        if (recording->options.flight ||
            (duration_ns != 0 && time_now_ns() - start_ns >= duration_ns)) {
            break;
        }
        if (recorder_bytes(recorder) > recording->max_bytes) {
            warn("the recording has reached its size limit (--max-size)");
            break;
        }
        next_ns += ROUND_NS;
        next_ns = next_ns > time_now_ns() ? next_ns : time_now_ns();
        if (duration_ns != 0 && next_ns > start_ns + duration_ns) {
            next_ns = start_ns + duration_ns;
        }
        perf_sleep_until(next_ns);
    }
    return error;
}

// A recording that was shorter than a busy guest needs to tell its tasks waits for them.
static void wait_for_names(struct recording *recording, struct recorder *recorder)
{
    uint64_t start_ns = time_now_ns();
    while (!recorder_has_names(recorder) && time_now_ns() - start_ns < NAMES_NS &&
           collect(recording, recorder)) {
        perf_sleep_until(time_now_ns() + ROUND_NS / 10);
    }
}

// How it went, for a person or for a script.
static void summarise(
    const struct recording *recording, const struct recorder *recorder, double seconds)
{
    json_t *guests = json_array();
    for (size_t i = 0; i < recording->count; i++) {
        const struct collector *collector = recording->collectors[i];
        const struct recorder_guest_result *result = recorder_result(recorder, i);
        uint64_t lost = attach_lost(&collector->attach);
        lost = lost > result->lost ? lost : result->lost;
        json_array_append_new(guests,
            json_pack("{s:s,s:i,s:I,s:I,s:I,s:I,s:I,s:s}", "name", collector->guest.name, "pid",
                (int)collector->guest.pid, "samples", (json_int_t)result->samples, "lost",
                (json_int_t)lost, "late", (json_int_t)result->late, "clock_error_ns",
                (json_int_t)collector->max_error_ns, "broken_rings",
                (json_int_t)collector->attach.broken_rings, "memory", collector->memory.how));
        if (!recording->options.json) {
            fprintf(stderr,
                "lodger: %s: %llu samples in %.1f s, %llu lost; clock error at most %llu ns; "
                "memory: %s\n",
                collector->guest.name, (unsigned long long)result->samples, seconds,
                (unsigned long long)lost, (unsigned long long)collector->max_error_ns,
                collector->memory.how);
        }
        if (collector->attach.broken_rings > 0) {
            warn("%s: %llu rings were not well-formed and have been left out",
                collector->guest.name, (unsigned long long)collector->attach.broken_rings);
        }
    }
    if (recording->options.json) {
        json_t *all = json_pack("{s:s,s:f,s:I,s:o}", "file", recording->output, "seconds", seconds,
            "bytes", (json_int_t)recorder_bytes(recorder), "guests", guests);
        json_dumpf(all, strcmp(recording->output, "-") == 0 ? stderr : stdout, JSON_INDENT(2));
        fputc('\n', strcmp(recording->output, "-") == 0 ? stderr : stdout);
        json_decref(all);
    } else {
        json_decref(guests);
        fprintf(stderr, "lodger: %.1f KiB in %s\n", (double)recorder_bytes(recorder) / 1024,
            recording->output);
    }
}

int perf_record(int argc, char **argv)
{
    static struct recording recording = {.output = "perf.data", .max_bytes = 4ull << 30};
    parse(&recording, argc, argv);
    perf_catch_signals();
    recording.collectors = perf_start_collectors(&recording.options, &recording.count);
    struct recorder *recorder;
    int error = recorder_open(recording.output, recording.collectors, recording.count, &recorder);
    if (error != 0) {
        die("%s: %s", recording.output, strerror(-error));
    }
    open_counters(&recording);
    uint64_t start_ns = time_now_ns();
    error = run(&recording, recorder);
    double seconds = (double)(time_now_ns() - start_ns) / 1e9;
    if (error == 0) {
        wait_for_names(&recording, recorder);
    }
    // What the guests wrote until they noticed.
    for (size_t i = 0; i < recording.count; i++) {
        if (!recording.gone[i]) {
            collector_stop(recording.collectors[i]);
            (void)!recorder_collect(recorder, i);
        }
    }
    summarise(&recording, recorder, seconds);
    char *command[64] = {"lodger", "perf"};
    for (int i = 0; i < argc && i < 60; i++) {
        command[i + 2] = argv[i];
    }
    int close_error = recorder_close(recorder, command);
    error = error != 0 ? error : close_error;
    if (error != 0) {
        warn("%s: %s; what was written before is readable", recording.output, strerror(-error));
        return EXIT_OWN_ERROR;
    }
    return 0;
}
