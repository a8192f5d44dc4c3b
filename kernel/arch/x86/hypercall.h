// SPDX-License-Identifier: MIT
// Calls into a hypervisor of the KVM kind: number in RAX, arguments in RBX, RCX, RDX, RSI, result
// in RAX, all other registers kept. The instruction is the processor vendor's: VMMCALL (AMD, Hygon)
// or VMCALL; the wrong one makes the host rewrite the code, which it may not be able to.
#pragma once

#include "kernel/base/types.h"

#ifdef LODGER_HOST
// Host tests are the hypervisor.
int64_t arch_vmcall(bool vmmcall, uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d);
#else
static inline int64_t arch_vmcall(
    bool vmmcall, uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    int64_t result;
    if (vmmcall)
        asm volatile("vmmcall"
            : "=a"(result)
            : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d)
            : "memory");
    else
        asm volatile("vmcall"
            : "=a"(result)
            : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d)
            : "memory");
    return result;
}
#endif
