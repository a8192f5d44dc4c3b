// SPDX-License-Identifier: MIT
//
// This kernel's own counters, for tests that do not run on Linux.
#pragma once
#include "tests/guest/check.h"

// The value of one, such as "tlb.shootdowns", summed over the CPUs; 0 if there is none.
CHECK_UNUSED static unsigned long lodger_counter(const char *name)
{
    char line[256];
    unsigned long value = 0;
    size_t len = strlen(name);
    FILE *file = fopen("/proc/lodger/counters", "r");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, name, len) == 0 && line[len] == ' ') {
            value = strtoul(line + len, NULL, 10);
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return value;
}
