// SPDX-License-Identifier: MIT
// Which absent system calls programs asked for, and how often: /proc/lodger/unimplemented.
#pragma once

#include "kernel/base/types.h"

// Calls visit for each number that was called without existing, in ascending order. Numbers beyond
// the table are counted together under the last one. Any context.
void syscall_unimplemented_for_each(
    void (*visit)(uint32_t number, const char *name, uint64_t count, void *context), void *context);
