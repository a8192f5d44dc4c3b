// SPDX-License-Identifier: MIT
// The tracepoints of every system call, which syscall_entry.S calls while somebody listens.
#include "kernel/arch/x86/syscall_trace.h"

#include "kernel/arch/x86/trap_frame.h"
#include "kernel/core/trace_points.h"

void syscall_trace_enter(const struct trap_frame *frame)
{
    trace(sys_enter, .id = (int64_t)frame->syscall_number,
        .args = {frame->rdi, frame->rsi, frame->rdx, frame->r10, frame->r8, frame->r9});
}

int64_t syscall_trace_exit(const struct trap_frame *frame, int64_t result)
{
    trace(sys_exit, .id = (int64_t)frame->syscall_number, .ret = result);
    return result;
}
