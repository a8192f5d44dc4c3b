// SPDX-License-Identifier: MIT
//
// What the subcommands of `lodger perf` share: options, starting, signals.
#include "tools/lodger/perf/perf_commands.h"

#include "tools/lodger/perf/collector.h"
#include "tools/lodger/perf/recorder.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000ull

volatile int perf_interrupted;

static void on_signal(int number)
{
    perf_interrupted = number;
}

void perf_catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    // Writing reports what these would end us for.
    signal(SIGXFSZ, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
}

void perf_sleep_until(uint64_t time_ns)
{
    struct timespec until = {(time_t)(time_ns / SECOND), (long)(time_ns % SECOND)};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

uint64_t perf_parse_seconds(const char *option, const char *text)
{
    char *end;
    double seconds = strtod(text, &end);
    if (end == text || *end != '\0' || !(seconds > 0) || seconds > 1e6) {
        die("%s %s: expected a number of seconds", option, text);
    }
    return (uint64_t)(seconds * 1e9);
}

void perf_options_init(struct perf_options *options)
{
    *options = (struct perf_options){.frequency_hz = 999,
        .kernel_frames = 64,
        .user_frames = 64,
        .wait_ns = 10 * SECOND,
        .switches = false};
}

bool perf_options_take(struct perf_options *options, int code, const char *argument)
{
    switch (code) {
    case 'e': {
        // Several in one, as perf takes them.
        char *copy = xstrdup(argument), *rest = copy, *word;
        while ((word = strsep(&rest, ",")) != NULL) {
            if (word[0] != '\0') {
                strings_add(&options->events, word);
            }
        }
        free(copy);
        return true;
    }
    case 'F':
        if (!parse_number(argument, 1, PERF_EXPORT_RATE_HZ_MAX, &options->frequency_hz)) {
            die("-F %s: expected 1 to %u samples a second", argument, PERF_EXPORT_RATE_HZ_MAX);
        }
        return true;
    case PERF_OPTION_DURATION:
        options->duration_ns = perf_parse_seconds("--duration", argument);
        return true;
    case 'k':
        options->kernel_elf = argument;
        if (access(argument, R_OK) != 0) {
            die("--kernel-elf %s: %s", argument, strerror(errno));
        }
        return true;
    case 'w':
        options->wait_ns = perf_parse_seconds("--wait", argument);
        return true;
    case 'j':
        options->json = true;
        return true;
    default:
        return false;
    }
}

void perf_options_settings(const struct perf_options *options, struct collector_settings *settings)
{
    *settings = (struct collector_settings){
        .events = options->events.count > 0 ? (const char *const *)options->events.items : NULL,
        .frequency_hz = options->frequency_hz,
        .kernel_frames = (unsigned)options->kernel_frames,
        .user_frames = (unsigned)options->user_frames,
        .switches = options->switches,
        .idle = options->idle,
        .flight = options->flight,
        .count_only = options->count_only,
    };
}

// Collectors that an exit in between must stop.
static struct collector *running[RECORDER_GUESTS_MAX];
static size_t running_count;

static void stop_running(void)
{
    for (size_t i = 0; i < running_count; i++) {
        if (running[i]->memory.ops != NULL) {
            collector_stop(running[i]);
        }
    }
    running_count = 0;
}

struct collector **perf_start_collectors(const struct perf_options *options, size_t *count)
{
    struct collector_settings settings;
    perf_options_settings(options, &settings);
    *count = options->guests.count > 0 ? options->guests.count : 1;
    if (*count > RECORDER_GUESTS_MAX) {
        die("at most %u guests at a time", RECORDER_GUESTS_MAX);
    }
    atexit(stop_running);
    struct collector **collectors = xmalloc(*count * sizeof(struct collector *));
    for (size_t i = 0; i < *count; i++) {
        const char *name = options->guests.count > 0 ? options->guests.items[i] : NULL;
        collectors[i] = xmalloc(sizeof(struct collector));
        char *reason = collector_open(collectors[i], name, options->kernel_elf);
        if (reason != NULL) {
            die("%s", reason);
        }
        reason = collector_start(collectors[i], &settings, options->wait_ns);
        if (reason != NULL) {
            die("%s: %s", collectors[i]->guest.name, reason);
        }
        running[running_count++] = collectors[i];
        if (collectors[i]->kernel.path == NULL) {
            warn("%s: there is no kernel file with build-id %s: its functions have no names "
                 "(--kernel-elf FILE)",
                collectors[i]->guest.name,
                build_id_text(collectors[i]->attach.fixed.build_id,
                    collectors[i]->attach.fixed.build_id_len));
        }
    }
    return collectors;
}

void perf_exec(const struct strings *command)
{
    execvp(command->items[0], command->items);
    if (errno == ENOENT) {
        die("there is no perf on this host (package linux-perf)");
    }
    die("perf cannot be run: %s", strerror(errno));
}
