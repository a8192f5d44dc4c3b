// SPDX-License-Identifier: MIT
//
// The report of `lodger bench`: the model, and its JSON form.
#include "tools/lodger/bench_report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FORMAT_VERSION 1

static const char *const measure_names[] = {
    [MEASURE_COUNTS] = "counts", [MEASURE_TIME] = "time", [MEASURE_EXITS] = "exits"};
static const char *const side_names[] = {[SIDE_HERE] = "here", [SIDE_OTHER] = "other"};
static const char *const state_names[] = {[BENCH_NOT_RUN] = "not run",
    [BENCH_MEASURED] = "measured",
    [BENCH_FAILED] = "failed",
    [BENCH_UNSUPPORTED] = "unsupported"};

void bench_report_add_fact(struct bench_report *report, const char *key, char *value)
{
    report->facts = xrealloc(report->facts, (report->fact_count + 1) * sizeof(struct bench_fact));
    report->facts[report->fact_count++] = (struct bench_fact){xstrdup(key), value};
}

const char *bench_report_fact(const struct bench_report *report, const char *key)
{
    for (size_t i = 0; i < report->fact_count; i++) {
        if (strcmp(report->facts[i].key, key) == 0) {
            return report->facts[i].value;
        }
    }
    return "";
}

static const char *default_unit(enum bench_measure measure)
{
    return measure == MEASURE_COUNTS ? "instructions" : measure == MEASURE_TIME ? "ns" : "exits";
}

static struct bench_result *add_empty(struct bench_report *report)
{
    report->results = xrealloc(report->results, (report->count + 1) * sizeof(struct bench_result));
    struct bench_result *result = &report->results[report->count++];
    *result = (struct bench_result){};
    return result;
}

struct bench_result *bench_report_add(struct bench_report *report, const struct bench *bench,
    enum bench_measure measure, unsigned cpus, unsigned workers)
{
    struct bench_result *result = add_empty(report);
    bool own_unit = bench->unit != NULL && measure != MEASURE_EXITS;
    if (own_unit && measure == MEASURE_COUNTS &&
        (strcmp(bench->unit, "ns") == 0 || bench->disk_bytes != 0)) {
        own_unit = false; // a nanosecond of the guest's clock is an instruction; see read_once()
    }
    result->name = xstrdup(bench->name);
    result->group = xstrdup(bench->group);
    result->unit = xstrdup(own_unit ? bench->unit : default_unit(measure));
    result->more_is_better = own_unit && bench->more_is_better;
    result->measure = measure;
    result->cpus = cpus;
    result->workers = workers;
    return result;
}

const struct bench_result *bench_report_find(const struct bench_report *report, const char *name,
    enum bench_measure measure, unsigned cpus, unsigned workers)
{
    for (size_t i = 0; i < report->count; i++) {
        const struct bench_result *result = &report->results[i];
        if (strcmp(result->name, name) == 0 && result->measure == measure && result->cpus == cpus &&
            result->workers == workers) {
            return result;
        }
    }
    return NULL;
}

const char *bench_measure_name(enum bench_measure measure)
{
    return measure_names[measure];
}

const char *bench_measure_title(enum bench_measure measure)
{
    static const char *const titles[] = {
        [MEASURE_COUNTS] = "Guest instructions per operation (-icount, deterministic)",
        [MEASURE_TIME] = "Wall time per operation",
        [MEASURE_EXITS] = "Exits to the hypervisor per operation",
    };
    return titles[measure];
}

bool bench_result_ratio(const struct bench_result *result, struct estimate *ratio)
{
    const struct bench_outcome *here = &result->sides[SIDE_HERE];
    const struct bench_outcome *other = &result->sides[SIDE_OTHER];
    return here->state == BENCH_MEASURED && other->state == BENCH_MEASURED &&
           statistics_paired_ratio(&here->figures, &other->figures, ratio);
}

bool bench_result_breaks_limit(const struct bench_result *result)
{
    const struct bench_outcome *here = &result->sides[SIDE_HERE];
    return result->limit > 0 && here->state == BENCH_MEASURED &&
           round(samples_median(&here->figures)) >
               result->limit; // a round's start and end are in it
}

// ---- JSON ----

static json_t *outcome_to_json(const struct bench_outcome *outcome)
{
    json_t *object = json_object();
    json_object_set_new(object, "state", json_string(state_names[outcome->state]));
    if (outcome->reason != NULL) {
        json_t *reason = json_string(outcome->reason);
        // What a dying guest printed need not be text.
        json_object_set_new(
            object, "reason", reason != NULL ? reason : json_string("(not printable)"));
    }
    json_t *figures = json_array();
    for (size_t i = 0; i < outcome->figures.count; i++) {
        json_array_append_new(figures, json_real(outcome->figures.values[i]));
    }
    json_object_set_new(object, "figures", figures);
    if (outcome->histogram.count > 0) {
        json_t *histogram = json_array();
        for (size_t i = 0; i < outcome->histogram.count; i++) {
            const struct bench_histogram_bucket *bucket = &outcome->histogram.buckets[i];
            json_array_append_new(histogram,
                json_pack("[I, I]", (json_int_t)bucket->low_ns, (json_int_t)bucket->count));
        }
        json_object_set_new(object, "latency", histogram);
    }
    return object;
}

static json_t *result_to_json(const struct bench_result *result, bool compared)
{
    json_t *object = json_object();
    struct estimate ratio;
    json_object_set_new(object, "name", json_string(result->name));
    json_object_set_new(object, "group", json_string(result->group));
    json_object_set_new(object, "measure", json_string(measure_names[result->measure]));
    json_object_set_new(object, "unit", json_string(result->unit));
    json_object_set_new(object, "better", json_string(result->more_is_better ? "more" : "less"));
    json_object_set_new(object, "cpus", json_integer(result->cpus));
    if (result->workers != 0) {
        json_object_set_new(object, "workers", json_integer(result->workers));
    }
    if (result->limit > 0) {
        json_object_set_new(object, "limit", json_real(result->limit));
    }
    for (int side = 0; side < (compared ? BENCH_SIDES : 1); side++) {
        json_object_set_new(object, side_names[side], outcome_to_json(&result->sides[side]));
    }
    if (bench_result_ratio(result, &ratio)) {
        json_object_set_new(
            object, "ratio", json_pack("[f, f, f]", ratio.value, ratio.low, ratio.high));
    }
    return object;
}

json_t *bench_report_to_json(const struct bench_report *report)
{
    json_t *object = json_object();
    json_object_set_new(object, "format", json_integer(FORMAT_VERSION));
    json_t *facts = json_object();
    for (size_t i = 0; i < report->fact_count; i++) {
        json_object_set_new(facts, report->facts[i].key, json_string(report->facts[i].value));
    }
    json_object_set_new(object, "facts", facts);
    json_t *titles = json_array();
    for (int side = 0; side < BENCH_SIDES && report->titles[side] != NULL; side++) {
        json_array_append_new(titles, json_string(report->titles[side]));
    }
    json_object_set_new(object, "kernels", titles);
    json_object_set_new(object, "interrupted", json_boolean(report->interrupted));
    json_t *results = json_array();
    for (size_t i = 0; i < report->count; i++) {
        json_array_append_new(
            results, result_to_json(&report->results[i], report->titles[SIDE_OTHER] != NULL));
    }
    json_object_set_new(object, "results", results);
    return object;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

// The index of `text` in `names`, or 0.
static unsigned index_of(const char *const *names, unsigned count, const char *text)
{
    for (unsigned i = 0; i < count; i++) {
        if (strcmp(names[i], text) == 0) {
            return i;
        }
    }
    return 0;
}

static void outcome_from_json(const json_t *json, struct bench_outcome *outcome)
{
    size_t i;
    json_t *value;
    outcome->state = (enum bench_state)index_of(state_names, 4, text_of(json, "state"));
    if (json_object_get(json, "reason") != NULL) {
        outcome->reason = xstrdup(text_of(json, "reason"));
    }
    json_array_foreach(json_object_get(json, "figures"), i, value)
    {
        samples_add(&outcome->figures, json_number_value(value));
    }
    json_array_foreach(json_object_get(json, "latency"), i, value)
    {
        bench_histogram_add(&outcome->histogram,
            (uint64_t)json_integer_value(json_array_get(value, 0)),
            (uint64_t)json_integer_value(json_array_get(value, 1)));
    }
    if (outcome->state == BENCH_MEASURED && outcome->figures.count == 0) {
        outcome->state = BENCH_NOT_RUN;
    }
}

static void result_from_json(const json_t *json, struct bench_report *report)
{
    struct bench_result *result = add_empty(report);
    result->name = xstrdup(text_of(json, "name"));
    result->group = xstrdup(text_of(json, "group"));
    result->unit = xstrdup(text_of(json, "unit"));
    result->more_is_better = strcmp(text_of(json, "better"), "more") == 0;
    result->measure =
        (enum bench_measure)index_of(measure_names, MEASURE_COUNT, text_of(json, "measure"));
    result->cpus = (unsigned)json_integer_value(json_object_get(json, "cpus"));
    result->workers = (unsigned)json_integer_value(json_object_get(json, "workers"));
    result->limit = json_number_value(json_object_get(json, "limit"));
    for (int side = 0; side < BENCH_SIDES; side++) {
        outcome_from_json(json_object_get(json, side_names[side]), &result->sides[side]);
    }
}

char *bench_report_from_json(const json_t *json, struct bench_report *report)
{
    *report = (struct bench_report){};
    if (json_integer_value(json_object_get(json, "format")) != FORMAT_VERSION ||
        !json_is_array(json_object_get(json, "results"))) {
        return xasprintf("it is no report of ./lodger bench (format %d)", FORMAT_VERSION);
    }
    const char *key;
    json_t *value;
    size_t i;
    json_object_foreach(json_object_get(json, "facts"), key, value)
    {
        const char *text = json_string_value(value);
        bench_report_add_fact(report, key, xstrdup(text != NULL ? text : ""));
    }
    json_array_foreach(json_object_get(json, "kernels"), i, value)
    {
        if (i < BENCH_SIDES && json_is_string(value)) {
            report->titles[i] = xstrdup(json_string_value(value));
        }
    }
    json_array_foreach(json_object_get(json, "results"), i, value)
    {
        result_from_json(value, report);
    }
    report->interrupted = json_is_true(json_object_get(json, "interrupted"));
    return NULL;
}
