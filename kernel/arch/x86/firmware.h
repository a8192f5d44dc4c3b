// SPDX-License-Identifier: MIT
// What the firmware's tables say about the machine, read once before memory management starts;
// read-only then.
#pragma once

#include "kernel/base/acpi_tables.h"
#include "kernel/core/percpu.h"

#define FIRMWARE_IOAPICS_MAX 8
#define FIRMWARE_MCFG_MAX    16
#define FIRMWARE_VIRTIO_MAX  64

struct firmware_interrupt {
    uint32_t gsi;
    bool is_active_low, is_level;
};

struct firmware {
    uint32_t cpu_apic_ids[CPU_MAX]; // index is the CPU's number; the boot CPU is number 0
    uint32_t cpu_count;             // at least 1
    uint64_t lapic_address;
    struct {
        uint64_t address;
        uint32_t gsi_base;
    } ioapics[FIRMWARE_IOAPICS_MAX];
    uint32_t ioapic_count;
    struct firmware_interrupt isa[16]; // how ISA interrupts are wired
    bool has_8259;
    bool has_fadt;
    struct acpi_fadt fadt;
    bool has_s5;
    struct acpi_sleep_type s5;
    struct acpi_mcfg_entry mcfg[FIRMWARE_MCFG_MAX];
    uint32_t mcfg_count;
    struct acpi_virtio_mmio virtio_mmio[FIRMWARE_VIRTIO_MAX];
    uint32_t virtio_mmio_count;
};
extern struct firmware firmware;

void firmware_read(void); // boot page tables in use, boot_info filled
