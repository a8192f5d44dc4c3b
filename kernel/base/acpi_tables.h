// SPDX-License-Identifier: MIT
//
// Reads the static ACPI tables (ACPI specification 6.5, chapter 5) that tell a guest its CPUs,
// interrupt controllers, NUMA nodes, PCI configuration space, timers, and how to switch off. There
// is no AML interpreter: of the DSDT and SSDTs only the constant package \_S5 is searched.
//
// Tables are not trusted: signature, length and checksum are checked before anything else, and
// every entry's length before its fields. Functions on one table take the bytes that are accessible
// and return 0, -ENOENT (end; not there), -EINVAL (malformed). Iterators point into the table,
// which must stay mapped.
#pragma once

#include "kernel/base/types.h"

#define ACPI_TABLE_SIZE_MAX (16ul << 20) // a longer table is refused
#define ACPI_TABLES_MAX     64           // entries of the XSDT or RSDT that are looked at

// Makes physical memory readable. Supplied by the caller.
struct acpi_mapper {
    // Pointer to `len` bytes (1 .. ACPI_TABLE_SIZE_MAX) at `address`, any alignment, or NULL if
    // that is no memory that can be mapped. Ranges may overlap and repeat; they stay mapped until
    // the caller of this module takes them back.
    const void *(*map)(struct acpi_mapper *mapper, uint64_t address, size_t len);
};

// ---- Finding tables

// One table with its 36-byte header, checked.
struct acpi_table {
    const uint8_t *bytes;
    size_t len;       // of the whole table, >= 36
    uint64_t address; // physical
};

struct acpi_tables {
    struct acpi_mapper *mapper;
    uint64_t root_address;               // of the XSDT or RSDT
    uint64_t addresses[ACPI_TABLES_MAX]; // what it lists
    uint32_t count;
};

// Offset of a valid RSDP on a 16-byte boundary of a copy or mapping of the BIOS area (5.2.5.1). 0,
// -ENOENT.
[[nodiscard]] int acpi_rsdp_search(const void *bytes, size_t len, size_t *offset);

// Follows the RSDP at this physical address to the list of tables. Uses the XSDT if revision >= 2
// and it is valid, else the RSDT. 0, -EINVAL, or -EFAULT (cannot be mapped).
[[nodiscard]] int acpi_tables_open(
    struct acpi_tables *tables, struct acpi_mapper *mapper, uint64_t rsdp_address);

// The table number `instance` (from 0) with this signature of 4 letters. 0, -ENOENT, -EINVAL
// (there, but malformed), -EFAULT.
[[nodiscard]] int acpi_tables_find(const struct acpi_tables *tables, const char *signature,
    unsigned int instance, struct acpi_table *table);

// The table at a physical address (the DSDT, which only the FADT points to). 0, -EINVAL, -EFAULT.
[[nodiscard]] int acpi_table_at(const struct acpi_tables *tables, uint64_t address,
    const char *signature, struct acpi_table *table);

// Checks signature (NULL: any), length and checksum of the bytes of a table.
[[nodiscard]] int acpi_table_check(
    const void *bytes, size_t len, const char *signature, struct acpi_table *table);

// ---- MADT: CPUs and interrupt controllers (5.2.12)

enum acpi_madt_kind {
    ACPI_MADT_CPU,           // local APIC or x2APIC
    ACPI_MADT_IOAPIC,        // I/O APIC
    ACPI_MADT_OVERRIDE,      // an ISA interrupt is wired elsewhere
    ACPI_MADT_IOAPIC_NMI,    // a global interrupt is an NMI
    ACPI_MADT_LOCAL_NMI,     // a local interrupt pin is NMI
    ACPI_MADT_LAPIC_ADDRESS, // 64-bit address of the local APICs
};

struct acpi_madt_entry {
    enum acpi_madt_kind kind;
    union {
        struct {
            uint32_t apic_id;
            uint32_t uid;           // ACPI processor id
            bool is_enabled;        // usable now
            bool is_online_capable; // may be plugged in later
        } cpu;
        struct {
            uint64_t address;
            uint32_t id;
            uint32_t gsi_base;
        } ioapic;
        struct {
            uint32_t gsi;
            uint8_t bus_irq; // ISA interrupt 0..15
            bool is_active_low;
            bool is_level;
        } override;
        struct {
            uint32_t gsi;
            bool is_active_low;
            bool is_level;
        } ioapic_nmi;
        struct {
            uint32_t uid; // of one CPU, UINT32_MAX: all
            uint8_t lint; // 0 or 1
            bool is_active_low;
            bool is_level;
        } local_nmi;
        uint64_t lapic_address;
    };
};

struct acpi_madt {
    const uint8_t *bytes;
    size_t len;
    size_t offset;
    uint64_t lapic_address; // from the header, 32 bits
    bool has_8259;          // a PC-compatible pair of interrupt controllers exists
};

[[nodiscard]] int acpi_madt_open(struct acpi_madt *madt, const struct acpi_table *table);
// Entries of other kinds are skipped. -EINVAL: an entry is too short or exceeds the table.
[[nodiscard]] int acpi_madt_next(struct acpi_madt *madt, struct acpi_madt_entry *entry);

// ---- FADT: power management (5.2.9)

// Generic address (5.2.3.2).
struct acpi_address {
    uint64_t address; // 0: not there
    uint8_t space;    // 0 memory, 1 I/O ports, 2 PCI configuration
    uint8_t bit_width;
    uint8_t bit_offset;
    uint8_t access_size; // 0 undefined, 1 byte, 2 word, 3 dword, 4 qword
};

#define ACPI_SPACE_MEMORY 0
#define ACPI_SPACE_IO     1
#define ACPI_SPACE_PCI    2

struct acpi_fadt {
    uint64_t dsdt_address;
    uint64_t facs_address;
    struct acpi_address pm1a_event;
    struct acpi_address pm1b_event;
    struct acpi_address pm1a_control; // PM1 control registers: SLP_TYP and SLP_EN
    struct acpi_address pm1b_control;
    struct acpi_address pm_timer;
    struct acpi_address reset;         // valid if has_reset
    struct acpi_address sleep_control; // hardware-reduced machines
    struct acpi_address sleep_status;
    uint32_t flags;
    uint32_t smi_command_port;
    uint16_t sci_interrupt;
    uint16_t boot_flags; // IA-PC boot architecture flags
    uint8_t acpi_enable; // written to the SMI command port
    uint8_t reset_value;
    uint8_t century_index; // in the RTC's CMOS; 0: none
    bool has_reset;
    bool is_hardware_reduced;
    bool pm_timer_is_32_bit;
};

[[nodiscard]] int acpi_fadt_parse(const struct acpi_table *table, struct acpi_fadt *fadt);

// ---- \_S5 in the DSDT or an SSDT (7.4.2)

// Values for SLP_TYPa and SLP_TYPb (3 bits each) of sleep state 5, switched off.
struct acpi_sleep_type {
    uint8_t a;
    uint8_t b;
};

// Searches the definition block for Name (_S5, Package...). 0, -ENOENT.
[[nodiscard]] int acpi_s5_find(const struct acpi_table *table, struct acpi_sleep_type *type);

// ---- Virtio devices with memory-mapped registers: LNRO0005 in the DSDT or an SSDT

struct acpi_virtio_mmio {
    uint64_t address;
    uint32_t len_bytes;
    uint32_t gsi;
};

// The next device with constant resources behind *offset, which starts as 0 and moves on. 0,
// -ENOENT.
[[nodiscard]] int acpi_virtio_mmio_next(
    const struct acpi_table *table, size_t *offset, struct acpi_virtio_mmio *device);

// ---- MCFG: memory-mapped PCI configuration space (PCI firmware specification 3.3, 4.1.2)

struct acpi_mcfg_entry {
    uint64_t base_address; // of bus 0, even if first_bus is not 0
    uint16_t segment;
    uint8_t first_bus;
    uint8_t last_bus; // >= first_bus
};

struct acpi_mcfg {
    const uint8_t *bytes;
    size_t len;
    size_t offset;
};

[[nodiscard]] int acpi_mcfg_open(struct acpi_mcfg *mcfg, const struct acpi_table *table);
[[nodiscard]] int acpi_mcfg_next(struct acpi_mcfg *mcfg, struct acpi_mcfg_entry *entry);

// ---- SRAT: which node CPUs and memory belong to (5.2.16)

enum acpi_srat_kind {
    ACPI_SRAT_CPU,
    ACPI_SRAT_MEMORY,
};

struct acpi_srat_entry {
    enum acpi_srat_kind kind;
    uint32_t proximity_domain;
    union {
        uint32_t apic_id;
        struct {
            uint64_t start;
            uint64_t len; // start + len does not overflow
            bool is_hot_pluggable;
            bool is_persistent;
        } memory;
    };
};

struct acpi_srat {
    const uint8_t *bytes;
    size_t len;
    size_t offset;
};

[[nodiscard]] int acpi_srat_open(struct acpi_srat *srat, const struct acpi_table *table);
// Disabled and empty entries and other kinds are skipped.
[[nodiscard]] int acpi_srat_next(struct acpi_srat *srat, struct acpi_srat_entry *entry);

// ---- SLIT: distances between nodes (5.2.17)

struct acpi_slit {
    const uint8_t *distances; // count * count bytes, row = from
    uint32_t count;           // proximity domains 0 .. count - 1
};

// -EINVAL also if a distance to itself is not 10 or one to another node is less.
[[nodiscard]] int acpi_slit_parse(const struct acpi_table *table, struct acpi_slit *slit);

// ---- HPET (IA-PC HPET specification 1.0a, 3.2.4)

struct acpi_hpet {
    uint64_t address; // of the registers, in memory
    uint8_t number;
};

[[nodiscard]] int acpi_hpet_parse(const struct acpi_table *table, struct acpi_hpet *hpet);
