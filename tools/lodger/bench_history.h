// SPDX-License-Identifier: MIT
//
// Reports that are kept: the history file, comparing two reports, one figure over time; and the
// baseline that `bench --check` holds this kernel to.
//
// The history is a file of lines, each a report as JSON (docs/performance.md).
#pragma once

#include "tools/lodger/bench_report.h"

// A deterministic figure that got worse by more than this share is a regression.
#define BENCH_REGRESSION 0.02

// out/bench/history.jsonl.
char *bench_history_default_path(void);

// Appends the report as one line. Dies if the file cannot be written.
void bench_history_append(const char *path, const struct bench_report *report);

// lodger bench compare A B: prints how the figures of this kernel differ. Each is a file with a
// report (--json), `@N` for the N-th last line of the history, or the beginning of a commit's name
// in it. Returns the exit code: 1 if a deterministic figure is worse by more than 2 %.
int bench_compare(const char *history, const char *a, const char *b);

// lodger bench history NAME: one figure over time, as text; and as an SVG file if `svg` is not
// NULL.
int bench_history_show(const char *history, const char *name, const char *svg);

// One line of guests/bench/baseline.txt.
struct bench_baseline_entry {
    char *name;
    double figure; // what it cost when it was last looked at; 0: only the limit counts
    double limit;  // what it may cost at most, ever; 0: none
};

struct bench_baseline {
    struct bench_baseline_entry *entries;
    size_t count;
};

// Reads the baseline; dies if it is wrong.
void bench_baseline_read(struct bench_baseline *baseline);
const struct bench_baseline_entry *bench_baseline_find(
    const struct bench_baseline *baseline, const char *name);
// Sets the limits of the report's deterministic results.
void bench_baseline_set_limits(const struct bench_baseline *baseline, struct bench_report *report);
// Prints what is more than 2 % above the baseline, above its limit, or not measured. Returns the
// number of those.
size_t bench_baseline_check(
    const struct bench_baseline *baseline, const struct bench_report *report);
// Writes the file with the report's figures in place of the old ones.
void bench_baseline_update(
    const struct bench_baseline *baseline, const struct bench_report *report);
