// SPDX-License-Identifier: MIT
// Where the processor enters the kernel through the IDT, and how it leaves to user mode by IRET.
//
// GS: in the kernel GS holds the CPU's per-CPU offset and MSR_KERNEL_GS_BASE the program's base;
// SWAPGS exchanges them. An entry from user mode (CS says so) swaps, one from kernel mode does not.
// That is wrong only in the few instructions of the entry and exit paths where CPL is 0 with the
// program's GS. Interrupts are off there; what can still come are NMI, #MC and #DF, which have
// stacks of their own. At the top of each of these stacks lies the CPU's per-CPU offset, so that
// they need to believe nobody: they save GS as it is, load their own, and put the old one back.

#include "kernel/arch/x86/asm.h"
#include "kernel/arch/x86/segments.h"

#define MSR_GS_BASE 0xc0000101

    .section .text.entry, "ax", @progbits

// 256 entries of 16 bytes: a number in the place of syscall_number (struct trap_frame), an error
// code of 0 where the processor gives none.
    .globl trap_vectors
    .balign 16
trap_vectors:
    vector = 0
    .rept 256
    .balign 16
    has_code = vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21
    has_code = has_code || vector == 29 || vector == 30
    .if !has_code
    pushq $0
    .endif
    pushq $(vector - 128)        // fits one byte
    .if vector == 2 || vector == 8 || vector == 18
    jmp paranoid_entry
    .else
    jmp trap_entry
    .endif
    vector = vector + 1
    .endr
    .balign 16

FUNCTION trap_entry
    cld
    CLAC
    PUSH_REGISTERS
    testb $3, FRAME_CS(%rsp)
    jz 1f
    swapgs
1:  movq FRAME_SYSCALL(%rsp), %rsi
    subq $-128, %rsi
    movq $-1, FRAME_SYSCALL(%rsp)
    movq %rsp, %rdi
    call trap_dispatch           // (frame, vector)
    // trap_dispatch() has done what is to be done before a return to user mode, and switched
    // interrupts off.
    .globl trap_return
trap_return:
    testb $3, FRAME_CS(%rsp)
    jz 1f
    swapgs
1:  POP_REGISTERS
    addq $16, %rsp
    iretq
END_FUNCTION trap_entry

paranoid_entry:
    cld
    CLAC
    PUSH_REGISTERS
    movl $MSR_GS_BASE, %ecx
    rdmsr
    movl %eax, %r12d
    movl %edx, %r13d
    movl FRAME_BYTES + 8(%rsp), %eax
    movl FRAME_BYTES + 12(%rsp), %edx
    wrmsr
    movq FRAME_SYSCALL(%rsp), %rsi
    subq $-128, %rsi
    movq $-1, FRAME_SYSCALL(%rsp)
    movq %rsp, %rdi
    call trap_paranoid           // (frame, vector)
    movl $MSR_GS_BASE, %ecx
    movl %r12d, %eax
    movl %r13d, %edx
    wrmsr
    POP_REGISTERS
    addq $16, %rsp
    iretq

// First instruction of a new kernel thread (arch_thread_init_kernel): R12 function, R13 argument;
// RAX the thread that ran before.
FUNCTION thread_start_kernel
    movq %rax, %rdi
    xorl %ebp, %ebp
    call sched_switch_finish
    movq %r13, %rdi
    sti
    call *%r12
    ud2
END_FUNCTION thread_start_kernel

// The same of a user thread: its frame is at RSP.
FUNCTION thread_start_user
    movq %rax, %rdi
    xorl %ebp, %ebp
    call sched_switch_finish
    movq %rsp, %rdi
    call trap_start_user
    jmp trap_return
END_FUNCTION thread_start_user

// struct thread *switch_stacks(uintptr_t *save_sp, uintptr_t load_sp, struct thread *from): the
// second half of arch_switch(). Returns `from` on the other stack.
FUNCTION switch_stacks
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    movq %rdx, %rax
    ret
END_FUNCTION switch_stacks
