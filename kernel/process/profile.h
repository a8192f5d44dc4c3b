// SPDX-License-Identifier: MIT
// What the profiler (perf/) is told of programs: names and executable mappings.
#pragma once

#include "kernel/base/types.h"

struct file;

// At start-up, once.
void profile_init(void);
// The running task has a new program: its name and everything of it that can be executed. Task
// context.
void profile_exec(void);
// The running task mapped part of a file, or made it executable: what of [address, address + len)
// can be executed is told. Task context.
void profile_map(uintptr_t address, size_t len_bytes);
