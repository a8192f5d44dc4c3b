// SPDX-License-Identifier: MIT
// Tests of flags that are almost always off, at the price of one no-op.
//
// static_branch(&key) is a five-byte no-op in the code and notes its place in the section
// .static_branches; while the key is on, the places hold jumps to where the test is true. The code
// is changed while other CPUs run it (Intel SDM 3A, 8.1.3, Handling Self- and Cross-Modifying
// Code): first a breakpoint instruction, then what is behind it, then its first byte, with all CPUs
// serialised after each step. Who runs into the breakpoint goes on as if the key were off
// (arch_static_branch_trap), which is also why no place may be reached from NMI handlers.
#pragma once

#include "kernel/base/types.h"

struct static_key {
    uint32_t users; // how often it was switched on; under the lock of static_branch.c
};

// One place; in the section .static_branches.
struct static_branch_site {
    uint8_t *code;
    const uint8_t *target;
    const struct static_key *key;
};

#define STATIC_BRANCH_BYTES 5

#ifdef LODGER_HOST
static inline bool static_branch(const struct static_key *key)
{
    return key->users != 0;
}
#else
// Is the key on? `key` is the address of a static object.
#define static_branch(key)                                                                         \
    ({                                                                                             \
        __label__ branch_is_on, branch_end;                                                        \
        bool branch_result = false;                                                                \
        asm goto("772: .byte 0x0f, 0x1f, 0x44, 0x00, 0x00\n"                                       \
                 ".pushsection .static_branches, \"a\", @progbits\n"                               \
                 ".balign 8\n"                                                                     \
                 ".quad 772b, %l[branch_is_on], %c0\n"                                             \
                 ".popsection\n"                                                                   \
                 :                                                                                 \
                 : "i"(key)                                                                        \
                 :                                                                                 \
                 : branch_is_on);                                                                  \
        goto branch_end;                                                                           \
    branch_is_on:                                                                                  \
        branch_result = true;                                                                      \
    branch_end:                                                                                    \
        branch_result;                                                                             \
    })
#endif

// Switches the key on once more, or takes one of these back: after the return every CPU sees it.
// Task context, interrupts on; may wait for other CPUs.
void static_key_on(struct static_key *key);
void static_key_off(struct static_key *key);

// A breakpoint of the kernel at `rip` (behind the instruction): where to go on, 0: not one of ours.
uintptr_t arch_static_branch_trap(uintptr_t rip);
// The five bytes of a place: for the test.
void arch_static_branch_code(
    const struct static_branch_site *site, bool on, uint8_t code[STATIC_BRANCH_BYTES]);
