// SPDX-License-Identifier: MIT
//
// The history of reports, comparing two of them, and one figure over time.
#include "tools/lodger/bench_history.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// Columns of the text plot.
#define PLOT_COLUMNS 48

char *bench_history_default_path(void)
{
    char *folder = tree_path("out/bench");
    folder_create(folder);
    free(folder);
    return tree_path("out/bench/history.jsonl");
}

void bench_history_append(const char *path, const struct bench_report *report)
{
    json_t *json = bench_report_to_json(report);
    char *line = json_dumps(json, JSON_COMPACT);
    char *whole = xasprintf("%s\n", line);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    // One write, so that two commands at once do not mix their lines.
    if (fd < 0 || write(fd, whole, strlen(whole)) != (ssize_t)strlen(whole)) {
        die("cannot append to %s: %s", path, strerror(errno));
    }
    close(fd);
    free(whole);
    free(line);
    json_decref(json);
}

struct history {
    struct bench_report *reports;
    size_t count;
};

// Lines that are no reports are told and left out.
static void history_read(const char *path, struct history *history)
{
    *history = (struct history){};
    char *text = file_read_text(path);
    if (text == NULL) {
        die("cannot read the history %s: %s", path, strerror(errno));
    }
    unsigned number = 0;
    char *rest = text;
    char *line;
    while ((line = strsep(&rest, "\n")) != NULL) {
        json_error_t error;
        struct bench_report report;
        number++;
        if (line[0] == '\0') {
            continue;
        }
        json_t *json = json_loads(line, 0, &error);
        char *complaint =
            json != NULL ? bench_report_from_json(json, &report) : xstrdup(error.text);
        if (complaint != NULL) {
            warn("%s:%u: %s", path, number, complaint);
            free(complaint);
        } else {
            history->reports =
                xrealloc(history->reports, (history->count + 1) * sizeof(struct bench_report));
            history->reports[history->count++] = report;
        }
        json_decref(json);
    }
    free(text);
}

// ---- comparing ----

static void load_file(const char *path, struct bench_report *report)
{
    json_error_t error;
    json_t *json = json_load_file(path, 0, &error);
    if (json == NULL) {
        die("%s:%d: %s", path, error.line, error.text);
    }
    char *complaint = bench_report_from_json(json, report);
    if (complaint != NULL) {
        die("%s: %s", path, complaint);
    }
    json_decref(json);
}

// Finds what `name` means: a file, @N, or a commit. Dies if it is nothing.
static void load(const char *history_path, const char *name, struct bench_report *report)
{
    if (access(name, R_OK) == 0) {
        load_file(name, report);
        return;
    }
    struct history history;
    uint64_t back;
    history_read(history_path, &history);
    if (name[0] == '@' && parse_number(name + 1, 1, history.count, &back)) {
        *report = history.reports[history.count - back];
        return;
    }
    for (size_t i = history.count; i > 0 && name[0] != '@' && name[0] != '\0'; i--) {
        const char *commit = bench_report_fact(&history.reports[i - 1], "commit");
        if (strncmp(commit, name, strlen(name)) == 0) {
            *report = history.reports[i - 1];
            return;
        }
    }
    die("%s is no file, no commit in %s, and not one of @1 to @%zu in it", name, history_path,
        history.count);
}

static const char *verdict(
    const struct bench_result *result, const struct estimate *ratio, bool *regression)
{
    bool exact = result->measure == MEASURE_COUNTS;
    double change = exact ? BENCH_REGRESSION : 0;
    bool more = exact ? ratio->value > 1 + change : ratio->low > 1;
    bool less = exact ? ratio->value < 1 - change : ratio->high < 1;
    bool worse = result->more_is_better ? less : more;
    *regression = exact && worse;
    return worse ? "WORSE" : more || less ? "better" : "";
}

static bool compare_result(const struct bench_result *before, const struct bench_result *after)
{
    struct estimate ratio;
    bool regression = false;
    const struct bench_outcome *a = &before->sides[SIDE_HERE], *b = &after->sides[SIDE_HERE];
    if (a->state != BENCH_MEASURED || b->state != BENCH_MEASURED ||
        !statistics_ratio(&b->figures, &a->figures, &ratio)) {
        printf("%-22s %-7s %s\n", after->name, bench_measure_name(after->measure),
            b->state == a->state         ? "not measured in either"
            : b->state == BENCH_MEASURED ? "measured in B only"
                                         : "measured in A only");
        return false;
    }
    char *old = bench_format_figure(samples_median(&a->figures), before->unit);
    char *new = bench_format_figure(samples_median(&b->figures), after->unit);
    char *title = after->workers != 0 ? xasprintf("%s x%u", after->name, after->workers)
                                      : xstrdup(after->name);
    printf("%-22s %-7s %16s %16s  %.3f [%.3f, %.3f]  %s\n", title,
        bench_measure_name(after->measure), old, new, ratio.value, ratio.low, ratio.high,
        verdict(after, &ratio, &regression));
    free(old);
    free(new);
    free(title);
    return regression;
}

static void warn_of_difference(
    const struct bench_report *a, const struct bench_report *b, const char *fact)
{
    if (strcmp(bench_report_fact(a, fact), bench_report_fact(b, fact)) != 0) {
        warn("they were measured with a different %s: %s; %s", fact, bench_report_fact(a, fact),
            bench_report_fact(b, fact));
    }
}

int bench_compare(const char *history, const char *a_name, const char *b_name)
{
    struct bench_report a, b;
    load(history, a_name, &a);
    load(history, b_name, &b);
    warn_of_difference(&a, &b, "machine");
    warn_of_difference(&a, &b, "qemu");
    warn_of_difference(&a, &b, "accelerator");
    printf("A: %s, commit %s, %s\nB: %s, commit %s, %s\n\n", a_name,
        bench_report_fact(&a, "commit"), bench_report_fact(&a, "date"), b_name,
        bench_report_fact(&b, "commit"), bench_report_fact(&b, "date"));
    printf("%-22s %-7s %16s %16s  %s\n", "", "", "A", "B", "B / A [95 %]");
    size_t regressions = 0, common = 0;
    for (size_t i = 0; i < b.count; i++) {
        const struct bench_result *after = &b.results[i];
        const struct bench_result *before =
            bench_report_find(&a, after->name, after->measure, after->cpus, after->workers);
        if (before != NULL) {
            common++;
            regressions += compare_result(before, after);
        }
    }
    if (common == 0) {
        warn("the two reports have no benchmark in common");
        return 1;
    }
    if (regressions > 0) {
        printf("\n%zu deterministic figures are worse by more than %.0f %%\n", regressions,
            100 * BENCH_REGRESSION);
    }
    return regressions > 0;
}

// ---- one figure over time ----

struct point {
    const struct bench_report *report;
    const struct bench_result *result;
    double figure;
};

struct points {
    struct point *points;
    size_t count;
    double low, high;
};

static struct points collect(
    const struct history *history, const char *name, enum bench_measure measure)
{
    struct points points = {.low = INFINITY, .high = 0};
    for (size_t i = 0; i < history->count; i++) {
        for (size_t j = 0; j < history->reports[i].count; j++) {
            const struct bench_result *result = &history->reports[i].results[j];
            if (strcmp(result->name, name) != 0 || result->measure != measure ||
                result->workers != 0 || result->sides[SIDE_HERE].state != BENCH_MEASURED) {
                continue;
            }
            double figure = samples_median(&result->sides[SIDE_HERE].figures);
            points.points = xrealloc(points.points, (points.count + 1) * sizeof(struct point));
            points.points[points.count++] = (struct point){&history->reports[i], result, figure};
            points.low = fmin(points.low, figure);
            points.high = fmax(points.high, figure);
        }
    }
    return points;
}

// The place of a figure between the lowest and the highest, from 0 to 1.
static double place_of(const struct points *points, double figure)
{
    double range = points->high - points->low;
    return range > 0 ? (figure - points->low) / range : 0.5;
}

static void show_text(const struct points *points, const char *name, enum bench_measure measure)
{
    printf("%s: %s\n", name, bench_measure_title(measure));
    for (size_t i = 0; i < points->count; i++) {
        const struct point *point = &points->points[i];
        char *figure = bench_format_figure(point->figure, point->result->unit);
        int column = (int)lround(place_of(points, point->figure) * (PLOT_COLUMNS - 1));
        printf("%-20s %-10.10s %16s |%*s*%*s|\n", bench_report_fact(point->report, "date"),
            bench_report_fact(point->report, "commit"), figure, column, "",
            PLOT_COLUMNS - 1 - column, "");
        free(figure);
    }
    putchar('\n');
}

enum {
    SVG_WIDTH = 720,
    SVG_HEIGHT = 220,
    SVG_LEFT = 110,
    SVG_RIGHT = 20,
    SVG_TOP = 34,
    SVG_BOTTOM = 40
};

static void plot_points(FILE *file, const struct points *points, double top)
{
    double height = SVG_HEIGHT - SVG_TOP - SVG_BOTTOM, width = SVG_WIDTH - SVG_LEFT - SVG_RIGHT;
    double bottom = top + SVG_TOP + height;
    struct buffer line = {};
    for (size_t i = 0; i < points->count; i++) {
        const struct point *point = &points->points[i];
        double x = SVG_LEFT + (points->count > 1 ? width * (double)i / (double)(points->count - 1)
                                                 : width / 2);
        double y = bottom - height * place_of(points, point->figure);
        char *place = xasprintf("%.1f,%.1f ", x, y);
        char *figure = bench_format_figure(point->figure, point->result->unit);
        buffer_add(&line, place, strlen(place));
        fprintf(file,
            "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"#0b6e99\"><title>%s, %s: %s"
            "</title></circle>\n",
            x, y, bench_report_fact(point->report, "date"),
            bench_report_fact(point->report, "commit"), figure);
        free(place);
        free(figure);
    }
    fprintf(file,
        "<polyline fill=\"none\" stroke=\"#0b6e99\" stroke-width=\"1.5\" points=\"%.*s\"/>\n",
        (int)line.len_bytes, (const char *)line.data);
    buffer_free(&line);
    double ends[] = {points->low, points->high};
    for (size_t i = 0; i < 2; i++) {
        double y = bottom - height * place_of(points, ends[i]);
        char *label = bench_format_figure(ends[i], points->points[0].result->unit);
        fprintf(file,
            "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n"
            "<line x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\" stroke=\"#bbbbbb\"/>\n",
            SVG_LEFT - 8, y + 4, label, SVG_LEFT, y, SVG_WIDTH - SVG_RIGHT, y);
        free(label);
    }
    fprintf(file,
        "<text x=\"%d\" y=\"%.1f\">%s</text>\n<text x=\"%d\" y=\"%.1f\" "
        "text-anchor=\"end\">%s</text>\n",
        SVG_LEFT, bottom + 20, bench_report_fact(points->points[0].report, "date"),
        SVG_WIDTH - SVG_RIGHT, bottom + 20,
        bench_report_fact(points->points[points->count - 1].report, "date"));
}

int bench_history_show(const char *path, const char *name, const char *svg)
{
    struct history history;
    history_read(path, &history);
    struct points measures[MEASURE_COUNT];
    size_t plots = 0;
    for (int measure = 0; measure < MEASURE_COUNT; measure++) {
        measures[measure] = collect(&history, name, (enum bench_measure)measure);
        if (measures[measure].count > 0) {
            show_text(&measures[measure], name, (enum bench_measure)measure);
            plots++;
        }
    }
    if (plots == 0) {
        warn("%s holds no figure of %s", path, name);
        return 1;
    }
    if (svg == NULL) {
        return 0;
    }
    FILE *file = fopen(svg, "w");
    if (file == NULL) {
        die("cannot write %s: %s", svg, strerror(errno));
    }
    fprintf(file,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %zu\" width=\"%d\" "
        "font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%%\" height=\"100%%\" "
        "fill=\"#ffffff\"/>\n",
        SVG_WIDTH, plots * SVG_HEIGHT, SVG_WIDTH);
    double top = 0;
    for (int measure = 0; measure < MEASURE_COUNT; measure++) {
        if (measures[measure].count > 0) {
            fprintf(file, "<text x=\"8\" y=\"%.1f\">%s: %s</text>\n", top + 18, name,
                bench_measure_title((enum bench_measure)measure));
            plot_points(file, &measures[measure], top);
            top += SVG_HEIGHT;
        }
    }
    fputs("</svg>\n", file);
    fclose(file);
    return 0;
}
