// SPDX-License-Identifier: MIT
// What the processor keeps of a thread while it does not run.
#pragma once

#include "kernel/base/types.h"

// Size of every kernel stack. The sanitizer's calls need more.
#ifdef LODGER_KASAN
#define KERNEL_STACK_BYTES 32768
#else
#define KERNEL_STACK_BYTES 16384
#endif

struct arch_thread {
    uintptr_t kernel_sp;        // saved stack pointer; callee-saved registers lie on the stack
    uintptr_t kernel_stack_top; // what the system call entry and the TSS load
    uint64_t fs_base;           // user FS and GS bases while the thread does not run
    uint64_t gs_base;
    // XSAVE area of a user thread (NULL for kernel threads): its registers while it does not run
    void *fpu;
    // CPU whose registers may still hold what is in `fpu`; UINT64_MAX: none
    uint64_t fpu_cpu;
};
