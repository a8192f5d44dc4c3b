// SPDX-License-Identifier: MIT
//
// Telling the user how a machine ended.
#pragma once

#include "tools/lodger/qemu.h"

// Explains an end that is no ordinary one on standard error: a panic with its symbolised call
// chain, a time-out, QEMU's complaint. `elf` is the kernel's ELF file. In a panic the log's last
// lines are shown if `show_log`, that is if the user has not seen them on the console.
void report_outcome(const struct qemu_run *run, const char *elf, bool show_log);

// Prints the run as one JSON object on standard output.
void report_json(const struct qemu_run *run, const char *elf);

// The panic in a log: from the line "panic: ..." to its end, symbolised. NULL if there is none.
char *report_panic_text(const struct buffer *log, const char *elf);
