// SPDX-License-Identifier: MIT
// Copies to and from user memory, and the kernel's memcpy and memset.
//
// Sizes up to 64 bytes go by pairs of 8-byte moves which overlap in the middle; longer ones by REP
// MOVSB where the processor is quick at it (FSRM, or ERMS from 256 bytes on), else by REP MOVSQ.
// When any of it faults and the page can't be had, the copy starts again byte by byte, so that it
// ends exactly at the bad byte: the slow way is only taken on the way to EFAULT.

#include "kernel/arch/x86/asm.h"

#define EFAULT 14

    .section .text, "ax", @progbits

// Move with an exception table entry when `fixup` is given.
.macro MOVE from, to, fixup
992:
    mov \from, \to
    .ifnb \fixup
    EXCEPTION 992b, \fixup
    .endif
.endm

// RDI to, RSI from, RDX length; clobbers RAX, RCX, R8 to R11. Falls out at `done`.
.macro COPY_BODY fixup
    cmpq $16, %rdx
    ja 3f
    cmpl $8, %edx
    jb 1f
    MOVE (%rsi), %rax, \fixup
    MOVE -8(%rsi, %rdx), %rcx, \fixup
    MOVE %rax, (%rdi), \fixup
    MOVE %rcx, -8(%rdi, %rdx), \fixup
    jmp 9f
1:  cmpl $4, %edx
    jb 2f
    MOVE (%rsi), %eax, \fixup
    MOVE -4(%rsi, %rdx), %ecx, \fixup
    MOVE %eax, (%rdi), \fixup
    MOVE %ecx, -4(%rdi, %rdx), \fixup
    jmp 9f
2:  testl %edx, %edx
    jz 9f
    movl %edx, %ecx
    shrl $1, %ecx
    MOVE (%rsi), %al, \fixup
    MOVE (%rsi, %rcx), %r8b, \fixup
    MOVE -1(%rsi, %rdx), %r9b, \fixup
    MOVE %al, (%rdi), \fixup
    MOVE %r8b, (%rdi, %rcx), \fixup
    MOVE %r9b, -1(%rdi, %rdx), \fixup
    jmp 9f
3:  cmpq $32, %rdx
    ja 4f
    MOVE (%rsi), %rax, \fixup
    MOVE 8(%rsi), %rcx, \fixup
    MOVE -16(%rsi, %rdx), %r8, \fixup
    MOVE -8(%rsi, %rdx), %r9, \fixup
    MOVE %rax, (%rdi), \fixup
    MOVE %rcx, 8(%rdi), \fixup
    MOVE %r8, -16(%rdi, %rdx), \fixup
    MOVE %r9, -8(%rdi, %rdx), \fixup
    jmp 9f
4:  movq %rdi, %r10
    movq %rsi, %r11
    movq %rdx, %rcx
    cmpq copy_rep_bytes_min(%rip), %rdx
    jae 6f
    // The last 8 bytes first, as they may overlap with what the words cover.
    MOVE -8(%rsi, %rdx), %rax, \fixup
    MOVE %rax, -8(%rdi, %rdx), \fixup
    decq %rcx
    shrq $3, %rcx
993:
    rep movsq
    jmp 8f
6:
994:
    rep movsb
8:
    .ifnb \fixup
    EXCEPTION 993b, \fixup\()_rep
    EXCEPTION 994b, \fixup\()_rep
    .endif
    movq %r10, %rdi
    movq %r11, %rsi
9:
.endm

    // What may fault on user memory lies together: trap.c recognises it by its place (kernel.lds).
    .section .text.user_access, "ax", @progbits
FUNCTION user_copy_bytes
    STAC
    COPY_BODY copy_fault
    CLAC
    xorl %eax, %eax
    ret
copy_fault_rep:
    movq %r10, %rdi
    movq %r11, %rsi
copy_fault:
    movq %rdx, %rcx
995:
    rep movsb
996:
    EXCEPTION 995b, 996b
    CLAC
    movq %rcx, %rax
    ret
END_FUNCTION user_copy_bytes

    .section .text, "ax", @progbits
FUNCTION memcpy
    COPY_BODY
    movq %rdi, %rax
    ret
END_FUNCTION memcpy

FUNCTION memmove
    movq %rdi, %rax
    subq %rsi, %rax
    cmpq %rdx, %rax              // destination inside the source, unsigned: copy downwards
    jb 5f
    negq %rax
    cmpq %rdx, %rax              // no overlap at all
    jae memcpy
    // The source starts inside the destination: upwards, word by word (memcpy stores the end
    // first).
    movq %rdi, %rax
    xorl %ecx, %ecx
6:  leaq 8(%rcx), %r8
    cmpq %rdx, %r8
    ja 7f
    movq (%rsi, %rcx), %r9
    movq %r9, (%rdi, %rcx)
    movq %r8, %rcx
    jmp 6b
7:  cmpq %rdx, %rcx
    jae 8f
    movb (%rsi, %rcx), %r9b
    movb %r9b, (%rdi, %rcx)
    incq %rcx
    jmp 7b
8:  ret
5:  movq %rdi, %rax
    movq %rdx, %rcx
1:  cmpq $8, %rcx
    jb 2f
    movq -8(%rsi, %rcx), %r8
    movq %r8, -8(%rdi, %rcx)
    subq $8, %rcx
    jmp 1b
2:  testq %rcx, %rcx
    jz 3f
    movb -1(%rsi, %rcx), %r8b
    movb %r8b, -1(%rdi, %rcx)
    decq %rcx
    jmp 2b
3:  ret
END_FUNCTION memmove

// RDI to, RDX length, RAX the byte eight times. Clobbers RCX, R10.
.macro FILL_BODY fixup
    cmpq $16, %rdx
    ja 3f
    cmpl $8, %edx
    jb 1f
    MOVE %rax, (%rdi), \fixup
    MOVE %rax, -8(%rdi, %rdx), \fixup
    jmp 9f
1:  cmpl $4, %edx
    jb 2f
    MOVE %eax, (%rdi), \fixup
    MOVE %eax, -4(%rdi, %rdx), \fixup
    jmp 9f
2:  testl %edx, %edx
    jz 9f
    movl %edx, %ecx
    shrl $1, %ecx
    MOVE %al, (%rdi), \fixup
    MOVE %al, (%rdi, %rcx), \fixup
    MOVE %al, -1(%rdi, %rdx), \fixup
    jmp 9f
3:  movq %rdi, %r10
    movq %rdx, %rcx
    MOVE %rax, -8(%rdi, %rdx), \fixup
    decq %rcx
    shrq $3, %rcx
993:
    rep stosq
    .ifnb \fixup
    EXCEPTION 993b, \fixup\()_rep
    .endif
    movq %r10, %rdi
9:
.endm

FUNCTION memset
    movzbl %sil, %esi
    movabsq $0x0101010101010101, %rax
    imulq %rsi, %rax
    FILL_BODY
    movq %rdi, %rax
    ret
END_FUNCTION memset

    .section .text.user_access, "ax", @progbits
FUNCTION user_clear_bytes
    movq %rsi, %rdx
    xorl %eax, %eax
    STAC
    FILL_BODY clear_fault
    CLAC
    xorl %eax, %eax
    ret
clear_fault_rep:
    movq %r10, %rdi
clear_fault:
    movq %rdx, %rcx
995:
    rep stosb
996:
    EXCEPTION 995b, 996b
    CLAC
    movq %rcx, %rax
    ret
END_FUNCTION user_clear_bytes

// Bytes up to the NUL. Eight at a time while they lie in one page with the first (so that a fault
// is the string's own), looking for a zero byte by carries; the rest one by one.
FUNCTION user_string_bytes
    STAC
    xorl %eax, %eax
    movabsq $0x0101010101010101, %r8
    movabsq $0x8080808080808080, %r9
1:  leaq 8(%rax), %rcx
    cmpq %rdx, %rcx
    ja 3f
    leaq (%rsi, %rax), %r10
    andl $0xfff, %r10d
    cmpl $0xff8, %r10d
    ja 2f
995:
    movq (%rsi, %rax), %r10
    EXCEPTION 995b, string_fault
    movq %r10, %r11
    subq %r8, %r11
    movq %r10, %rcx
    notq %rcx
    andq %rcx, %r11
    andq %r9, %r11
    jnz 4f
    movq %r10, (%rdi, %rax)
    addq $8, %rax
    jmp 1b
    // Near a page border: one byte.
2:
996:
    movb (%rsi, %rax), %r10b
    EXCEPTION 996b, string_fault
    movb %r10b, (%rdi, %rax)
    testb %r10b, %r10b
    jz 5f
    incq %rax
    jmp 1b
    // Fewer than eight bytes of room.
3:  cmpq %rdx, %rax
    jae 5f
997:
    movb (%rsi, %rax), %r10b
    EXCEPTION 997b, string_fault
    movb %r10b, (%rdi, %rax)
    testb %r10b, %r10b
    jz 5f
    incq %rax
    jmp 3b
    // The NUL is in R10: its place is that of the lowest set bit of R11. The bytes behind it fit,
    // and are copied too.
4:  movq %r10, (%rdi, %rax)
    bsfq %r11, %r11
    shrl $3, %r11d
    addq %r11, %rax
5:  CLAC
    ret
string_fault:
    CLAC
    movq $-EFAULT, %rax
    ret
END_FUNCTION user_string_bytes

.macro USER_LOAD name, register
FUNCTION \name
    STAC
995:
    mov (%rsi), \register
    EXCEPTION 995b, word_fault
    CLAC
    mov \register, (%rdi)
    xorl %eax, %eax
    ret
END_FUNCTION \name
.endm
USER_LOAD user_load_u32, %eax
USER_LOAD user_load_u64, %rax

.macro USER_STORE name, register
FUNCTION \name
    STAC
995:
    mov \register, (%rdi)
    EXCEPTION 995b, word_fault
    CLAC
    xorl %eax, %eax
    ret
END_FUNCTION \name
.endm
USER_STORE user_store_u32, %esi
USER_STORE user_store_u64, %rsi

FUNCTION user_exchange_u32
    movl %esi, %eax
    STAC
995:
    lock cmpxchgl %edx, (%rdi)
    EXCEPTION 995b, word_fault
    CLAC
    movl %eax, (%rcx)
    xorl %eax, %eax
    ret
word_fault:
    CLAC
    movl $-EFAULT, %eax
    ret
END_FUNCTION user_exchange_u32

// What struct fpu_signal_marks (fpu.c) holds, and where a signal frame has it; see user_access.h
// for the two functions.
#define MARKS_MAGIC1     0 // and extended_size behind it
#define MARKS_FEATURES   8
#define MARKS_SIZE       16 // and 4 bytes of padding
#define MARKS_MAGIC2     48
#define MARKS_AREA_BYTES 52
#define FXSAVE_SOFTWARE  464
#define XSAVE_HEADER     512
#define XSAVE_AREA       576

FUNCTION user_fpu_signal_save
    movl MARKS_AREA_BYTES(%rsi), %ecx
    movq MARKS_MAGIC1(%rsi), %r8
    movq MARKS_FEATURES(%rsi), %r9
    movq MARKS_SIZE(%rsi), %r10
    movl MARKS_MAGIC2(%rsi), %r11d
    xorl %eax, %eax
    STAC
    MOVE %r8, FXSAVE_SOFTWARE + MARKS_MAGIC1(%rdi), word_fault
    MOVE %r9, FXSAVE_SOFTWARE + MARKS_FEATURES(%rdi), word_fault
    MOVE %r10, FXSAVE_SOFTWARE + MARKS_SIZE(%rdi), word_fault
    // The rest of the software bytes and the header behind them, which XSAVE only adds to.
    offset = FXSAVE_SOFTWARE + 24
    .rept (XSAVE_AREA - FXSAVE_SOFTWARE - 24) / 8
    MOVE %rax, offset(%rdi), word_fault
    offset = offset + 8
    .endr
    MOVE %r11d, (%rdi, %rcx), word_fault
    movl $-1, %eax
    movl $-1, %edx
995:
    xsave64 (%rdi)
    EXCEPTION 995b, word_fault
    CLAC
    xorl %eax, %eax
    ret
END_FUNCTION user_fpu_signal_save

FUNCTION user_fpu_signal_load
    movl MARKS_AREA_BYTES(%rsi), %ecx
    movq MARKS_MAGIC1(%rsi), %r8
    movl MARKS_SIZE(%rsi), %r9d
    movl MARKS_MAGIC2(%rsi), %r10d
    movl MARKS_FEATURES(%rsi), %eax
    movl MARKS_FEATURES + 4(%rsi), %edx
    STAC
995:
    cmpq FXSAVE_SOFTWARE + MARKS_MAGIC1(%rdi), %r8
    EXCEPTION 995b, word_fault
    jne 1f
996:
    cmpl FXSAVE_SOFTWARE + MARKS_SIZE(%rdi), %r9d
    EXCEPTION 996b, word_fault
    jne 1f
997:
    cmpl (%rdi, %rcx), %r10d
    EXCEPTION 997b, word_fault
    jne 1f
998:
    xrstor64 (%rdi)
    EXCEPTION 998b, word_fault
    CLAC
    xorl %eax, %eax
    ret
1:  jmp word_fault
END_FUNCTION user_fpu_signal_load

    .section .text, "ax", @progbits
// int msr_read_safe(uint32_t msr, uint64_t *value)
FUNCTION msr_read_safe
    movl %edi, %ecx
995:
    rdmsr
    EXCEPTION 995b, msr_fault
    shlq $32, %rdx
    orq %rdx, %rax
    movq %rax, (%rsi)
    xorl %eax, %eax
    ret
END_FUNCTION msr_read_safe

// int msr_write_safe(uint32_t msr, uint64_t value)
FUNCTION msr_write_safe
    movl %edi, %ecx
    movl %esi, %eax
    movq %rsi, %rdx
    shrq $32, %rdx
995:
    wrmsr
    EXCEPTION 995b, msr_fault
    xorl %eax, %eax
    ret
msr_fault:
    movl $-5, %eax
    ret
END_FUNCTION msr_write_safe

// int fpu_registers_load_safe(const void *area, uint32_t use_xrstor)
FUNCTION fpu_registers_load_safe
    testl %esi, %esi
    jz 1f
    movl $-1, %eax
    movl $-1, %edx
995:
    xrstor64 (%rdi)
    EXCEPTION 995b, fpu_fault
    xorl %eax, %eax
    ret
1:
996:
    fxrstorq (%rdi)
    EXCEPTION 996b, fpu_fault
    xorl %eax, %eax
    ret
fpu_fault:
    movl $-22, %eax
    ret
END_FUNCTION fpu_registers_load_safe

// ---- whole pages ----
// 32-byte stores where AVX is the quickest that there is; the register is put back, as it may hold
// a program's value. Preemption is off.

FUNCTION clear_page_rep
    movl $512, %ecx
    xorl %eax, %eax
    rep stosq
    ret
END_FUNCTION clear_page_rep

FUNCTION clear_page_avx
    leaq -32(%rsp), %rsp
    vmovdqu %ymm0, (%rsp)
    vpxor %xmm0, %xmm0, %xmm0
    leaq 4096(%rdi), %rax
1:
    offset = 0
    .rept 16
    vmovdqa %ymm0, offset(%rdi)
    offset = offset + 32
    .endr
    addq $512, %rdi
    cmpq %rax, %rdi
    jne 1b
    vmovdqu (%rsp), %ymm0
    leaq 32(%rsp), %rsp
    ret
END_FUNCTION clear_page_avx

FUNCTION copy_page_rep
    movl $512, %ecx
    rep movsq
    ret
END_FUNCTION copy_page_rep

FUNCTION copy_page_avx
    leaq -64(%rsp), %rsp
    vmovdqu %ymm0, (%rsp)
    vmovdqu %ymm1, 32(%rsp)
    leaq 4096(%rdi), %rax
1:
    offset = 0
    .rept 8
    vmovdqa offset(%rsi), %ymm0
    vmovdqa offset + 32(%rsi), %ymm1
    vmovdqa %ymm0, offset(%rdi)
    vmovdqa %ymm1, offset + 32(%rdi)
    offset = offset + 64
    .endr
    addq $512, %rsi
    addq $512, %rdi
    cmpq %rax, %rdi
    jne 1b
    vmovdqu (%rsp), %ymm0
    vmovdqu 32(%rsp), %ymm1
    leaq 64(%rsp), %rsp
    ret
END_FUNCTION copy_page_avx

    .section .data, "aw", @progbits
    .balign 8
    .globl copy_rep_bytes_min
// From which length on REP MOVSB is used: set by bulk_init().
copy_rep_bytes_min:
    .quad -1
