// SPDX-License-Identifier: MIT
// `#!` lines. Works on bytes alone, on the host too.
#pragma once

#include "kernel/base/types.h"

#define SCRIPT_LINE_MAX 256 // the window of the file that is looked at, and size of both results

// Fills `interpreter` and `argument` (empty: none; too long: cut) from the first bytes of a file.
// -ENOEXEC: it is no script, or not even its interpreter's path lies within the window.
[[nodiscard]] int script_parse(const char *head, size_t len_bytes,
    char interpreter[SCRIPT_LINE_MAX], char argument[SCRIPT_LINE_MAX]);
