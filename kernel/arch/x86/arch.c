// SPDX-License-Identifier: MIT
// Start of the processor code, in order.

#include "kernel/arch/x86/arch.h"

#include "kernel/arch/x86/apic.h"
#include "kernel/arch/x86/bulk.h"
#include "kernel/arch/x86/cpu.h"
#include "kernel/arch/x86/firmware.h"
#include "kernel/arch/x86/fixmap.h"
#include "kernel/arch/x86/fpu.h"
#include "kernel/arch/x86/irq_setup.h"
#include "kernel/arch/x86/nmi.h"
#include "kernel/arch/x86/paging.h"
#include "kernel/arch/x86/segments.h"
#include "kernel/arch/x86/syscall_setup.h"
#include "kernel/arch/x86/tsc.h"
#include "kernel/arch/x86/user_access.h"
#include "kernel/base/fmt.h"
#include "kernel/core/cpumask.h"
#include "kernel/core/log.h"
#include "pv/pv.h"

void arch_early_init(void)
{
    cpu_detect();
    smap_patch();
    cpu_enable_features();
    tsc_init();
    fpu_init();
    fpu_init_cpu();
    bulk_init();
    cpumask_set_atomic(&cpu_online, 0);
    firmware_read();
    cpu_tell_number(); // the node is known now
}

static bool stop_nmi(struct trap_frame *frame);

void arch_init(void)
{
    assert_irqs_off();
    fixmap_init();
    apic_init();
    irq_init();
    syscall_init_cpu();
    if (nmi_handler_add(stop_nmi) != 0)
        log_warning("arch: no room for the stop handler");
}

static uint32_t stopping_cpu = UINT32_MAX; // who stops all others; atomic

// The stop request of arch_stop_others() arrives as an NMI, so that it reaches CPUs with interrupts
// off.
static bool stop_nmi(struct trap_frame *frame)
{
    if (__atomic_load_n(&stopping_cpu, __ATOMIC_ACQUIRE) == UINT32_MAX)
        return false;
    arch_stop_self();
}

void arch_stop_self(void)
{
    cpumask_clear_atomic(&cpu_online, cpu_current());
    if (pv_ops.cpu_forget != NULL)
        pv_ops.cpu_forget();
    for (;;) {
        arch_irq_disable();
        asm volatile("hlt");
    }
}

void arch_stop_others(void)
{
    uint32_t nobody = UINT32_MAX;
    if (!__atomic_compare_exchange_n(
            &stopping_cpu, &nobody, cpu_current(), false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
        return;
    cpumask_for_each(cpu, &cpu_online)
    {
        if (cpu != cpu_current())
            apic_send_nmi(cpu);
    }
}

void arch_frame_visit(const struct trap_frame *frame, void (*line)(const char *text))
{
    char text[128];
#define REGISTERS(...)                                                                             \
    do {                                                                                           \
        fmt_snprintf(text, sizeof(text), __VA_ARGS__);                                             \
        line(text);                                                                                \
    } while (0)
    REGISTERS("rip %016lx  rsp %016lx  rflags %016lx", frame->rip, frame->rsp, frame->rflags);
    REGISTERS("rax %016lx  rbx %016lx  rcx %016lx", frame->rax, frame->rbx, frame->rcx);
    REGISTERS("rdx %016lx  rsi %016lx  rdi %016lx", frame->rdx, frame->rsi, frame->rdi);
    REGISTERS("rbp %016lx  r8  %016lx  r9  %016lx", frame->rbp, frame->r8, frame->r9);
    REGISTERS("r10 %016lx  r11 %016lx  r12 %016lx", frame->r10, frame->r11, frame->r12);
    REGISTERS("r13 %016lx  r14 %016lx  r15 %016lx", frame->r13, frame->r14, frame->r15);
    REGISTERS("cs %04lx ss %04lx  cr2 %016lx  cr3 %016lx  error code %lx", frame->cs, frame->ss,
        cr2_read(), arch_cr3_read(), frame->error_code);
#undef REGISTERS
}

void arch_tlb_flush_all(void)
{
    if (cpu_features.invpcid) {
        arch_invpcid(2, 0, 0);
        return;
    }
    // A change of CR4.PGE flushes everything, with all PCIDs and global entries.
    uint64_t flags = arch_irq_save();
    uint64_t cr4 = cr4_read();
    cr4_write(cr4 ^ CR4_PGE);
    cr4_write(cr4);
    arch_irq_restore(flags);
}
