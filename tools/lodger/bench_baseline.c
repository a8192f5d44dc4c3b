// SPDX-License-Identifier: MIT
//
// The figures that `bench --check` holds this kernel to: guests/bench/baseline.txt.
#include "tools/lodger/bench_history.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *baseline_path(void)
{
    return tree_path("guests/bench/baseline.txt");
}

void bench_baseline_read(struct bench_baseline *baseline)
{
    char *path = baseline_path();
    char *text = file_read_text(path);
    if (text == NULL) {
        die("cannot read %s", path);
    }
    *baseline = (struct bench_baseline){};
    unsigned number = 0;
    char *rest = text;
    char *line;
    while ((line = strsep(&rest, "\n")) != NULL) {
        struct bench_baseline_entry entry = {};
        char name[64];
        int used = 0;
        number++;
        if (line[0] == '#' || line[0] == '\0') {
            continue;
        }
        if (sscanf(line, "%63s %lf %lf %n", name, &entry.figure, &entry.limit, &used) != 3 ||
            line[used] != '\0' || entry.figure < 0 || entry.limit < 0) {
            die("%s:%u: not NAME FIGURE LIMIT: %s", path, number, line);
        }
        entry.name = xstrdup(name);
        baseline->entries = xrealloc(
            baseline->entries, (baseline->count + 1) * sizeof(struct bench_baseline_entry));
        baseline->entries[baseline->count++] = entry;
    }
    free(text);
    free(path);
}

const struct bench_baseline_entry *bench_baseline_find(
    const struct bench_baseline *baseline, const char *name)
{
    for (size_t i = 0; i < baseline->count; i++) {
        if (strcmp(baseline->entries[i].name, name) == 0) {
            return &baseline->entries[i];
        }
    }
    return NULL;
}

void bench_baseline_set_limits(const struct bench_baseline *baseline, struct bench_report *report)
{
    for (size_t i = 0; i < report->count; i++) {
        struct bench_result *result = &report->results[i];
        const struct bench_baseline_entry *entry = bench_baseline_find(baseline, result->name);
        if (result->measure == MEASURE_COUNTS && entry != NULL) {
            result->limit = entry->limit;
        }
    }
}

// The deterministic result of that name, or NULL.
static const struct bench_result *find_counted(const struct bench_report *report, const char *name)
{
    for (size_t i = 0; i < report->count; i++) {
        if (report->results[i].measure == MEASURE_COUNTS &&
            strcmp(report->results[i].name, name) == 0) {
            return &report->results[i];
        }
    }
    return NULL;
}

static bool check_entry(const struct bench_baseline_entry *entry, const struct bench_report *report)
{
    const struct bench_result *result = find_counted(report, entry->name);
    if (result == NULL || result->sides[SIDE_HERE].state != BENCH_MEASURED) {
        const char *reason = result != NULL ? result->sides[SIDE_HERE].reason : NULL;
        printf("%-16s was not measured: %s\n", entry->name,
            reason != NULL ? reason : "it did not run");
        return false;
    }
    double figure = samples_median(&result->sides[SIDE_HERE].figures);
    double change = entry->figure > 0 ? figure / entry->figure - 1 : 0;
    bool worse = change > BENCH_REGRESSION;
    bool above = entry->limit > 0 && round(figure) > entry->limit;
    printf("%-16s %12.0f  baseline %12.0f  %+6.1f %%%s%s\n", entry->name, figure, entry->figure,
        100 * change,
        worse                        ? "  WORSE"
        : change < -BENCH_REGRESSION ? "  better: run ./lodger bench --update-baseline"
                                     : "",
        above ? "  ABOVE ITS LIMIT" : "");
    return !worse && !above;
}

size_t bench_baseline_check(
    const struct bench_baseline *baseline, const struct bench_report *report)
{
    size_t broken = 0;
    for (size_t i = 0; i < baseline->count; i++) {
        broken += !check_entry(&baseline->entries[i], report);
    }
    return broken;
}

void bench_baseline_update(const struct bench_baseline *baseline, const struct bench_report *report)
{
    char *path = baseline_path();
    char *old = file_read_text(path);
    struct buffer text = {};
    // The comment at the beginning stays.
    for (const char *line = old; line != NULL && *line == '#';) {
        const char *end = strchrnul(line, '\n');
        buffer_add(&text, line, (size_t)(end - line));
        buffer_add(&text, "\n", 1);
        line = *end == '\n' ? end + 1 : NULL;
    }
    for (size_t i = 0; i < baseline->count; i++) {
        const struct bench_baseline_entry *entry = &baseline->entries[i];
        const struct bench_result *result = find_counted(report, entry->name);
        bool measured =
            entry->figure > 0 && result != NULL && result->sides[SIDE_HERE].state == BENCH_MEASURED;
        double figure =
            measured ? samples_median(&result->sides[SIDE_HERE].figures) : entry->figure;
        char *line = xasprintf("%-16s %10.0f %10.0f\n", entry->name, figure, entry->limit);
        buffer_add(&text, line, strlen(line));
        free(line);
    }
    file_write(path, text.data, text.len_bytes);
    printf("%s is up to date\n", path);
    buffer_free(&text);
    free(old);
    free(path);
}
