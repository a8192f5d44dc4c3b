// SPDX-License-Identifier: MIT
//
// The report as one HTML file that needs nothing else: tables, and plots as SVG.
//
// Three plots. Bars: the ratio of each benchmark with its 95 % interval, and every single pair as a
// dot, outliers in another colour. Histograms: latencies of both kernels over a logarithmic axis.
// Curves: time per operation over the number of vCPUs.
#include "tools/lodger/bench_report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COLOUR_HERE    "#0b6e99"
#define COLOUR_OTHER   "#c2571a"
#define COLOUR_OUTLIER "#c00020"
#define COLOUR_GRID    "#bbbbbb"
#define COLOUR_TEXT    "#333333"

static const char *const side_colours[] = {COLOUR_HERE, COLOUR_OTHER};

char *bench_escape(const char *text)
{
    struct buffer escaped = {};
    for (; *text != '\0'; text++) {
        const char *name = *text == '&'   ? "&amp;"
                           : *text == '<' ? "&lt;"
                           : *text == '>' ? "&gt;"
                           : *text == '"' ? "&quot;"
                                          : NULL;
        bool printable = (unsigned char)*text >= ' ' || *text == '\n' || *text == '\t';
        if (name != NULL) {
            buffer_add(&escaped, name, strlen(name));
        } else {
            buffer_add(&escaped, printable ? text : " ", 1);
        }
    }
    buffer_add(&escaped, "", 1);
    return (char *)escaped.data;
}

static void svg_begin(FILE *file, int width, int height)
{
    fprintf(file,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" "
        "font-family=\"sans-serif\" font-size=\"12\">\n"
        "<rect width=\"%d\" height=\"%d\" fill=\"#ffffff\"/>\n",
        width, height, width, width, height);
}

static void svg_text(FILE *file, double x, double y, const char *anchor, const char *text)
{
    char *escaped = bench_escape(text);
    fprintf(file,
        "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" fill=\"" COLOUR_TEXT "\">%s</text>\n", x, y,
        anchor, escaped);
    free(escaped);
}

static void svg_line(
    FILE *file, double x1, double y1, double x2, double y2, const char *colour, double width)
{
    fprintf(file,
        "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\" "
        "stroke-width=\"%.1f\"/>\n",
        x1, y1, x2, y2, colour, width);
}

// A logarithmic axis: values from low to high lie between two places.
struct axis {
    double low, high;
    double from, to;
};

static double axis_place(const struct axis *axis, double value)
{
    double clamped = fmin(fmax(value, axis->low), axis->high);
    return axis->from +
           (axis->to - axis->from) * log(clamped / axis->low) / log(axis->high / axis->low);
}

// ---- bars ----

enum { BAR_LEFT = 190, BAR_WIDTH = 560, BAR_RIGHT = 70, BAR_STEP = 22, BAR_TOP = 46 };

// The ratio of one pair, or 0.
static double pair_ratio(const struct bench_result *result, size_t i)
{
    double other = result->sides[SIDE_OTHER].figures.values[i];
    return other != 0 ? result->sides[SIDE_HERE].figures.values[i] / other : 0;
}

static size_t pair_count(const struct bench_result *result)
{
    size_t here = result->sides[SIDE_HERE].figures.count;
    size_t other = result->sides[SIDE_OTHER].figures.count;
    return here < other ? here : other;
}

static void plot_pairs(
    FILE *file, const struct bench_result *result, const struct axis *axis, double y)
{
    struct samples ratios = {};
    for (size_t i = 0; i < pair_count(result); i++) {
        samples_add(&ratios, pair_ratio(result, i));
    }
    for (size_t i = 0; i < ratios.count && ratios.count > 1; i++) {
        bool outlier = samples_is_outlier(&ratios, ratios.values[i]);
        fprintf(file, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"2\" fill=\"%s\" fill-opacity=\"%s\"/>\n",
            axis_place(axis, ratios.values[i]), y, outlier ? COLOUR_OUTLIER : "#000000",
            outlier ? "0.9" : "0.35");
    }
    samples_free(&ratios);
}

static void plot_bar(FILE *file, const struct bench_result *result, const struct estimate *ratio,
    const struct axis *axis, double y)
{
    double zero = axis_place(axis, 1), end = axis_place(axis, ratio->value);
    svg_text(file, BAR_LEFT - 8, y + 4, "end", result->name);
    fprintf(file,
        "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"12\" fill=\"%s\" "
        "fill-opacity=\"0.75\"/>\n",
        fmin(zero, end), y - 6, fmax(fabs(end - zero), 1),
        (ratio->value <= 1) != result->more_is_better ? COLOUR_HERE : COLOUR_OTHER);
    if (ratio->high > ratio->low) {
        double low = axis_place(axis, ratio->low), high = axis_place(axis, ratio->high);
        svg_line(file, low, y, high, y, "#000000", 1.5);
        svg_line(file, low, y - 5, low, y + 5, "#000000", 1.5);
        svg_line(file, high, y - 5, high, y + 5, "#000000", 1.5);
    }
    plot_pairs(file, result, axis, y);
    char *text = xasprintf(ratio->value < 0.1 ? "%.3f" : "%.2f", ratio->value);
    svg_text(file, BAR_LEFT + BAR_WIDTH + 8, y + 4, "start", text);
    free(text);
}

static void plot_ratio_grid(FILE *file, const struct axis *axis, double bottom)
{
    static const double marks[] = {
        0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100};
    for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++) {
        if (marks[i] >= axis->low && marks[i] <= axis->high) {
            double x = axis_place(axis, marks[i]);
            char *label = xasprintf("%g", marks[i]);
            svg_line(file, x, BAR_TOP - 12, x, bottom, marks[i] == 1 ? "#000000" : COLOUR_GRID,
                marks[i] == 1 ? 1.2 : 0.6);
            svg_text(file, x, BAR_TOP - 16, "middle", label);
            free(label);
        }
    }
}

void bench_print_svg(const struct bench_report *report, enum bench_measure measure, FILE *file)
{
    size_t rows = 0;
    struct axis axis = {.low = 0.5, .high = 2, .from = BAR_LEFT, .to = BAR_LEFT + BAR_WIDTH};
    struct estimate ratio;
    for (size_t i = 0; i < report->count; i++) {
        const struct bench_result *result = &report->results[i];
        if (result->measure == measure && result->workers == 0 &&
            bench_result_ratio(result, &ratio) && ratio.value > 0) {
            rows++;
            // What is farther away is drawn at the edge; its number stands beside it.
            axis.low = fmax(fmin(axis.low, ratio.value / 1.3), 0.02);
            axis.high = fmin(fmax(axis.high, ratio.value * 1.3), 50);
        }
    }
    int height = BAR_TOP + (int)rows * BAR_STEP + 12;
    svg_begin(file, BAR_LEFT + BAR_WIDTH + BAR_RIGHT, height);
    char *title =
        xasprintf("%s: %s divided by %s", bench_measure_title(measure), report->titles[SIDE_HERE],
            report->titles[SIDE_OTHER] != NULL ? report->titles[SIDE_OTHER] : "");
    svg_text(file, 8, 16, "start", title);
    free(title);
    plot_ratio_grid(file, &axis, height - 8);
    double y = BAR_TOP;
    for (size_t i = 0; i < report->count; i++) {
        const struct bench_result *result = &report->results[i];
        if (result->measure == measure && result->workers == 0 &&
            bench_result_ratio(result, &ratio) && ratio.value > 0) {
            plot_bar(file, result, &ratio, &axis, y);
            y += BAR_STEP;
        }
    }
    fputs("</svg>\n", file);
}

// ---- histograms ----

enum { PLOT_WIDTH = 640, PLOT_HEIGHT = 200, PLOT_LEFT = 60, PLOT_RIGHT = 20, PLOT_BOTTOM = 36 };

static void plot_time_grid(FILE *file, const struct axis *axis)
{
    for (double mark = 1; mark <= axis->high; mark *= 10) {
        if (mark >= axis->low) {
            double x = axis_place(axis, mark);
            char *label = bench_format_figure(mark, "ns");
            svg_line(file, x, 24, x, PLOT_HEIGHT - PLOT_BOTTOM, COLOUR_GRID, 0.6);
            svg_text(file, x, PLOT_HEIGHT - PLOT_BOTTOM + 16, "middle", label);
            free(label);
        }
    }
}

// The share of all operations that took up to so long: a curve that shows the tail as well.
static void plot_distribution(FILE *file, const struct bench_histogram *histogram,
    const struct axis *axis, const char *colour)
{
    uint64_t total = 0, below = 0;
    double bottom = PLOT_HEIGHT - PLOT_BOTTOM, height = bottom - 24;
    double peak = 0;
    for (size_t i = 0; i < histogram->count; i++) {
        total += histogram->buckets[i].count;
        peak = fmax(peak, (double)histogram->buckets[i].count);
    }
    for (size_t i = 0; i < histogram->count; i++) {
        const struct bench_histogram_bucket *bucket = &histogram->buckets[i];
        double x = axis_place(axis, fmax((double)bucket->low_ns, 1));
        double next = axis_place(axis, fmax((double)bucket->low_ns, 1) * 1.125);
        double share = (double)bucket->count / peak;
        fprintf(file,
            "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\" "
            "fill-opacity=\"0.35\"/>\n",
            x, bottom - share * height, fmax(next - x, 1), share * height, colour);
    }
    fprintf(file, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"1.5\" points=\"", colour);
    for (size_t i = 0; i < histogram->count; i++) {
        below += histogram->buckets[i].count;
        fprintf(file, "%.1f,%.1f ", axis_place(axis, fmax((double)histogram->buckets[i].low_ns, 1)),
            bottom - (double)below / (double)total * height);
    }
    fputs("\"/>\n", file);
}

static bool histogram_range(const struct bench_result *result, struct axis *axis)
{
    axis->low = INFINITY;
    axis->high = 0;
    for (int side = 0; side < BENCH_SIDES; side++) {
        const struct bench_histogram *histogram = &result->sides[side].histogram;
        if (histogram->count > 0) {
            axis->low = fmin(axis->low, fmax((double)histogram->buckets[0].low_ns, 1));
            axis->high =
                fmax(axis->high, (double)histogram->buckets[histogram->count - 1].low_ns * 1.125);
        }
    }
    axis->high = fmax(axis->high, axis->low * 2);
    axis->from = PLOT_LEFT;
    axis->to = PLOT_WIDTH - PLOT_RIGHT;
    return axis->low < INFINITY;
}

static void plot_legend(FILE *file, const struct bench_report *report)
{
    double x = PLOT_LEFT;
    for (int side = 0; side < BENCH_SIDES && report->titles[side] != NULL; side++) {
        fprintf(file, "<rect x=\"%.1f\" y=\"26\" width=\"10\" height=\"10\" fill=\"%s\"/>\n", x,
            side_colours[side]);
        svg_text(file, x + 14, 35, "start", report->titles[side]);
        x += 30 + 8 * (double)strlen(report->titles[side]);
    }
}

static void plot_histogram(
    FILE *file, const struct bench_report *report, const struct bench_result *result)
{
    struct axis axis;
    if (!histogram_range(result, &axis)) {
        return;
    }
    svg_begin(file, PLOT_WIDTH, PLOT_HEIGHT);
    char *title = xasprintf("%s: latency; bars: how often, line: share up to there", result->name);
    svg_text(file, 8, 14, "start", title);
    free(title);
    plot_time_grid(file, &axis);
    for (int side = 0; side < BENCH_SIDES; side++) {
        if (result->sides[side].histogram.count > 0) {
            plot_distribution(file, &result->sides[side].histogram, &axis, side_colours[side]);
        }
    }
    plot_legend(file, report);
    fputs("</svg>\n", file);
}

// ---- scaling ----

static void curve_range(
    const struct bench_report *report, const char *name, struct axis *cpus, struct axis *figures)
{
    *cpus =
        (struct axis){.low = 1, .high = 2, .from = PLOT_LEFT + 20, .to = PLOT_WIDTH - PLOT_RIGHT};
    *figures =
        (struct axis){.low = INFINITY, .high = 0, .from = PLOT_HEIGHT - PLOT_BOTTOM, .to = 44};
    for (size_t i = 0; i < report->count; i++) {
        const struct bench_result *result = &report->results[i];
        for (int side = 0; side < BENCH_SIDES; side++) {
            if (strcmp(result->name, name) == 0 && result->workers != 0 &&
                result->sides[side].state == BENCH_MEASURED) {
                double median = samples_median(&result->sides[side].figures);
                cpus->high = fmax(cpus->high, result->workers);
                figures->low = fmin(figures->low, median / 1.2);
                figures->high = fmax(figures->high, median * 1.2);
            }
        }
    }
}

static void plot_curve(FILE *file, const struct bench_report *report, const char *name, int side,
    const struct axis *cpus, const struct axis *figures)
{
    fprintf(file, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"2\" points=\"",
        side_colours[side]);
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < report->count; i++) {
            const struct bench_result *result = &report->results[i];
            const struct bench_outcome *outcome = &result->sides[side];
            if (strcmp(result->name, name) != 0 || result->workers == 0 ||
                outcome->state != BENCH_MEASURED) {
                continue;
            }
            double x = axis_place(cpus, result->workers);
            double y = axis_place(figures, samples_median(&outcome->figures));
            if (pass == 0) {
                fprintf(file, "%.1f,%.1f ", x, y);
            } else {
                svg_line(file, x, axis_place(figures, samples_quantile(&outcome->figures, 0.1)), x,
                    axis_place(figures, samples_quantile(&outcome->figures, 0.9)),
                    side_colours[side], 1.5);
            }
        }
        if (pass == 0) {
            fputs("\"/>\n", file);
        }
    }
}

static void plot_scaling(
    FILE *file, const struct bench_report *report, const struct bench_result *first)
{
    struct axis cpus, figures;
    curve_range(report, first->name, &cpus, &figures);
    if (figures.high <= 0 || figures.low <= 0) {
        return;
    }
    svg_begin(file, PLOT_WIDTH, PLOT_HEIGHT);
    char *title = xasprintf("%s: %s over the number of vCPUs (both logarithmic)", first->name,
        strcmp(first->unit, "ns") == 0 ? "time per operation" : first->unit);
    svg_text(file, 8, 14, "start", title);
    free(title);
    for (unsigned mark = 1; mark <= cpus.high; mark *= 2) {
        double x = axis_place(&cpus, mark);
        char *label = xasprintf("%u", mark);
        svg_line(file, x, 40, x, PLOT_HEIGHT - PLOT_BOTTOM, COLOUR_GRID, 0.6);
        svg_text(file, x, PLOT_HEIGHT - PLOT_BOTTOM + 16, "middle", label);
        free(label);
    }
    double ends[] = {figures.low, figures.high};
    for (size_t i = 0; i < 2; i++) {
        char *label = bench_format_figure(ends[i], first->unit);
        svg_text(file, PLOT_LEFT + 12, axis_place(&figures, ends[i]) + 4, "end", label);
        free(label);
    }
    for (int side = 0; side < BENCH_SIDES && report->titles[side] != NULL; side++) {
        plot_curve(file, report, first->name, side, &cpus, &figures);
    }
    plot_legend(file, report);
    fputs("</svg>\n", file);
}

// The first point of a curve is where the curve is plotted.
static bool is_first_point(const struct bench_report *report, size_t index)
{
    for (size_t i = 0; i < index; i++) {
        if (report->results[i].workers != 0 &&
            strcmp(report->results[i].name, report->results[index].name) == 0) {
            return false;
        }
    }
    return report->results[index].workers != 0;
}

// ---- the page ----

static const char page_head[] =
    "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
    "<title>lodger bench</title>\n<style>\n"
    "body { font-family: sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; "
    "color: #222; background: #fff; }\n"
    "table { border-collapse: collapse; margin: 1em 0; }\n"
    "td, th { padding: 0.2em 0.7em; border-bottom: 1px solid #ddd; text-align: right; "
    "font-variant-numeric: tabular-nums; }\n"
    "td:first-child, th:first-child { text-align: left; }\n"
    "pre { white-space: pre-wrap; background: #f4f4f4; padding: 1em; }\n"
    "svg { max-width: 100%; height: auto; }\n"
    "dt { float: left; clear: left; width: 9em; color: #666; } dd { margin-left: 9em; }\n"
    "</style>\n</head>\n<body>\n<h1>lodger bench</h1>\n";

static void print_cell(FILE *file, const char *text)
{
    char *escaped = bench_escape(text);
    fprintf(file, "<td>%s</td>", escaped);
    free(escaped);
}

static void print_outcome_cells(FILE *file, const struct bench_result *result, int side)
{
    static const char *const states[] = {
        [BENCH_NOT_RUN] = "–", [BENCH_FAILED] = "failed", [BENCH_UNSUPPORTED] = "not yet"};
    const struct bench_outcome *outcome = &result->sides[side];
    if (outcome->state != BENCH_MEASURED) {
        fprintf(file, "<td>%s</td><td></td>", states[outcome->state]);
        return;
    }
    char *median = bench_format_figure(samples_median(&outcome->figures), result->unit);
    char *low = bench_format_figure(samples_quantile(&outcome->figures, 0.1), result->unit);
    char *high = bench_format_figure(samples_quantile(&outcome->figures, 0.9), result->unit);
    char *range = outcome->figures.count > 1 ? xasprintf("%s to %s", low, high) : xstrdup("");
    print_cell(file, median);
    print_cell(file, range);
    free(median);
    free(low);
    free(high);
    free(range);
}

static void print_table_row(
    FILE *file, const struct bench_report *report, const struct bench_result *result)
{
    struct estimate ratio;
    char *name = result->workers != 0 ? xasprintf("%s, %u vCPUs", result->name, result->workers)
                                      : xstrdup(result->name);
    fputs("<tr>", file);
    print_cell(file, name);
    free(name);
    for (int side = 0; side < BENCH_SIDES && report->titles[side] != NULL; side++) {
        print_outcome_cells(file, result, side);
    }
    if (report->titles[SIDE_OTHER] != NULL && bench_result_ratio(result, &ratio)) {
        fprintf(file, "<td>%.3g</td><td>%.3g to %.3g</td>", ratio.value, ratio.low, ratio.high);
    } else if (report->titles[SIDE_OTHER] != NULL) {
        fputs("<td>–</td><td></td>", file);
    }
    fprintf(file, "<td>%zu</td></tr>\n",
        samples_count_outliers(&result->sides[SIDE_HERE].figures) +
            samples_count_outliers(&result->sides[SIDE_OTHER].figures));
}

static void print_table(FILE *file, const struct bench_report *report, enum bench_measure measure)
{
    fputs("<table>\n<tr><th>operation</th>", file);
    for (int side = 0; side < BENCH_SIDES && report->titles[side] != NULL; side++) {
        char *title = bench_escape(report->titles[side]);
        fprintf(file, "<th>%s</th><th>10 %% to 90 %%</th>", title);
        free(title);
    }
    if (report->titles[SIDE_OTHER] != NULL) {
        fputs("<th>ratio</th><th>95 % interval</th>", file);
    }
    fputs("<th>outliers</th></tr>\n", file);
    for (size_t i = 0; i < report->count; i++) {
        if (report->results[i].measure == measure) {
            print_table_row(file, report, &report->results[i]);
        }
    }
    fputs("</table>\n", file);
}

static void print_section(FILE *file, const struct bench_report *report, enum bench_measure measure)
{
    bool any = false;
    for (size_t i = 0; i < report->count; i++) {
        any = any || report->results[i].measure == measure;
    }
    if (!any) {
        return;
    }
    fprintf(file, "<h2>%s</h2>\n", bench_measure_title(measure));
    if (report->titles[SIDE_OTHER] != NULL) {
        bench_print_svg(report, measure, file);
    }
    print_table(file, report, measure);
    for (size_t i = 0; i < report->count; i++) {
        const struct bench_result *result = &report->results[i];
        if (result->measure == measure && measure == MEASURE_TIME) {
            plot_histogram(file, report, result);
            if (is_first_point(report, i)) {
                plot_scaling(file, report, result);
            }
        }
    }
}

static void print_reasons(FILE *file, const struct bench_report *report)
{
    bool any = false;
    for (size_t i = 0; i < report->count; i++) {
        for (int side = 0; side < BENCH_SIDES; side++) {
            const struct bench_outcome *outcome = &report->results[i].sides[side];
            if (outcome->reason != NULL) {
                char *reason = bench_escape(outcome->reason);
                fprintf(file, "%s<h3>%s (%s) on %s</h3><pre>%s</pre>\n",
                    any ? "" : "<h2>What did not run</h2>\n", report->results[i].name,
                    bench_measure_name(report->results[i].measure), report->titles[side], reason);
                free(reason);
                any = true;
            }
        }
    }
}

void bench_print_html(const struct bench_report *report, FILE *file)
{
    fputs(page_head, file);
    if (report->interrupted) {
        fputs("<p><b>Interrupted: these are the figures that there were.</b></p>\n", file);
    }
    fputs("<dl>\n", file);
    for (size_t i = 0; i < report->fact_count; i++) {
        char *value = bench_escape(report->facts[i].value);
        fprintf(file, "<dt>%s</dt><dd>%s</dd>\n", report->facts[i].key, value);
        free(value);
    }
    fputs("</dl>\n", file);
    for (int measure = 0; measure < MEASURE_COUNT; measure++) {
        print_section(file, report, (enum bench_measure)measure);
    }
    print_reasons(file, report);
    fputs("</body>\n</html>\n", file);
}
