// SPDX-License-Identifier: MIT
//
// Counting for `lodger perf top`.
#include "tools/lodger/perf/top_view.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DECAY 0.875
// Entries lighter than this are left out.
#define WEIGHT_MIN 0.05

void top_view_init(struct top_view *view, struct collector *collector)
{
    *view = (struct top_view){.guest = collector->guest.name,
        .functions = xmalloc(TOP_ENTRIES * sizeof(struct top_entry)),
        .tasks = xmalloc(TOP_ENTRIES * sizeof(struct top_entry)),
        .cpu_count = collector->attach.status.cpu_count,
        .refreshed_ns = time_now_ns()};
    memset(view->functions, 0, TOP_ENTRIES * sizeof(struct top_entry));
    memset(view->tasks, 0, TOP_ENTRIES * sizeof(struct top_entry));
    if (counters_open(&view->counters, &collector->attach) == 0 &&
        counters_read(&view->counters) == 0) {
        size_t bytes = view->counters.count * sizeof(uint64_t);
        view->counters_before = xmalloc(bytes);
        memcpy(view->counters_before, view->counters.values, bytes);
        view->counter_rates = xmalloc(view->counters.count * sizeof(double));
        memset(view->counter_rates, 0, view->counters.count * sizeof(double));
    } else {
        view->counters.count = 0;
    }
    if (attach_read_counts(&collector->attach) == 0) {
        for (unsigned i = 0; i < view->cpu_count; i++) {
            view->steal_ns[i] = collector->attach.cpus[i].steal_ns;
            view->idle_ns[i] = collector->attach.cpus[i].idle_ns;
        }
    }
}

static uint32_t hash_name(const char *name, const char *dso)
{
    uint32_t hash = 2166136261u;
    for (; *name != '\0'; name++) {
        hash = (hash ^ (uint8_t)*name) * 16777619u;
    }
    for (; *dso != '\0'; dso++) {
        hash = (hash ^ (uint8_t)*dso) * 16777619u;
    }
    return hash;
}

// The entry of a function; NULL: the table is full.
static struct top_entry *function_entry(
    struct top_view *view, const char *name, const char *dso, bool kernel)
{
    uint32_t slot = hash_name(name, dso) % TOP_ENTRIES;
    while (view->functions[slot].name != NULL && (strcmp(view->functions[slot].name, name) != 0 ||
                                                     strcmp(view->functions[slot].dso, dso) != 0)) {
        slot = (slot + 1) % TOP_ENTRIES;
    }
    struct top_entry *entry = &view->functions[slot];
    if (entry->name == NULL) {
        if (view->function_count >= TOP_ENTRIES / 2) {
            return NULL;
        }
        view->function_count++;
        *entry = (struct top_entry){.name = xstrdup(name), .dso = xstrdup(dso), .kernel = kernel};
    }
    return entry;
}

static struct top_entry *task_entry(struct top_view *view, uint32_t tid)
{
    uint32_t slot = tid * 0x9e3779b1u % TOP_ENTRIES;
    while (view->tasks[slot].name != NULL && view->tasks[slot].tid != tid) {
        slot = (slot + 1) % TOP_ENTRIES;
    }
    struct top_entry *entry = &view->tasks[slot];
    if (entry->name == NULL) {
        if (view->task_count >= TOP_ENTRIES / 2) {
            return NULL;
        }
        view->task_count++;
        *entry = (struct top_entry){.name = xstrdup("?"), .tid = tid};
    }
    return entry;
}

// A task's name as it is now.
static void name_task(struct top_entry *entry, const struct tasks *tasks)
{
    const struct task *task = tasks_find(tasks, entry->tid);
    const char *name = entry->tid == 0 ? "(kernel, idle)" : task != NULL ? task->comm : NULL;
    if (name != NULL && strcmp(entry->name, name) != 0) {
        free(entry->name);
        entry->name = xstrdup(name);
        for (char *at = entry->name; *at != '\0'; at++) {
            *at = isprint((unsigned char)*at) ? *at : '?';
        }
    }
}

static void take_sample(struct top_view *view, struct collector *collector, unsigned cpu,
    const struct perf_record *record)
{
    const struct perf_export_header *header = &record->header;
    unsigned mode = header->mode & PERF_EXPORT_IN_MASK;
    bool user = mode == PERF_EXPORT_IN_USER;
    const char *dso;
    const char *name = collector_symbol(collector, user, header->pid, record->sample.ip, &dso);
    struct top_entry *function = function_entry(view, name, dso, !user);
    if (function != NULL) {
        function->weight++;
    }
    struct top_entry *task = task_entry(view, header->tid);
    if (task != NULL) {
        name_task(task, &collector->tasks);
        task->weight++;
    }
    view->cpu_weights[cpu]++;
    view->cpu_busy[cpu] += mode != PERF_EXPORT_IN_IDLE ? 1 : 0;
    view->samples++;
}

// Time between losing the vCPU and getting it back.
static void take_switch(struct top_view *view, const struct perf_record *record, uint64_t time_ns)
{
    const struct perf_export_switch *switched = record->switched;
    struct top_entry *out =
        switched->previous_tid != 0 ? task_entry(view, switched->previous_tid) : NULL;
    struct top_entry *in = record->header.tid != 0 ? task_entry(view, record->header.tid) : NULL;
    if (out != NULL) {
        out->preempted_ns = switched->preempted != 0 ? time_ns : 0;
    }
    if (in != NULL && in->preempted_ns != 0 && time_ns > in->preempted_ns) {
        uint64_t wait_ns = time_ns - in->preempted_ns;
        in->waits++;
        in->wait_ns += wait_ns;
        in->wait_max_ns = wait_ns > in->wait_max_ns ? wait_ns : in->wait_max_ns;
        in->preempted_ns = 0;
    }
}

void top_view_take(struct top_view *view, struct collector *collector, unsigned cpu,
    uint64_t time_ns, const struct perf_record *record)
{
    if (cpu >= view->cpu_count) {
        return;
    }
    if (record->header.type == PERF_EXPORT_SAMPLE) {
        take_sample(view, collector, cpu, record);
    } else if (record->header.type == PERF_EXPORT_SWITCH) {
        take_switch(view, record, time_ns);
    }
}

static void decay(struct top_entry *entries)
{
    for (size_t i = 0; i < TOP_ENTRIES; i++) {
        entries[i].weight *= DECAY;
    }
}

void top_view_zero(struct top_view *view)
{
    for (size_t i = 0; i < TOP_ENTRIES; i++) {
        view->functions[i].weight = view->tasks[i].weight = 0;
        view->tasks[i].waits = view->tasks[i].wait_ns = view->tasks[i].wait_max_ns = 0;
    }
    memset(view->cpu_weights, 0, sizeof(view->cpu_weights));
    memset(view->cpu_busy, 0, sizeof(view->cpu_busy));
    view->samples = view->samples_before = 0;
}

void top_view_refresh(struct top_view *view, struct collector *collector, uint64_t now_ns)
{
    double seconds = (double)(now_ns - view->refreshed_ns) / 1e9;
    view->refreshed_ns = now_ns;
    view->samples_per_s = (double)(view->samples - view->samples_before) / seconds;
    view->samples_before = view->samples;
    if (attach_read_counts(&collector->attach) == 0) {
        for (unsigned i = 0; i < view->cpu_count; i++) {
            const struct attach_cpu *cpu = &collector->attach.cpus[i];
            view->cpu_steal[i] = (double)(cpu->steal_ns - view->steal_ns[i]) / seconds / 1e7;
            view->cpu_idle[i] = (double)(cpu->idle_ns - view->idle_ns[i]) / seconds / 1e7;
            view->steal_ns[i] = cpu->steal_ns;
            view->idle_ns[i] = cpu->idle_ns;
        }
    }
    if (view->counters.count > 0 && counters_read(&view->counters) == 0) {
        for (size_t i = 0; i < view->counters.count; i++) {
            view->counter_rates[i] =
                (double)(view->counters.values[i] - view->counters_before[i]) / seconds;
            view->counters_before[i] = view->counters.values[i];
        }
    }
    decay(view->functions);
    decay(view->tasks);
    for (unsigned i = 0; i < view->cpu_count; i++) {
        view->cpu_weights[i] *= DECAY;
        view->cpu_busy[i] *= DECAY;
    }
}

static int compare_weights(const void *left, const void *right)
{
    const struct top_entry *a = *(struct top_entry *const *)left;
    const struct top_entry *b = *(struct top_entry *const *)right;
    if (a->weight != b->weight) {
        return a->weight > b->weight ? -1 : 1;
    }
    return strcmp(a->name, b->name);
}

// The entries that are shown, heaviest first. Returns their number; `sum` gets all weights.
static size_t sorted_entries(const struct top_view *view, const struct top_entry *entries,
    const struct top_entry *sorted[TOP_ENTRIES], double *sum)
{
    size_t count = 0;
    *sum = 0;
    bool functions = entries == view->functions;
    for (size_t i = 0; i < TOP_ENTRIES; i++) {
        const struct top_entry *entry = &entries[i];
        *sum += entry->weight;
        bool hidden = functions &&
                      ((entry->kernel && view->hide_kernel) || (!entry->kernel && view->hide_user));
        bool filtered = view->filter != NULL && view->filter[0] != '\0' && entry->name != NULL &&
                        strstr(entry->name, view->filter) == NULL;
        if (entry->name != NULL && entry->weight >= WEIGHT_MIN && !hidden && !filtered) {
            sorted[count++] = entry;
        }
    }
    qsort(sorted, count, sizeof(sorted[0]), compare_weights);
    return count;
}

static void function_lines(const struct top_view *view, size_t max, struct strings *lines)
{
    const struct top_entry *sorted[TOP_ENTRIES];
    double sum;
    size_t count = sorted_entries(view, view->functions, sorted, &sum);
    strings_addf(lines, "%8s  %-24s %s", "share", "program", "function");
    for (size_t i = 0; i < count && i < max; i++) {
        strings_addf(lines, "%7.2f%%  %-24.24s %s %s", 100 * sorted[i]->weight / sum,
            sorted[i]->dso, sorted[i]->kernel ? "[k]" : "[.]", sorted[i]->name);
    }
}

static void task_lines(const struct top_view *view, size_t max, struct strings *lines)
{
    const struct top_entry *sorted[TOP_ENTRIES];
    double sum;
    size_t count = sorted_entries(view, view->tasks, sorted, &sum);
    strings_addf(lines, "%8s  %8s  %-16s %10s %12s %12s", "share", "tid", "task", "preempted",
        "wait mean", "wait max");
    for (size_t i = 0; i < count && i < max; i++) {
        double mean_ms =
            sorted[i]->waits > 0 ? (double)sorted[i]->wait_ns / (double)sorted[i]->waits / 1e6 : 0;
        strings_addf(lines, "%7.2f%%  %8u  %-16s %10llu %9.3f ms %9.3f ms",
            100 * sorted[i]->weight / sum, sorted[i]->tid, sorted[i]->name,
            (unsigned long long)sorted[i]->waits, mean_ms, (double)sorted[i]->wait_max_ns / 1e6);
    }
}

static void cpu_lines(const struct top_view *view, size_t max, struct strings *lines)
{
    strings_addf(lines, "%6s %8s %8s %8s", "vCPU", "busy", "idle", "stolen");
    for (unsigned i = 0; i < view->cpu_count && i < max; i++) {
        double busy = 100 - view->cpu_idle[i] - view->cpu_steal[i];
        busy = busy < 0 ? 0 : busy;
        char bar[41] = "";
        memset(bar, '#', (size_t)(busy > 100 ? 40 : busy * 0.4));
        strings_addf(lines, "%6u %7.1f%% %7.1f%% %7.1f%%  %s", i, busy, view->cpu_idle[i],
            view->cpu_steal[i], bar);
    }
}

static void io_lines(const struct top_view *view, size_t max, struct strings *lines)
{
    static const char *const parts[] = {
        "block.", "net.", "virtio.", "cache.", "fault.", "tlb.", "lock.", "pv.", "io.", "nvme."};
    strings_addf(lines, "%14s  %s", "per second", "counter");
    for (size_t i = 0; i < view->counters.count && lines->count <= max; i++) {
        for (size_t j = 0; j < sizeof(parts) / sizeof(parts[0]); j++) {
            if (strncmp(view->counters.names[i], parts[j], strlen(parts[j])) == 0 &&
                view->counter_rates[i] > 0) {
                strings_addf(lines, "%14.1f  %s", view->counter_rates[i], view->counters.names[i]);
            }
        }
    }
}

void top_view_lines(
    const struct top_view *view, enum top_page page, size_t max, struct strings *lines)
{
    switch (page) {
    case TOP_TASKS:
        task_lines(view, max, lines);
        break;
    case TOP_CPUS:
        cpu_lines(view, max, lines);
        break;
    case TOP_IO:
        io_lines(view, max, lines);
        break;
    case TOP_FUNCTIONS:
    case TOP_PAGES:
        function_lines(view, max, lines);
        break;
    }
}
