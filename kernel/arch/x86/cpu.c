// SPDX-License-Identifier: MIT
// What the processor can do, and switching it on.

#include "kernel/arch/x86/cpu.h"

#include "kernel/arch/x86/arch.h"
#include "kernel/arch/x86/paging.h"
#include "kernel/base/string.h"
#include "kernel/core/percpu.h"

struct cpu_features cpu_features;

// PAT: entry 1 (PWT) is write combining instead of write through, the rest as after reset.
#define PAT_VALUE UINT64_C(0x0007010600070106)

static bool bit(uint32_t word, unsigned number)
{
    return (word >> number) & 1;
}

static void detect_names(struct cpu_features *cpu)
{
    if (cpu->max_extended_leaf < 0x80000004)
        return;
    for (uint32_t leaf = 0; leaf < 3; leaf++) {
        struct cpuid part = cpuid_read(0x80000002 + leaf, 0);
        memcpy(cpu->brand + leaf * sizeof(part), &part, sizeof(part));
    }
}

void cpu_detect(void)
{
    struct cpu_features *cpu = &cpu_features;
    struct cpuid leaf = cpuid_read(0, 0);
    cpu->max_leaf = leaf.eax;
    memcpy(cpu->vendor, &leaf.ebx, 4);
    memcpy(cpu->vendor + 4, &leaf.edx, 4);
    memcpy(cpu->vendor + 8, &leaf.ecx, 4);

    leaf = cpuid_read(1, 0);
    cpu->signature = leaf.eax;
    cpu->apic_id = leaf.ebx >> 24;
    cpu->leaf1_ecx = leaf.ecx;
    cpu->leaf1_edx = leaf.edx;
    cpu->fxsr = bit(leaf.edx, 24);
    cpu->pge = bit(leaf.edx, 13);
    cpu->pat = bit(leaf.edx, 16);
    cpu->pcid = bit(leaf.ecx, 17);
    cpu->x2apic = bit(leaf.ecx, 21);
    cpu->tsc_deadline = bit(leaf.ecx, 24);
    cpu->xsave = bit(leaf.ecx, 26);
    cpu->avx = cpu->xsave && bit(leaf.ecx, 28);
    cpu->rdrand = bit(leaf.ecx, 30);
    cpu->hypervisor = bit(leaf.ecx, 31);

    if (cpu->max_leaf >= 6)
        cpu->arat = bit(cpuid_read(6, 0).eax, 2);
    if (cpu->max_leaf >= 7) {
        leaf = cpuid_read(7, 0);
        cpu->leaf7_ebx = leaf.ebx;
        cpu->leaf7_ecx = leaf.ecx;
        cpu->leaf7_edx = leaf.edx;
        cpu->fsgsbase = bit(leaf.ebx, 0);
        cpu->smep = bit(leaf.ebx, 7);
        cpu->erms = bit(leaf.ebx, 9);
        cpu->invpcid = bit(leaf.ebx, 10);
        cpu->rdseed = bit(leaf.ebx, 18);
        cpu->smap = bit(leaf.ebx, 20);
        cpu->umip = bit(leaf.ecx, 2);
        cpu->pku = bit(leaf.ecx, 3);
        cpu->rdpid = bit(leaf.ecx, 22);
        cpu->fsrm = bit(leaf.edx, 4);
    }
    if (cpu->xsave && cpu->max_leaf >= 0xd) {
        cpu->xsave_eax = cpuid_read(0xd, 1).eax;
        cpu->xsaveopt = bit(cpu->xsave_eax, 0);
        cpu->xsaves = bit(cpu->xsave_eax, 3);
    } else {
        cpu->xsave = false;
        cpu->avx = false;
    }

    cpu->max_extended_leaf = cpuid_read(0x80000000, 0).eax;
    cpu->physical_address_bits = 36;
    cpu->virtual_address_bits = 48;
    if (cpu->max_extended_leaf >= 0x80000001) {
        leaf = cpuid_read(0x80000001, 0);
        cpu->extended_ecx = leaf.ecx;
        cpu->extended_edx = leaf.edx;
        cpu->nx = bit(leaf.edx, 20);
        cpu->pages_1g = bit(leaf.edx, 26);
        cpu->rdtscp = bit(leaf.edx, 27);
    }
    if (cpu->max_extended_leaf >= 0x80000007)
        cpu->tsc_invariant = bit(cpuid_read(0x80000007, 0).edx, 8);
    if (cpu->max_extended_leaf >= 0x80000008) {
        leaf = cpuid_read(0x80000008, 0);
        cpu->physical_address_bits = leaf.eax & 0xff;
        cpu->virtual_address_bits = (leaf.eax >> 8) & 0xff;
    }
    detect_names(cpu);
}

void cpu_enable_features(void)
{
    const struct cpu_features *cpu = &cpu_features;
    if (cpu->nx)
        msr_write(MSR_EFER, msr_read(MSR_EFER) | EFER_NXE | EFER_SCE);
    else
        msr_write(MSR_EFER, msr_read(MSR_EFER) | EFER_SCE);
    if (cpu->pat)
        msr_write(MSR_PAT, PAT_VALUE);

    uint64_t cr4 = CR4_PAE | CR4_DE | CR4_MCE | CR4_OSFXSR | CR4_OSXMMEXCPT;
    cr4 |= cpu->pge ? CR4_PGE : 0;
    cr4 |= cpu->umip ? CR4_UMIP : 0;
    cr4 |= cpu->fsgsbase ? CR4_FSGSBASE : 0;
    cr4 |= cpu->smep ? CR4_SMEP : 0;
    cr4 |= cpu->smap ? CR4_SMAP : 0;
    cr4 |= cpu->xsave ? CR4_OSXSAVE : 0;
    // CR3 holds PCID 0 at this point (start.S, trampoline), as the switch to PCIDs demands.
    cr4 |= cpu->pcid ? CR4_PCIDE : 0;
    cr4_write(cr4);
    cpu_tell_number();
    cr0_write((cr0_read() | CR0_MP | CR0_NE | CR0_WP | CR0_AM) & ~(CR0_EM | CR0_TS));
}

// What RDTSCP and RDPID tell a program: its CPU, and its node in bits 12 and up, as Linux.
void cpu_tell_number(void)
{
    if (cpu_features.rdtscp || cpu_features.rdpid)
        msr_write(MSR_TSC_AUX, (uint64_t)cpu_nodes[cpu_current()] << 12 | cpu_current());
}

bool arch_cpu_has(enum arch_feature feature)
{
    const struct cpu_features *cpu = &cpu_features;
    switch (feature) {
    case ARCH_X2APIC:
        return cpu->x2apic;
    case ARCH_TSC_DEADLINE:
        return cpu->tsc_deadline;
    case ARCH_PCID:
        return cpu->pcid;
    case ARCH_INVPCID:
        return cpu->invpcid;
    case ARCH_ERMS:
        return cpu->erms;
    case ARCH_FSRM:
        return cpu->fsrm;
    case ARCH_AVX:
        return cpu->avx;
    case ARCH_SMAP:
        return cpu->smap;
    case ARCH_1G_PAGES:
        return cpu->pages_1g;
    case ARCH_TSC_INVARIANT:
        return cpu->tsc_invariant;
    case ARCH_HYPERVISOR:
        return cpu->hypervisor;
    }
    assert_unreachable();
}

void cpu_user_counters(bool allowed)
{
    uint64_t before = cr4_read();
    uint64_t after = allowed ? before | CR4_PCE : before & ~CR4_PCE;
    if (after != before)
        cr4_write(after);
}

bool cpu_random(uint64_t *value)
{
    // May be asked before cpu_detect().
    if (!bit(cpuid_read(1, 0).ecx, 30))
        return false;
    for (int i = 0; i < 10; i++) {
        uint8_t done;
        asm volatile("rdrand %0; setc %1" : "=r"(*value), "=qm"(done) : : "cc");
        if (done)
            return true;
    }
    return false;
}

uint32_t cpu_apic_id_now(void)
{
    // Leaf 0xb has all 32 bits (where EBX says that the leaf is there), leaf 1 the low eight.
    if (cpu_features.max_leaf >= 0xb) {
        struct cpuid topology = cpuid_read(0xb, 0);
        if (topology.ebx != 0)
            return topology.edx;
    }
    return cpuid_read(1, 0).ebx >> 24;
}
