// SPDX-License-Identifier: MIT
// Head of the file lodger.efi, which is a PE image for UEFI and a bzImage for the Linux boot
// protocol at once; the kernel image follows it. Exactly one page: 8 "setup sectors".
//
//   0x000  MZ, PE and section headers (PE/COFF specification 8.3). Room for three more sections:
//          `.initrd` and `.cmdline` are added by the image builder; boot/efi_stub.c looks for them.
//   0x1f1  setup_header (Linux x86 boot protocol 2.15)
//   0x26c  the real-mode part, for loaders that start in real mode (QEMU's and other BIOS loaders):
//          collects the memory map from the BIOS, switches to protected mode and enters the kernel
//          by its 32-bit entry.

#define __ASSEMBLY__ // bootparam.h asks for this one
#include <asm/bootparam.h>

#define SETUP_SECTORS  8
#define E820_ENTRIES_MAX 128 // E820_MAX_ENTRIES_ZEROPAGE
// offset in the real-mode segment, behind this page: struct boot_params is built there
#define BOOT_PARAMS    0x1000
#define OFFSET_E820_ENTRIES 0x1e8
#define OFFSET_HEADER       0x1f1
#define OFFSET_E820_TABLE   0x2d0
#define OFFSET_CODE32       0x214
#define E820_ENTRY_BYTES    20
#define BOOT_CS 0x10 // demanded by the protocol
#define BOOT_DS 0x18

    .section .header, "a", @progbits
    .code16
head:
    .ascii "MZ"
    .org 0x3c
    .long pe_header - head

pe_header:
    .ascii "PE\0\0"
    .word 0x8664                 // machine: x86-64
    .word 1                      // sections
    .long 0, 0, 0                // time stamp, no symbols
    .word section_table - optional_header
    .word 0x0206                 // executable, no line numbers, debug information stripped
optional_header:
    .word 0x20b                  // PE32+
    .byte 2, 0
    .long kernel_loaded_bytes    // code
    .long 0, 0
    .long pe_entry_offset
    .long 0x1000                 // base of code
    .quad 0                      // image base: any
    .long 0x1000, 0x200          // alignment in memory, in the file
    .word 0, 0, 0, 0, 0, 0
    .long 0
    .long pe_image_bytes
    .long 0x1000                 // headers
    .long 0                      // checksum
    .word 10                     // subsystem: EFI application
    .word 0
    .quad 0, 0, 0, 0
    .long 0
    .long 6                      // data directories, all empty
    .fill 6, 8, 0
section_table:
    .ascii ".text\0\0\0"
    .long kernel_image_bytes
    .long 0x1000
    .long kernel_loaded_bytes
    .long 0x1000                 // place in the file
    .long 0, 0
    .word 0, 0
    .long 0xe0000060             // code and data; readable, writable, executable

    .org OFFSET_HEADER
    .byte SETUP_SECTORS - 1
    .word 0
    .long kernel_file_paragraphs
    .word 0, 0, 0
    .word 0xaa55
    .byte 0xeb, real_mode_start - 1f // a short jump
1:  .ascii "HdrS"
    .word 0x020f
    .long 0
    .word 0
    .word kernel_version - head - 0x200
    .byte 0                      // type of loader: the loader says
    .byte LOADED_HIGH
    .word 0
    .long header_32bit_entry     // where the loader puts the kernel, unless it wants otherwise
    .long 0, 0                   // ramdisk
    .long 0
    .word 0
    .byte 0, 0
    .long 0                      // command line
    .long 0x7fffffff             // highest address of the ramdisk
    .long 0x200000               // alignment
    .byte 1                      // relocatable
    .byte 21
    .word XLF_KERNEL_64
    .long 4095                   // longest command line
    .long 0
    .quad 0
    .long 0, 0
    .quad 0
    .quad 0x200000               // preferred address
    .long kernel_init_bytes
    .long 0                      // no EFI handover entry
    .long 0
header_end:
    .org 0x26c

kernel_version:
    .asciz "Lodger"

real_mode_start:
    // Enter with CS = this page + 0x20 paragraphs, DS = ES = SS = this page: make CS the same.
    pushw %ds
    pushw $(1f - head)
    lretw
1:  cli
    cld
    movw %ds, %ax
    movw %ax, %es
    movw %ax, %ss
    movw $0x7ff0, %sp

    // boot_params: zero, then the header as the loader filled it.
    movw $BOOT_PARAMS, %di
    movw $1024, %cx
    xorl %eax, %eax
    rep stosl
    movw $OFFSET_HEADER, %si
    movw $(BOOT_PARAMS + OFFSET_HEADER), %di
    movw $(header_end - head - OFFSET_HEADER), %cx
    rep movsb

    // The BIOS's memory map (ACPI 6.5, 15.1).
    movw $(BOOT_PARAMS + OFFSET_E820_TABLE), %di
    xorl %ebx, %ebx
next_range:
    movl $0xe820, %eax
    movl $0x534d4150, %edx
    movl $E820_ENTRY_BYTES, %ecx
    pushw %di
    int $0x15
    popw %di
    jc map_done
    cmpl $0x534d4150, %eax
    jne map_done
    addw $E820_ENTRY_BYTES, %di
    incb BOOT_PARAMS + OFFSET_E820_ENTRIES
    cmpb $E820_ENTRIES_MAX, BOOT_PARAMS + OFFSET_E820_ENTRIES
    je map_done
    testl %ebx, %ebx
    jnz next_range
map_done:
    cli
    inb $0x92, %al               // address line 20 on
    orb $2, %al
    andb $0xfe, %al
    outb %al, $0x92

    // Linear addresses: EBX is this page.
    xorl %ebx, %ebx
    movw %ds, %bx
    shll $4, %ebx
    leal gdt - head(%ebx), %eax
    movl %eax, gdt_pointer - head + 2
    leal protected_mode - head(%ebx), %eax
    movl %eax, far_pointer - head
    leal BOOT_PARAMS(%ebx), %esi
    movl OFFSET_CODE32, %edi
    lgdtl gdt_pointer - head
    movl $1, %eax
    movl %eax, %cr0
    ljmpl *(far_pointer - head)

    .code32
protected_mode:
    movw $BOOT_DS, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw %ax, %fs
    movw %ax, %gs
    jmp *%edi

    .balign 8
gdt:
    .quad 0, 0
    .quad 0x00cf9a000000ffff     // BOOT_CS
    .quad 0x00cf92000000ffff     // BOOT_DS
gdt_pointer:
    .word gdt_pointer - gdt - 1
    .long 0
far_pointer:
    .long 0
    .word BOOT_CS
