// SPDX-License-Identifier: MIT
// The vDSO's file, in a page of its own.

    .section .rodata, "a", @progbits
    .balign 4096
    .globl vdso_image
vdso_image:
    .incbin "vdso.so"
    .balign 4096
    .size vdso_image, . - vdso_image
