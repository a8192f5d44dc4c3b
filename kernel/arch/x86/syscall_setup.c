// SPDX-License-Identifier: MIT
// SYSCALL: segments, entry, and which flags it switches off (Intel SDM 3A, 5.8.8).

#include "kernel/arch/x86/syscall_setup.h"

#include "kernel/arch/x86/cpu.h"
#include "kernel/arch/x86/segments.h"

void syscall_entry(void);
void syscall_entry_compat(void);

void syscall_init_cpu(void)
{
    // SYSRET loads CS from base + 16 and SS from base + 8.
    static_assert(USER_CS == USER_CS32 + 16 && USER_DS == USER_CS32 + 8);
    static_assert(KERNEL_DS == KERNEL_CS + 8);
    msr_write(MSR_STAR, (uint64_t)USER_CS32 << 48 | (uint64_t)KERNEL_CS << 32);
    msr_write(MSR_LSTAR, (uintptr_t)syscall_entry);
    msr_write(MSR_CSTAR, (uintptr_t)syscall_entry_compat);
    msr_write(MSR_SFMASK, RFLAGS_IF | RFLAGS_DF | RFLAGS_TF | RFLAGS_AC | RFLAGS_NT | RFLAGS_RF);
}
