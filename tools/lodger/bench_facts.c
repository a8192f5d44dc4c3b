// SPDX-License-Identifier: MIT
//
// What a report says about the conditions: another person has to be able to repeat it.
#include "tools/lodger/bench_measure.h"
#include "tools/lodger/process.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define COMMAND_TIMEOUT_NS 10000000000u

// The first line that a command prints, or "unknown".
static char *first_line_of(char *const *command)
{
    struct process_result result;
    process_run(command, tree_root(), COMMAND_TIMEOUT_NS, &result);
    buffer_add(&result.output, "", 1);
    char *text = (char *)result.output.data;
    text[strcspn(text, "\n")] = '\0';
    bool good = process_succeeded(&result) && text[0] != '\0';
    char *line = xstrdup(good ? text : "unknown");
    buffer_free(&result.output);
    return line;
}

// The value of a key in /proc/cpuinfo, to be freed; "" if there is none.
static char *cpuinfo_value(const char *key)
{
    char *text = file_read_text("/proc/cpuinfo");
    const char *line = text != NULL ? strstr(text, key) : NULL;
    const char *colon = line != NULL ? strchr(line, ':') : NULL;
    char *value = colon != NULL ? xstrndup(colon + 2, strcspn(colon + 2, "\n")) : xstrdup("");
    free(text);
    return value;
}

static char *describe_machine(void)
{
    struct utsname system;
    char *model = cpuinfo_value("model name");
    char *flags = cpuinfo_value("flags");
    bool guest = strstr(flags, " hypervisor") != NULL;
    uname(&system);
    char *text =
        xasprintf("%s, %ld processors, %ld MiB, %s %s%s", model, sysconf(_SC_NPROCESSORS_ONLN),
            sysconf(_SC_PHYS_PAGES) / 1024 * sysconf(_SC_PAGESIZE) / 1024, system.sysname,
            system.release, guest ? ", itself a virtual machine" : "");
    free(model);
    free(flags);
    return text;
}

static char *describe_date(void)
{
    char text[32];
    time_t now = time(NULL);
    struct tm fields;
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &fields));
    return xstrdup(text);
}

static char *describe_mitigations(const struct bench_plan *plan)
{
    const struct bench_kernel *other = &plan->kernels[SIDE_OTHER];
    if (plan->kernel_count == 1 || !other->foreign) {
        return xstrdup("this kernel has none");
    }
    return xasprintf("this kernel has none; %s: %s", other->title,
        other->mitigations ? "as it chooses them" : "off (mitigations=off)");
}

// The QEMU commands of what the plan measures.
static void add_commands(const struct bench_plan *plan, struct bench_report *report)
{
    static const char *const keys[] = {
        "counted here", "counted other", "timed here", "timed other"};
    for (int counted = 1; counted >= 0; counted--) {
        if (!plan->measures[counted ? MEASURE_COUNTS : MEASURE_TIME]) {
            continue;
        }
        for (int side = 0; side < plan->kernel_count; side++) {
            struct bench_machine machine = {
                .cpus = plan->cpus, .memory_bytes = UINT64_C(512) << 20, .counted = counted};
            bench_report_add_fact(report, keys[2 * !counted + side],
                bench_machine_command(&plan->kernels[side], &machine));
        }
    }
}

void bench_add_facts(
    const struct bench_plan *plan, const char *command, struct bench_report *report)
{
    char *version[] = {"qemu-system-x86_64", "--version", NULL};
    char *commit[] = {"git", "describe", "--always", "--dirty", "--abbrev=10", NULL};
    bench_report_add_fact(report, "date", describe_date());
    bench_report_add_fact(report, "command", xstrdup(command));
    bench_report_add_fact(report, "commit", first_line_of(commit));
    bench_report_add_fact(report, "machine", describe_machine());
    bench_report_add_fact(report, "qemu", first_line_of(version));
    bench_report_add_fact(report, "accelerator",
        xstrdup(bench_machine_accelerator(&(struct bench_machine){.cpus = 1})));
    for (int side = 0; side < plan->kernel_count; side++) {
        bench_report_add_fact(
            report, side == SIDE_HERE ? "here" : "other", xstrdup(plan->kernels[side].image));
        report->titles[side] = xstrdup(plan->kernels[side].title);
    }
    if (plan->measures[MEASURE_EXITS]) {
        bench_report_add_fact(report, "exits",
            xstrdup(plan->lab == BENCH_LAB_XEN ? "Xen in the lab" : "KVM in the lab"));
    }
    bench_report_add_fact(report, "mitigations", describe_mitigations(plan));
    add_commands(plan, report);
}
