// SPDX-License-Identifier: MIT
// perf_event_open(2).
#include "kernel/syscall/syscall.h"
#include "perf/event/open.h"

SYSCALL5(
    perf_event_open, uintptr_t, attr, int32_t, pid, int32_t, cpu, int, group_fd, uint64_t, flags)
{
    return perf_event_open(attr, pid, cpu, group_fd, flags);
}
