// SPDX-License-Identifier: MIT
//
// Reading the kernel's counters. All that leads to them (table, names, offsets) comes from the
// guest: bounded and checked.
#include "tools/lodger/perf/counters.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

// Counters that lie together are read together.
#define SPAN_MAX 65536u

static uint64_t physical(const struct counters *counters, uint64_t address)
{
    return perf_export_to_physical(address, counters->attach->fixed.image_physical);
}

static int read_table(struct counters *counters, uint64_t start)
{
    struct guest_memory *memory = counters->attach->memory;
    for (size_t i = 0; i < counters->count; i++) {
        struct perf_export_counter entry;
        int error = guest_memory_read(
            memory, physical(counters, start + i * sizeof(entry)), &entry, sizeof(entry));
        if (error == 0) {
            error = guest_memory_read_text(
                memory, physical(counters, entry.name), counters->names[i], COUNTER_NAME_MAX);
        }
        if (error != 0) {
            return error;
        }
        for (char *at = counters->names[i]; *at != '\0'; at++) {
            *at = isgraph((unsigned char)*at) ? *at : '?';
        }
        counters->addresses[i] = entry.value;
    }
    return 0;
}

int counters_open(struct counters *counters, struct attach *attach)
{
    const struct perf_export_descriptor *fixed = &attach->fixed;
    *counters = (struct counters){.attach = attach, .cpu_count = fixed->cpu_count};
    uint64_t count = (fixed->counters_end - fixed->counters) / sizeof(struct perf_export_counter);
    if (fixed->counters_end <= fixed->counters || count == 0) {
        return -ENOENT;
    }
    if (count > COUNTERS_MAX) {
        return -EPROTO;
    }
    counters->count = count;
    counters->names = xmalloc(count * COUNTER_NAME_MAX);
    counters->addresses = xmalloc(count * sizeof(uint64_t));
    counters->values = xmalloc(count * sizeof(uint64_t));
    memset(counters->values, 0, count * sizeof(uint64_t));
    int error = read_table(counters, fixed->counters);
    if (error != 0) {
        counters_close(counters);
    }
    return error;
}

void counters_close(struct counters *counters)
{
    free(counters->names);
    free(counters->addresses);
    free(counters->values);
    *counters = (struct counters){};
}

// Adds one CPU's values: in one piece if they lie near each other.
static int add_cpu(
    struct counters *counters, uint64_t offset, uint64_t lowest, uint64_t highest, uint8_t *span)
{
    struct guest_memory *memory = counters->attach->memory;
    bool together = highest - lowest <= SPAN_MAX - sizeof(uint64_t);
    if (together) {
        int error = guest_memory_read(
            memory, physical(counters, lowest + offset), span, highest - lowest + sizeof(uint64_t));
        if (error != 0) {
            return error;
        }
    }
    for (size_t i = 0; i < counters->count; i++) {
        uint64_t value;
        if (together) {
            memcpy(&value, span + (counters->addresses[i] - lowest), sizeof(value));
        } else {
            int error = guest_memory_read(
                memory, physical(counters, counters->addresses[i] + offset), &value, sizeof(value));
            if (error != 0) {
                return error;
            }
        }
        counters->values[i] += value;
    }
    return 0;
}

int counters_read(struct counters *counters)
{
    struct attach *attach = counters->attach;
    int error = guest_memory_read(attach->memory, physical(counters, attach->fixed.percpu_offsets),
        counters->offsets, counters->cpu_count * sizeof(counters->offsets[0]));
    if (error != 0) {
        return error;
    }
    uint64_t lowest = UINT64_MAX, highest = 0;
    for (size_t i = 0; i < counters->count; i++) {
        lowest = counters->addresses[i] < lowest ? counters->addresses[i] : lowest;
        highest = counters->addresses[i] > highest ? counters->addresses[i] : highest;
        counters->values[i] = 0;
    }
    uint8_t *span = xmalloc(SPAN_MAX);
    for (unsigned cpu = 0; cpu < counters->cpu_count && error == 0; cpu++) {
        if (cpu == 0 || counters->offsets[cpu] != 0) {
            error = add_cpu(counters, counters->offsets[cpu], lowest, highest, span);
        }
    }
    free(span);
    return error;
}

int counters_find(const struct counters *counters, const char *name)
{
    for (size_t i = 0; i < counters->count; i++) {
        if (strcmp(counters->names[i], name) == 0) {
            return (int)i;
        }
    }
    return -1;
}
