// SPDX-License-Identifier: MIT
//
// The report as text for a terminal, and as CSV.
#include "tools/lodger/bench_report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The number with commas between groups of three digits.
static char *group_digits(double number)
{
    char *plain = xasprintf("%.0f", number);
    size_t len = strlen(plain);
    char *grouped = xmalloc(len + len / 3 + 1);
    size_t used = 0;
    for (size_t i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0 && plain[i - 1] != '-') {
            grouped[used++] = ',';
        }
        grouped[used++] = plain[i];
    }
    grouped[used] = '\0';
    free(plain);
    return grouped;
}

// Three digits that count, with the unit that fits.
static char *scaled(double number, const char *const *units, size_t count, double step)
{
    size_t unit = 0;
    while (unit + 1 < count && fabs(number) >= step) {
        number /= step;
        unit++;
    }
    int decimals = fabs(number) >= 100 ? 0 : fabs(number) >= 10 ? 1 : 2;
    return xasprintf("%.*f %s", decimals, number, units[unit]);
}

char *bench_format_figure(double figure, const char *unit)
{
    static const char *const times[] = {"ns", "us", "ms", "s"};
    if (strcmp(unit, "ns") == 0) {
        return scaled(figure, times, 4, 1000);
    }
    bool plain = strcmp(unit, "instructions") == 0 || strcmp(unit, "exits") == 0;
    char *number = fabs(figure) < 100 ? xasprintf("%.*f", fabs(figure) < 10 ? 2 : 1, figure)
                                      : group_digits(figure);
    // 64 instructions are 64, not 64.0.
    char *dot = strchr(number, '.');
    if (dot != NULL && fabs(figure - round(figure)) < 1e-9) {
        *dot = '\0';
    }
    if (plain) {
        return number;
    }
    char *text = xasprintf("%s %s", number, unit);
    free(number);
    return text;
}

static char *format_side(const struct bench_result *result, int side)
{
    const struct bench_outcome *outcome = &result->sides[side];
    switch (outcome->state) {
    case BENCH_MEASURED:
        return bench_format_figure(samples_median(&outcome->figures), result->unit);
    case BENCH_FAILED:
        return xstrdup("failed");
    case BENCH_UNSUPPORTED:
        return xstrdup("not yet");
    default:
        return xstrdup("-");
    }
}

static char *format_ratio(const struct bench_result *result, bool interval)
{
    struct estimate ratio;
    if (!bench_result_ratio(result, &ratio)) {
        return xstrdup("-");
    }
    int decimals = ratio.value < 0.01 ? 4 : ratio.value < 0.1 ? 3 : 2;
    if (!interval) {
        return xasprintf("%.*f", decimals, ratio.value);
    }
    return xasprintf(
        "%.*f [%.*f, %.*f]", decimals, ratio.value, decimals, ratio.low, decimals, ratio.high);
}

static char *format_spread(const struct bench_result *result, bool compared)
{
    struct buffer text = {};
    for (int side = 0; side < (compared ? BENCH_SIDES : 1); side++) {
        const struct bench_outcome *outcome = &result->sides[side];
        char *part = outcome->state == BENCH_MEASURED ? xasprintf("%s%.0f%%", side > 0 ? "/" : "",
                                                            100 * samples_spread(&outcome->figures))
                                                      : xstrdup(side > 0 ? "/-" : "-");
        buffer_add(&text, part, strlen(part));
        free(part);
    }
    buffer_add(&text, "", 1);
    return (char *)text.data;
}

static size_t count_outliers(const struct bench_result *result)
{
    return samples_count_outliers(&result->sides[SIDE_HERE].figures) +
           samples_count_outliers(&result->sides[SIDE_OTHER].figures);
}

static char *row_title(const struct bench_result *result)
{
    if (result->workers != 0) {
        return xasprintf("%s x%u", result->name, result->workers);
    }
    return xstrdup(result->name);
}

static void print_row(
    const struct bench_report *report, const struct bench_result *result, bool limits, FILE *file)
{
    bool compared = report->titles[SIDE_OTHER] != NULL;
    bool timed = result->measure == MEASURE_TIME;
    char *title = row_title(result);
    char *here = format_side(result, SIDE_HERE);
    fprintf(file, "  %-22s %16s", title, here);
    if (compared) {
        char *other = format_side(result, SIDE_OTHER);
        char *ratio = format_ratio(result, timed);
        fprintf(file, " %16s %*s", other, timed ? 20 : 8, ratio);
        free(other);
        free(ratio);
    }
    if (timed) {
        char *spread = format_spread(result, compared);
        fprintf(file, " %10s %4zu", spread, count_outliers(result));
        free(spread);
    }
    if (limits && result->limit > 0) {
        char *limit = bench_format_figure(result->limit, result->unit);
        fprintf(
            file, " %16s%s", limit, bench_result_breaks_limit(result) ? "  ABOVE THE LIMIT" : "");
        free(limit);
    }
    fputc('\n', file);
    free(title);
    free(here);
}

static void print_heading(
    const struct bench_report *report, enum bench_measure measure, bool limits, FILE *file)
{
    bool compared = report->titles[SIDE_OTHER] != NULL;
    bool timed = measure == MEASURE_TIME;
    fprintf(file, "%s", bench_measure_title(measure));
    if (timed) {
        fprintf(file, " (%s)", bench_report_fact(report, "accelerator"));
    }
    fprintf(file, "\n  %-22s %16s", "", report->titles[SIDE_HERE]);
    if (compared) {
        fprintf(file, " %16s %*s", report->titles[SIDE_OTHER], timed ? 20 : 8,
            timed ? "ratio [95 %]" : "ratio");
    }
    if (timed) {
        fprintf(file, " %10s %4s", "spread", "out");
    }
    if (limits) {
        fprintf(file, " %16s", "limit");
    }
    fputc('\n', file);
}

// The results of one measure, in their groups. `scaling` chooses the points of curves, or all
// others.
static void print_measure(
    const struct bench_report *report, enum bench_measure measure, bool scaling, FILE *file)
{
    bool any = false, limits = false;
    const char *group = "";
    for (size_t i = 0; i < report->count; i++) {
        limits = limits || (report->results[i].measure == measure && report->results[i].limit > 0);
    }
    for (size_t i = 0; i < report->count; i++) {
        const struct bench_result *result = &report->results[i];
        if (result->measure != measure || (result->workers != 0) != scaling) {
            continue;
        }
        if (!any) {
            print_heading(report, measure, limits && !scaling, file);
            any = true;
        }
        if (strcmp(group, result->group) != 0) {
            group = result->group;
            fprintf(file, "%s%s\n", group, scaling ? ", on so many vCPUs" : "");
        }
        print_row(report, result, limits && !scaling, file);
    }
    if (any) {
        fputc('\n', file);
    }
}

// Why figures are missing.
static void print_reasons(const struct bench_report *report, FILE *file)
{
    for (size_t i = 0; i < report->count; i++) {
        const struct bench_result *result = &report->results[i];
        for (int side = 0; side < BENCH_SIDES; side++) {
            if (result->sides[side].reason != NULL) {
                fprintf(file, "%s (%s) on %s %s: %s\n", result->name,
                    bench_measure_name(result->measure), report->titles[side],
                    result->sides[side].state == BENCH_UNSUPPORTED ? "does not run yet" : "failed",
                    result->sides[side].reason);
            }
        }
    }
}

void bench_print_text(const struct bench_report *report, FILE *file)
{
    for (size_t i = 0; i < report->fact_count; i++) {
        fprintf(file, "%-14s %s\n", report->facts[i].key, report->facts[i].value);
    }
    fputc('\n', file);
    for (int measure = 0; measure < MEASURE_COUNT; measure++) {
        print_measure(report, (enum bench_measure)measure, false, file);
        print_measure(report, (enum bench_measure)measure, true, file);
    }
    print_reasons(report, file);
    if (report->interrupted) {
        fputs("interrupted: these are the figures that there were\n", file);
    }
}

// ---- CSV ----

static void print_csv_text(const char *text, FILE *file)
{
    fputc('"', file);
    for (; *text != '\0'; text++) {
        if (*text == '"') {
            fputc('"', file);
        }
        fputc(*text, file);
    }
    fputc('"', file);
}

static void print_csv_side(const struct bench_outcome *outcome, FILE *file)
{
    if (outcome->state != BENCH_MEASURED) {
        fputs(",,,,0", file);
        return;
    }
    fprintf(file, ",%.9g,%.9g,%.9g,%zu", samples_median(&outcome->figures),
        samples_quantile(&outcome->figures, 0.1), samples_quantile(&outcome->figures, 0.9),
        outcome->figures.count);
}

void bench_print_csv(const struct bench_report *report, FILE *file)
{
    fputs("name,measure,unit,cpus,workers,here_state,here_median,here_q10,here_q90,here_rounds,"
          "other_state,other_median,other_q10,other_q90,other_rounds,ratio,ratio_low,ratio_high\n",
        file);
    static const char *const states[] = {"not run", "measured", "failed", "unsupported"};
    for (size_t i = 0; i < report->count; i++) {
        const struct bench_result *result = &report->results[i];
        struct estimate ratio;
        fprintf(file, "%s,%s,", result->name, bench_measure_name(result->measure));
        print_csv_text(result->unit, file);
        fprintf(file, ",%u,%u", result->cpus, result->workers);
        for (int side = 0; side < BENCH_SIDES; side++) {
            fprintf(file, ",%s", states[result->sides[side].state]);
            print_csv_side(&result->sides[side], file);
        }
        if (bench_result_ratio(result, &ratio)) {
            fprintf(file, ",%.6g,%.6g,%.6g\n", ratio.value, ratio.low, ratio.high);
        } else {
            fputs(",,,\n", file);
        }
    }
}
