// SPDX-License-Identifier: MIT
//
// lodger bench: the same programs on this kernel and on a Debian kernel, counted in guest
// instructions, side by side.
#include "tools/lodger/bench.h"
#include "tools/lodger/build.h"
#include "tools/lodger/commands.h"
#include "tools/lodger/test.h"

#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char help[] =
    "usage: ./lodger bench [OPTIONS] [NAME...]\n"
    "\n"
    "Runs the same programs on this kernel and on a Debian cloud kernel (mitigations off) under "
    "the same\n"
    "QEMU with -icount, and prints what an operation costs in guest instructions, which are\n"
    "deterministic and do not depend on the host.\n"
    "\n"
    "  --against FILE  another kernel image to compare with\n"
    "  --alone         only this kernel\n"
    "  --check         exit code 1 if a figure of this kernel is above its limit\n"
    "  --json          machine-readable output\n"
    "  --list          names of the benchmarks\n"
    "  --explain NAME  what a benchmark does and what it leaves out\n"
    "  --help          this text\n";

struct options {
    const char *against;
    bool alone;
    bool check;
    bool json;
    bool wanted[BENCH_MAX];
};

static int print_list(void)
{
    for (size_t i = 0; i < bench_entry_count; i++) {
        puts(bench_entries[i].name);
    }
    return 0;
}

static const struct bench_entry *find_or_die(const char *name)
{
    const struct bench_entry *entry = bench_find(name);
    if (entry == NULL) {
        die("there is no benchmark %s; ./lodger bench --list prints their names", name);
    }
    return entry;
}

static int explain(const char *name)
{
    const struct bench_entry *entry = find_or_die(name);
    printf("%s: %s\nUnit: %s.\n", entry->name, entry->what, entry->unit);
    if (entry->limit > 0) {
        printf("This kernel may need at most %.0f.\n", entry->limit);
    }
    if (entry->leaves_out[0] != '\0') {
        printf("Leaves out: %s\n", entry->leaves_out);
    }
    return 0;
}

static int parse_options(int argc, char **argv, struct options *options)
{
    enum {
        OPTION_AGAINST = 1,
        OPTION_ALONE,
        OPTION_CHECK,
        OPTION_JSON,
        OPTION_LIST,
        OPTION_EXPLAIN,
        OPTION_HELP
    };
    static const struct option known[] = {{"against", required_argument, NULL, OPTION_AGAINST},
        {"alone", no_argument, NULL, OPTION_ALONE}, {"check", no_argument, NULL, OPTION_CHECK},
        {"json", no_argument, NULL, OPTION_JSON}, {"list", no_argument, NULL, OPTION_LIST},
        {"explain", required_argument, NULL, OPTION_EXPLAIN},
        {"help", no_argument, NULL, OPTION_HELP}, {}};
    int option;
    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (option) {
        case OPTION_AGAINST:
            options->against = optarg;
            break;
        case OPTION_ALONE:
            options->alone = true;
            break;
        case OPTION_CHECK:
            options->check = true;
            break;
        case OPTION_JSON:
            options->json = true;
            break;
        case OPTION_LIST:
            exit(print_list());
        case OPTION_EXPLAIN:
            exit(explain(optarg));
        case OPTION_HELP:
            fputs(help, stdout);
            exit(0);
        default:
            fputs("./lodger bench --help lists the options\n", stderr);
            exit(EXIT_OWN_ERROR);
        }
    }
    for (int i = optind; i < argc; i++) {
        options->wanted[find_or_die(argv[i]) - bench_entries] = true;
    }
    for (size_t i = 0; i < bench_entry_count && optind == argc; i++) {
        options->wanted[i] = true;
    }
    return 0;
}

static bool above_limit(const struct bench_entry *entry, double value)
{
    return entry->limit > 0 && value > entry->limit;
}

static void print_number(double value, int width)
{
    if (value < 0) {
        printf("%*s", width, "-");
    } else {
        printf("%*.0f", width, value);
    }
}

static void print_table(const struct options *options, const struct bench_figures *ours,
    const struct bench_figures *theirs)
{
    printf("%-14s %12s %12s %8s %12s  %s\n", "operation", "here", options->alone ? "" : "Linux",
        options->alone ? "" : "ratio", "limit", "unit");
    for (size_t i = 0; i < bench_entry_count; i++) {
        const struct bench_entry *entry = &bench_entries[i];
        if (!options->wanted[i]) {
            continue;
        }
        double value = ours->values[i];
        printf("%-14s ", entry->name);
        print_number(value, 12);
        if (options->alone) {
            printf(" %12s %8s", "", "");
        } else {
            putchar(' ');
            print_number(theirs->values[i], 12);
            if (value > 0 && theirs->values[i] > 0) {
                printf(" %8.2f", value / theirs->values[i]);
            } else {
                printf(" %8s", "-");
            }
        }
        putchar(' ');
        print_number(entry->limit > 0 ? entry->limit : -1, 12);
        printf("  %s%s\n", entry->unit, above_limit(entry, value) ? "  ABOVE THE LIMIT" : "");
    }
}

static void print_json(const struct options *options, const struct bench_figures *ours,
    const struct bench_figures *theirs)
{
    json_t *array = json_array();
    for (size_t i = 0; i < bench_entry_count; i++) {
        if (!options->wanted[i]) {
            continue;
        }
        json_t *entry = json_object();
        json_object_set_new(entry, "name", json_string(bench_entries[i].name));
        json_object_set_new(entry, "unit", json_string(bench_entries[i].unit));
        if (ours->values[i] >= 0) {
            json_object_set_new(entry, "here", json_real(ours->values[i]));
        }
        if (!options->alone && theirs->values[i] >= 0) {
            json_object_set_new(entry, "reference", json_real(theirs->values[i]));
        }
        if (bench_entries[i].limit > 0) {
            json_object_set_new(entry, "limit", json_real(bench_entries[i].limit));
        }
        json_array_append_new(array, entry);
    }
    json_dumpf(array, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(array);
}

static void build_needed(void)
{
    build("release", &(struct strings){});
    struct strings targets = {};
    strings_add_words(&targets, "guests:guest_programs");
    build("host", &targets);
    strings_free(&targets);
}

static int judge(const struct options *options, const struct bench_figures *ours)
{
    int code = 0;
    for (size_t i = 0; i < bench_entry_count; i++) {
        if (!options->wanted[i]) {
            continue;
        }
        if (ours->values[i] < 0) {
            warn("%s was not measured", bench_entries[i].name);
            code = 1;
        } else if (options->check && above_limit(&bench_entries[i], ours->values[i])) {
            warn("%s needs %.0f %s; its limit is %.0f", bench_entries[i].name, ours->values[i],
                bench_entries[i].unit, bench_entries[i].limit);
            code = 1;
        }
    }
    return code;
}

int cmd_bench(int argc, char **argv)
{
    struct options options = {};
    struct bench_figures ours, theirs = {};
    parse_options(argc, argv, &options);
    build_needed();
    struct bench_kernel here = {.title = "lodger",
        .image = tree_path("out/release/lodger.elf"),
        .file = tree_path("out/release/lodger.img")};
    struct bench_kernel reference = {.title = "linux", .image = options.against, .foreign = true};
    if (!options.alone && reference.image == NULL) {
        char *reason = NULL;
        reference.image = reference_kernel(&reason);
        if (reference.image == NULL) {
            die("there is no Debian kernel to compare with (--alone does without): %s", reason);
        }
    }
    reference.file = reference.image;
    fputs("measuring this kernel\n", stderr);
    bench_measure(&here, options.wanted, &ours);
    if (!options.alone) {
        fputs("measuring the other kernel\n", stderr);
        bench_measure(&reference, options.wanted, &theirs);
    }
    if (options.json) {
        print_json(&options, &ours, &theirs);
    } else {
        print_table(&options, &ours, &theirs);
    }
    if (ours.failure != NULL) {
        warn("%s", ours.failure);
    }
    if (theirs.failure != NULL) {
        warn("%s", theirs.failure);
    }
    int code = judge(&options, &ours);
    return theirs.failure != NULL ? 1 : code;
}
