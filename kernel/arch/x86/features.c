// SPDX-License-Identifier: MIT
// What programs are told of the processor (AT_HWCAP), and its source of random numbers.
#include "kernel/arch/x86/arch.h"
#include "kernel/arch/x86/cpu.h"

#define HWCAP2_FSGSBASE (UINT32_C(1) << 1)
#define LEAF7_FSGSBASE  (UINT32_C(1) << 0)
#define LEAF7_RDSEED    (UINT32_C(1) << 18)
#define RANDOM_RETRIES  10 // Intel's advice for RDRAND

uint32_t arch_hwcap(void)
{
    return cpu_features.leaf1_edx;
}

uint32_t arch_hwcap2(void)
{
    return (cpu_features.leaf7_ebx & LEAF7_FSGSBASE) != 0 ? HWCAP2_FSGSBASE : 0;
}

static bool rdseed(uint64_t *word)
{
    bool good;
    asm volatile("rdseed %0" : "=r"(*word), "=@ccc"(good));
    return good;
}

static bool rdrand(uint64_t *word)
{
    bool good;
    asm volatile("rdrand %0" : "=r"(*word), "=@ccc"(good));
    return good;
}

bool arch_random_word(uint64_t *word)
{
    if ((cpu_features.leaf7_ebx & LEAF7_RDSEED) != 0 && rdseed(word))
        return true;
    for (int i = 0; cpu_features.rdrand && i < RANDOM_RETRIES; i++) {
        if (rdrand(word))
            return true;
    }
    return false;
}
