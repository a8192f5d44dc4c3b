// SPDX-License-Identifier: MIT
//
// lodger bench: the same programs on this kernel and on another one, side by side.
#include "tools/lodger/bench_history.h"
#include "tools/lodger/bench_measure.h"
#include "tools/lodger/build.h"
#include "tools/lodger/commands.h"
#include "tools/lodger/test.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAIRS_DEFAULT       15
#define PAIRS_QUICK         3
#define MACRO_PAIRS_DEFAULT 5
#define PAIRS_MAX           1000

static const char help[] =
    "usage: ./lodger bench [OPTIONS] [NAME...]\n"
    "       ./lodger bench compare A B\n"
    "       ./lodger bench history NAME [--svg=FILE]\n"
    "\n"
    "Runs the same programs on this kernel and on a Debian cloud kernel, on the same machine and\n"
    "in turns, and prints what an operation costs on each, their ratio, and how sure it is.\n"
    "NAME: a benchmark, or `micro`, `macro` for all of that kind. Without one: all of them.\n"
    "\n"
    "What is measured:\n"
    "  --measure LIST   of `counts` (guest instructions, exact), `time`, `exits` (to the\n"
    "                   hypervisor, in its lab), with commas; default counts,time\n"
    "  --hypervisor H   kvm (default) or xen: where exits are measured\n"
    "  --scaling[=LIST] curves over so many vCPUs; default 1,2,4,8,16,32,64\n"
    "  --quick          under two minutes: few rounds, and unless they are named no macro\n"
    "                   benchmarks and none for several CPUs\n"
    "  --pairs N        rounds of each micro benchmark; default 15\n"
    "  --cpus N         vCPUs of the machines, where a benchmark does not need more; default 1\n"
    "  --append OPTION  a boot option of this kernel (repeatable); ./lodger options lists them\n"
    "\n"
    "Against what:\n"
    "  --against IMAGE  another kernel: a bzImage or a PVH ELF file of Linux or of this project,\n"
    "                   with serial console and initial file system built in. (Of a disk image,\n"
    "                   take the kernel out of it.)\n"
    "  --against-append OPTION   a boot option of the other kernel (repeatable)\n"
    "  --mitigations    leave the other kernel its protection against speculation\n"
    "  --alone          only this kernel\n"
    "  --plant N        a test of the instrument: make this kernel's benchmarks N % slower\n"
    "\n"
    "What becomes of it:\n"
    "  --json[=FILE] --csv[=FILE] --html[=FILE] --svg[=FILE]   instead of the table, or beside it\n"
    "                   when there is a FILE; the HTML page needs no network\n"
    "  --history FILE   where the report is appended; default out/bench/history.jsonl\n"
    "  --no-history     do not append it\n"
    "  --check          only what guests/bench/baseline.txt lists, counted on this kernel; exit "
    "code\n"
    "                   1 if a figure is more than 2 % above it, or above its limit\n"
    "  --update-baseline  measure the same, and write that file\n"
    "  compare A B      two reports: files of --json, @N (N-th last of the history), commits\n"
    "\n"
    "  --list           the benchmarks\n"
    "  --explain NAME   what a benchmark does and what it leaves out\n"
    "  --help           this text\n"
    "\n"
    "Ctrl-C ends the measuring and reports what there is. Exit code 1: something could not be\n"
    "measured, or --check found something.\n";

struct output {
    bool wanted;
    const char *path; // NULL: standard output
};

struct options {
    struct bench_list list;
    struct bench_plan plan;
    const char *against;
    struct strings append[BENCH_SIDES]; // boot options
    const char *history;
    struct output json, csv, html, svg;
    unsigned planted_percent;
    bool alone, mitigations, no_history, check, update, print_list;
    const char *explain;
};

// ---- lists and explanations ----

static int print_list(const struct bench_list *list)
{
    static const char *const kinds[] = {"host", "micro", "macro"};
    for (size_t i = 0; i < list->count; i++) {
        const struct bench *bench = &list->items[i];
        printf("%-20s %-6s %-14s %.60s%s\n", bench->name, kinds[bench->kind], bench->group,
            bench->what, strlen(bench->what) > 60 ? "..." : "");
    }
    return 0;
}

static const struct bench *find_or_die(const struct bench_list *list, const char *name)
{
    const struct bench *bench = bench_find(list, name);
    if (bench == NULL) {
        die("there is no benchmark %s; ./lodger bench --list prints their names", name);
    }
    return bench;
}

static int explain(const struct options *options)
{
    const struct bench *bench = find_or_die(&options->list, options->explain);
    struct bench_baseline baseline;
    bench_baseline_read(&baseline);
    const struct bench_baseline_entry *entry = bench_baseline_find(&baseline, bench->name);
    printf("%s (%s)\n%s\n", bench->name, bench->group, bench->what);
    if (bench->omits[0] != '\0') {
        printf("Leaves out: %s\n", bench->omits);
    }
    printf("Unit: %s.%s\n", bench->unit != NULL ? bench->unit : "per operation",
        bench->more_is_better ? " More is better." : "");
    if (bench->count != 0) {
        printf("A round is %u operations, after a tenth of that to warm up.\n", bench->count);
    }
    if (bench->counts && bench->kind == BENCH_MICRO) {
        puts("Counted: QEMU with -icount shift=0,sleep=off, where each guest instruction is one\n"
             "nanosecond of guest time. It counts each repetition of a REP string instruction, so\n"
             "that bulk copies look dear; the CPU model is without ERMS and FSRM, so that no "
             "kernel\n"
             "chooses those. Caches, branches and exits to the hypervisor cost nothing there.");
    } else if (!bench->counts) {
        puts("Not counted under -icount: it needs several CPUs at once or the passing of time.");
    }
    if (bench->cpus > 1) {
        printf("Needs %u vCPUs.\n", bench->cpus);
    }
    if (bench->packages.count > 0) {
        fputs("Debian packages:", stdout);
        for (size_t i = 0; i < bench->packages.count; i++) {
            printf(" %s", bench->packages.items[i]);
        }
        putchar('\n');
    }
    if (entry != NULL && entry->limit > 0) {
        printf("This kernel may need at most %.0f when counted.\n", entry->limit);
    }
    return 0;
}

// ---- options ----

static void parse_measures(struct bench_plan *plan, const char *text)
{
    memset(plan->measures, 0, sizeof(plan->measures));
    for (const char *rest = text; *rest != '\0';) {
        size_t len = strcspn(rest, ",");
        int found = -1;
        for (int measure = 0; measure < MEASURE_COUNT; measure++) {
            const char *name = bench_measure_name((enum bench_measure)measure);
            if (strlen(name) == len && strncmp(name, rest, len) == 0) {
                found = measure;
            }
        }
        if (found < 0) {
            die("--measure %s: not counts, time or exits", text);
        }
        plan->measures[found] = true;
        rest += len + (rest[len] == ',');
    }
}

static void parse_scaling(struct bench_plan *plan, const char *text)
{
    const char *rest = text != NULL ? text : "1,2,4,8,16,32,64";
    while (*rest != '\0') {
        size_t len = strcspn(rest, ",");
        char *number = xstrndup(rest, len);
        uint64_t cpus;
        if (!parse_number(number, 1, 256, &cpus) || plan->scaling_count == BENCH_SCALING_MAX) {
            die("--scaling %s: not a list of numbers of vCPUs", text);
        }
        plan->scaling[plan->scaling_count++] = (unsigned)cpus;
        rest += len + (rest[len] == ',');
        free(number);
    }
}

enum {
    OPTION_AGAINST = 1,
    OPTION_AGAINST_APPEND,
    OPTION_ALONE,
    OPTION_APPEND,
    OPTION_CHECK,
    OPTION_CSV,
    OPTION_CPUS,
    OPTION_EXPLAIN,
    OPTION_HELP,
    OPTION_HISTORY,
    OPTION_HTML,
    OPTION_HYPERVISOR,
    OPTION_JSON,
    OPTION_LIST,
    OPTION_MEASURE,
    OPTION_MITIGATIONS,
    OPTION_NO_HISTORY,
    OPTION_PAIRS,
    OPTION_PLANT,
    OPTION_QUICK,
    OPTION_SCALING,
    OPTION_SVG,
    OPTION_UPDATE,
};

static const struct option known_options[] = {{"against", required_argument, NULL, OPTION_AGAINST},
    {"against-append", required_argument, NULL, OPTION_AGAINST_APPEND},
    {"append", required_argument, NULL, OPTION_APPEND},
    {"cpus", required_argument, NULL, OPTION_CPUS}, {"alone", no_argument, NULL, OPTION_ALONE},
    {"check", no_argument, NULL, OPTION_CHECK}, {"csv", optional_argument, NULL, OPTION_CSV},
    {"explain", required_argument, NULL, OPTION_EXPLAIN}, {"help", no_argument, NULL, OPTION_HELP},
    {"history", required_argument, NULL, OPTION_HISTORY},
    {"html", optional_argument, NULL, OPTION_HTML},
    {"hypervisor", required_argument, NULL, OPTION_HYPERVISOR},
    {"json", optional_argument, NULL, OPTION_JSON}, {"list", no_argument, NULL, OPTION_LIST},
    {"measure", required_argument, NULL, OPTION_MEASURE},
    {"mitigations", no_argument, NULL, OPTION_MITIGATIONS},
    {"no-history", no_argument, NULL, OPTION_NO_HISTORY},
    {"pairs", required_argument, NULL, OPTION_PAIRS},
    {"plant", required_argument, NULL, OPTION_PLANT}, {"quick", no_argument, NULL, OPTION_QUICK},
    {"scaling", optional_argument, NULL, OPTION_SCALING},
    {"svg", optional_argument, NULL, OPTION_SVG},
    {"update-baseline", no_argument, NULL, OPTION_UPDATE}, {}};

// Options that say where the report goes. False: it is another one.
static bool parse_output_option(struct options *options, int option)
{
    struct output *output = option == OPTION_JSON   ? &options->json
                            : option == OPTION_CSV  ? &options->csv
                            : option == OPTION_HTML ? &options->html
                            : option == OPTION_SVG  ? &options->svg
                                                    : NULL;
    if (output != NULL) {
        output->wanted = true;
        output->path = optarg != NULL && strcmp(optarg, "-") != 0 ? optarg : NULL;
    }
    return output != NULL;
}

// Options that say which kernels are measured. False: it is another one.
static bool parse_kernel_option(struct options *options, int option)
{
    switch (option) {
    case OPTION_AGAINST:
        options->against = optarg;
        break;
    case OPTION_AGAINST_APPEND:
        strings_add(&options->append[SIDE_OTHER], optarg);
        break;
    case OPTION_ALONE:
        options->alone = true;
        break;
    case OPTION_APPEND:
        strings_add(&options->append[SIDE_HERE], optarg);
        break;
    case OPTION_MITIGATIONS:
        options->mitigations = true;
        break;
    default:
        return false;
    }
    return true;
}

static void parse_option(struct options *options, int option)
{
    uint64_t number;
    if (parse_output_option(options, option) || parse_kernel_option(options, option)) {
        return;
    }
    switch (option) {
    case OPTION_CHECK:
        options->check = true;
        break;
    case OPTION_CPUS:
        if (!parse_number(optarg, 1, 256, &number)) {
            die("--cpus %s: not a number from 1 to 256", optarg);
        }
        options->plan.cpus = (unsigned)number;
        break;
    case OPTION_EXPLAIN:
        options->explain = optarg;
        break;
    case OPTION_HISTORY:
        options->history = optarg;
        break;
    case OPTION_HYPERVISOR:
        if (strcmp(optarg, "kvm") != 0 && strcmp(optarg, "xen") != 0) {
            die("--hypervisor %s: not kvm or xen", optarg);
        }
        options->plan.lab = strcmp(optarg, "xen") == 0 ? BENCH_LAB_XEN : BENCH_LAB_KVM;
        break;
    case OPTION_LIST:
        options->print_list = true;
        break;
    case OPTION_MEASURE:
        parse_measures(&options->plan, optarg);
        break;
    case OPTION_NO_HISTORY:
        options->no_history = true;
        break;
    case OPTION_PAIRS:
        if (!parse_number(optarg, 1, PAIRS_MAX, &number)) {
            die("--pairs %s: not a number from 1 to %d", optarg, PAIRS_MAX);
        }
        options->plan.pairs = (unsigned)number;
        options->plan.macro_pairs = (unsigned)number;
        break;
    case OPTION_PLANT:
        if (!parse_number(optarg, 1, 100, &number)) {
            die("--plant %s: not a number of per cent from 1 to 100", optarg);
        }
        options->planted_percent = (unsigned)number;
        break;
    case OPTION_QUICK:
        options->plan.quick = true;
        break;
    case OPTION_SCALING:
        parse_scaling(&options->plan, optarg);
        break;
    case OPTION_UPDATE:
        options->update = true;
        break;
    case OPTION_HELP:
        fputs(help, stdout);
        exit(0);
    default:
        fputs("./lodger bench --help lists the options\n", stderr);
        exit(EXIT_OWN_ERROR);
    }
}

static void parse_options(int argc, char **argv, struct options *options)
{
    struct bench_plan *plan = &options->plan;
    plan->measures[MEASURE_COUNTS] = true;
    plan->measures[MEASURE_TIME] = true;
    plan->lab = BENCH_LAB_KVM;
    plan->cpus = 1;
    int option;
    while ((option = getopt_long(argc, argv, "", known_options, NULL)) != -1) {
        parse_option(options, option);
    }
    if (options->check || options->update) {
        options->alone = true;
        options->no_history = true;
        parse_measures(plan, "counts");
    }
    if (plan->pairs == 0) {
        plan->pairs = plan->quick ? PAIRS_QUICK : PAIRS_DEFAULT;
        plan->macro_pairs = plan->quick ? PAIRS_QUICK : MACRO_PAIRS_DEFAULT;
    }
}

// ---- the plan ----

static void want(struct bench_plan *plan, const struct bench *bench)
{
    for (size_t i = 0; i < plan->bench_count; i++) {
        if (plan->benches[i] == bench) {
            return;
        }
    }
    plan->benches[plan->bench_count++] = bench;
}

static void want_named(struct options *options, const char *name)
{
    bool micro = strcmp(name, "micro") == 0, macro = strcmp(name, "macro") == 0;
    if (!micro && !macro) {
        want(&options->plan, find_or_die(&options->list, name));
        return;
    }
    for (size_t i = 0; i < options->list.count; i++) {
        if (options->list.items[i].kind == (micro ? BENCH_MICRO : BENCH_MACRO)) {
            want(&options->plan, &options->list.items[i]);
        }
    }
}

// Puts the benchmarks of a group beside each other, the groups in the order of their first ones.
static void sort_by_group(struct bench_plan *plan)
{
    for (size_t i = 1; i < plan->bench_count; i++) {
        size_t place = i;
        for (size_t j = 0; j < i; j++) {
            if (strcmp(plan->benches[j]->group, plan->benches[i]->group) == 0) {
                place = j + 1;
            }
        }
        const struct bench *moved = plan->benches[i];
        memmove(plan->benches + place + 1, plan->benches + place, (i - place) * sizeof(void *));
        plan->benches[place] = moved;
    }
}

static void choose_benches(
    struct options *options, const struct bench_baseline *baseline, int argc, char **argv)
{
    struct bench_plan *plan = &options->plan;
    plan->benches = xmalloc((options->list.count + 1) * sizeof(void *));
    for (int i = optind; i < argc; i++) {
        want_named(options, argv[i]);
    }
    if (optind < argc) {
        sort_by_group(plan);
        return;
    }
    for (size_t i = 0; i < options->list.count; i++) {
        const struct bench *bench = &options->list.items[i];
        bool checked = options->check || options->update;
        bool slow = bench->kind == BENCH_MACRO || bench->cpus > 1 || bench->scales;
        if (checked ? bench_baseline_find(baseline, bench->name) != NULL : !slow || !plan->quick) {
            want(plan, bench);
        }
    }
    sort_by_group(plan);
}

// Whether the file is a kernel of this project: it says so in its tables.
static bool is_ours(const char *path)
{
    static const char mark[] = "lodger/counters";
    struct buffer content = {};
    bool found = file_read(path, &content) == 0 &&
                 memmem(content.data, content.len_bytes, mark, sizeof(mark) - 1) != NULL;
    buffer_free(&content);
    return found;
}

static void choose_kernels(struct options *options)
{
    struct bench_plan *plan = &options->plan;
    plan->kernel_count = options->alone ? 1 : 2;
    plan->kernels[SIDE_HERE] = (struct bench_kernel){.title = "here",
        .image = tree_path("out/release/lodger.elf"),
        .file = tree_path("out/release/lodger.img"),
        .append = options->append[SIDE_HERE],
        .planted_percent = options->planted_percent};
    if (options->alone) {
        return;
    }
    struct bench_kernel *other = &plan->kernels[SIDE_OTHER];
    if (options->against != NULL) {
        char *absolute = realpath(options->against, NULL);
        if (absolute == NULL) {
            die("--against %s: %s", options->against, strerror(errno));
        }
        bool ours = is_ours(absolute);
        *other = (struct bench_kernel){
            .title = ours ? "other" : "Linux", .image = absolute, .foreign = !ours};
    } else {
        char *reason = NULL;
        char *image = reference_kernel(&reason);
        if (image == NULL) {
            die("there is no Debian kernel to compare with (--alone does without): %s", reason);
        }
        *other = (struct bench_kernel){.title = "Linux", .image = image, .foreign = true};
    }
    other->mitigations = options->mitigations;
    other->append = options->append[SIDE_OTHER];
    other->file = other->image;
}

// ---- the end ----

static void write_output(const struct output *output, const struct bench_report *report,
    void (*print)(const struct bench_report *report, FILE *file))
{
    if (!output->wanted) {
        return;
    }
    FILE *file = output->path != NULL ? fopen(output->path, "w") : stdout;
    if (file == NULL) {
        warn("cannot write %s: %s", output->path, strerror(errno));
        return;
    }
    print(report, file);
    if (file != stdout) {
        fclose(file);
    }
}

static void print_json(const struct bench_report *report, FILE *file)
{
    json_t *json = bench_report_to_json(report);
    json_dumpf(json, file, JSON_INDENT(1));
    fputc('\n', file);
    json_decref(json);
}

static void print_svg(const struct bench_report *report, FILE *file)
{
    bool counted = false;
    for (size_t i = 0; i < report->count; i++) {
        counted = counted || report->results[i].measure == MEASURE_COUNTS;
    }
    bench_print_svg(report, counted ? MEASURE_COUNTS : MEASURE_TIME, file);
}

static void write_outputs(const struct options *options, const struct bench_report *report)
{
    const struct output *const outputs[] = {
        &options->json, &options->csv, &options->html, &options->svg};
    bool on_stdout = false;
    for (size_t i = 0; i < 4; i++) {
        on_stdout = on_stdout || (outputs[i]->wanted && outputs[i]->path == NULL);
    }
    write_output(&options->json, report, print_json);
    write_output(&options->csv, report, bench_print_csv);
    write_output(&options->html, report, bench_print_html);
    write_output(&options->svg, report, print_svg);
    if (!on_stdout && !options->check && !options->update) {
        bench_print_text(report, stdout);
    }
}

static int judge(const struct options *options, const struct bench_report *report,
    char *const failures[BENCH_SIDES])
{
    int code = 0;
    for (int side = 0; side < options->plan.kernel_count; side++) {
        if (failures[side] != NULL) {
            warn("%s does not boot: %s", options->plan.kernels[side].image, failures[side]);
            code = 1;
        }
    }
    for (size_t i = 0; i < report->count; i++) {
        for (int side = 0; side < options->plan.kernel_count; side++) {
            code |= report->results[i].sides[side].state == BENCH_FAILED;
        }
    }
    return report->interrupted ? 128 + SIGINT : code;
}

static void on_signal(int number)
{
    bench_interrupt();
}

static void build_needed(void)
{
    build("release", &(struct strings){});
    struct strings targets = {};
    strings_add_words(&targets, "guests:guest_programs");
    build("host", &targets);
    strings_free(&targets);
}

static int measure(struct options *options, const struct bench_baseline *baseline, char *command)
{
    struct bench_report report = {};
    char *failures[BENCH_SIDES] = {};
    choose_kernels(options);
    bench_add_facts(&options->plan, command, &report);
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    signal(SIGHUP, on_signal);
    bench_measure(&options->plan, &report, failures);
    bench_baseline_set_limits(baseline, &report);
    write_outputs(options, &report);
    if (!options->no_history) {
        char *path = bench_history_default_path();
        bench_history_append(options->history != NULL ? options->history : path, &report);
        free(path);
    }
    int code = judge(options, &report, failures);
    if (code == 0 && options->check) {
        code = bench_baseline_check(baseline, &report) > 0;
    } else if (code == 0 && options->update) {
        bench_baseline_update(baseline, &report);
    }
    return code;
}

// `bench compare` and `bench history`.
static int look_back(const struct options *options, int argc, char **argv)
{
    char *path = bench_history_default_path();
    const char *history = options->history != NULL ? options->history : path;
    if (strcmp(argv[optind], "compare") == 0) {
        if (argc - optind != 3) {
            die("usage: ./lodger bench compare A B");
        }
        return bench_compare(history, argv[optind + 1], argv[optind + 2]);
    }
    if (argc - optind != 2) {
        die("usage: ./lodger bench history NAME [--svg=FILE]");
    }
    return bench_history_show(history, argv[optind + 1], options->svg.path);
}

int cmd_bench(int argc, char **argv)
{
    struct options options = {};
    struct bench_baseline baseline;
    char *words = shell_quote_all(argv);
    char *command = xasprintf("./lodger %s", words);
    parse_options(argc, argv, &options);
    if (optind < argc &&
        (strcmp(argv[optind], "compare") == 0 || strcmp(argv[optind], "history") == 0)) {
        return look_back(&options, argc, argv);
    }
    build_needed();
    bench_list_read(&options.list);
    bench_baseline_read(&baseline);
    if (options.print_list) {
        return print_list(&options.list);
    }
    if (options.explain != NULL) {
        return explain(&options);
    }
    choose_benches(&options, &baseline, argc, argv);
    return measure(&options, &baseline, command);
}
