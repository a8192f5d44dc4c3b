// SPDX-License-Identifier: MIT
// perf_event_open(2) for kernel/syscall, and what is beside it in the file systems.
#pragma once

#include "kernel/base/types.h"

// As the system call: a descriptor or -errno. Task context.
int64_t perf_event_open(
    uintptr_t user_attr, int32_t pid, int32_t cpu, int group_fd, uint64_t flags);
// At start-up: /proc/sys/kernel/perf_event_*, the file system "tracefs".
void perf_event_register(void);
// /proc/sys/kernel/perf_event_paranoid; atomic
extern int32_t perf_event_paranoid;
