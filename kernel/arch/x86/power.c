// SPDX-License-Identifier: MIT
// The end of the machine: power-off, reboot, debug exit.

#include "kernel/arch/x86/arch.h"
#include "kernel/arch/x86/firmware.h"
#include "kernel/arch/x86/fixmap.h"
#include "kernel/arch/x86/io.h"
#include "kernel/core/debug_exit.h"
#include "kernel/core/log.h"

#define SLEEP_TYPE_SHIFT         10 // PM1 control, ACPI 6.5, 4.8.3.2.1
#define SLEEP_ENABLE             BIT(13)
#define SLEEP_TYPE_SHIFT_REDUCED 2 // sleep control register, 4.8.3.7
#define SLEEP_ENABLE_REDUCED     BIT(5)

#define RESET_CONTROL_PORT 0xcf9
#define KEYBOARD_COMMAND   0x64
#define KEYBOARD_RESET     0xfe
#define ABSENT             0xff // what a port without a device reads as
#define SETTLE_POLLS       1000000

static void address_write8(const struct acpi_address *where, uint8_t value)
{
    if (where->address == 0)
        return;
    if (where->space == ACPI_SPACE_IO && where->address <= UINT16_MAX) {
        arch_out8((uint16_t)where->address, value);
    } else if (where->space == ACPI_SPACE_MEMORY) {
        volatile void *registers = fixmap_device(where->address);
        if (registers != NULL)
            arch_mmio_write8(registers, value);
    }
}

static void address_write16(const struct acpi_address *where, uint16_t value)
{
    if (where->address != 0 && where->space == ACPI_SPACE_IO && where->address <= UINT16_MAX)
        arch_out16((uint16_t)where->address, value);
}

static void settle(void)
{
    for (uint32_t i = 0; i < SETTLE_POLLS; i++)
        arch_pause();
}

[[noreturn]] static void halt_for_ever(void)
{
    for (;;) {
        arch_irq_disable();
        asm volatile("hlt");
    }
}

void arch_power_off(void)
{
    const struct firmware *fw = &firmware;
    if (fw->has_fadt && fw->has_s5) {
        if (fw->fadt.is_hardware_reduced) {
            address_write8(&fw->fadt.sleep_control,
                (uint8_t)(fw->s5.a << SLEEP_TYPE_SHIFT_REDUCED | SLEEP_ENABLE_REDUCED));
        } else {
            address_write16(
                &fw->fadt.pm1a_control, (uint16_t)(fw->s5.a << SLEEP_TYPE_SHIFT | SLEEP_ENABLE));
            address_write16(
                &fw->fadt.pm1b_control, (uint16_t)(fw->s5.b << SLEEP_TYPE_SHIFT | SLEEP_ENABLE));
        }
        settle();
    }
    log_error("power-off: the machine stays on");
    halt_for_ever();
}

void arch_reboot(void)
{
    if (firmware.has_fadt && firmware.fadt.has_reset) {
        address_write8(&firmware.fadt.reset, firmware.fadt.reset_value);
        settle();
    }
    arch_out8(RESET_CONTROL_PORT, 0x02);
    arch_out8(RESET_CONTROL_PORT, 0x06);
    settle();
    arch_out8(KEYBOARD_COMMAND, KEYBOARD_RESET);
    settle();
    // No interrupt table: the next exception can't be delivered, and the processor resets.
    struct {
        uint16_t limit;
        uint64_t base;
    } __packed none = {0, 0};
    asm volatile("lidt %0; int3" : : "m"(none));
    halt_for_ever();
}

void arch_exit_machine(uint32_t code)
{
    if (arch_in8(DEBUG_EXIT_PORT_HOW) != ABSENT)
        arch_out8(DEBUG_EXIT_PORT_HOW, (uint8_t)code);
    if (code == DEBUG_EXIT_REBOOT)
        arch_reboot();
    if (code == DEBUG_EXIT_PANIC)
        halt_for_ever();
    arch_power_off();
}
