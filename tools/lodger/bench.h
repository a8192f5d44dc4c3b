// SPDX-License-Identifier: MIT
//
// The benchmarks that there are (guests/bench/README.md).
#pragma once

#include "tools/lodger/util.h"

enum bench_kind {
    BENCH_HOST,  // the command measures it from outside: boot, image
    BENCH_MICRO, // a function of guests/bench/micro
    BENCH_MACRO, // a script of guests/bench/macro
};

struct bench {
    char *name;
    enum bench_kind kind;
    char *group;
    char *what;
    char *omits; // "" if there is nothing to say
    char *unit;  // of the figure; NULL: time (or instructions, or exits) per operation
    bool more_is_better;
    unsigned count; // operations a round
    unsigned cpus;
    uint64_t memory_bytes;
    uint64_t disk_bytes;     // of an empty disk; 0: none
    struct strings packages; // Debian packages...
    struct strings programs; // ...and what of them
    struct strings files;
    bool counts;  // says something under -icount
    bool latency; // prints histograms
    bool scales;
    unsigned timeout_s;
    char *script; // BENCH_MACRO
};

struct bench_list {
    struct bench *items;
    size_t count;
};

// Adds the benchmarks that `text` describes. Returns NULL, or what is wrong with it: `source` and
// the line, to be freed.
[[nodiscard]] char *bench_list_parse(struct bench_list *list, const char *source, const char *text);

// All benchmarks: those the command measures itself, guests/bench/micro (as the built program
// describes them) and guests/bench/macro. Dies if a description is wrong.
void bench_list_read(struct bench_list *list);

// The benchmark of that name, or NULL.
const struct bench *bench_find(const struct bench_list *list, const char *name);
