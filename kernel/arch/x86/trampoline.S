// SPDX-License-Identifier: MIT
// Where the other CPUs start: copied into a page below 1 MiB (smp.c), entered in real mode with CS
// = page. It goes to long mode with the kernel's page tables (plus the identity map), finds the
// CPU's number by its APIC id, and continues at smp_entry().
//
// All CPUs may run through it at the same time: it writes nothing, and every CPU has its stack from
// the start on.

#include "kernel/arch/x86/segments.h"

#define MSR_EFER    0xc0000080
#define MSR_GS_BASE 0xc0000101
#define CR4_PAE     0x20
#define CR0_START   0x80050033

    .section .rodata, "a", @progbits
    .balign 16
    .globl trampoline_start, trampoline_end, trampoline_data
    .code16
trampoline_start:
    cli
    cld
    movw %cs, %ax
    movw %ax, %ds
    xorl %ebx, %ebx
    movw %ax, %bx
    shll $4, %ebx                // EBX: linear address of this page
    lgdtl gdt_pointer - trampoline_start
    movl $1, %eax
    movl %eax, %cr0
    ljmpl *(far32 - trampoline_start)

    .code32
entry32:
    movl $KERNEL_DS, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl $CR4_PAE, %eax
    movl %eax, %cr4
    movl trampoline_data - trampoline_start(%ebx), %eax
    movl %eax, %cr3
    movl $MSR_EFER, %ecx
    movl trampoline_data + 4 - trampoline_start(%ebx), %eax
    xorl %edx, %edx
    wrmsr
    movl $CR0_START, %eax
    movl %eax, %cr0
    ljmpl *(far64 - trampoline_start)(%ebx)

    .code64
entry64:
    movq trampoline_data + 8 - trampoline_start(%rbx), %rax
    jmp *%rax                    // smp_entry_high

    .balign 8
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff
    .quad 0x00af9b000000ffff
    .quad 0x00cf93000000ffff
gdt_pointer:
    .word 4 * 8 - 1
    .globl trampoline_gdt_base, trampoline_gdt
    .globl trampoline_far32, trampoline_far64, trampoline_entry32, trampoline_entry64
trampoline_gdt_base:
    .long 0                      // linear address of gdt: smp.c
    .balign 4
far32:
trampoline_far32:
    .long 0
    .word KERNEL_CS32
    .balign 4
far64:
trampoline_far64:
    .long 0
    .word KERNEL_CS
    .balign 8
trampoline_data:
    .long 0                      // CR3
    .long 0                      // EFER
    .quad 0                      // smp_entry_high
trampoline_end:
trampoline_gdt = gdt
trampoline_entry32 = entry32
trampoline_entry64 = entry64

    .section .text.entry, "ax", @progbits
// On the kernel's mapping. The APIC id (leaf 0xb if it is there, else leaf 1) is looked up in
// smp_starts: the CPU's stack and GS base.
    .globl smp_entry_high
smp_entry_high:
    xorl %eax, %eax
    cpuid
    cmpl $0xb, %eax
    jb 1f
    movl $0xb, %eax
    xorl %ecx, %ecx
    cpuid
    testl %ebx, %ebx
    jnz 2f
1:  movl $1, %eax
    cpuid
    movl %ebx, %edx
    shrl $24, %edx
2:  movq smp_starts(%rip), %rsi
    movl smp_start_count(%rip), %ecx
3:  decl %ecx
    js 4f
    cmpl %edx, (%rsi)
    je 5f
    addq $24, %rsi               // struct smp_start
    jmp 3b
4:  cli                          // not one of ours
    hlt
    jmp 4b
5:  movq 8(%rsi), %rsp
    movl 16(%rsi), %eax
    movl 20(%rsi), %edx
    movl $MSR_GS_BASE, %ecx
    wrmsr
    lgdt boot_gdt_pointer(%rip)  // who was started here by a hypervisor has none
    movl $KERNEL_DS, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    xorl %ebp, %ebp
    call smp_entry
    ud2
