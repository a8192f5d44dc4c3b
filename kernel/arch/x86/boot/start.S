// SPDX-License-Identifier: MIT
// The first instructions, for all boot protocols.
//
//   pvh_entry      32-bit, paging off, EBX = struct hvm_start_info (Xen docs/misc/pvh.pandoc);
//                  image where it was linked
//   linux32_entry  32-bit, paging off, ESI = struct boot_params; image anywhere below 4 GiB
//   linux64_entry  64-bit, RSI = struct boot_params; image anywhere below 4 GiB, identity-mapped.
//                  It goes back to 32-bit mode, so that there is one path only. Also the entry of
//                  the ELF file.
//
// From there: move the image to a multiple of 2 MiB, build page tables, long mode, boot_main().
// The first page tables: identity and direct map of the first 4 GiB, and the image.

#include "kernel/arch/x86/boot/protocol.h"
#include "kernel/arch/x86/segments.h"
#include <xen/elfnote.h>

#define LINK_START 0xffffffff80200000 // kernel_image_start
#define OFFSET(symbol) (symbol - LINK_START)

#define PTE_TABLE     0x003 // present, writable
#define PTE_BIG_PAGE  0x083
#define MSR_EFER      0xc0000080
#define MSR_GS_BASE   0xc0000101
#define EFER_LME_BIT  8
#define EFER_NXE_BIT  11
#define CR0_START     0x80050033 // PG AM WP NE ET MP PE
#define CR4_PAE       0x20
#define PCI_HOLE_GIBS 4

    .section .note.Xen, "a", @note
    .balign 4
    .long 2f - 1f
    .long 4f - 3f
    .long XEN_ELFNOTE_PHYS32_ENTRY
1:  .asciz "Xen"
2:  .balign 4
3:  .long pvh_entry_phys
4:  .balign 4

    .section .text.head, "ax", @progbits
    .code32
    .globl linux32_entry, linux64_entry, pvh_entry
linux32_entry:
    cli
    cld
    leal 0x1e8(%esi), %esp       // boot_params.scratch as a stack of one word
    call 1f
1:  popl %ebp
    subl $(1b - linux32_entry), %ebp
    // EBP: where the image is. EBX: where it shall be.
    leal 0x1fffff(%ebp), %ebx
    andl $0xffe00000, %ebx
    cmpl $0x200000, %ebx
    jae 2f
    movl $0x200000, %ebx
2:  cmpl %ebp, %ebx
    je moved
    movl %esi, %edx
    movl $kernel_loaded_bytes, %ecx
    leal -4(%ebp, %ecx), %esi
    leal -4(%ebx, %ecx), %edi
    shrl $2, %ecx
    std
    rep movsl
    cld
    movl %edx, %esi
    leal (moved - linux32_entry)(%ebx), %eax
    jmp *%eax
moved:
    movl %ebx, %ebp
    leal OFFSET(kernel_bss_start)(%ebp), %edi
    movl $kernel_bss_bytes, %ecx
    shrl $2, %ecx
    xorl %eax, %eax
    rep stosl
    movl $BOOT_PROTOCOL_LINUX, %edi
    jmp start32

    .org 0x200
    .code64
linux64_entry:
    cli
    cld
    movl %esi, %esi
    leaq linux32_entry(%rip), %rbp
    leaq 0x1e8(%rsi), %rsp
    // Descriptor table pointer and far pointer lie in boot_params.scratch and in what we overwrite
    // of our own code: nothing of the loader's is needed but boot_params.
    leaq boot_gdt(%rip), %rax
    movq %rax, boot_gdt_pointer + 2(%rip)
    lgdt boot_gdt_pointer(%rip)
    leaq leave_long_mode(%rip), %rax
    movl %eax, boot_far_pointer(%rip)
    ljmpl *boot_far_pointer(%rip)

    .code32
leave_long_mode:
    movl $KERNEL_DS, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl $0x00000011, %eax       // paging off
    movl %eax, %cr0
    movl $MSR_EFER, %ecx
    xorl %eax, %eax
    xorl %edx, %edx
    wrmsr
    movl %eax, %cr4
    jmp *%ebp

pvh_entry:
    cli
    cld
    movl %ebx, %esi
    movl $(LINK_START - 0xffffffff80000000), %ebp
    movl $BOOT_PROTOCOL_PVH, %edi

    // EBP: physical start of the image. EDI: protocol. ESI: its information.
start32:
    leal OFFSET(boot_stack_top)(%ebp), %esp

    // Image: 2 MiB pages from entry 1 of its page directory on.
    leal OFFSET(boot_directory_image)(%ebp), %ebx
    leal PTE_TABLE(%ebx), %eax
    movl %eax, OFFSET(boot_pointers_image) + 510 * 8(%ebp)
    leal PTE_BIG_PAGE(%ebp), %eax
    movl $kernel_image_big_pages, %ecx
1:  addl $8, %ebx
    movl %eax, (%ebx)
    addl $0x200000, %eax
    decl %ecx
    jnz 1b

    // Identity and direct map: 1 GiB pages where there are, else four page directories.
    leal OFFSET(boot_pointers_identity)(%ebp), %ebx
    movl $0x80000001, %eax
    pushl %ebx
    cpuid
    popl %ebx
    movl %edx, %edx
    btl $26, %edx
    jnc 2f
    movl $PTE_BIG_PAGE, %eax
    movl $0x40000000, %ecx
    jmp 4f
2:  leal OFFSET(boot_directories)(%ebp), %eax
    movl $PTE_BIG_PAGE, %ecx
3:  movl %ecx, (%eax)
    addl $8, %eax
    addl $0x200000, %ecx
    cmpl $PTE_BIG_PAGE, %ecx
    jne 3b                       // wraps at 4 GiB
    leal OFFSET(boot_directories) + PTE_TABLE(%ebp), %eax
    movl $0x1000, %ecx
4:  movl %eax, (%ebx)
    movl %eax, 0x1000(%ebx)      // boot_pointers_direct
    addl $8, %ebx
    addl %ecx, %eax
    leal OFFSET(boot_pointers_identity) + PCI_HOLE_GIBS * 8(%ebp), %edx
    cmpl %edx, %ebx
    jne 4b

    leal OFFSET(kernel_page_table)(%ebp), %ebx
    leal OFFSET(boot_pointers_identity) + PTE_TABLE(%ebp), %eax
    movl %eax, (%ebx)
    addl $0x1000, %eax
    movl %eax, 256 * 8(%ebx)
    leal OFFSET(boot_pointers_image) + PTE_TABLE(%ebp), %eax
    movl %eax, 511 * 8(%ebx)

    movl $CR4_PAE, %eax
    movl %eax, %cr4
    movl %ebx, %cr3
    movl $MSR_EFER, %ecx
    rdmsr
    btsl $EFER_LME_BIT, %eax
    btsl $EFER_NXE_BIT, %eax
    wrmsr
    movl $CR0_START, %eax
    movl %eax, %cr0
    leal OFFSET(boot_gdt)(%ebp), %eax
    movl %eax, OFFSET(boot_gdt_pointer) + 2(%ebp)
    lgdt OFFSET(boot_gdt_pointer)(%ebp)
    leal OFFSET(start64)(%ebp), %eax
    movl %eax, OFFSET(boot_far_pointer)(%ebp)
    movl $KERNEL_CS, OFFSET(boot_far_pointer) + 4(%ebp)
    ljmpl *OFFSET(boot_far_pointer)(%ebp)

    .code64
start64:
    movq $start_high, %rax
    jmp *%rax
start_high:
    movq $boot_gdt, boot_gdt_pointer + 2
    lgdt boot_gdt_pointer
    movl $KERNEL_DS, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    xorl %edx, %edx
    movl $MSR_GS_BASE, %ecx
    wrmsr
    movq $boot_stack_top, %rsp
    movl %ebp, %eax
    subq $(LINK_START - 0xffffffff80000000), %rax
    movq %rax, kernel_phys_base
    movl %esi, %esi
    xorl %ebp, %ebp
    pushq $0
    jmp boot_main

    .section .data, "aw", @progbits
    .balign 8
    .globl boot_gdt, boot_gdt_pointer
boot_gdt:
    .quad 0
    .quad 0x00cf9b000000ffff     // KERNEL_CS32
    .quad 0x00af9b000000ffff     // KERNEL_CS
    .quad 0x00cf93000000ffff     // KERNEL_DS
boot_gdt_pointer:
    .word 4 * 8 - 1
    .quad 0
    .balign 8
boot_far_pointer:
    .long 0
    .word KERNEL_CS32
    .word 0
    .globl kernel_phys_base
    .balign 8
kernel_phys_base:
    .quad 0

    .section .bss.page_aligned, "aw", @nobits
    .balign 4096
    .globl kernel_page_table, boot_pointers_identity, boot_pointers_image
    .globl boot_stack, boot_stack_top
kernel_page_table:
    .skip 4096
boot_pointers_identity:
    .skip 4096
boot_pointers_direct:
    .skip 4096
boot_pointers_image:
    .skip 4096
boot_directory_image:
    .skip 4096
boot_directories:
    .skip 4 * 4096
boot_stack:
    .skip BOOT_STACK_BYTES
boot_stack_top:
