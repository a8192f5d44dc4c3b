// SPDX-License-Identifier: MIT
// The end: prints message, registers, call chain (` #N 0xADDRESS`, which the host command
// symbolises) and the last log lines, and ends the machine with the panic code of debug_exit.h.
#pragma once

#include "kernel/base/types.h"

struct trap_frame;

[[noreturn]] void panic(const char *format, ...) __attribute__((format(printf, 1, 2)));
[[noreturn]] void panic_with_frame(const struct trap_frame *frame, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
// Prints the call chain that starts at frame pointer `rbp` (0: the caller's) to the log.
void backtrace_log(uintptr_t rip, uintptr_t rbp);
