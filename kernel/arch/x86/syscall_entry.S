// SPDX-License-Identifier: MIT
// A system call: SYSCALL to SYSRET.
//
// The whole struct trap_frame is saved, so that fork, signals and exec find it, but on the way back
// only what the C code may have changed is loaded: the callee-saved registers still hold the
// program's values. That holds unless somebody rewrote the frame (exec, rt_sigreturn, signal
// delivery); all of these set a bit of thread->work, the one word that is tested, and the slow way
// out loads everything and leaves by IRET. For the same reason RIP and RFLAGS need no check before
// SYSRET: they are those with which the program came in (RCX and R11 of SYSCALL), and RIP is
// canonical because the last page of the lower half is never mapped (USER_END).
//
// SFMASK switches off IF, DF, TF, AC, NT: no CLAC or CLD is needed.
// thread_current()->arch.kernel_stack_top is kept in the per-CPU word cpu_kernel_stack.

#include "kernel/arch/x86/asm.h"
#include "kernel/arch/x86/segments.h"

#define SYSCALL_TABLE_SIZE 512
#define ENOSYS 38

    .section .text.entry, "ax", @progbits

FUNCTION syscall_entry
    swapgs
    movq %rsp, %gs:cpu_user_sp
    movq %gs:cpu_kernel_stack, %rsp
    pushq $USER_DS
    pushq %gs:cpu_user_sp
    pushq %r11                   // RFLAGS
    pushq $USER_CS
    pushq %rcx                   // RIP
    pushq $0                     // error code
    pushq %rax                   // system call number
    PUSH_REGISTERS
    sti
    STATIC_BRANCH syscall_trace_key, 4f
    cmpq $SYSCALL_TABLE_SIZE, %rax
    jae 3f
    movq %r10, %rcx              // fourth argument
    movq syscall_table(, %rax, 8), %rax
    call *%rax
1:  cli
    movq %gs:current_thread, %rcx
    cmpl $0, THREAD_WORK(%rcx)
    jne 2f
    movq FRAME_R10(%rsp), %r10
    movq FRAME_R9(%rsp), %r9
    movq FRAME_R8(%rsp), %r8
    movq FRAME_RDX(%rsp), %rdx
    movq FRAME_RSI(%rsp), %rsi
    movq FRAME_RDI(%rsp), %rdi
    movq FRAME_RIP(%rsp), %rcx
    movq FRAME_RFLAGS(%rsp), %r11
    movq FRAME_RSP(%rsp), %rsp
    swapgs
    sysretq

2:  movq %rax, FRAME_RAX(%rsp)
    movq %rsp, %rdi
    call trap_syscall_work
    jmp trap_return

3:  movq %rax, %rdi
    call syscall_unimplemented
    jmp 1b

    // The same while system calls are traced.
4:  movq %rsp, %rdi
    call syscall_trace_enter
    movq FRAME_SYSCALL(%rsp), %rax
    movq FRAME_RDI(%rsp), %rdi
    movq FRAME_RSI(%rsp), %rsi
    movq FRAME_RDX(%rsp), %rdx
    movq FRAME_R10(%rsp), %rcx
    movq FRAME_R8(%rsp), %r8
    movq FRAME_R9(%rsp), %r9
    cmpq $SYSCALL_TABLE_SIZE, %rax
    jae 6f
    movq syscall_table(, %rax, 8), %rax
    call *%rax
5:  movq %rsp, %rdi
    movq %rax, %rsi
    call syscall_trace_exit      // returns the second argument
    jmp 1b

6:  movq %rax, %rdi
    call syscall_unimplemented
    jmp 5b
END_FUNCTION syscall_entry

// SYSCALL from compatibility mode, which no program can enter: there is no such code segment.
FUNCTION syscall_entry_compat
    ud2
END_FUNCTION syscall_entry_compat
