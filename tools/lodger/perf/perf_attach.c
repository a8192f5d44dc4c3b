// SPDX-License-Identifier: MIT
//
// lodger perf attach: whether a guest can be looked into, and what it offers; starts and stops its
// flight recorder.
#include "tools/lodger/perf/perf_commands.h"

#include "tools/lodger/perf/collector.h"
#include "tools/lodger/perf/events.h"

#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "usage: ./lodger perf attach [OPTIONS] [GUEST...]\n"
    "\n"
    "Says which guests run (without GUEST: all), how their memory is reached, which kernel they "
    "run,\n"
    "and what can be recorded. The guest is not changed, except by:\n"
    "\n"
    "  --flight HZ         start the flight recorder: samples into rings that are overwritten, "
    "until\n"
    "                      lodger perf record --flight takes them\n"
    "  --off               stop sampling, whoever asked for it\n"
    "  --list              the kernel's tracepoints\n"
    "  -e, --event EVENT   of the flight recorder (default: cpu-clock)\n"
    "  --kernel-elf FILE   the guest's kernel with symbols, if it is not found\n"
    "  --json              a JSON object for each guest\n";

struct attach_run {
    struct perf_options options;
    bool flight, off, list;
};

static const char *mode_name(uint32_t mode)
{
    return mode == PERF_EXPORT_MODE_COLLECT  ? "collected from"
           : mode == PERF_EXPORT_MODE_FLIGHT ? "flight recorder on"
                                             : "off";
}

static void describe(struct collector *collector, bool json)
{
    const struct attach *attach = &collector->attach;
    const struct perf_export_descriptor *fixed = &attach->fixed;
    struct strings tracepoints = {};
    events_list_tracepoints(collector, &tracepoints);
    const char *kernel = collector->kernel.path != NULL ? collector->kernel.path : "";
    bool pmu = (fixed->flags & PERF_EXPORT_HAS_PMU) != 0;
    uint64_t owner = attach_owner(&collector->attach);
    if (json) {
        json_t *all =
            json_pack("{s:s,s:i,s:s,s:s,s:s,s:i,s:b,s:i,s:s,s:I}", "name", collector->guest.name,
                "pid", (int)collector->guest.pid, "memory", collector->memory.how, "kernel", kernel,
                "build_id", build_id_text(fixed->build_id, fixed->build_id_len), "cpus",
                (int)fixed->cpu_count, "pmu", pmu ? 1 : 0, "tracepoints", (int)tracepoints.count,
                "state", mode_name(fixed->request.mode), "owner", (json_int_t)owner);
        json_dumpf(all, stdout, JSON_COMPACT);
        putchar('\n');
        json_decref(all);
    } else {
        printf("%s (pid %d)\n", collector->guest.name, (int)collector->guest.pid);
        printf("  memory       %llu MiB, %s\n",
            (unsigned long long)(collector->memory.size_bytes >> 20), collector->memory.how);
        printf("  kernel       %s, build-id %s\n", kernel[0] != '\0' ? kernel : "(file not found)",
            build_id_text(fixed->build_id, fixed->build_id_len));
        printf("  image        at %#llx in memory, which the ELF file has at 0\n",
            (unsigned long long)fixed->image_physical);
        printf("  vCPUs        %u\n", fixed->cpu_count);
        printf(
            "  counters     %s\n", pmu ? "of the processor" : "none: the sampling timer is used");
        printf("  TSC          %llu Hz, %s\n", (unsigned long long)fixed->tsc_hz,
            (fixed->flags & PERF_EXPORT_TSC_INVARIANT) != 0 ? "invariant" : "not invariant");
        printf("  tracepoints  %zu\n", tracepoints.count);
        printf("  sampling     %s", mode_name(fixed->request.mode));
        printf(owner != 0 ? " (process %llu)\n" : "\n", (unsigned long long)owner);
    }
    strings_free(&tracepoints);
}

// Everything for one guest. False: it can't be attached; the reason was printed.
static bool handle(const struct attach_run *run, const char *name)
{
    struct collector *collector = xmalloc(sizeof(*collector));
    char *reason = collector_open(collector, name, run->options.kernel_elf);
    if (reason != NULL) {
        warn("%s", reason);
        free(reason);
        free(collector);
        return false;
    }
    if (run->list) {
        struct strings names = {};
        events_list_tracepoints(collector, &names);
        for (size_t i = 0; i < names.count; i++) {
            puts(names.items[i]);
        }
        strings_free(&names);
    } else if (run->off) {
        collector_stop(collector);
    } else if (run->flight) {
        struct collector_settings settings;
        perf_options_settings(&run->options, &settings);
        settings.flight = true;
        reason = collector_start(collector, &settings, run->options.wait_ns);
        if (reason != NULL) {
            warn("%s: %s", collector->guest.name, reason);
        }
    } else {
        describe(collector, run->options.json);
    }
    collector_close(collector);
    free(collector);
    bool done = reason == NULL;
    free(reason);
    return done;
}

int perf_attach(int argc, char **argv)
{
    static const struct option options[] = {
        PERF_OPTIONS_LONG,
        {"flight", required_argument, NULL, 'f'},
        {"off", no_argument, NULL, 'o'},
        {"list", no_argument, NULL, 'l'},
        {"help", no_argument, NULL, 'h'},
        {},
    };
    struct attach_run run = {};
    perf_options_init(&run.options);
    int code;
    while ((code = getopt_long(argc, argv, PERF_OPTIONS_SHORT "h", options, NULL)) != -1) {
        if (code == 'f') {
            run.flight = perf_options_take(&run.options, 'F', optarg);
        } else if (code == 'o') {
            run.off = true;
        } else if (code == 'l') {
            run.list = true;
        } else if (code == 'h') {
            fputs(help, stdout);
            return 0;
        } else if (!perf_options_take(&run.options, code, optarg)) {
            die("see ./lodger perf attach --help");
        }
    }
    bool all_done = true;
    if (optind == argc && !run.flight && !run.off && !run.list) {
        struct guests guests;
        guests_list(&guests);
        for (size_t i = 0; i < guests.count; i++) {
            char pid[16];
            snprintf(pid, sizeof(pid), "%d", (int)guests.items[i].pid);
            all_done = handle(&run, pid) && all_done;
        }
        if (guests.count == 0) {
            die("no guest runs on this host (./lodger run starts one)");
        }
        guests_free(&guests);
    } else if (optind == argc) {
        all_done = handle(&run, NULL);
    }
    for (int i = optind; i < argc; i++) {
        all_done = handle(&run, argv[i]) && all_done;
    }
    return all_done ? 0 : EXIT_OWN_ERROR;
}
