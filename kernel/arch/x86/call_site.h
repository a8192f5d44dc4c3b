// SPDX-License-Identifier: MIT
// Calls through a table of function pointers that becomes constant at start-up.
//
// arch_call_table(&table.slot, ...) compiles to `call *slot(%rip)`, six bytes, and the place is
// noted in the section .call_sites. When the table has its final contents, arch_call_sites_patch()
// makes `call target; nop` of each: no load, no indirect branch to predict. Before that the same
// instruction calls what the table holds at that moment.
//
// The compiler does not see that a function is called: what a called function may change is listed
// as clobbered. There is no red zone, so the stack below RSP is free. RSP may be 8 bytes off the 16
// that the ABI wants, which matters only to vector instructions; the kernel has none.
#pragma once

#include "kernel/base/types.h"

// One noted place; `slot` is where the pointer lies.
struct arch_call_site {
    uint8_t *instruction;
    void *const *slot;
};

#ifndef LODGER_HOST
#define ARCH_CALL_TEXT                                                                             \
    "771: call *%c[slot](%%rip)\n"                                                                 \
    ".pushsection .call_sites, \"a\", @progbits\n"                                                 \
    ".balign 8\n"                                                                                  \
    ".quad 771b, %c[slot]\n"                                                                       \
    ".popsection\n"
#define ARCH_CALL_CLOBBERS "rcx", "r8", "r9", "r10", "r11", "cc", "memory"

// Up to three arguments, each an integer or pointer; the result is the whole of RAX.
#define arch_call_table(pointer, a, b, c)                                                          \
    ({                                                                                             \
        uint64_t call_result;                                                                      \
        uint64_t call_a = (uint64_t)(a);                                                           \
        uint64_t call_b = (uint64_t)(b);                                                           \
        uint64_t call_c = (uint64_t)(c);                                                           \
        asm volatile(ARCH_CALL_TEXT                                                                \
            : "=a"(call_result), "+D"(call_a), "+S"(call_b), "+d"(call_c)                          \
            : [slot] "i"(pointer)                                                                  \
            : ARCH_CALL_CLOBBERS);                                                                 \
        call_result;                                                                               \
    })

// The same without arguments.
#define arch_call_table_plain(pointer)                                                             \
    ({                                                                                             \
        uint64_t call_result;                                                                      \
        asm volatile(ARCH_CALL_TEXT                                                                \
            : "=a"(call_result)                                                                    \
            : [slot] "i"(pointer)                                                                  \
            : "rdi", "rsi", "rdx", ARCH_CALL_CLOBBERS);                                            \
        call_result;                                                                               \
    })
#endif

// Rewrites all noted places for what their slots hold now. Once, by the boot CPU alone, while the
// image is still writable (before mm_init_early()). Returns how many there were.
size_t arch_call_sites_patch(void);
// The work of it, on any memory: `site->instruction` must be the six bytes of `call *disp(%rip)`
// and the target within 2 GiB. False, and nothing written, if not.
bool arch_call_site_rewrite(const struct arch_call_site *site);
