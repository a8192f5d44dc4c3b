// SPDX-License-Identifier: MIT
//
// What a benchmark printed (guests/bench/README.md), as figures.
#include "tools/lodger/bench_guest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void bench_histogram_add(struct bench_histogram *histogram, uint64_t low_ns, uint64_t count)
{
    size_t place = 0;
    while (place < histogram->count && histogram->buckets[place].low_ns < low_ns) {
        place++;
    }
    if (place == histogram->count || histogram->buckets[place].low_ns != low_ns) {
        size_t after = histogram->count - place;
        histogram->buckets = xrealloc(
            histogram->buckets, (histogram->count + 1) * sizeof(struct bench_histogram_bucket));
        memmove(histogram->buckets + place + 1, histogram->buckets + place,
            after * sizeof(struct bench_histogram_bucket));
        histogram->buckets[place] = (struct bench_histogram_bucket){.low_ns = low_ns};
        histogram->count++;
    }
    histogram->buckets[place].count += count;
}

void bench_outcome_fail(struct bench_outcome *outcome, enum bench_state state, char *reason)
{
    if (outcome->state == BENCH_FAILED || outcome->state == BENCH_UNSUPPORTED) {
        free(reason);
        return;
    }
    outcome->state = state;
    outcome->reason = reason;
}

void bench_outcome_merge(struct bench_outcome *outcome, struct bench_outcome *from)
{
    for (size_t i = 0; i < from->figures.count; i++) {
        samples_add(&outcome->figures, from->figures.values[i]);
    }
    for (size_t i = 0; i < from->histogram.count; i++) {
        bench_histogram_add(&outcome->histogram, from->histogram.buckets[i].low_ns,
            from->histogram.buckets[i].count);
    }
    if (from->state == BENCH_FAILED || from->state == BENCH_UNSUPPORTED) {
        bench_outcome_fail(outcome, from->state, from->reason);
    } else if (from->state == BENCH_MEASURED && outcome->state == BENCH_NOT_RUN) {
        outcome->state = BENCH_MEASURED;
    }
    samples_free(&from->figures);
    free(from->histogram.buckets);
    *from = (struct bench_outcome){};
}

static void read_latencies(const char *text, struct bench_histogram *histogram)
{
    unsigned long long low_ns, count;
    int used;
    while (sscanf(text, " %llu:%llu%n", &low_ns, &count, &used) == 2) {
        bench_histogram_add(histogram, low_ns, count);
        text += used;
    }
}

// What is being read: figures count only once their round is verified.
struct reader {
    struct bench_outcome *outcome;
    double figure;
    bool has_figure;
    bool verified;
};

// One line, from behind "=bench NAME ".
static void read_line(struct reader *reader, const char *line)
{
    double operations, ns, value;
    if (sscanf(line, "round %lf %lf", &operations, &ns) == 2 && operations > 0) {
        reader->figure = ns / operations;
        reader->has_figure = true;
    } else if (sscanf(line, "value %lf", &value) == 1) {
        reader->figure = value;
        reader->has_figure = true;
    } else if (strncmp(line, "latency ", 8) == 0) {
        read_latencies(line + 7, &reader->outcome->histogram);
    } else if (strncmp(line, "failed ", 7) == 0) {
        bench_outcome_fail(reader->outcome, BENCH_FAILED, xstrdup(line + 7));
    } else if (strncmp(line, "unsupported ", 12) == 0) {
        bench_outcome_fail(reader->outcome, BENCH_UNSUPPORTED, xstrdup(line + 12));
    } else if (strcmp(line, "verified") == 0 && reader->has_figure) {
        samples_add(&reader->outcome->figures, reader->figure);
        reader->has_figure = false;
        reader->verified = true;
    }
}

// The last lines of an output, for a report.
static char *tail_of(const char *output)
{
    size_t len = strlen(output);
    const char *from = len > 600 ? output + len - 600 : output;
    return xstrdup(from);
}

void bench_outcome_read(
    const struct bench *bench, const char *output, const char *how, struct bench_outcome *outcome)
{
    struct reader reader = {.outcome = outcome};
    char *mark = xasprintf("=bench %s ", bench->name);
    char *copy = xstrdup(output);
    char *rest = copy;
    char *line;
    while ((line = strsep(&rest, "\n")) != NULL) {
        if (strncmp(line, mark, strlen(mark)) == 0) {
            read_line(&reader, line + strlen(mark));
        }
    }
    char *tail = tail_of(output);
    if (strcmp(how, "exit 0") != 0) {
        bench_outcome_fail(
            outcome, BENCH_FAILED, xasprintf("it ended with %s; it had printed: %s", how, tail));
    } else if (!reader.verified) {
        bench_outcome_fail(outcome, BENCH_FAILED,
            xasprintf("it did not verify what it measured; it had printed: %s", tail));
    } else if (outcome->state == BENCH_NOT_RUN) {
        outcome->state = BENCH_MEASURED;
    }
    free(tail);
    free(copy);
    free(mark);
}
