// SPDX-License-Identifier: MIT
// Segment selectors. The order is that which SYSCALL and SYSRET demand (Intel SDM 2B, SYSRET); the
// user ones are those that Linux programs see.
#pragma once

#define KERNEL_CS32  0x08
#define KERNEL_CS    0x10
#define KERNEL_DS    0x18
#define USER_CS32    0x23
#define USER_DS      0x2b
#define USER_CS      0x33
#define TSS_SELECTOR 0x40
#define GDT_ENTRIES  10

// Stacks of NMI, double fault and machine check.
#define EMERGENCY_STACK_BYTES  8192
#define EMERGENCY_STACKS_BYTES (3 * EMERGENCY_STACK_BYTES)

#ifndef __ASSEMBLER__
#include "kernel/base/types.h"
void segments_init_idt(void); // once, boot CPU
// Loads the running CPU's tables. `emergency_stacks`: EMERGENCY_STACKS_BYTES, 16-aligned; NULL: the
// boot CPU's own.
void segments_load(void *emergency_stacks);
void segments_set_stack(uintptr_t top); // for entries from user mode; interrupts off
#endif
