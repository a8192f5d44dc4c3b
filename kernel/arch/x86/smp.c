// SPDX-License-Identifier: MIT
// Start of the other CPUs: INIT and start-up interrupts to all of them, then all run through the
// trampoline at once and report by setting their bit in cpu_online.
//
// What a CPU needs is allocated before it starts: per-CPU area, stack (its idle thread's),
// emergency stacks. A CPU whose memory can't be had, or which does not report within its time,
// stays off and is logged.

#include "kernel/arch/x86/smp.h"

#include "kernel/arch/x86/apic.h"
#include "kernel/arch/x86/arch.h"
#include "kernel/arch/x86/cpu.h"
#include "kernel/arch/x86/firmware.h"
#include "kernel/arch/x86/fpu.h"
#include "kernel/arch/x86/paging.h"
#include "kernel/arch/x86/percpu_setup.h"
#include "kernel/arch/x86/phys.h"
#include "kernel/arch/x86/segments.h"
#include "kernel/arch/x86/syscall_setup.h"
#include "kernel/arch/x86/tsc.h"
#include "kernel/base/memmap.h"
#include "kernel/base/string.h"
#include "kernel/core/cpumask.h"
#include "kernel/core/init.h"
#include "kernel/core/log.h"
#include "kernel/core/option.h"
#include "kernel/core/preempt.h"
#include "kernel/core/rcu.h"
#include "kernel/core/thread.h"
#include "kernel/core/upcall.h"
#include "pv/pv.h"

#include <linux/errno.h>

#define LOW_MEMORY_END   0x9f000
#define START_TIMEOUT_NS UINT64_C(10000000000) // vCPUs may wait long for a processor
// Intel SDM 3A, 9.4.4: a second start-up interrupt after 200 us
#define STARTUP_RETRY_NS UINT64_C(200000)

static uint64_t maxcpus = CPU_MAX;
BOOT_OPTION_U64(maxcpus, "maxcpus", "Start at most this many CPUs (1: only the boot CPU).");

// What trampoline.S looks up.
struct smp_start {
    uint32_t apic_id;
    uint32_t cpu;
    uint64_t stack_top;
    uint64_t gs_base;
};
static_assert(sizeof(struct smp_start) == 24);
static_assert(
    offsetof(struct smp_start, stack_top) == 8 && offsetof(struct smp_start, gs_base) == 16);
struct smp_start *smp_starts;
uint32_t smp_start_count;

extern char trampoline_start[], trampoline_end[], trampoline_gdt_base[], trampoline_gdt[],
    trampoline_far32[], trampoline_far64[], trampoline_entry32[], trampoline_entry64[],
    trampoline_data[];
void smp_entry_high(void);
void smp_entry(void);

static uint64_t trampoline_phys;
static uint64_t smp_page_table[PAGE_TABLE_ENTRIES] __aligned(4096);
static PERCPU(void *, emergency_stacks);
static struct cpumask started_by_interrupt; // those that wait for a start-up interrupt
static struct cpumask asked;                // those whose start is waited for

void smp_reserve_trampoline(struct memmap *map)
{
    if (memmap_allocate(map, PAGE_SIZE, PAGE_SIZE, PAGE_SIZE, LOW_MEMORY_END, &trampoline_phys) !=
        0)
        trampoline_phys = 0;
}

static void trampoline_patch(char *page, const char *field, const void *value, size_t len_bytes)
{
    memcpy(page + (field - trampoline_start), value, len_bytes);
}

static void trampoline_place(void)
{
    char *page = (char *)(PHYS_DIRECT_BASE + trampoline_phys);
    memcpy(page, trampoline_start, (size_t)(trampoline_end - trampoline_start));
    uint32_t linear = (uint32_t)trampoline_phys;
    uint32_t gdt = linear + (uint32_t)(trampoline_gdt - trampoline_start);
    uint32_t entry32 = linear + (uint32_t)(trampoline_entry32 - trampoline_start);
    uint32_t entry64 = linear + (uint32_t)(trampoline_entry64 - trampoline_start);
    struct {
        uint32_t cr3, efer;
        uint64_t entry;
    } data = {(uint32_t)kernel_image_to_phys(smp_page_table),
        EFER_LME | (cpu_features.nx ? EFER_NXE : 0), (uintptr_t)smp_entry_high};
    trampoline_patch(page, trampoline_gdt_base, &gdt, sizeof(gdt));
    trampoline_patch(page, trampoline_far32, &entry32, sizeof(entry32));
    trampoline_patch(page, trampoline_far64, &entry64, sizeof(entry64));
    trampoline_patch(page, trampoline_data, &data, sizeof(data));

    // The kernel's page tables and the identity map of start.S.
    extern uint64_t boot_pointers_identity[];
    memcpy(smp_page_table, kernel_page_table, sizeof(smp_page_table));
    smp_page_table[0] = kernel_image_to_phys(boot_pointers_identity) | PTE_PRESENT | PTE_WRITE;
}

// First C code of another CPU, on its idle thread's stack.
void smp_entry(void)
{
    arch_cr3_write(kernel_image_to_phys(kernel_page_table));
    cpu_enable_features();
    segments_load(this_cpu(emergency_stacks));
    syscall_init_cpu();
    fpu_init_cpu();
    segments_set_stack(this_cpu(current_thread)->arch.kernel_stack_top);
    apic_init_cpu();
    rcu_cpu_begin();
    pv_ops.cpu_online(cpu_current());
    sched_idle_loop();
}

// Memory and idle thread of one CPU. False: it stays off.
static bool cpu_prepare(uint32_t cpu)
{
    void *area = arch_memory_alloc(percpu_area_bytes());
    uint8_t *stacks = arch_memory_alloc(EMERGENCY_STACKS_BYTES);
    if (area == NULL || stacks == NULL) {
        arch_memory_free(area);
        arch_memory_free(stacks);
        return false;
    }
    percpu_init_area(cpu, area);
    struct thread *idle = boot_idle_thread(cpu);
    if (idle == NULL)
        return false; // the per-CPU area has been seen by others: it stays
    *percpu_of(emergency_stacks, cpu) = stacks;
    *percpu_of(current_thread, cpu) = idle;
    idle->arch.kernel_stack_top = idle->stack_base + KERNEL_STACK_BYTES;
    idle->arch.fpu_cpu = UINT64_MAX;
    smp_starts[smp_start_count++] = (struct smp_start){
        .apic_id = firmware.cpu_apic_ids[cpu],
        .cpu = cpu,
        .stack_top = idle->arch.kernel_stack_top,
        .gs_base = percpu_offset[cpu],
    };
    return true;
}

// By the hypervisor's own way where it has one, else by INIT; the start-up interrupt follows.
static void cpu_start(const struct smp_start *start)
{
    cpumask_set(&asked, start->cpu);
    cpumask_clear(&started_by_interrupt, start->cpu);
    struct pv_cpu_start state = {
        .cpu = start->cpu,
        .apic_id = start->apic_id,
        .entry = (uintptr_t)smp_entry_high,
        .cr0 = cr0_read(),
        .cr3 = kernel_image_to_phys(kernel_page_table),
        .cr4 = CR4_PAE,
        .efer = EFER_LME | EFER_LMA | (cpu_features.nx ? EFER_NXE : 0),
    };
    if (pv_ops.cpu_start != NULL && pv_ops.cpu_start(&state) == 0)
        return;
    cpumask_set(&started_by_interrupt, start->cpu);
    apic_send_init(start->apic_id);
}

static bool all_online(void)
{
    cpumask_for_each(cpu, &asked)
    {
        if (!cpumask_test(&cpu_online, cpu))
            return false;
    }
    return true;
}

static bool wait_online(uint64_t timeout_ns)
{
    uint64_t end = pv_clock_ns() + timeout_ns;
    while (!all_online()) {
        if (pv_clock_ns() > end)
            return false;
        arch_pause();
    }
    return true;
}

static void startup_missing(void)
{
    for (uint32_t i = 0; i < smp_start_count; i++) {
        uint32_t cpu = smp_starts[i].cpu;
        if (cpumask_test(&asked, cpu) && !cpumask_test(&cpu_online, cpu) &&
            cpumask_test(&started_by_interrupt, cpu))
            apic_send_startup(smp_starts[i].apic_id, (uint32_t)(trampoline_phys >> PAGE_SHIFT));
    }
}

// Memory for the list of all CPUs that may ever be started. 0, -EIO or -ENOMEM (logged).
static int starts_prepare(void)
{
    if (trampoline_phys == 0) {
        log_error("smp: no memory below 1 MiB: only the boot CPU runs");
        return -EIO;
    }
    if (smp_starts == NULL)
        smp_starts = arch_memory_alloc(cpu_count_possible * sizeof(*smp_starts));
    if (smp_starts == NULL) {
        log_error("smp: no memory: only the boot CPU runs");
        return -ENOMEM;
    }
    trampoline_place(); // also again: the kernel's page table may have grown
    return 0;
}

// Waits for the CPUs that were asked, those that do not start are logged. 0 or -EIO.
static int starts_wait(void)
{
    int error = 0;
    startup_missing();
    if (!wait_online(STARTUP_RETRY_NS)) {
        startup_missing();
        if (!wait_online(START_TIMEOUT_NS)) {
            cpumask_for_each(cpu, &asked)
            {
                if (cpumask_test(&cpu_online, cpu))
                    continue;
                log_error(
                    "smp: CPU %u (APIC id %u) does not start", cpu, firmware.cpu_apic_ids[cpu]);
                error = -EIO;
            }
        }
    }
    asked = (struct cpumask){0};
    return error;
}

void arch_smp_start(void)
{
    uint32_t count = (uint32_t)MIN((uint64_t)cpu_count_possible, maxcpus);
    if (count <= 1 || starts_prepare() != 0)
        return;
    for (uint32_t cpu = 1; cpu < count; cpu++) {
        if (!cpu_prepare(cpu)) {
            log_error("smp: no memory for CPU %u and those behind it", cpu);
            break;
        }
    }
    for (uint32_t i = 0; i < smp_start_count; i++)
        cpu_start(&smp_starts[i]);
    (void)starts_wait(); // logged
    log_info("smp: %u of %u CPUs", cpumask_count(&cpu_online), cpu_count_possible);
}

int arch_cpu_start(uint32_t cpu)
{
    assert(cpu > 0 && cpu < cpu_count_possible);
    assert(!cpumask_test(&cpu_online, cpu));
    int error = starts_prepare();
    if (error != 0)
        return error;
    if (percpu_offset[cpu] == 0 && !cpu_prepare(cpu))
        return -ENOMEM;
    const struct smp_start *start = NULL;
    for (uint32_t i = 0; i < smp_start_count; i++) {
        if (smp_starts[i].cpu == cpu)
            start = &smp_starts[i];
    }
    if (start == NULL)
        return -ENOMEM; // there was no memory for it once
    // It left in the middle of its idle loop.
    *percpu_of(preempt_count, cpu) = 0;
    *percpu_of(need_resched, cpu) = 0;
    cpu_start(start);
    return starts_wait();
}

void arch_cpu_off(uint32_t *state, uint32_t value)
{
    assert_irqs_off();
    __atomic_store_n(state, value, __ATOMIC_SEQ_CST);
    for (;;)
        arch_halt_plain(); // an NMI, or a kick of the hypervisor, may end it
}
