// SPDX-License-Identifier: MIT
//
// Building what a command needs: GN, Ninja and tools/tidy, with progress on the terminal.
#pragma once

#include "tools/lodger/util.h"

// Brings `targets` (Ninja's names; empty: everything) of out/VARIANT up to date; `variant` may also
// be "host". Writes the Ninja files and runs `gn check` first. Quiet if there is nothing to do;
// dies with the output if the build fails.
void build(const char *variant, const struct strings *targets);

// Runs a command. Its output goes to a log; with a terminal on standard error the newest line is
// shown meanwhile behind `title`. Dies, with the output, if the command fails.
void build_run_with_progress(const char *title, char *const *command);
