// SPDX-License-Identifier: MIT
//
// Gathering a recording's figures.
#include "tools/lodger/perf/analyze_data.h"

#include "tools/lodger/perf/script_reader.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TASKS 65536u

// Tasks that wait for a CPU, and requests under way: since when, by a hash of their number.
struct waiting {
    uint64_t key, since_ns;
};

struct gather {
    struct analyze_data *data;
    struct waiting tasks[TASKS], requests[TASKS];
};

static void latency_add(struct analyze_latency *latency, uint64_t ns)
{
    unsigned bucket = 0;
    while (bucket < 47 && (1ull << bucket) < ns) {
        bucket++;
    }
    latency->buckets[bucket]++;
    latency->count++;
    latency->max_ns = ns > latency->max_ns ? ns : latency->max_ns;
}

uint64_t analyze_quantile(const struct analyze_latency *latency, double quantile)
{
    uint64_t wanted = (uint64_t)((double)latency->count * quantile), sum = 0;
    for (unsigned i = 0; i < 48; i++) {
        sum += latency->buckets[i];
        if (sum > wanted) {
            return 1ull << i;
        }
    }
    return latency->max_ns;
}

static struct analyze_function *function_get(
    struct analyze_data *data, const char *name, bool kernel)
{
    for (size_t i = 0; i < data->function_count; i++) {
        if (data->functions[i].kernel == kernel && strcmp(data->functions[i].name, name) == 0) {
            return &data->functions[i];
        }
    }
    data->functions =
        xrealloc(data->functions, (data->function_count + 1) * sizeof(data->functions[0]));
    struct analyze_function *function = &data->functions[data->function_count++];
    *function = (struct analyze_function){.name = xstrdup(name), .kernel = kernel};
    return function;
}

static bool is_kernel(const struct script_frame *frame)
{
    return strstr(frame->dso, "lodger.elf") != NULL || strstr(frame->dso, "kernel") != NULL ||
           strcmp(frame->dso, "elf") == 0;
}

bool analyze_is_lock(const char *function)
{
    static const char *const parts[] = {"spin_lock", "spin_wait", "mutex_lock", "mutex_unlock_slow",
        "rwlock_", "lock_slow", "lock_wait"};
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        if (strstr(function, parts[i]) != NULL) {
            return true;
        }
    }
    return false;
}

// The majority vote of Boyer and Moore: right if one name has more than half.
static void vote(char **name, uint64_t *votes, const char *candidate)
{
    if (*votes == 0) {
        free(*name);
        *name = xstrdup(candidate);
        *votes = 1;
    } else if (strcmp(*name, candidate) == 0) {
        ++*votes;
    } else {
        --*votes;
    }
}

// Counts a sample within a lock, for the function that uses the outermost of them.
static void take_lock(struct analyze_data *data, const struct script_sample *sample)
{
    for (unsigned i = sample->frame_count; i > 0; i--) {
        const struct script_frame *frame = &sample->frames[i - 1];
        if (is_kernel(frame) && analyze_is_lock(frame->symbol)) {
            data->lock_samples++;
            if (i < sample->frame_count) {
                vote(&data->lock_user, &data->lock_votes, sample->frames[i].symbol);
            }
            return;
        }
    }
}

// A number behind "KEY=" in a tracepoint's text, -1: it is not there.
static int64_t text_number(const char *text, const char *key)
{
    size_t len = strlen(key);
    for (const char *at = text; (at = strstr(at, key)) != NULL; at += len) {
        if ((at == text || at[-1] == ' ' || at[-1] == ',') && at[len] == '=') {
            return strtoll(at + len + 1, NULL, 0);
        }
    }
    return -1;
}

static struct waiting *slot(struct waiting *table, uint64_t key)
{
    return &table[(key * 0x9e3779b97f4a7c15ull) >> 48];
}

// Run-queue latency: from being able to run to running.
static void take_sched(struct gather *gather, const struct script_sample *sample)
{
    const char *name = strchr(sample->event, ':');
    if (name == NULL) {
        return;
    }
    if (strcmp(name, ":sched_wakeup") == 0 || strcmp(name, ":sched_wakeup_new") == 0) {
        int64_t pid = text_number(sample->text, "pid");
        if (pid > 0) {
            *slot(gather->tasks, (uint64_t)pid) = (struct waiting){(uint64_t)pid, sample->time_ns};
        }
    } else if (strcmp(name, ":sched_switch") == 0) {
        int64_t next = text_number(sample->text, "next_pid");
        int64_t previous = text_number(sample->text, "prev_pid");
        struct waiting *waiting = slot(gather->tasks, (uint64_t)next);
        if (next > 0 && waiting->key == (uint64_t)next && sample->time_ns >= waiting->since_ns) {
            latency_add(&gather->data->run_queue, sample->time_ns - waiting->since_ns);
            waiting->key = 0;
        }
        if (previous > 0 && strstr(sample->text, "prev_state=R") != NULL) {
            *slot(gather->tasks, (uint64_t)previous) =
                (struct waiting){(uint64_t)previous, sample->time_ns};
        }
    }
}

// Disk latency: block_rq_issue to block_rq_complete of the same sector.
static void take_block(struct gather *gather, const struct script_sample *sample)
{
    const char *name = strchr(sample->event, ':');
    bool issue = name != NULL && strcmp(name, ":block_rq_issue") == 0;
    bool complete = name != NULL && strcmp(name, ":block_rq_complete") == 0;
    if (!issue && !complete) {
        return;
    }
    // Linux prints "DEV RWBS BYTES () SECTOR + COUNT [...]"; others name the fields.
    int64_t sector = text_number(sample->text, "sector");
    const char *plus = strstr(sample->text, " + ");
    if (sector < 0 && plus != NULL) {
        const char *digits = plus;
        while (digits > sample->text && digits[-1] >= '0' && digits[-1] <= '9') {
            digits--;
        }
        sector = strtoll(digits, NULL, 10);
    }
    struct waiting *waiting = slot(gather->requests, (uint64_t)sector + 1);
    if (issue) {
        *waiting = (struct waiting){(uint64_t)sector + 1, sample->time_ns};
    } else if (waiting->key == (uint64_t)sector + 1 && sample->time_ns >= waiting->since_ns) {
        latency_add(&gather->data->disk, sample->time_ns - waiting->since_ns);
        waiting->key = 0;
    }
}

static void take(void *context, const struct script_sample *sample)
{
    struct gather *gather = context;
    struct analyze_data *data = gather->data;
    data->first_ns =
        data->first_ns == 0 || sample->time_ns < data->first_ns ? sample->time_ns : data->first_ns;
    data->last_ns = sample->time_ns > data->last_ns ? sample->time_ns : data->last_ns;
    if (sample->text[0] != '\0' || strchr(sample->event, ':') != NULL) {
        take_sched(gather, sample);
        take_block(gather, sample);
        return;
    }
    data->samples++;
    take_lock(data, sample);
    if (sample->cpu < 256) {
        data->cpu_samples[sample->cpu]++;
        data->cpu_count = sample->cpu + 1 > data->cpu_count ? sample->cpu + 1 : data->cpu_count;
    }
    for (unsigned i = 0; i < sample->frame_count; i++) {
        const struct script_frame *frame = &sample->frames[i];
        struct analyze_function *function = function_get(data, frame->symbol, is_kernel(frame));
        function->self += i == 0 ? 1 : 0;
        function->chain += function->last != data->samples ? 1 : 0;
        function->last = data->samples;
        if (i == 0 && sample->frame_count > 1) {
            vote(&function->caller, &function->caller_samples, sample->frames[1].symbol);
        }
    }
}

// ---- counters -------------------------------------------------------------------------

static struct analyze_counter *counter_get(struct analyze_data *data, const char *name)
{
    for (size_t i = 0; i < data->counter_count; i++) {
        if (strcmp(data->counters[i].name, name) == 0) {
            return &data->counters[i];
        }
    }
    data->counters =
        xrealloc(data->counters, (data->counter_count + 1) * sizeof(data->counters[0]));
    struct analyze_counter *counter = &data->counters[data->counter_count++];
    *counter = (struct analyze_counter){.name = xstrdup(name)};
    return counter;
}

// One line of FILE.counters: the state at a time.
static void take_counters(
    struct analyze_data *data, const json_t *line, bool first, double since_s, double interval_s)
{
    const char *name;
    json_t *value;
    json_object_foreach(json_object_get(line, "counters"), name, value)
    {
        struct analyze_counter *counter = counter_get(data, name);
        uint64_t now = (uint64_t)json_integer_value(value);
        counter->first = first ? now : counter->first;
        double rate = interval_s > 0 ? (double)(now - counter->previous) / interval_s : 0;
        if (!first && rate > counter->peak) {
            counter->peak = rate;
            counter->peak_s = since_s;
        }
        counter->previous = counter->last = now;
    }
}

static void read_counters(struct analyze_data *data)
{
    char *path = xasprintf("%s.counters", data->path);
    FILE *file = fopen(path, "r");
    free(path);
    char *text = NULL;
    size_t capacity = 0;
    uint64_t first_ns = 0, previous_ns = 0;
    uint64_t first_steal[256] = {};
    char *guest = NULL; // the first; others of the same recording are analysed on their own
    while (file != NULL && getline(&text, &capacity, file) > 0) {
        json_t *line = json_loads(text, 0, NULL);
        const char *name = json_string_value(json_object_get(line, "guest"));
        uint64_t time_ns = (uint64_t)json_integer_value(json_object_get(line, "time_ns"));
        if (name != NULL && (guest == NULL || strcmp(guest, name) == 0)) {
            bool first = guest == NULL;
            guest = first ? xstrdup(name) : guest;
            first_ns = first ? time_ns : first_ns;
            take_counters(data, line, first, (double)(time_ns - first_ns) / 1e9,
                (double)(time_ns - previous_ns) / 1e9);
            previous_ns = time_ns;
            size_t i;
            json_t *cpu;
            json_array_foreach(json_object_get(line, "cpus"), i, cpu)
            {
                uint64_t steal_ns = (uint64_t)json_integer_value(json_object_get(cpu, "steal_ns"));
                if (i < 256) {
                    first_steal[i] = first ? steal_ns : first_steal[i];
                    data->steal_ns[i] = steal_ns - first_steal[i];
                    data->steal_cpus = (unsigned)i + 1;
                }
            }
        }
        json_decref(line);
    }
    if (file != NULL) {
        fclose(file);
    }
    data->counter_seconds = (double)(previous_ns - first_ns) / 1e9;
    free(text);
    free(guest);
}

void analyze_read(struct analyze_data *data, const char *path)
{
    *data = (struct analyze_data){.path = xstrdup(path)};
    struct gather *gather = xmalloc(sizeof(*gather));
    memset(gather, 0, sizeof(*gather));
    gather->data = data;
    script_read(path, true, take, gather);
    free(gather);
    read_counters(data);
}

const struct analyze_counter *analyze_counter(const struct analyze_data *data, const char *name)
{
    for (size_t i = 0; i < data->counter_count; i++) {
        if (strcmp(data->counters[i].name, name) == 0) {
            return &data->counters[i];
        }
    }
    return NULL;
}

double analyze_rate(const struct analyze_data *data, const char *name)
{
    const struct analyze_counter *counter = analyze_counter(data, name);
    return counter != NULL && data->counter_seconds > 0
               ? (double)(counter->last - counter->first) / data->counter_seconds
               : 0;
}

double analyze_share(const struct analyze_data *data, const char *name)
{
    uint64_t self = 0;
    for (size_t i = 0; i < data->function_count; i++) {
        self += strcmp(data->functions[i].name, name) == 0 ? data->functions[i].self : 0;
    }
    return data->samples > 0 ? (double)self / (double)data->samples : 0;
}
