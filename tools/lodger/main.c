// SPDX-License-Identifier: MIT
//
// The lodger command. The script ./lodger builds this program and hands over to it.
#include "tools/lodger/commands.h"
#include "tools/lodger/util.h"

#include <stdio.h>
#include <string.h>

struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary; // NULL: used by the build, not shown
};

static const struct command commands[] = {
    {"run", cmd_run, "run a guest, or a program in a guest"},
    {"xl", cmd_xl, "print a domain configuration for Xen's xl"},
    {"lab", cmd_lab, "run a guest or tests under a real hypervisor, itself in a machine"},
    {"test", cmd_test, "run the tests"},
    {"bench", cmd_bench, "count what operations cost, beside a Debian kernel"},
    {"perf", cmd_perf, "profile and trace guests from the host"},
    {"stat", cmd_stat, "how often things happen in a running guest, and how they go together"},
    {"options", cmd_options, "print the kernel's boot options"},
    {"symbolize", cmd_symbolize, "put function names into a kernel log"},
    {"efi-image", cmd_efi_image, "make a bootable EFI image or disk"},
    {"pack", cmd_pack, NULL},
};

static void print_help(void)
{
    puts("Lodger: a kernel that is only ever a guest\n"
         "\n"
         "usage: ./lodger COMMAND [OPTIONS]\n");
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (commands[i].summary != NULL) {
            printf("  %-10s  %s\n", commands[i].name, commands[i].summary);
        }
    }
    puts("\n./lodger COMMAND --help says more.");
}

int main(int argc, char **argv)
{
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        print_help();
        return argc < 2 ? EXIT_OWN_ERROR : 0;
    }
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(commands[i].name, argv[1]) == 0) {
            return commands[i].run(argc - 1, argv + 1);
        }
    }
    die("unknown command: %s (./lodger --help lists them)", argv[1]);
}
