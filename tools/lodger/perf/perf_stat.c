// SPDX-License-Identifier: MIT
//
// lodger stat, lodger perf stat: the kernel's counters by interval, read from the guest's memory;
// the guest does nothing for it. With -e, events are counted besides (the guest is asked to,
// without samples).
#include "tools/lodger/perf/perf_commands.h"

#include "tools/lodger/perf/collector.h"
#include "tools/lodger/perf/counters.h"

#include <fnmatch.h>
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "usage: ./lodger perf stat [OPTIONS] [GUEST] [COUNTER...]     (./lodger stat is the same)\n"
    "\n"
    "Prints how often things have happened in a guest, and how often in a second: the kernel's\n"
    "counters (all that changed, or those that match a COUNTER such as tlb.* or block.completed),\n"
    "and what two of them say together, such as how many requests go to a device at a time.\n"
    "They are read from the guest's memory, so looking costs the guest nothing.\n"
    "\n"
    "  -I, --interval MS   print each interval (default: once, at the end)\n"
    "  -e, --event EVENT   count events too, stolen and idle time of each vCPU with them\n"
    "  --duration SECONDS  stop after that time (default: Ctrl-C)\n"
    "  --kernel-elf FILE   the guest's kernel with symbols, if it is not found\n"
    "  --list              print all counters as they are, and end\n"
    "  --json              a JSON object for each interval\n";

// What one counter is for each of another.
static const struct ratio {
    const char *what, *counter, *each;
} ratios[] = {
    {"block requests a batch", "block.submitted", "block.batches"},
    {"block requests merged into others, of each", "block.merged", "block.submitted"},
    {"bytes copied a block request", "io.copied_bytes", "block.submitted"},
    {"virtio buffers a batch", "virtio.buffers", "virtio.batches"},
    {"virtio notifications a buffer", "virtio.notifications", "virtio.buffers"},
    {"virtio notifications suppressed, of each batch", "virtio.notifications_suppressed",
        "virtio.batches"},
    {"virtio interrupts a buffer", "virtio.interrupts", "virtio.buffers"},
    {"NVMe doorbells a command", "nvme.doorbells", "nvme.commands"},
};
#define RATIO_COUNT (sizeof(ratios) / sizeof(ratios[0]))

struct counting {
    struct perf_options options;
    struct strings patterns;
    uint64_t interval_ns;
    bool list;
    struct collector *collector;
    struct counters counters;
    uint64_t *before;
    struct attach_cpu cpus_before[PERF_EXPORT_CPUS];
};

static bool wanted(const struct counting *stat, const char *name)
{
    for (size_t i = 0; i < stat->patterns.count; i++) {
        if (fnmatch(stat->patterns.items[i], name, 0) == 0) {
            return true;
        }
    }
    return stat->patterns.count == 0;
}

static bool chosen(const struct counting *stat, size_t index)
{
    bool changed = stat->counters.values[index] != stat->before[index];
    return wanted(stat, stat->counters.names[index]) &&
           (changed || stat->list || stat->patterns.count > 0);
}

// Since the last interval. False: nothing to divide by, or not asked for.
static bool ratio_value(const struct counting *stat, const struct ratio *ratio, double *value)
{
    int counter = counters_find(&stat->counters, ratio->counter);
    int each = counters_find(&stat->counters, ratio->each);
    if (counter < 0 || each < 0 || !wanted(stat, ratio->counter) || !wanted(stat, ratio->each) ||
        stat->counters.values[each] == stat->before[each]) {
        return false;
    }
    *value = (double)(stat->counters.values[counter] - stat->before[counter]) /
             (double)(stat->counters.values[each] - stat->before[each]);
    return true;
}

// Sum of an event's counts over the CPUs since the last interval, scaled where it was multiplexed.
static double event_count(const struct counting *stat, unsigned event)
{
    double sum = 0;
    const struct attach *attach = &stat->collector->attach;
    for (uint32_t i = 0; i < attach->status.cpu_count; i++) {
        const struct perf_export_count *now = &attach->cpus[i].counts[event];
        const struct perf_export_count *then = &stat->cpus_before[i].counts[event];
        double enabled = (double)(now->enabled_ns - then->enabled_ns);
        double running = (double)(now->running_ns - then->running_ns);
        double scale = running > 0 && enabled > running ? enabled / running : 1;
        sum += (double)(now->value - then->value) * scale;
    }
    return sum;
}

static void print_json(const struct counting *stat, double since_s, double seconds)
{
    json_t *counters = json_object();
    for (size_t i = 0; i < stat->counters.count; i++) {
        if (chosen(stat, i)) {
            json_object_set_new(counters, stat->counters.names[i],
                json_integer((json_int_t)(stat->counters.values[i] - stat->before[i])));
        }
    }
    json_t *both = json_object();
    for (size_t i = 0; i < RATIO_COUNT; i++) {
        double value;
        if (ratio_value(stat, &ratios[i], &value)) {
            char *key = xasprintf("%s/%s", ratios[i].counter, ratios[i].each);
            json_object_set_new(both, key, json_real(value));
            free(key);
        }
    }
    json_t *events = json_object(), *cpus = json_array();
    for (unsigned i = 0; i < stat->collector->event_count; i++) {
        json_object_set_new(
            events, stat->collector->events[i].name, json_real(event_count(stat, i)));
    }
    const struct attach *attach = &stat->collector->attach;
    for (uint32_t i = 0; stat->options.events.count > 0 && i < attach->status.cpu_count; i++) {
        json_array_append_new(cpus,
            json_pack("{s:I,s:I}", "steal_ns",
                (json_int_t)(attach->cpus[i].steal_ns - stat->cpus_before[i].steal_ns), "idle_ns",
                (json_int_t)(attach->cpus[i].idle_ns - stat->cpus_before[i].idle_ns)));
    }
    json_t *all = json_pack("{s:s,s:f,s:f,s:o,s:o,s:o,s:o}", "guest", stat->collector->guest.name,
        "time_s", since_s, "seconds", seconds, "counters", counters, "ratios", both, "events",
        events, "cpus", cpus);
    json_dumpf(all, stdout, JSON_COMPACT | JSON_SORT_KEYS);
    putchar('\n');
    json_decref(all);
}

static void print_text(const struct counting *stat, double since_s, double seconds)
{
    printf("# %s: %.3f s, the last %.3f s\n%20s %14s\n", stat->collector->guest.name, since_s,
        seconds, "count", "per second");
    for (size_t i = 0; i < stat->counters.count; i++) {
        uint64_t count = stat->counters.values[i] - stat->before[i];
        if (chosen(stat, i)) {
            printf("%20llu %14.1f  %s\n", (unsigned long long)count, (double)count / seconds,
                stat->counters.names[i]);
        }
    }
    for (size_t i = 0; i < RATIO_COUNT; i++) {
        double value;
        if (ratio_value(stat, &ratios[i], &value)) {
            printf("%35.2f  %s\n", value, ratios[i].what);
        }
    }
    for (unsigned i = 0; i < stat->collector->event_count; i++) {
        double count = event_count(stat, i);
        printf("%20.0f %14.1f  %s\n", count, count / seconds, stat->collector->events[i].name);
    }
    const struct attach *attach = &stat->collector->attach;
    for (uint32_t i = 0; stat->options.events.count > 0 && i < attach->status.cpu_count; i++) {
        printf("vCPU %u: %.1f %% stolen, %.1f %% idle\n", i,
            (double)(attach->cpus[i].steal_ns - stat->cpus_before[i].steal_ns) / seconds / 1e7,
            (double)(attach->cpus[i].idle_ns - stat->cpus_before[i].idle_ns) / seconds / 1e7);
    }
}

static int read_all(struct counting *stat)
{
    int error = counters_read(&stat->counters);
    if (error == 0 && stat->options.events.count > 0) {
        error = attach_read_counts(&stat->collector->attach);
    }
    return error;
}

static void keep_values(struct counting *stat)
{
    memcpy(stat->before, stat->counters.values, stat->counters.count * sizeof(uint64_t));
    const struct attach *attach = &stat->collector->attach;
    for (uint32_t i = 0; i < attach->status.cpu_count; i++) {
        stat->cpus_before[i] = attach->cpus[i];
    }
}

static void parse(struct counting *stat, int argc, char **argv)
{
    static const struct option options[] = {
        PERF_OPTIONS_LONG,
        {"interval", required_argument, NULL, 'I'},
        {"list", no_argument, NULL, 'l'},
        {"help", no_argument, NULL, 'h'},
        {},
    };
    perf_options_init(&stat->options);
    uint64_t interval_ms = 0;
    int code;
    while ((code = getopt_long(argc, argv, PERF_OPTIONS_SHORT "I:h", options, NULL)) != -1) {
        if (perf_options_take(&stat->options, code, optarg)) {
            continue;
        }
        if (code == 'I' && parse_number(optarg, 10, 1000000, &interval_ms)) {
            stat->interval_ns = interval_ms * 1000000;
        } else if (code == 'l') {
            stat->list = true;
        } else if (code == 'h') {
            fputs(help, stdout);
            exit(0);
        } else {
            die(code == 'I' ? "--interval: expected 10 to 1000000 milliseconds"
                            : "see ./lodger perf stat --help");
        }
    }
    // A word with a dot or a star is a counter.
    for (int i = optind; i < argc; i++) {
        bool counter = strpbrk(argv[i], ".*?") != NULL;
        strings_add(counter ? &stat->patterns : &stat->options.guests, argv[i]);
    }
}

static void open_guest(struct counting *stat)
{
    stat->options.count_only = true;
    if (stat->options.guests.count > 1) {
        die("one guest at a time (./lodger perf stat --help)");
    }
    if (stat->options.events.count > 0) {
        size_t count;
        stat->collector = perf_start_collectors(&stat->options, &count)[0];
    } else {
        stat->collector = xmalloc(sizeof(*stat->collector));
        const char *name = stat->options.guests.count > 0 ? stat->options.guests.items[0] : NULL;
        char *reason = collector_open(stat->collector, name, stat->options.kernel_elf);
        if (reason != NULL) {
            die("%s", reason);
        }
    }
    if (counters_open(&stat->counters, &stat->collector->attach) != 0) {
        die("%s: the guest's counters cannot be read", stat->collector->guest.name);
    }
    stat->before = xmalloc(stat->counters.count * sizeof(uint64_t));
    memset(stat->before, 0, stat->counters.count * sizeof(uint64_t));
}

int perf_stat(int argc, char **argv)
{
    static struct counting stat;
    parse(&stat, argc, argv);
    perf_catch_signals();
    open_guest(&stat);
    int error = read_all(&stat);
    uint64_t start_ns = time_now_ns(), last_ns = start_ns;
    if (stat.list && error == 0) {
        for (size_t i = 0; i < stat.counters.count; i++) {
            if (wanted(&stat, stat.counters.names[i])) {
                printf("%20llu  %s\n", (unsigned long long)stat.counters.values[i],
                    stat.counters.names[i]);
            }
        }
        return 0;
    }
    keep_values(&stat);
    uint64_t duration_ns = stat.options.duration_ns;
    bool ended = false;
    while (error == 0 && !ended) {
        uint64_t step_ns = stat.interval_ns != 0 ? stat.interval_ns : 100000000;
        uint64_t next_ns = time_now_ns() + step_ns;
        if (duration_ns != 0 && next_ns >= start_ns + duration_ns) {
            next_ns = start_ns + duration_ns;
            ended = true;
        }
        perf_sleep_until(next_ns);
        ended = ended || perf_interrupted;
        error = read_all(&stat);
        if (stat.options.events.count > 0 && error == 0) {
            error = attach_beat(&stat.collector->attach);
        }
        if (error == 0 && (stat.interval_ns != 0 || ended)) {
            uint64_t now_ns = time_now_ns();
            double seconds = (double)(now_ns - last_ns) / 1e9;
            double since_s = (double)(now_ns - start_ns) / 1e9;
            (stat.options.json ? print_json : print_text)(&stat, since_s, seconds);
            fflush(stdout);
            keep_values(&stat);
            last_ns = now_ns;
        }
    }
    if (error != 0) {
        warn("%s has ended", stat.collector->guest.name);
    }
    return error == 0 ? 0 : EXIT_OWN_ERROR;
}
