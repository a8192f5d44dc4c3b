// SPDX-License-Identifier: MIT
// The part of option.c that works on any table of declarations: for its test.
#pragma once

#include "kernel/core/option.h"

// Stores the value of each option of `command_line` (len bytes and a terminating 0) that the table
// declares. The line is changed: strings are terminated in it.
void option_parse_table(
    const struct boot_option *options, size_t count, char *command_line, size_t len);
