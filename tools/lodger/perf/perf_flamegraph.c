// SPDX-License-Identifier: MIT
//
// lodger perf flamegraph: one picture of all call chains of a recording. The width of a frame is
// the number of samples in it, what it called lies above it. Scripts in the SVG search and zoom.
#include "tools/lodger/perf/perf_commands.h"

#include "tools/lodger/perf/script_reader.h"
#include "tools/lodger/perf/svg.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WIDTH      1200u
#define ROW        17u
#define TOP        56u
#define BOTTOM     30u
#define LEVELS_MAX 600u

static const char help[] =
    "usage: ./lodger perf flamegraph [OPTIONS] [FILE]\n"
    "\n"
    "Makes a flame graph of a recording (default perf.data): a picture with search (Ctrl-F or /) "
    "and\n"
    "zoom (a click; Escape leaves) for any browser.\n"
    "\n"
    "  -o, --output FILE  default flamegraph.svg; - is standard output\n"
    "  -e, --event EVENT  samples of this event only (default: the first in the recording)\n"
    "  --guest            guests only, --host: the host only (a recording made by perf merge)\n"
    "  --comm NAME        one command only\n"
    "  --by-vcpu          split by vCPU first\n"
    "  --folded           the call chains as text instead (the format of FlameGraph's folders)\n"
    "  --weight           by what samples stand for (period), not by their number\n"
    "  --title TEXT       above the picture\n";

enum node_kind {
    NODE_ROOT,
    NODE_GROUP, // guest, vCPU, command
    NODE_HOST,
    NODE_KERNEL,
    NODE_USER,
};

struct node {
    char *name;
    enum node_kind kind;
    uint64_t self, total;
    struct node *first_child, *next;
};

struct graph {
    struct node root;
    const char *event, *comm;
    bool guest_only, host_only, by_vcpu, by_period;
    char *event_seen;
    uint32_t machine; // the first guest; others make a level of their own
    bool many_machines;
    uint64_t samples;
};

// The child with that name; it is made if there is none. Children are few, and the last one used
// is in front.
static struct node *child(struct node *parent, const char *name, enum node_kind kind)
{
    struct node **link = &parent->first_child;
    for (; *link != NULL; link = &(*link)->next) {
        struct node *node = *link;
        if (node->kind == kind && strcmp(node->name, name) == 0) {
            *link = node->next;
            node->next = parent->first_child;
            parent->first_child = node;
            return node;
        }
    }
    struct node *node = xmalloc(sizeof(*node));
    *node = (struct node){.name = xstrdup(name), .kind = kind, .next = parent->first_child};
    parent->first_child = node;
    return node;
}

static bool is_kernel(const struct script_frame *frame)
{
    return strstr(frame->dso, "kernel") != NULL || strstr(frame->dso, "lodger.elf") != NULL ||
           strcmp(frame->dso, "elf") == 0;
}

static bool wanted(struct graph *graph, const struct script_sample *sample)
{
    if (graph->event == NULL) {
        graph->event = graph->event_seen = xstrdup(sample->event);
    }
    return strcmp(sample->event, graph->event) == 0 &&
           (graph->comm == NULL || strcmp(sample->comm, graph->comm) == 0) &&
           (!graph->guest_only || sample->is_guest) && (!graph->host_only || !sample->is_guest);
}

static void take(void *context, const struct script_sample *sample)
{
    struct graph *graph = context;
    if (!wanted(graph, sample)) {
        return;
    }
    uint64_t weight = graph->by_period ? sample->period : 1;
    struct node *node = &graph->root;
    node->total += weight;
    char name[64];
    snprintf(name, sizeof(name), sample->is_guest ? "guest %u" : "host", sample->machine_pid);
    node = child(node, name, NODE_GROUP);
    node->total += weight;
    if (graph->by_vcpu) {
        snprintf(name, sizeof(name), sample->is_guest ? "vCPU %u" : "CPU %u", sample->cpu);
        node = child(node, name, NODE_GROUP);
        node->total += weight;
    }
    node = child(node, sample->comm, NODE_GROUP);
    node->total += weight;
    for (unsigned i = sample->frame_count; i > 0; i--) {
        const struct script_frame *frame = &sample->frames[i - 1];
        enum node_kind kind = !sample->is_guest  ? NODE_HOST
                              : is_kernel(frame) ? NODE_KERNEL
                                                 : NODE_USER;
        if (sample->frame_count - i < LEVELS_MAX) {
            node = child(node, frame->symbol, kind);
            node->total += weight;
        }
    }
    node->self += weight;
    graph->samples++;
}

static int compare_nodes(const void *left, const void *right)
{
    return strcmp((*(struct node *const *)left)->name, (*(struct node *const *)right)->name);
}

// The children by name, so that pictures of two recordings can be compared. Returns their number.
static size_t sorted_children(const struct node *node, struct node ***children)
{
    size_t count = 0;
    for (struct node *at = node->first_child; at != NULL; at = at->next) {
        count++;
    }
    *children = xmalloc((count + 1) * sizeof(**children));
    count = 0;
    for (struct node *at = node->first_child; at != NULL; at = at->next) {
        (*children)[count++] = at;
    }
    qsort(*children, count, sizeof(**children), compare_nodes);
    return count;
}

static unsigned depth(const struct node *node)
{
    unsigned deepest = 0;
    for (const struct node *at = node->first_child; at != NULL; at = at->next) {
        unsigned below = depth(at);
        deepest = below > deepest ? below : deepest;
    }
    return deepest + 1;
}

static void print_folded(FILE *file, const struct node *node, const char *prefix)
{
    char *path = prefix == NULL
                     ? xstrdup("")
                     : xasprintf("%s%s%s", prefix, prefix[0] != '\0' ? ";" : "", node->name);
    if (node->self > 0) {
        fprintf(file, "%s %llu\n", path, (unsigned long long)node->self);
    }
    struct node **children;
    size_t count = sorted_children(node, &children);
    for (size_t i = 0; i < count; i++) {
        print_folded(file, children[i], path);
    }
    free(children);
    free(path);
}

static void print_frame(
    FILE *file, const struct graph *graph, const struct node *node, uint64_t start, unsigned y)
{
    static const unsigned hues[][2] = {[NODE_ROOT] = {45, 5},
        [NODE_GROUP] = {190, 15},
        [NODE_HOST] = {100, 20},
        [NODE_KERNEL] = {30, 12},
        [NODE_USER] = {8, 10}};
    char colour[8];
    svg_colour(colour, node->name, hues[node->kind][0] + 360, hues[node->kind][1]);
    double x = (double)start * WIDTH / (double)graph->root.total;
    double width = (double)node->total * WIDTH / (double)graph->root.total;
    fprintf(file, "<g class=\"f\" s=\"%llu\" n=\"%llu\" h=\"", (unsigned long long)start,
        (unsigned long long)node->total);
    svg_text(file, node->name);
    fputs("\"><title>", file);
    svg_text(file, node->name);
    fprintf(file, " (%llu, %.2f %%)</title>", (unsigned long long)node->total,
        100.0 * (double)node->total / (double)graph->root.total);
    fprintf(file, "<rect x=\"%.2f\" y=\"%u\" width=\"%.2f\" height=\"%u\" fill=\"%s\"/>", x, y,
        width > 0.5 ? width - 0.5 : 0.3, ROW - 1, colour);
    fprintf(file, "<text x=\"%.2f\" y=\"%u\">", x + 3, y + 12);
    // Without scripts the picture is readable too.
    int letters = (int)((width - 6) / 6.6);
    char name[256];
    snprintf(name, sizeof(name), "%.*s",
        letters > 200 ? 200
        : letters < 3 ? 0
                      : letters,
        node->name);
    svg_text(file, name);
    fputs("</text></g>\n", file);
}

static void print_node(FILE *file, const struct graph *graph, const struct node *node,
    uint64_t start, unsigned level, unsigned levels)
{
    // Narrower than a tenth of a pixel at any zoom that makes sense.
    if ((double)node->total * WIDTH < 0.02 * (double)graph->root.total) {
        return;
    }
    print_frame(file, graph, node, start, TOP + (levels - 1 - level) * ROW);
    struct node **children;
    size_t count = sorted_children(node, &children);
    for (size_t i = 0; i < count; i++) {
        print_node(file, graph, children[i], start, level + 1, levels);
        start += children[i]->total;
    }
    free(children);
}

static void print_svg(FILE *file, const struct graph *graph, const char *title)
{
    static const char script[] = {
#embed "flamegraph.js" suffix(, 0)
    };
    unsigned levels = depth(&graph->root);
    unsigned height = TOP + levels * ROW + BOTTOM;
    fprintf(file,
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %u %u\" width=\"%u\" "
        "height=\"%u\" data-width=\"%u\" data-total=\"%llu\">\n"
        "<style>text{font:11px monospace;fill:#000}.f{cursor:pointer}.f:hover "
        "rect{stroke:#000}#title{font:16px sans-serif}.b{cursor:pointer;fill:#335}</style>\n"
        "<rect width=\"100%%\" height=\"100%%\" fill=\"#fcfcf8\"/>\n",
        WIDTH, height, WIDTH, height, WIDTH, (unsigned long long)graph->root.total);
    fprintf(file, "<text id=\"title\" x=\"%u\" y=\"22\" text-anchor=\"middle\">", WIDTH / 2);
    svg_text(file, title);
    fprintf(file,
        "</text>\n<text id=\"search\" class=\"b\" x=\"%u\" y=\"40\">search</text>\n"
        "<text id=\"reset\" class=\"b\" x=\"10\" y=\"40\" style=\"display:none\">reset "
        "zoom</text>\n"
        "<text id=\"matched\" x=\"%u\" y=\"%u\"></text>\n"
        "<text id=\"details\" x=\"10\" y=\"%u\"></text>\n",
        WIDTH - 60, WIDTH - 140, height - 10, height - 10);
    print_node(file, graph, &graph->root, 0, 0, levels);
    fprintf(file, "<script><![CDATA[\n%s]]></script>\n</svg>\n", script);
}

static void write_output(
    const struct graph *graph, const char *output, const char *title, bool folded)
{
    FILE *file = strcmp(output, "-") == 0 ? stdout : fopen(output, "w");
    if (file == NULL) {
        die("%s: %s", output, strerror(errno));
    }
    if (folded) {
        print_folded(file, &graph->root, NULL);
    } else {
        print_svg(file, graph, title);
    }
    bool failed = ferror(file) != 0;
    if ((file == stdout ? fflush(file) : fclose(file)) != 0 || failed) {
        die("%s: %s", output, strerror(errno));
    }
}

// What the picture is to be called, and where it goes.
struct output {
    const char *path, *title;
    bool folded;
};

static void parse(struct graph *graph, struct output *output, int argc, char **argv)
{
    static const struct option options[] = {
        {"output", required_argument, NULL, 'o'},
        {"event", required_argument, NULL, 'e'},
        {"comm", required_argument, NULL, 'c'},
        {"title", required_argument, NULL, 't'},
        {"guest", no_argument, NULL, 'g'},
        {"host", no_argument, NULL, 'H'},
        {"by-vcpu", no_argument, NULL, 'v'},
        {"folded", no_argument, NULL, 'f'},
        {"weight", no_argument, NULL, 'w'},
        {"help", no_argument, NULL, 'h'},
        {},
    };
    int code;
    while ((code = getopt_long(argc, argv, "o:e:h", options, NULL)) != -1) {
        switch (code) {
        case 'o':
            output->path = optarg;
            break;
        case 'e':
            graph->event = optarg;
            break;
        case 'c':
            graph->comm = optarg;
            break;
        case 't':
            output->title = optarg;
            break;
        case 'g':
            graph->guest_only = true;
            break;
        case 'H':
            graph->host_only = true;
            break;
        case 'v':
            graph->by_vcpu = true;
            break;
        case 'f':
            output->folded = true;
            break;
        case 'w':
            graph->by_period = true;
            break;
        case 'h':
            fputs(help, stdout);
            exit(0);
        default:
            die("see ./lodger perf flamegraph --help");
        }
    }
    if (argc - optind > 1) {
        die("one recording at a time (./lodger perf flamegraph --help)");
    }
}

int perf_flamegraph(int argc, char **argv)
{
    struct graph graph = {.root = {.name = (char *)"all", .kind = NODE_ROOT}};
    struct output output = {};
    parse(&graph, &output, argc, argv);
    const char *path = optind < argc ? argv[optind] : "perf.data";
    if (output.path == NULL) {
        output.path = output.folded ? "-" : "flamegraph.svg";
    }
    script_read(path, true, take, &graph);
    if (graph.samples == 0) {
        die("%s has no such samples", path);
    }
    char *made =
        xasprintf("%s: %llu samples of %s", path, (unsigned long long)graph.samples, graph.event);
    write_output(&graph, output.path, output.title != NULL ? output.title : made, output.folded);
    if (strcmp(output.path, "-") != 0) {
        fprintf(
            stderr, "lodger: %llu samples in %s\n", (unsigned long long)graph.samples, output.path);
    }
    free(made);
    free(graph.event_seen);
    return 0;
}
