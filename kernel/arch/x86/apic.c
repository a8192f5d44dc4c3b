// SPDX-License-Identifier: MIT
// Local APIC, I/O APICs and the legacy PIC.
//
// The timer is armed by TSC deadline where there is one. Else it counts down once from a number
// that needs its rate: the counter is started at apic_init_cpu() and compared with the TSC when the
// timer is first armed, and again whenever a longer window ends. A timer that is a little early
// does no harm: the interrupt finds nothing due and arms it again.

#include "kernel/arch/x86/apic.h"

#include "kernel/arch/x86/arch.h"
#include "kernel/arch/x86/cpu.h"
#include "kernel/arch/x86/firmware.h"
#include "kernel/arch/x86/fixmap.h"
#include "kernel/arch/x86/io.h"
#include "kernel/arch/x86/irq_setup.h"
#include "kernel/arch/x86/tsc.h"
#include "kernel/core/cpumask.h"
#include "kernel/core/irq.h"
#include "kernel/core/log.h"
#include "kernel/core/percpu.h"
#include "kernel/core/spinlock.h"

#include <linux/errno.h>

// Register numbers: byte offset in the page, and MSR 0x800 + offset / 16.
#define APIC_ID            0x020
#define APIC_TASK_PRIORITY 0x080
#define APIC_EOI           0x0b0
#define APIC_SPURIOUS      0x0f0
#define APIC_COMMAND       0x300
#define APIC_COMMAND_HIGH  0x310
#define APIC_LVT_TIMER     0x320
#define APIC_LVT_COUNTERS  0x340
#define APIC_LVT_LINT0     0x350
#define APIC_LVT_LINT1     0x360
#define APIC_LVT_ERROR     0x370
#define APIC_TIMER_INITIAL 0x380
#define APIC_TIMER_CURRENT 0x390
#define APIC_TIMER_DIVIDE  0x3e0

#define APIC_ENABLE        BIT(8) // of APIC_SPURIOUS
#define LVT_MASKED         BIT(16)
#define LVT_NMI            (UINT32_C(4) << 8)
#define TIMER_TSC_DEADLINE (UINT32_C(2) << 17)
#define TIMER_DIVIDE_BY_1  0xb
#define TIMER_COUNT_MAX    UINT32_C(0xffffffff)
#define TIMER_HZ_GUESS     UINT64_C(1000000000)
#define COMMAND_NMI        (UINT32_C(4) << 8)
#define COMMAND_INIT       (UINT32_C(5) << 8)
#define COMMAND_STARTUP    (UINT32_C(6) << 8)
#define COMMAND_ASSERT     BIT(14)
#define COMMAND_SELF       BIT(18) // shorthand: the destination field is not looked at

#define APIC_BASE_X2APIC BIT(10)
#define APIC_BASE_ENABLE BIT(11)

// I/O APIC: index and data window; two registers for each input from 0x10 on.
#define IOAPIC_SELECT   0x00
#define IOAPIC_WINDOW   0x10
#define IOAPIC_VERSION  0x01
#define IOAPIC_REDIRECT 0x10
#define REDIRECT_LOW    BIT(13)
#define REDIRECT_LEVEL  BIT(15)
#define REDIRECT_MASKED BIT(16)

#define PIC1_COMMAND 0x20
#define PIC1_DATA    0x21
#define PIC2_COMMAND 0xa0
#define PIC2_DATA    0xa1

static bool x2apic;
static bool timer_by_deadline; // the TSC deadline mode is used; fixed before the first timer
static volatile char *lapic;   // xAPIC registers

static struct {
    volatile char *registers;
    uint32_t gsi_base;
    uint32_t inputs;
} ioapics[FIRMWARE_IOAPICS_MAX];
static struct spinlock ioapic_lock = SPINLOCK_INIT("ioapic"); // select and window go together

// Counts of the one-shot timer per 2^32 TSC ticks, and the window in which they were measured.
static PERCPU(uint64_t, timer_rate);
static PERCPU(uint64_t, timer_start_tsc); // 0: the calibration count has ended
static PERCPU(bool, timer_armed);

static uint32_t lapic_read(uint32_t reg)
{
    if (x2apic)
        return (uint32_t)msr_read(MSR_X2APIC_FIRST + reg / 16);
    return arch_mmio_read32(lapic + reg);
}

static void lapic_write(uint32_t reg, uint32_t value)
{
    if (x2apic)
        msr_write(MSR_X2APIC_FIRST + reg / 16, value);
    else
        arch_mmio_write32(lapic + reg, value);
}

void apic_end_of_interrupt(void)
{
    lapic_write(APIC_EOI, 0);
}

void apic_counters_unmask(void)
{
    lapic_write(APIC_LVT_COUNTERS, LVT_NMI);
}

// ---- inter-processor interrupts -----------------------------------------------------------------

static void send_command(uint32_t apic_id, uint32_t command)
{
    if (x2apic) {
        // WRMSR to the x2APIC is not serialising: what the target shall see has to be out before.
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        msr_write(MSR_X2APIC_FIRST + APIC_COMMAND / 16, (uint64_t)apic_id << 32 | command);
        return;
    }
    uint64_t flags = arch_irq_save();
    arch_mmio_write32(lapic + APIC_COMMAND_HIGH, apic_id << 24);
    arch_mmio_write32(lapic + APIC_COMMAND, command);
    arch_irq_restore(flags);
}

void apic_send_ipi(uint32_t cpu, uint32_t vector)
{
    debug_assert(cpu < cpu_count_possible);
    send_command(firmware.cpu_apic_ids[cpu], vector | COMMAND_ASSERT);
}

void apic_send_ipi_mask(const struct cpumask *mask, uint32_t vector)
{
    cpumask_for_each(cpu, mask) apic_send_ipi(cpu, vector);
}

void apic_send_nmi(uint32_t cpu)
{
    send_command(firmware.cpu_apic_ids[cpu], COMMAND_NMI | COMMAND_ASSERT);
}

void apic_send_self(uint32_t vector)
{
    const uint32_t command = vector | COMMAND_ASSERT | COMMAND_SELF;
    // An NMI may come between the two writes of send_command(): the upper half is left alone.
    if (x2apic)
        msr_write(MSR_X2APIC_FIRST + APIC_COMMAND / 16, command);
    else
        arch_mmio_write32(lapic + APIC_COMMAND, command);
}

void apic_send_init(uint32_t apic_id)
{
    send_command(apic_id, COMMAND_INIT | COMMAND_ASSERT);
}

void apic_send_startup(uint32_t apic_id, uint32_t page)
{
    debug_assert(page < 256);
    send_command(apic_id, COMMAND_STARTUP | COMMAND_ASSERT | page);
}

// ---- timer --------------------------------------------------------------------------------------

// Ends the calibration count that apic_init_cpu() started.
static void timer_calibrate(void)
{
    uint32_t current = lapic_read(APIC_TIMER_CURRENT);
    uint32_t elapsed = TIMER_COUNT_MAX - current;
    uint64_t ticks = arch_tsc_ordered() - this_cpu(timer_start_tsc);
    this_cpu(timer_start_tsc) = 0;
    if (current != 0 && elapsed != 0 && ticks != 0)
        this_cpu(timer_rate) = ((uint64_t)elapsed << 32) / ticks;
    else // the count had ended before, or has not begun: 1 GHz is what hypervisors emulate
        this_cpu(timer_rate) = (TIMER_HZ_GUESS << 32) / tsc_frequency_hz();
    if (this_cpu(timer_rate) == 0)
        this_cpu(timer_rate) = 1;
}

static void timer_arm_count(uint64_t deadline)
{
    if (this_cpu(timer_start_tsc) != 0)
        timer_calibrate();
    uint64_t now = arch_tsc();
    uint64_t count = 1;
    if (deadline > now) {
        unsigned __int128 product = (unsigned __int128)(deadline - now) * this_cpu(timer_rate);
        count = product >> 64 != 0 ? TIMER_COUNT_MAX : (uint64_t)(product >> 32) + 1;
        count = MIN(count, (uint64_t)TIMER_COUNT_MAX);
    }
    lapic_write(APIC_TIMER_INITIAL, (uint32_t)count);
}

bool apic_timer_use_deadline(void)
{
    timer_by_deadline = cpu_features.tsc_deadline;
    return timer_by_deadline;
}

void apic_timer_stop(void)
{
    assert_irqs_off();
    if (timer_by_deadline)
        msr_write(MSR_TSC_DEADLINE, 0);
    else if (this_cpu(timer_start_tsc) == 0)
        lapic_write(APIC_TIMER_INITIAL, 0);
}

static void timer_first_arm(void)
{
    this_cpu(timer_armed) = true;
    if (!timer_by_deadline && this_cpu(timer_start_tsc) != 0)
        timer_calibrate();
    lapic_write(APIC_LVT_TIMER, VECTOR_TIMER | (timer_by_deadline ? TIMER_TSC_DEADLINE : 0));
    __atomic_thread_fence(__ATOMIC_SEQ_CST); // SDM 3A 11.5.4.1: LVT before the first deadline
}

void apic_timer_arm(uint64_t deadline_tsc)
{
    assert_irqs_off();
    if (unlikely(!this_cpu(timer_armed)))
        timer_first_arm();
    if (timer_by_deadline)
        msr_write(MSR_TSC_DEADLINE, deadline_tsc != 0 ? deadline_tsc : 1); // 0 would disarm
    else
        timer_arm_count(deadline_tsc);
}

// ---- start --------------------------------------------------------------------------------------

void apic_init_cpu(void)
{
    assert_irqs_off();
    if (x2apic) {
        msr_write(MSR_APIC_BASE, msr_read(MSR_APIC_BASE) | APIC_BASE_ENABLE | APIC_BASE_X2APIC);
    } else {
        uint64_t base = msr_read(MSR_APIC_BASE);
        if (!(base & APIC_BASE_ENABLE))
            msr_write(MSR_APIC_BASE, base | APIC_BASE_ENABLE);
    }
    lapic_write(APIC_SPURIOUS, APIC_ENABLE | VECTOR_SPURIOUS);
    lapic_write(APIC_LVT_LINT0, LVT_MASKED);
    lapic_write(APIC_LVT_LINT1, LVT_NMI);
    this_cpu(timer_armed) = false; // also a CPU that was off-line
    if (!timer_by_deadline) {
        lapic_write(APIC_LVT_TIMER, LVT_MASKED | VECTOR_TIMER);
        lapic_write(APIC_TIMER_DIVIDE, TIMER_DIVIDE_BY_1);
        this_cpu(timer_rate) = *percpu_of(timer_rate, 0);
        if (this_cpu(timer_rate) == 0) { // the boot CPU, or it has not armed a timer yet
            lapic_write(APIC_TIMER_INITIAL, TIMER_COUNT_MAX);
            this_cpu(timer_start_tsc) = arch_tsc_ordered();
        }
    }
}

static uint32_t ioapic_read(uint32_t index, uint32_t reg)
{
    arch_mmio_write32(ioapics[index].registers + IOAPIC_SELECT, reg);
    return arch_mmio_read32(ioapics[index].registers + IOAPIC_WINDOW);
}

static void ioapic_write(uint32_t index, uint32_t reg, uint32_t value)
{
    arch_mmio_write32(ioapics[index].registers + IOAPIC_SELECT, reg);
    arch_mmio_write32(ioapics[index].registers + IOAPIC_WINDOW, value);
}

// Inputs are masked after reset, and firmware that used one has masked it again or is the loader's
// fault: only what is routed gets written, which saves two exits an input.
static void ioapic_init(uint32_t index)
{
    ioapics[index].registers = fixmap_device(firmware.ioapics[index].address);
    ioapics[index].gsi_base = firmware.ioapics[index].gsi_base;
    if (ioapics[index].registers == NULL)
        return;
    ioapics[index].inputs = ((ioapic_read(index, IOAPIC_VERSION) >> 16) & 0xff) + 1;
}

// Both PICs: vectors out of the way of the exceptions, everything masked.
static void pic_mask(void)
{
    arch_out8(PIC1_DATA, 0xff);
    arch_out8(PIC2_DATA, 0xff);
}

void apic_init(void)
{
    x2apic = cpu_features.x2apic;
    if (!x2apic) {
        lapic = fixmap_device(firmware.lapic_address);
        assert(lapic != NULL);
    }
    if (firmware.has_8259)
        pic_mask();
    apic_init_cpu();
}

static int ioapic_of(uint32_t gsi, uint32_t *input)
{
    for (uint32_t i = 0; i < firmware.ioapic_count; i++) {
        if (ioapics[i].registers == NULL)
            ioapic_init(i);
        if (ioapics[i].registers != NULL && gsi >= ioapics[i].gsi_base &&
            gsi - ioapics[i].gsi_base < ioapics[i].inputs) {
            *input = gsi - ioapics[i].gsi_base;
            return (int)i;
        }
    }
    return -ENODEV;
}

int irq_gsi_route_wire(uint32_t gsi, uint32_t vector, bool is_active_low, bool is_level)
{
    assert(vector >= VECTOR_DEVICE_FIRST && vector <= VECTOR_DEVICE_LAST);
    uint64_t flags = spin_lock_irqsave(&ioapic_lock);
    uint32_t input = 0;
    int index = ioapic_of(gsi, &input);
    if (index >= 0) {
        uint32_t low = vector;
        low |= is_active_low ? REDIRECT_LOW : 0;
        low |= is_level ? REDIRECT_LEVEL : 0;
        if (is_level)
            irq_vector_set_level(vector);
        ioapic_write(
            (uint32_t)index, IOAPIC_REDIRECT + 2 * input + 1, firmware.cpu_apic_ids[0] << 24);
        ioapic_write((uint32_t)index, IOAPIC_REDIRECT + 2 * input, low);
    }
    spin_unlock_irqrestore(&ioapic_lock, flags);
    return index < 0 ? index : 0;
}

int irq_gsi_route(uint32_t isa_irq_or_gsi, uint32_t vector)
{
    struct firmware_interrupt wire = {
        .gsi = isa_irq_or_gsi, .is_active_low = true, .is_level = true};
    if (isa_irq_or_gsi < ARRAY_SIZE(firmware.isa))
        wire = firmware.isa[isa_irq_or_gsi];
    return irq_gsi_route_wire(wire.gsi, vector, wire.is_active_low, wire.is_level);
}

void irq_gsi_mask(uint32_t gsi)
{
    uint64_t flags = spin_lock_irqsave(&ioapic_lock);
    uint32_t input = 0;
    int index = ioapic_of(gsi, &input);
    if (index >= 0)
        ioapic_write((uint32_t)index, IOAPIC_REDIRECT + 2 * input, REDIRECT_MASKED);
    spin_unlock_irqrestore(&ioapic_lock, flags);
}
