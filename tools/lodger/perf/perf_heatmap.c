// SPDX-License-Identifier: MIT
//
// lodger perf heatmap: samples over time, a row for each vCPU, or for each part of a second, so
// that what comes in a rhythm forms a pattern. Scripts in the SVG search and zoom.
#include "tools/lodger/perf/perf_commands.h"

#include "tools/lodger/perf/script_reader.h"
#include "tools/lodger/perf/svg.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROWS_MAX    256u
#define COLUMNS_MAX 400u
#define LEFT        90u
#define WIDTH       1080u
#define TOP         60u
// Functions that a cell remembers.
#define CELL_NAMES 4u

static const char help[] =
    "usage: ./lodger perf heatmap [OPTIONS] [FILE]\n"
    "\n"
    "Makes a heat map of a recording (default perf.data): time from left to right, darker where "
    "more\n"
    "samples are. Search with Ctrl-F or /, zoom by dragging, Escape leaves.\n"
    "\n"
    "  -o, --output FILE   default heatmap.svg; - is standard output\n"
    "  -e, --event EVENT   samples of this event only (default: the first in the recording)\n"
    "  --rows cpu|offset   a row for each vCPU (default), or for each 20th part of a second\n"
    "  --columns N         at most 400 (default 200; with --rows offset one a second)\n"
    "  --guest, --host     guests or the host only\n"
    "  --title TEXT        above the picture\n";

struct cell {
    uint64_t samples;
    struct {
        char *name;
        uint64_t samples;
    } names[CELL_NAMES];
};

// What is kept of a sample until the recording's length is known.
struct kept {
    uint64_t time_ns;
    uint32_t cpu;
    uint32_t name; // index of names
};

struct heatmap {
    const char *event;
    bool guest_only, host_only, by_offset;
    uint64_t columns;
    struct kept *kept;
    size_t count, capacity;
    struct strings names; // functions
    uint64_t first_ns, last_ns;
    unsigned rows;
    struct cell *cells;
};

// Index of a function's name; the last ones used are looked at first.
static uint32_t name_index(struct heatmap *map, const char *name)
{
    for (size_t i = map->names.count; i > 0; i--) {
        if (strcmp(map->names.items[i - 1], name) == 0) {
            return (uint32_t)(i - 1);
        }
    }
    strings_add(&map->names, name);
    return (uint32_t)(map->names.count - 1);
}

static void take(void *context, const struct script_sample *sample)
{
    struct heatmap *map = context;
    if (map->event == NULL) {
        map->event = xstrdup(sample->event);
    }
    if (strcmp(map->event, sample->event) != 0 || sample->cpu >= ROWS_MAX ||
        (map->guest_only && !sample->is_guest) || (map->host_only && sample->is_guest)) {
        return;
    }
    if (map->count == map->capacity) {
        map->capacity = map->capacity * 2 + 4096;
        map->kept = xrealloc(map->kept, map->capacity * sizeof(map->kept[0]));
    }
    char *name = xasprintf(
        "%s: %s", sample->comm, sample->frame_count > 0 ? sample->frames[0].symbol : "[unknown]");
    map->kept[map->count++] = (struct kept){sample->time_ns, sample->cpu, name_index(map, name)};
    free(name);
    map->first_ns =
        map->first_ns == 0 || sample->time_ns < map->first_ns ? sample->time_ns : map->first_ns;
    map->last_ns = sample->time_ns > map->last_ns ? sample->time_ns : map->last_ns;
    map->rows = sample->cpu + 1 > map->rows ? sample->cpu + 1 : map->rows;
}

// Counts a function in its cell; a cell that is full forgets its rarest (space-saving).
static void count_name(struct cell *cell, char *name)
{
    unsigned rarest = 0;
    for (unsigned i = 0; i < CELL_NAMES; i++) {
        if (cell->names[i].name == NULL || cell->names[i].name == name) {
            cell->names[i].name = name;
            cell->names[i].samples++;
            return;
        }
        rarest = cell->names[i].samples < cell->names[rarest].samples ? i : rarest;
    }
    cell->names[rarest].name = name;
    cell->names[rarest].samples++;
}

#define OFFSET_ROWS 20u
#define SECOND      1000000000ull

static void fill_cells(struct heatmap *map)
{
    uint64_t span_ns = map->last_ns - map->first_ns + 1;
    if (map->by_offset) {
        map->rows = OFFSET_ROWS;
        map->columns = (span_ns + SECOND - 1) / SECOND;
        map->columns = map->columns > COLUMNS_MAX ? COLUMNS_MAX : map->columns;
    }
    map->cells = xmalloc(map->rows * map->columns * sizeof(map->cells[0]));
    memset(map->cells, 0, map->rows * map->columns * sizeof(map->cells[0]));
    for (size_t i = 0; i < map->count; i++) {
        const struct kept *kept = &map->kept[i];
        uint64_t since_ns = kept->time_ns - map->first_ns;
        uint64_t column =
            map->by_offset ? since_ns / SECOND
                           : (uint64_t)((double)since_ns / (double)span_ns * (double)map->columns);
        uint64_t row = map->by_offset ? since_ns % SECOND * OFFSET_ROWS / SECOND : kept->cpu;
        if (column < map->columns) {
            struct cell *cell = &map->cells[row * map->columns + column];
            cell->samples++;
            count_name(cell, map->names.items[kept->name]);
        }
    }
}

// From pale yellow over orange to dark red.
static void heat_colour(char colour[static 8], double heat)
{
    double r = 255 - (heat > 0.6 ? (heat - 0.6) * 300 : 0);
    double g = 240 - heat * 225, b = 190 - heat * 170;
    snprintf(
        colour, 8, "#%02x%02x%02x", (unsigned)r & 0xff, (unsigned)g & 0xff, (unsigned)b & 0xff);
}

static void print_cell(FILE *file, const struct heatmap *map, uint64_t row, uint64_t column,
    unsigned y, unsigned height, uint64_t most)
{
    const struct cell *cell = &map->cells[row * map->columns + column];
    if (cell->samples == 0) {
        return;
    }
    double span_s =
        map->by_offset ? (double)map->columns : (double)(map->last_ns - map->first_ns + 1) / 1e9;
    double a = (double)column / (double)map->columns;
    double b = (double)(column + 1) / (double)map->columns;
    char colour[8];
    heat_colour(colour, (double)cell->samples / (double)most);
    fprintf(file,
        "<rect class=\"c\" n=\"%llu\" a=\"%.5f\" b=\"%.5f\" x=\"%.2f\" y=\"%u\" width=\"%.2f\" "
        "height=\"%u\" fill=\"%s\"><title>%.3f s, %s %llu: %llu samples",
        (unsigned long long)cell->samples, a, b, LEFT + a * WIDTH, y, (b - a) * WIDTH, height,
        colour, a * span_s, map->by_offset ? "part" : "vCPU", (unsigned long long)row,
        (unsigned long long)cell->samples);
    for (unsigned i = 0; i < CELL_NAMES && cell->names[i].name != NULL; i++) {
        fputs("; ", file);
        svg_text(file, cell->names[i].name);
        fprintf(file, " %.0f %%", 100.0 * (double)cell->names[i].samples / (double)cell->samples);
    }
    fputs("</title></rect>\n", file);
}

static void print_axis(FILE *file, const struct heatmap *map, unsigned row_height)
{
    double span_s =
        map->by_offset ? (double)map->columns : (double)(map->last_ns - map->first_ns + 1) / 1e9;
    unsigned bottom = TOP + map->rows * row_height;
    for (unsigned i = 0; i <= 10; i++) {
        fprintf(file, "<text x=\"%u\" y=\"%u\" text-anchor=\"middle\">%.2f s</text>\n",
            LEFT + i * WIDTH / 10, bottom + 16, span_s * i / 10);
    }
    for (unsigned row = 0; row < map->rows; row++) {
        if (map->by_offset) {
            fprintf(file, "<text x=\"8\" y=\"%u\">+%u ms</text>\n",
                TOP + row * row_height + row_height / 2 + 4, row * 1000 / OFFSET_ROWS);
        } else {
            fprintf(file, "<text x=\"8\" y=\"%u\">vCPU %u</text>\n",
                TOP + row * row_height + row_height / 2 + 4, row);
        }
    }
}

static void print_svg(FILE *file, const struct heatmap *map, const char *title)
{
    static const char script[] = {
#embed "heatmap.js" suffix(, 0)
    };
    unsigned row_height = map->rows <= 8 ? 40 : map->rows <= 32 ? 20 : 6;
    unsigned height = TOP + map->rows * row_height + 60;
    uint64_t most = 1;
    for (size_t i = 0; i < map->rows * map->columns; i++) {
        most = map->cells[i].samples > most ? map->cells[i].samples : most;
    }
    fprintf(file,
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 1200 %u\" width=\"1200\" "
        "height=\"%u\">\n"
        "<style>text{font:11px monospace;fill:#000;user-select:none}.c:hover{stroke:#000}"
        "#title{font:16px sans-serif}.b{cursor:pointer;fill:#335}</style>\n"
        "<rect width=\"100%%\" height=\"100%%\" fill=\"#fcfcf8\"/>\n"
        "<text id=\"title\" x=\"600\" y=\"22\" text-anchor=\"middle\">",
        height, height);
    svg_text(file, title);
    fprintf(file,
        "</text>\n<text id=\"search\" class=\"b\" x=\"1140\" y=\"40\">search</text>\n"
        "<text id=\"reset\" class=\"b\" x=\"10\" y=\"40\" style=\"display:none\">reset "
        "zoom</text>\n"
        "<text id=\"matched\" x=\"900\" y=\"40\"></text>\n"
        "<text id=\"details\" x=\"10\" y=\"%u\"></text>\n"
        "<g id=\"plot\" data-left=\"%u\" data-width=\"%u\">\n",
        height - 12, LEFT, WIDTH);
    for (uint64_t row = 0; row < map->rows; row++) {
        for (uint64_t column = 0; column < map->columns; column++) {
            print_cell(
                file, map, row, column, TOP + (unsigned)row * row_height, row_height - 1, most);
        }
    }
    fputs("</g>\n", file);
    print_axis(file, map, row_height);
    fprintf(file, "<script><![CDATA[\n%s]]></script>\n</svg>\n", script);
}

static void parse(
    struct heatmap *map, const char **output, const char **title, int argc, char **argv)
{
    static const struct option options[] = {
        {"output", required_argument, NULL, 'o'},
        {"event", required_argument, NULL, 'e'},
        {"rows", required_argument, NULL, 'r'},
        {"columns", required_argument, NULL, 'c'},
        {"guest", no_argument, NULL, 'g'},
        {"host", no_argument, NULL, 'H'},
        {"title", required_argument, NULL, 't'},
        {"help", no_argument, NULL, 'h'},
        {},
    };
    int code;
    while ((code = getopt_long(argc, argv, "o:e:h", options, NULL)) != -1) {
        switch (code) {
        case 'o':
            *output = optarg;
            break;
        case 'e':
            map->event = optarg;
            break;
        case 'r':
            map->by_offset = strcmp(optarg, "offset") == 0;
            if (!map->by_offset && strcmp(optarg, "cpu") != 0) {
                die("--rows %s: expected cpu or offset", optarg);
            }
            break;
        case 'c':
            if (!parse_number(optarg, 1, COLUMNS_MAX, &map->columns)) {
                die("--columns %s: expected 1 to %u", optarg, COLUMNS_MAX);
            }
            break;
        case 'g':
            map->guest_only = true;
            break;
        case 'H':
            map->host_only = true;
            break;
        case 't':
            *title = optarg;
            break;
        case 'h':
            fputs(help, stdout);
            exit(0);
        default:
            die("see ./lodger perf heatmap --help");
        }
    }
    if (argc - optind > 1) {
        die("one recording at a time (./lodger perf heatmap --help)");
    }
}

int perf_heatmap(int argc, char **argv)
{
    struct heatmap map = {.columns = 200};
    const char *output = "heatmap.svg", *title = NULL;
    parse(&map, &output, &title, argc, argv);
    const char *path = optind < argc ? argv[optind] : "perf.data";
    script_read(path, true, take, &map);
    if (map.count == 0) {
        die("%s has no such samples", path);
    }
    fill_cells(&map);
    FILE *file = strcmp(output, "-") == 0 ? stdout : fopen(output, "w");
    if (file == NULL) {
        die("%s: %s", output, strerror(errno));
    }
    char *made = xasprintf("%s: %zu samples of %s", path, map.count, map.event);
    print_svg(file, &map, title != NULL ? title : made);
    if (fflush(file) != 0 || ferror(file) != 0 || (file != stdout && fclose(file) != 0)) {
        die("%s: %s", output, strerror(errno));
    }
    if (strcmp(output, "-") != 0) {
        fprintf(stderr, "lodger: %zu samples in %s\n", map.count, output);
    }
    return 0;
}
