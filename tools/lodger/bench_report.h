// SPDX-License-Identifier: MIT
//
// The report of `lodger bench`: what was measured, on what, and how it is shown and kept.
//
// Its JSON form is the format of --json, of the lines of the history file, and of what `bench
// compare` reads; docs/performance.md describes it.
#pragma once

#include "tools/lodger/bench_guest.h"

#include <jansson.h>

// How a figure was got.
enum bench_measure {
    MEASURE_COUNTS, // guest instructions, or another deterministic count
    MEASURE_TIME,   // wall time
    MEASURE_EXITS,  // exits to the hypervisor
};
#define MEASURE_COUNT 3

#define BENCH_SIDES 2
enum { SIDE_HERE, SIDE_OTHER };

struct bench_result {
    char *name;
    char *group;
    char *unit; // "instructions", "ns", "exits", or the benchmark's own
    bool more_is_better;
    enum bench_measure measure;
    unsigned cpus;
    unsigned workers; // of a scaling curve's point; 0: none
    double limit;     // what this kernel may need at most; 0: none
    struct bench_outcome sides[BENCH_SIDES];
};

struct bench_fact {
    char *key;
    char *value;
};

struct bench_report {
    struct bench_fact *facts; // machine, QEMU, options..., in the order in which they are shown
    size_t fact_count;
    char *titles[BENCH_SIDES]; // of the kernels; the second is NULL when there is one only
    struct bench_result *results;
    size_t count;
    bool interrupted;
};

void bench_report_add_fact(struct bench_report *report, const char *key, char *value);
const char *bench_report_fact(const struct bench_report *report, const char *key);
// A new result without figures; valid until the next one is added.
struct bench_result *bench_report_add(struct bench_report *report, const struct bench *bench,
    enum bench_measure measure, unsigned cpus, unsigned workers);
const struct bench_result *bench_report_find(const struct bench_report *report, const char *name,
    enum bench_measure measure, unsigned cpus, unsigned workers);

const char *bench_measure_name(enum bench_measure measure);
// A heading: what is counted, in words.
const char *bench_measure_title(enum bench_measure measure);

// The ratio here / other, from pairs. False if it cannot be formed.
[[nodiscard]] bool bench_result_ratio(const struct bench_result *result, struct estimate *ratio);
// Above its limit.
bool bench_result_breaks_limit(const struct bench_result *result);

json_t *bench_report_to_json(const struct bench_report *report);
// Returns NULL, or what is wrong with it.
[[nodiscard]] char *bench_report_from_json(const json_t *json, struct bench_report *report);

// A number with its unit as people read it: "1.24 us", "3,496", "14.2 MB".
char *bench_format_figure(double figure, const char *unit);

void bench_print_text(const struct bench_report *report, FILE *file);
void bench_print_csv(const struct bench_report *report, FILE *file);
void bench_print_html(const struct bench_report *report, FILE *file);
// The plot alone, as an SVG file: the ratios of one measure's results.
void bench_print_svg(const struct bench_report *report, enum bench_measure measure, FILE *file);
// `text` with the characters replaced that mean something in HTML and SVG; to be freed.
char *bench_escape(const char *text);
