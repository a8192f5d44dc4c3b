// SPDX-License-Identifier: MIT
//
// lodger lab: a guest, or tests, under a real hypervisor, which itself runs in a machine that QEMU
// emulates where the processor has no virtualisation.
#include "tools/lodger/commands.h"
#include "tools/lodger/lab_exits.h"
#include "tools/lodger/util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "usage: ./lodger lab kvm|xen [OPTIONS] [GUEST]\n"
    "       ./lodger lab kvm|xen [OPTIONS] -- PROGRAM [ARGUMENTS]\n"
    "       ./lodger lab kvm|xen [--cpus N]... --tests [TEST OPTIONS]\n"
    "       ./lodger lab kvm|xen --exits [--json] [OPERATION...]\n"
    "\n"
    "Boots a Debian host with KVM or Xen and runs a guest, a program in a guest, or the guest "
    "tests\n"
    "on it. Where this machine's processor has virtualisation, its own KVM is used. A host is "
    "made\n"
    "of Debian packages at first use (150 MB to fetch) and kept in out/cache.\n"
    "\n"
    "  --tests   run the guest tests; --cpus may be given several times before it (default 1, 2 "
    "and\n"
    "            4), what follows are options of ./lodger test, such as --filter\n"
    "\n"
    "  --exits   count the exits of operations (default: all), beside a Debian kernel's\n"
    "\n"
    "Other options are those of ./lodger run.\n";

// Runs a guest, or the tests, on machines which the word of that name describes. A single guest is
// run with `options`.
static int lab_run(int argc, char **argv, const char *word, const char *options)
{
    struct strings command = {};
    struct strings machines = {};
    int tests = 1;
    while (tests < argc && strcmp(argv[tests], "--tests") != 0 && strcmp(argv[tests], "--") != 0) {
        tests++;
    }
    if (argc > 1 && strcmp(argv[1], "--exits") == 0) {
        return lab_exits(argc - 1, argv + 1, word);
    }
    if (tests == argc || strcmp(argv[tests], "--") == 0) {
        strings_add_words(&command, "run");
        strings_add_words(&command, options);
        for (int i = 1; i < argc; i++) {
            strings_add(&command, argv[i]);
        }
        return cmd_run((int)command.count, command.items);
    }
    for (int i = 1; i < tests; i += 2) {
        uint64_t cpus;
        if (strcmp(argv[i], "--cpus") != 0 || i + 1 == tests ||
            !parse_number(argv[i + 1], 1, 64, &cpus)) {
            die("lab: before --tests there can be --cpus N only (./lodger lab --help)");
        }
        strings_addf(&machines, "%s cpus=%llu", word, (unsigned long long)cpus);
    }
    if (machines.count == 0) {
        strings_addf(&machines, "%s cpus=1", word);
        strings_addf(&machines, "%s cpus=2", word);
        strings_addf(&machines, "%s cpus=4", word);
    }
    strings_add(&command, "test");
    for (size_t i = 0; i < machines.count; i++) {
        strings_add(&command, "--machine");
        strings_add(&command, machines.items[i]);
    }
    for (int i = tests + 1; i < argc; i++) {
        strings_add(&command, argv[i]);
    }
    return cmd_test((int)command.count, command.items);
}

static int lab_kvm(int argc, char **argv)
{
    return lab_run(argc, argv, "lab", "--accel lab");
}

static int lab_xen(int argc, char **argv)
{
    return lab_run(argc, argv, "xen", "--machine xen");
}

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} lab_list[] = {
    {"kvm", lab_kvm},
    {"xen", lab_xen},
};

int cmd_lab(int argc, char **argv)
{
    for (size_t i = 0; i < sizeof(lab_list) / sizeof(lab_list[0]); i++) {
        if (argc > 1 && strcmp(argv[1], lab_list[i].name) == 0) {
            return lab_list[i].run(argc - 1, argv + 1);
        }
    }
    fputs(help, stdout);
    return argc > 1 && strcmp(argv[1], "--help") == 0 ? 0 : EXIT_OWN_ERROR;
}
