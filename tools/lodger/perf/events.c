// SPDX-License-Identifier: MIT
//
// Event names.
#include "tools/lodger/perf/events.h"

#include "tools/lodger/perf/program_image.h"
#include "tools/lodger/perf/record_build.h"
#include "tools/lodger/perf/tracepoints.h"

#include <assert.h>
#include <ctype.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct known_event {
    const char *name;
    uint32_t type;
    uint64_t config;
    bool frequency; // samples a second, else one each `period`
};

static const struct known_event known_events[] = {
    {"cpu-clock", PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CPU_CLOCK, true},
    {"task-clock", PERF_TYPE_SOFTWARE, PERF_COUNT_SW_TASK_CLOCK, true},
    {"page-faults", PERF_TYPE_SOFTWARE, PERF_COUNT_SW_PAGE_FAULTS, false},
    {"context-switches", PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CONTEXT_SWITCHES, false},
    {"cpu-migrations", PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CPU_MIGRATIONS, false},
    {"cycles", PERF_TYPE_HARDWARE, PERF_COUNT_HW_CPU_CYCLES, true},
    {"instructions", PERF_TYPE_HARDWARE, PERF_COUNT_HW_INSTRUCTIONS, true},
    {"cache-references", PERF_TYPE_HARDWARE, PERF_COUNT_HW_CACHE_REFERENCES, true},
    {"cache-misses", PERF_TYPE_HARDWARE, PERF_COUNT_HW_CACHE_MISSES, true},
    {"branches", PERF_TYPE_HARDWARE, PERF_COUNT_HW_BRANCH_INSTRUCTIONS, true},
    {"branch-misses", PERF_TYPE_HARDWARE, PERF_COUNT_HW_BRANCH_MISSES, true},
};

static char *add_event(
    struct collector *collector, const char *name, const struct perf_export_event *event)
{
    if (collector->event_count == PERF_EXPORT_EVENTS) {
        return xasprintf("a guest takes at most %u events at a time", PERF_EXPORT_EVENTS);
    }
    collector->events[collector->event_count++] = (struct collector_event){
        .name = xstrdup(name),
        .event = *event,
        .is_tracepoint = event->type == PERF_TYPE_TRACEPOINT,
        .tracepoint_id = event->config,
    };
    return NULL;
}

static int read_tracepoints(struct collector *collector, struct tracepoints *tracepoints)
{
    if (collector->kernel.path == NULL) {
        return -1;
    }
    const struct perf_export_descriptor *fixed = &collector->attach.fixed;
    return tracepoints_read(
        collector->kernel.path, fixed->tracepoints, fixed->tracepoints_end, tracepoints);
}

// All tracepoints that match "SYSTEM:NAME".
static char *add_tracepoints(struct collector *collector, const char *pattern, uint32_t flags)
{
    struct tracepoints tracepoints;
    if (read_tracepoints(collector, &tracepoints) != 0) {
        return xasprintf("%s: tracepoints need the kernel's ELF file, with a table of them "
                         "(--kernel-elf FILE)",
            pattern);
    }
    unsigned found = 0;
    char *reason = NULL;
    for (size_t i = 0; i < tracepoints.count && reason == NULL; i++) {
        char *name = xasprintf("%s:%s", tracepoints.items[i].system, tracepoints.items[i].name);
        if (fnmatch(pattern, name, 0) == 0) {
            struct perf_export_event event = {.type = PERF_TYPE_TRACEPOINT,
                .config = tracepoints.items[i].id,
                .period = 1,
                .flags = flags};
            reason = add_event(collector, name, &event);
            collector->events[collector->event_count - 1].raw_bytes =
                tracepoints.items[i].size_bytes;
            found++;
        }
        free(name);
    }
    tracepoints_free(&tracepoints);
    return found == 0 ? xasprintf("the kernel has no tracepoint %s (--list shows all)", pattern)
                      : reason;
}

static char *add_probe(struct collector *collector, const char *name, uint32_t flags)
{
    const char *percent = strchr(name, '%');
    bool at_return = percent != NULL && strcmp(percent, "%return") == 0;
    if (percent != NULL && !at_return) {
        return xasprintf("probe:%s: only %%return can follow the function's name", name);
    }
    char *function = xstrndup(name, strcspn(name, "%"));
    uint64_t address = 0;
    struct program_image *image =
        collector->kernel.path != NULL ? program_image_open(collector->kernel.path) : NULL;
    bool found = image != NULL && program_image_find(image, function, &address);
    program_image_close(image);
    char *reason = NULL;
    if (!found) {
        reason = xasprintf("probe:%s: the kernel has no such function", function);
    } else {
        struct perf_export_event event = {.type = PERF_EXPORT_TYPE_PROBE,
            .config = address,
            .period = 1,
            .flags = flags,
            .extra = at_return ? 1 : 0};
        char *shown = xasprintf("probe:%s%s", function, at_return ? "__return" : "");
        reason = add_event(collector, shown, &event);
        free(shown);
    }
    free(function);
    return reason;
}

// One of known_events, or a raw hardware event "rNNN".
static bool find_known(const char *name, struct known_event *known)
{
    for (size_t i = 0; i < sizeof(known_events) / sizeof(known_events[0]); i++) {
        if (strcmp(known_events[i].name, name) == 0) {
            *known = known_events[i];
            return true;
        }
    }
    char *end;
    uint64_t config = strtoull(name + (name[0] != '\0' ? 1 : 0), &end, 16);
    if (name[0] == 'r' && isxdigit((unsigned char)name[1]) && *end == '\0') {
        *known = (struct known_event){name, PERF_TYPE_RAW, config, true};
        return true;
    }
    return false;
}

static char *add_named(
    struct collector *collector, const char *word, const struct collector_settings *settings)
{
    char *name = xstrdup(word);
    uint32_t flags = PERF_EXPORT_EVENT_CALLCHAIN;
    size_t len_bytes = strlen(name);
    if (len_bytes > 2 && name[len_bytes - 2] == ':' && strchr("uk", name[len_bytes - 1]) != NULL) {
        flags |=
            name[len_bytes - 1] == 'u' ? PERF_EXPORT_EVENT_NO_KERNEL : PERF_EXPORT_EVENT_NO_USER;
        name[len_bytes - 2] = '\0';
    }
    flags |= settings->idle ? 0 : PERF_EXPORT_EVENT_NO_IDLE;
    char *reason = NULL;
    struct known_event known;
    if (find_known(name, &known)) {
        struct perf_export_event event = {.type = known.type, .config = known.config};
        if (settings->count_only) {
            event.flags = flags | PERF_EXPORT_EVENT_COUNT_ONLY;
        } else if (known.frequency) {
            event.flags = flags | PERF_EXPORT_EVENT_FREQ;
            event.period = settings->frequency_hz;
        } else {
            event.flags = flags;
            event.period = 1;
        }
        reason = add_event(collector, word, &event);
    } else if (strncmp(name, "probe:", 6) == 0) {
        reason = add_probe(collector, name + 6, flags);
    } else if (strchr(name, ':') != NULL) {
        reason = add_tracepoints(collector, name, flags);
    } else {
        reason = xasprintf("%s is no event (--list shows all)", name);
    }
    free(name);
    return reason;
}

char *events_parse(struct collector *collector, const struct collector_settings *settings)
{
    static const char *const by_default[] = {"cpu-clock", NULL};
    const char *const *words = settings->events != NULL ? settings->events : by_default;
    char *reason = NULL;
    for (size_t i = 0; words[i] != NULL && reason == NULL; i++) {
        reason = add_named(collector, words[i], settings);
    }
    return reason;
}

void events_make_attr(struct collector *collector, unsigned event, struct perf_event_attr *attr)
{
    assert(event < collector->event_count);
    const struct collector_event *known = &collector->events[event];
    const struct perf_export_event *asked = &known->event;
    bool is_probe = asked->type == PERF_EXPORT_TYPE_PROBE;
    *attr = (struct perf_event_attr){
        .type = is_probe ? PERF_TYPE_SOFTWARE : asked->type,
        .size = sizeof(*attr),
        .config = is_probe ? PERF_COUNT_SW_DUMMY : asked->config,
        .sample_type = RECORD_SAMPLE_TYPE | (known->is_tracepoint ? PERF_SAMPLE_RAW : 0),
        .sample_id_all = 1,
        .mmap = 1,
        .mmap2 = 1,
        .comm = 1,
        .comm_exec = 1,
        .task = 1,
        .context_switch = 1,
        .exclude_host = 1,
        .exclude_user = (asked->flags & PERF_EXPORT_EVENT_NO_USER) != 0,
        .exclude_kernel = (asked->flags & PERF_EXPORT_EVENT_NO_KERNEL) != 0,
        .use_clockid = 1,
        .clockid = CLOCK_MONOTONIC,
    };
    if ((asked->flags & PERF_EXPORT_EVENT_FREQ) != 0) {
        attr->freq = 1;
        attr->sample_freq = asked->period;
    } else {
        attr->sample_period = asked->period;
    }
}

void events_add_tracing_data(struct collector *collector, struct buffer *section)
{
    struct tracepoints tracepoints;
    if (read_tracepoints(collector, &tracepoints) != 0) {
        return;
    }
    const struct tracepoint *chosen[PERF_EXPORT_EVENTS];
    size_t count = 0;
    for (unsigned i = 0; i < collector->event_count; i++) {
        uint64_t index = collector->events[i].tracepoint_id - PERF_EXPORT_TRACEPOINT_FIRST;
        if (collector->events[i].is_tracepoint && index < tracepoints.count) {
            chosen[count++] = &tracepoints.items[index];
        }
    }
    if (count > 0) {
        tracepoints_add_tracing_data(section, chosen, count);
    }
    tracepoints_free(&tracepoints);
}

void events_list_tracepoints(struct collector *collector, struct strings *names)
{
    struct tracepoints tracepoints;
    if (read_tracepoints(collector, &tracepoints) != 0) {
        return;
    }
    for (size_t i = 0; i < tracepoints.count; i++) {
        strings_addf(names, "%s:%s", tracepoints.items[i].system, tracepoints.items[i].name);
    }
    tracepoints_free(&tracepoints);
}
