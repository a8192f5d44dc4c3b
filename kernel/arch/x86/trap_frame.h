// SPDX-License-Identifier: MIT
// Registers of interrupted code, as the entry code in trap_entry.S and syscall_entry.S lays them on
// the kernel stack.
#pragma once

#include "kernel/base/types.h"

// The order of the first 15 members is that of the pushes; the last five are the processor's.
struct trap_frame {
    uint64_t r15, r14, r13, r12, rbp, rbx;
    uint64_t r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi;
    // For a system call the number (rax at entry), UINT64_MAX otherwise: restart logic, ptrace
    uint64_t syscall_number;
    uint64_t error_code; // exceptions that have one, else 0
    uint64_t rip, cs, rflags, rsp, ss;
};

static inline bool trap_frame_is_user(const struct trap_frame *frame)
{
    return (frame->cs & 3) == 3;
}
