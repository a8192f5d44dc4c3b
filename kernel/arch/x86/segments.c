// SPDX-License-Identifier: MIT
// Each CPU's descriptor tables, task state segment and emergency stacks.

#include "kernel/arch/x86/segments.h"

#include "kernel/arch/x86/cpu.h"
#include "kernel/arch/x86/trap.h"
#include "kernel/base/string.h"
#include "kernel/core/percpu.h"

// Task state segment, Intel SDM 3A, 8.7.
struct tss {
    uint32_t reserved0;
    uint64_t rsp[3]; // stack for entries from user mode: rsp[0]
    uint64_t reserved1;
    uint64_t ist[7];
    uint64_t reserved2;
    uint16_t reserved3;
    uint16_t io_map; // offset of the I/O permission map: behind the limit, so there is none
} __packed;
static_assert(sizeof(struct tss) == 104);

struct descriptor_pointer {
    uint16_t limit;
    uint64_t base;
} __packed;

// Interrupt gate, Intel SDM 3A, 6.14.1.
struct gate {
    uint16_t offset0;
    uint16_t selector;
    uint8_t ist;
    uint8_t type;
    uint16_t offset1;
    uint32_t offset2;
    uint32_t reserved;
};
static_assert(sizeof(struct gate) == 16);

#define GATE_INTERRUPT 0x8e // present, interrupts off at entry
#define GATE_USER      0x60 // programs may raise it

PERCPU(struct tss, cpu_tss) __aligned(64);
PERCPU(uint64_t, cpu_gdt[GDT_ENTRIES]);
PERCPU(uint64_t, cpu_kernel_stack); // = tss.rsp[0], for syscall_entry.S
PERCPU(uint64_t, cpu_user_sp);      // scratch of syscall_entry.S

static struct gate idt[256] __aligned(4096);
static uint8_t boot_emergency_stacks[EMERGENCY_STACKS_BYTES] __aligned(4096);

void segments_init_idt(void)
{
    extern char trap_vectors[];
    for (uint32_t vector = 0; vector < 256; vector++) {
        uintptr_t entry = (uintptr_t)trap_vectors + vector * 16;
        idt[vector] = (struct gate){
            .offset0 = (uint16_t)entry,
            .offset1 = (uint16_t)(entry >> 16),
            .offset2 = (uint32_t)(entry >> 32),
            .selector = KERNEL_CS,
            .type = GATE_INTERRUPT,
        };
    }
    idt[TRAP_BREAKPOINT].type |= GATE_USER;
    idt[TRAP_OVERFLOW].type |= GATE_USER;
    idt[TRAP_NMI].ist = 1;
    idt[TRAP_DOUBLE_FAULT].ist = 2;
    idt[TRAP_MACHINE_CHECK].ist = 3;
}

// The emergency stack number `index` of three; the CPU's per-CPU offset lies at its top
// (trap_entry.S).
static uint64_t emergency_stack(uint8_t *stacks, unsigned index)
{
    uint8_t *top = stacks + (index + 1) * EMERGENCY_STACK_BYTES;
    uint64_t offset = percpu_offset[cpu_current()];
    memcpy(top - 8, &offset, sizeof(offset));
    return (uint64_t)top - 16;
}

void segments_load(void *emergency_stacks)
{
    uint8_t *stacks = emergency_stacks != NULL ? emergency_stacks : boot_emergency_stacks;
    struct tss *tss = this_cpu_ptr(cpu_tss);
    *tss = (struct tss){.io_map = sizeof(*tss)};
    for (unsigned i = 0; i < 3; i++)
        tss->ist[i] = emergency_stack(stacks, i);

    uint64_t *gdt = *this_cpu_ptr(cpu_gdt);
    uint64_t base = (uint64_t)tss;
    memset(gdt, 0, sizeof(cpu_gdt));
    gdt[KERNEL_CS32 / 8] = UINT64_C(0x00cf9b000000ffff);
    gdt[KERNEL_CS / 8] = UINT64_C(0x00af9b000000ffff);
    gdt[KERNEL_DS / 8] = UINT64_C(0x00cf93000000ffff);
    // There is no 32-bit user code segment: USER_CS32 stays empty.
    gdt[USER_DS / 8] = UINT64_C(0x00cff3000000ffff);
    gdt[USER_CS / 8] = UINT64_C(0x00affb000000ffff);
    gdt[TSS_SELECTOR / 8] = (sizeof(*tss) - 1) | (base & 0xffffff) << 16 | UINT64_C(0x89) << 40 |
                            ((base >> 24) & 0xff) << 56;
    gdt[TSS_SELECTOR / 8 + 1] = base >> 32;

    struct descriptor_pointer gdt_pointer = {GDT_ENTRIES * 8 - 1, (uint64_t)gdt};
    struct descriptor_pointer idt_pointer = {sizeof(idt) - 1, (uint64_t)idt};
    asm volatile("lgdt %0" : : "m"(gdt_pointer));
    asm volatile("lidt %0" : : "m"(idt_pointer));
    asm volatile("pushq %0\n"
                 "leaq 1f(%%rip), %%rax\n"
                 "pushq %%rax\n"
                 "lretq\n"
                 "1:\n"
                 "movl %1, %%ds\n"
                 "movl %1, %%es\n"
                 "movl %1, %%ss\n"
                 "movl %2, %%eax\n"
                 "ltr %%ax\n"
        :
        : "i"(KERNEL_CS), "r"(KERNEL_DS), "i"(TSS_SELECTOR)
        : "rax", "memory");
    // No local descriptor table; SYSENTER has no code segment, so that it faults.
    asm volatile("lldt %w0" : : "r"(0));
    uint64_t unused;
    if (msr_read_safe(MSR_SYSENTER_CS, &unused) == 0)
        msr_write(MSR_SYSENTER_CS, 0);
}

void segments_set_stack(uintptr_t top)
{
    this_cpu(cpu_tss.rsp[0]) = top;
    this_cpu(cpu_kernel_stack) = top;
}
