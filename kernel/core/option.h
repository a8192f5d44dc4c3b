// SPDX-License-Identifier: MIT
// Boot options, each declared once with its documentation.
//
//   static bool nosmp;
//   BOOT_OPTION_BOOL(nosmp, "nosmp", "Start only the boot CPU.");
//
// Declarations gather in the section .options; option_parse() walks them once, very early, before
// any allocation. An unknown option is logged, not an error. docs/options.md is generated from the
// section (strings of the ELF file) by tools/.
#pragma once

#include "kernel/base/types.h"

enum option_type { OPTION_BOOL, OPTION_U64, OPTION_STRING, OPTION_FUNCTION };

struct boot_option {
    const char *name;
    const char *documentation;
    enum option_type type;
    void *value;                     // bool *, uint64_t *, const char **, or
    int (*parse)(const char *value); // OPTION_FUNCTION: 0 or -EINVAL
};

#define BOOT_OPTION_DECLARE(ident, option_name, doc, option_type, pointer, function)               \
    [[gnu::used,                                                                                   \
        gnu::section(".options")]] static const struct boot_option boot_option_##ident = {         \
        .name = option_name,                                                                       \
        .documentation = doc,                                                                      \
        .type = option_type,                                                                       \
        .value = pointer,                                                                          \
        .parse = function}
#define BOOT_OPTION_BOOL(var, name, doc)                                                           \
    BOOT_OPTION_DECLARE(var, name, doc, OPTION_BOOL, &(var), NULL)
#define BOOT_OPTION_U64(var, name, doc)                                                            \
    BOOT_OPTION_DECLARE(var, name, doc, OPTION_U64, &(var), NULL)
#define BOOT_OPTION_STRING(var, name, doc)                                                         \
    BOOT_OPTION_DECLARE(var, name, doc, OPTION_STRING, &(var), NULL)
#define BOOT_OPTION_FUNCTION(fn, name, doc)                                                        \
    BOOT_OPTION_DECLARE(fn, name, doc, OPTION_FUNCTION, NULL, fn)

// Parses the command line (kept; strings point into it). What follows `--` is left for init.
void option_parse(char *command_line);
extern const char *option_command_line; // as the boot loader gave it: /proc/cmdline
