// SPDX-License-Identifier: MIT
// Exceptions and interrupts: numbers and what the assembly code calls.
#pragma once

#include "kernel/base/types.h"

struct trap_frame;

// Vectors of the processor, Intel SDM 3A, table 6-1.
#define TRAP_DIVIDE         0
#define TRAP_DEBUG          1
#define TRAP_NMI            2
#define TRAP_BREAKPOINT     3
#define TRAP_OVERFLOW       4
#define TRAP_BOUND          5
#define TRAP_INVALID_OPCODE 6
#define TRAP_NO_FPU         7
#define TRAP_DOUBLE_FAULT   8
#define TRAP_INVALID_TSS    10
#define TRAP_NO_SEGMENT     11
#define TRAP_STACK_SEGMENT  12
#define TRAP_PROTECTION     13
#define TRAP_PAGE_FAULT     14
#define TRAP_FPU            16
#define TRAP_ALIGNMENT      17
#define TRAP_MACHINE_CHECK  18
#define TRAP_SIMD           19
#define TRAP_FIRST_EXTERNAL 32

// Called by trap_entry.S and syscall_entry.S, interrupts off; return with interrupts off.
void trap_dispatch(struct trap_frame *frame, uint64_t vector);
// NMI, #DF, #MC: may interrupt anything
void trap_paranoid(struct trap_frame *frame, uint64_t vector);
void trap_start_user(struct trap_frame *frame);
void trap_syscall_work(struct trap_frame *frame);

// Everything from vector 32 on; in irq.c.
void irq_dispatch(struct trap_frame *frame, uint32_t vector);

// Bit of thread->work: the frame of the running system call was rewritten; all of it must be
// loaded, and what the program may not set is taken out.
#define THREAD_WORK_FRAME (UINT32_C(1) << 31)
