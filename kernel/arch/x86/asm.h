// SPDX-License-Identifier: MIT
// For assembly files: offsets into struct trap_frame (checked in trap.c), functions, exception
// table, patched instructions.
#pragma once

#define FRAME_R15     0
#define FRAME_R14     8
#define FRAME_R13     16
#define FRAME_R12     24
#define FRAME_RBP     32
#define FRAME_RBX     40
#define FRAME_R11     48
#define FRAME_R10     56
#define FRAME_R9      64
#define FRAME_R8      72
#define FRAME_RAX     80
#define FRAME_RCX     88
#define FRAME_RDX     96
#define FRAME_RSI     104
#define FRAME_RDI     112
#define FRAME_SYSCALL 120
#define FRAME_ERROR   128
#define FRAME_RIP     136
#define FRAME_CS      144
#define FRAME_RFLAGS  152
#define FRAME_RSP     160
#define FRAME_SS      168
#define FRAME_BYTES   176

#define THREAD_KERNEL_STACK_TOP 8 // offset in struct thread
#define THREAD_WORK             48

#ifdef __ASSEMBLER__
// clang-format off
.macro FUNCTION name
    .globl \name
    .type \name, @function
    .balign 16
\name:
.endm
.macro END_FUNCTION name
    .size \name, . - \name
.endm

// A fault at `fault` continues at `fixup`.
.macro EXCEPTION fault, fixup
    .pushsection .exception_table, "a", @progbits
    .quad \fault, \fixup
    .popsection
.endm

// static_branch.h: jumps to `target` while the key at `key` is on.
.macro STATIC_BRANCH key, target
991:
    .byte 0x0f, 0x1f, 0x44, 0x00, 0x00
    .pushsection .static_branches, "a", @progbits
    .balign 8
    .quad 991b, \target, \key
    .popsection
.endm

// Three bytes of no operation that smap_patch() replaces by CLAC or STAC where the processor has
// SMAP.
.macro CLAC
990:
    .byte 0x0f, 0x1f, 0x00
    .pushsection .smap_clac, "a", @progbits
    .quad 990b
    .popsection
.endm
.macro STAC
991:
    .byte 0x0f, 0x1f, 0x00
    .pushsection .smap_stac, "a", @progbits
    .quad 991b
    .popsection
.endm

// The 15 general registers of struct trap_frame; the processor's part, error code and number are
// there already.
.macro PUSH_REGISTERS
    pushq %rdi
    pushq %rsi
    pushq %rdx
    pushq %rcx
    pushq %rax
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
.endm
.macro POP_REGISTERS
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    popq %r11
    popq %r10
    popq %r9
    popq %r8
    popq %rax
    popq %rcx
    popq %rdx
    popq %rsi
    popq %rdi
.endm
// clang-format on
#endif
