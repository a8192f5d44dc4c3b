// SPDX-License-Identifier: MIT
// Call chains by frame pointers, of the kernel and of the running program, from any context.
//
// Nothing here faults: what is not certainly mapped is not touched. A fault in an NMI would let the
// next NMI in before the first is done, on the same stack.
//   U1  Kernel stacks: a frame is read only inside the stack that the interrupted code was on (the
//       running thread's, or the boot stack), whose bounds are known; other stacks have no chain.
//   U2  Program's memory is read through the direct map, by a walk of the page tables that CR3
//       names. With interrupts off (or in an NMI) no table that the walk reaches is given back: who
//       frees one first has every CPU that has the space loaded answer an interrupt. A vCPU that is
//       taken off its processor in the middle is excused from answering; what it then reads may be
//       another page's content, so every address is checked to be memory before it is followed,
//       and what comes out is only data: frames are checked to be program addresses.
//   U3  Each step goes up the stack, so a chain ends.
#pragma once

#include "kernel/base/types.h"

// The last page that was looked up; for one chain.
struct perf_user_window {
    uint64_t page_table;  // physical address of the top level, 0: the program can't be read
    uintptr_t page;       // address in the program, 1: none yet
    const uint8_t *bytes; // the same in the direct map
};

// Prepares reading the running thread's program; there may be none.
void perf_user_window_init(struct perf_user_window *window);
// One aligned word. False: not mapped, or no program's address. Interrupts off.
[[nodiscard]] bool perf_user_word(
    struct perf_user_window *window, uintptr_t address, uint64_t *value);
// Return addresses, innermost first, at most `max`; how many. Code that was interrupted with these
// registers. Interrupts off.
uint32_t perf_unwind_kernel(uint32_t *frames, uint32_t max, uintptr_t rbp, uintptr_t rsp);
// *complete: the chain ended by itself.
uint32_t perf_unwind_user(struct perf_user_window *window, uint64_t *frames, uint32_t max,
    uintptr_t rbp, uintptr_t rsp, bool *complete);
// Two words at a kernel stack pointer; false: not on a known stack.
[[nodiscard]] bool perf_kernel_words(uintptr_t rsp, uint64_t words[2]);
