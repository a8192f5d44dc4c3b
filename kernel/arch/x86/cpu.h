// SPDX-License-Identifier: MIT
// Registers of the processor, for arch/x86 (and the pv backends' MSRs): CPUID, MSRs, control
// registers, descriptor tables. Numbers are from the Intel SDM volumes 3A and 4 and the AMD APM
// volume 2.
#pragma once

#include "kernel/base/types.h"

// ---- control registers ----
#define CR0_MP BIT(1)
#define CR0_EM BIT(2)
#define CR0_TS BIT(3)
#define CR0_NE BIT(5)
#define CR0_WP BIT(16)
#define CR0_AM BIT(18)

#define CR4_DE         BIT(3)
#define CR4_PAE        BIT(5)
#define CR4_MCE        BIT(6)
#define CR4_PGE        BIT(7)
#define CR4_PCE        BIT(8)
#define CR4_OSFXSR     BIT(9)
#define CR4_OSXMMEXCPT BIT(10)
#define CR4_UMIP       BIT(11)
#define CR4_FSGSBASE   BIT(16)
#define CR4_PCIDE      BIT(17)
#define CR4_OSXSAVE    BIT(18)
#define CR4_SMEP       BIT(20)
#define CR4_SMAP       BIT(21)
#define CR4_PKE        BIT(22)

#define RFLAGS_CF    BIT(0)
#define RFLAGS_FIXED BIT(1)
#define RFLAGS_TF    BIT(8)
#define RFLAGS_IF    BIT(9)
#define RFLAGS_DF    BIT(10)
#define RFLAGS_OF    BIT(11)
#define RFLAGS_NT    BIT(14)
#define RFLAGS_RF    BIT(16)
#define RFLAGS_AC    BIT(18)
#define RFLAGS_ID    BIT(21)
// What a program may have in its flags: CF PF AF ZF SF TF DF OF NT RF AC ID.
#define RFLAGS_USER UINT64_C(0x254dd5)

// ---- model-specific registers ----
#define MSR_APIC_BASE      0x1b
#define MSR_PAT            0x277
#define MSR_SYSENTER_CS    0x174
#define MSR_MISC_ENABLE    0x1a0
#define MSR_TSC_DEADLINE   0x6e0
#define MSR_X2APIC_FIRST   0x800
#define MSR_XSS            0xda0
#define MSR_EFER           0xc0000080
#define MSR_STAR           0xc0000081
#define MSR_LSTAR          0xc0000082
#define MSR_CSTAR          0xc0000083
#define MSR_SFMASK         0xc0000084
#define MSR_FS_BASE        0xc0000100
#define MSR_GS_BASE        0xc0000101
#define MSR_KERNEL_GS_BASE 0xc0000102
#define MSR_TSC_AUX        0xc0000103

#define EFER_SCE BIT(0)
#define EFER_LME BIT(8)
#define EFER_LMA BIT(10)
#define EFER_NXE BIT(11)

struct cpuid {
    uint32_t eax, ebx, ecx, edx;
};

static inline struct cpuid cpuid_read(uint32_t leaf, uint32_t subleaf)
{
    struct cpuid result;
    asm volatile("cpuid"
        : "=a"(result.eax), "=b"(result.ebx), "=c"(result.ecx), "=d"(result.edx)
        : "a"(leaf), "c"(subleaf));
    return result;
}

static inline uint64_t msr_read(uint32_t msr)
{
    uint32_t low;
    uint32_t high;
    asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr) : "memory");
    return low | (uint64_t)high << 32;
}

static inline void msr_write(uint32_t msr, uint64_t value)
{
    asm volatile("wrmsr"
        :
        : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))
        : "memory");
}

// The same for an MSR that may not exist. 0 or -EIO.
[[nodiscard]] int msr_read_safe(uint32_t msr, uint64_t *value);
[[nodiscard]] int msr_write_safe(uint32_t msr, uint64_t value);

#define CONTROL_REGISTER(number)                                                                   \
    static inline uint64_t cr##number##_read(void)                                                 \
    {                                                                                              \
        uint64_t value;                                                                            \
        asm volatile("movq %%cr" #number ", %0" : "=r"(value) : : "memory");                       \
        return value;                                                                              \
    }                                                                                              \
    static inline void cr##number##_write(uint64_t value)                                          \
    {                                                                                              \
        asm volatile("movq %0, %%cr" #number : : "r"(value) : "memory");                           \
    }
CONTROL_REGISTER(0)
CONTROL_REGISTER(2)
CONTROL_REGISTER(4)

static inline uint64_t xcr0_read(void)
{
    uint32_t low;
    uint32_t high;
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low | (uint64_t)high << 32;
}

static inline void xcr0_write(uint64_t value)
{
    asm volatile("xsetbv"
        :
        : "c"(0), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))
        : "memory");
}

// ---- what this processor can do; filled by cpu_detect(), then read-only ----
struct cpu_features {
    uint32_t max_leaf, max_extended_leaf;
    char vendor[13];
    char brand[49];
    uint32_t signature; // family, model, stepping as CPUID 1 EAX has them
    uint32_t leaf1_ecx, leaf1_edx, leaf7_ebx, leaf7_ecx, leaf7_edx, extended_ecx, extended_edx;
    uint32_t xsave_eax; // leaf 0xd, 1
    uint32_t physical_address_bits, virtual_address_bits;
    uint32_t apic_id; // of the boot CPU
    bool hypervisor, x2apic, tsc_deadline, pcid, invpcid, erms, fsrm, avx, smap, smep, umip,
        pages_1g;
    bool tsc_invariant, fsgsbase, xsave, xsaveopt, xsaves, fxsr, pge, rdrand, rdseed, rdtscp, rdpid,
        pat, arat, pku;
    bool nx;
};
extern struct cpu_features cpu_features;

// Fills cpu_features. Boot CPU, first.
void cpu_detect(void);
// Control registers, EFER, PAT and XCR0 of the running CPU as cpu_features allows.
void cpu_enable_features(void);
// The running CPU's number and node as programs read them from the processor. Any context.
void cpu_tell_number(void);
// May programs on the running CPU read counters with RDPMC? Interrupts off.
void cpu_user_counters(bool allowed);
// One RDRAND with retries; false: there is none or it failed.
bool cpu_random(uint64_t *value);
uint32_t cpu_apic_id_now(void); // of the running CPU, from CPUID
