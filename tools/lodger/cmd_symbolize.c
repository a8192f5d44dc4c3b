// SPDX-License-Identifier: MIT
//
// lodger symbolize: function names and lines for the kernel addresses in a log.
#include "tools/lodger/commands.h"
#include "tools/lodger/machine.h"
#include "tools/lodger/symbols.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <errno.h>

static const char help[] =
    "usage: ./lodger symbolize [--variant VARIANT | --elf FILE] [LOG | ADDRESS...]\n"
    "\n"
    "Copies a kernel log (standard input by default) and puts function, file and line after each\n"
    "kernel address; or describes the addresses that are given.\n"
    "\n"
    "  --variant VARIANT  the kernel that wrote it: release (default), debug or kasan\n"
    "  --elf FILE         the kernel's ELF file\n";

static void annotate_stream(struct symbols *symbols, FILE *input)
{
    char *line = NULL;
    size_t capacity_bytes = 0;
    while (getline(&line, &capacity_bytes, input) > 0) {
        char *annotated = symbols_annotate(symbols, line);
        fputs(annotated, stdout);
        fflush(stdout);
        free(annotated);
    }
    free(line);
}

int cmd_symbolize(int argc, char **argv)
{
    static const struct option options[] = {
        {"variant", required_argument, NULL, 'v'},
        {"elf", required_argument, NULL, 'e'},
        {"help", no_argument, NULL, 'h'},
        {},
    };
    const char *variant = "release";
    const char *elf = NULL;
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'v' && machine_parse_variant(optarg, &variant)) {
            continue;
        } else if (option == 'e') {
            elf = optarg;
        } else if (option == 'h') {
            fputs(help, stdout);
            return 0;
        } else {
            die("symbolize: see ./lodger symbolize --help");
        }
    }
    if (elf == NULL) {
        elf = tree_path("out/%s/lodger.elf", variant);
    }
    struct symbols *symbols = symbols_open(elf);
    if (symbols == NULL) {
        die("cannot read symbols from %s", elf);
    }
    if (optind == argc) {
        annotate_stream(symbols, stdin);
    } else if (access(argv[optind], R_OK) == 0) {
        FILE *input = fopen(argv[optind], "r");
        if (input == NULL) {
            die("cannot read %s: %s", argv[optind], strerror(errno));
        }
        annotate_stream(symbols, input);
        fclose(input);
    } else {
        for (int i = optind; i < argc; i++) {
            uint64_t address = strtoull(argv[i], NULL, 16);
            char *text = symbols_describe(symbols, address);
            printf("%#llx %s\n", (unsigned long long)address, text != NULL ? text : "?");
            free(text);
        }
    }
    symbols_close(symbols);
    return 0;
}
