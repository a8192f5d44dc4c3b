// SPDX-License-Identifier: MIT
//
// The kernel's table of tracepoints, read from its ELF file (not from the guest's memory, which
// may say anything), and the section of perf.data that describes their records.
#pragma once

#include "tools/lodger/util.h"

struct tracepoint {
    char *system, *name;
    char *format; // text of tracefs' `format`
    uint64_t id;
    uint32_t size_bytes; // of the record
};

struct tracepoints {
    struct tracepoint *items;
    size_t count;
};

// Reads the table that lies at [start, end) of the kernel's addresses. Returns 0 or a negative
// errno (-ENOEXEC: the file does not have it).
[[nodiscard]] int tracepoints_read(
    const char *kernel_elf, uint64_t start, uint64_t end, struct tracepoints *tracepoints);
void tracepoints_free(struct tracepoints *tracepoints);

// Appends "tracing data" as perf.data holds it for the given tracepoints.
void tracepoints_add_tracing_data(
    struct buffer *section, const struct tracepoint *const *tracepoints, size_t count);
