// SPDX-License-Identifier: MIT
// What syscall_entry.S calls while the tracepoints of system calls are on. Interrupts on.
#pragma once

#include "kernel/base/types.h"

struct trap_frame;

void syscall_trace_enter(const struct trap_frame *frame);
// Returns `result`.
int64_t syscall_trace_exit(const struct trap_frame *frame, int64_t result);
