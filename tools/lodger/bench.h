// SPDX-License-Identifier: MIT
//
// What `lodger bench` measures, and how it measures one kernel.
#pragma once

#include "tools/lodger/machine.h"

#define BENCH_MAX 64

// One figure. All counts are guest instructions unless `unit` says otherwise.
struct bench_entry {
    const char *name;
    const char *unit; // "instructions", "accesses", "bytes"
    double limit; // what this kernel may need at most (../shared/FEATURES.md and the issues); 0:
                  // none set
    const char *what; // one operation, in a sentence
    const char *leaves_out;
};

extern const struct bench_entry bench_entries[];
extern const size_t bench_entry_count;

// The entry of that name, or NULL.
const struct bench_entry *bench_find(const char *name);

// The figures of one kernel, by the index of their entries. Negative: not measured.
struct bench_figures {
    double values[BENCH_MAX];
    char *failure; // why some are missing, or NULL
};

struct bench_kernel {
    const char *title;
    const char *image; // what is booted; ours is the ELF file, with its symbols
    const char *file;  // what is installed: the same without them
    bool foreign;      // not ours
};

// Boots the kernel for the boot figures and once for the others that `wanted` (by index) asks for.
// Never dies: what went wrong is in `failure`.
void bench_measure(
    const struct bench_kernel *kernel, const bool *wanted, struct bench_figures *figures);
