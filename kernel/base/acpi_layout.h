// SPDX-License-Identifier: MIT
//
// Layout of the ACPI tables as they lie in memory (ACPI specification 6.5; no Debian package brings
// a header for it). Private to the parser and its tests. Tables have no alignment: copy before use.
#pragma once

#include "kernel/base/types.h"

// 5.2.5.3, Root System Description Pointer. Revision 0 has the first 20 bytes only.
struct acpi_raw_rsdp {
    char signature[8]; // "RSD PTR "
    uint8_t checksum;  // of the first 20 bytes
    char oem_id[6];
    uint8_t revision;
    uint32_t rsdt_address;
    uint32_t len;
    uint64_t xsdt_address;
    uint8_t extended_checksum; // of all `len` bytes
    uint8_t reserved[3];
} __packed;
static_assert(sizeof(struct acpi_raw_rsdp) == 36);
#define ACPI_RSDP_V1_BYTES 20

// 5.2.6, header of every other table.
struct acpi_raw_header {
    char signature[4];
    uint32_t len; // of the whole table
    uint8_t revision;
    uint8_t checksum; // all bytes add up to 0
    char oem_id[6];
    char oem_table_id[8];
    uint32_t oem_revision;
    uint32_t creator_id;
    uint32_t creator_revision;
} __packed;
static_assert(sizeof(struct acpi_raw_header) == 36);

// 5.2.3.2, Generic Address Structure.
struct acpi_raw_address {
    uint8_t space;
    uint8_t bit_width;
    uint8_t bit_offset;
    uint8_t access_size;
    uint64_t address;
} __packed;
static_assert(sizeof(struct acpi_raw_address) == 12);

// Header of the entries of MADT and SRAT.
struct acpi_raw_entry {
    uint8_t type;
    uint8_t len;
} __packed;

// 5.2.12, Multiple APIC Description Table: followed by entries.
struct acpi_raw_madt {
    struct acpi_raw_header header;
    uint32_t lapic_address;
    uint32_t flags; // bit 0: PCAT_COMPAT
} __packed;
static_assert(sizeof(struct acpi_raw_madt) == 44);

#define ACPI_MADT_TYPE_LAPIC          0
#define ACPI_MADT_TYPE_IOAPIC         1
#define ACPI_MADT_TYPE_OVERRIDE       2
#define ACPI_MADT_TYPE_NMI_SOURCE     3
#define ACPI_MADT_TYPE_LAPIC_NMI      4
#define ACPI_MADT_TYPE_LAPIC_OVERRIDE 5
#define ACPI_MADT_TYPE_X2APIC         9
#define ACPI_MADT_TYPE_X2APIC_NMI     10

// 5.2.12.2
struct acpi_raw_madt_lapic {
    struct acpi_raw_entry entry;
    uint8_t uid;
    uint8_t apic_id;
    uint32_t flags; // bit 0 enabled, bit 1 online capable
} __packed;
static_assert(sizeof(struct acpi_raw_madt_lapic) == 8);

// 5.2.12.3
struct acpi_raw_madt_ioapic {
    struct acpi_raw_entry entry;
    uint8_t id;
    uint8_t reserved;
    uint32_t address;
    uint32_t gsi_base;
} __packed;
static_assert(sizeof(struct acpi_raw_madt_ioapic) == 12);

// 5.2.12.5. Flags (table 5.26): bits 0-1 polarity (0 as the bus, 1 high, 3 low), bits 2-3 trigger
// (0 as the bus, 1 edge, 3 level).
struct acpi_raw_madt_override {
    struct acpi_raw_entry entry;
    uint8_t bus; // 0: ISA
    uint8_t source;
    uint32_t gsi;
    uint16_t flags;
} __packed;
static_assert(sizeof(struct acpi_raw_madt_override) == 10);

// 5.2.12.6
struct acpi_raw_madt_nmi_source {
    struct acpi_raw_entry entry;
    uint16_t flags;
    uint32_t gsi;
} __packed;
static_assert(sizeof(struct acpi_raw_madt_nmi_source) == 8);

// 5.2.12.7
struct acpi_raw_madt_lapic_nmi {
    struct acpi_raw_entry entry;
    uint8_t uid; // 0xff: all
    uint16_t flags;
    uint8_t lint;
} __packed;
static_assert(sizeof(struct acpi_raw_madt_lapic_nmi) == 6);

// 5.2.12.8
struct acpi_raw_madt_lapic_override {
    struct acpi_raw_entry entry;
    uint16_t reserved;
    uint64_t address;
} __packed;
static_assert(sizeof(struct acpi_raw_madt_lapic_override) == 12);

// 5.2.12.12
struct acpi_raw_madt_x2apic {
    struct acpi_raw_entry entry;
    uint16_t reserved;
    uint32_t apic_id;
    uint32_t flags;
    uint32_t uid;
} __packed;
static_assert(sizeof(struct acpi_raw_madt_x2apic) == 16);

// 5.2.12.13
struct acpi_raw_madt_x2apic_nmi {
    struct acpi_raw_entry entry;
    uint16_t flags;
    uint32_t uid; // 0xffffffff: all
    uint8_t lint;
    uint8_t reserved[3];
} __packed;
static_assert(sizeof(struct acpi_raw_madt_x2apic_nmi) == 12);

// 5.2.9, Fixed ACPI Description Table. Older revisions end earlier; fields behind the end count as
// 0.
struct acpi_raw_fadt {
    struct acpi_raw_header header;
    uint32_t facs_address;
    uint32_t dsdt_address;
    uint8_t reserved0;
    uint8_t preferred_profile;
    uint16_t sci_interrupt;
    uint32_t smi_command_port;
    uint8_t acpi_enable;
    uint8_t acpi_disable;
    uint8_t s4bios_request;
    uint8_t pstate_control;
    uint32_t pm1a_event_block;
    uint32_t pm1b_event_block;
    uint32_t pm1a_control_block;
    uint32_t pm1b_control_block;
    uint32_t pm2_control_block;
    uint32_t pm_timer_block;
    uint32_t gpe0_block;
    uint32_t gpe1_block;
    uint8_t pm1_event_len;
    uint8_t pm1_control_len;
    uint8_t pm2_control_len;
    uint8_t pm_timer_len;
    uint8_t gpe0_len;
    uint8_t gpe1_len;
    uint8_t gpe1_base;
    uint8_t cstate_control;
    uint16_t c2_latency;
    uint16_t c3_latency;
    uint16_t flush_size;
    uint16_t flush_stride;
    uint8_t duty_offset;
    uint8_t duty_width;
    uint8_t day_alarm;
    uint8_t month_alarm;
    uint8_t century;
    uint16_t boot_flags;
    uint8_t reserved1;
    uint32_t flags;
    struct acpi_raw_address reset_register;
    uint8_t reset_value;
    uint16_t arm_boot_flags;
    uint8_t minor_version;
    uint64_t x_facs_address;
    uint64_t x_dsdt_address;
    struct acpi_raw_address x_pm1a_event;
    struct acpi_raw_address x_pm1b_event;
    struct acpi_raw_address x_pm1a_control;
    struct acpi_raw_address x_pm1b_control;
    struct acpi_raw_address x_pm2_control;
    struct acpi_raw_address x_pm_timer;
    struct acpi_raw_address x_gpe0;
    struct acpi_raw_address x_gpe1;
    struct acpi_raw_address sleep_control;
    struct acpi_raw_address sleep_status;
    uint64_t hypervisor_vendor;
} __packed;
static_assert(sizeof(struct acpi_raw_fadt) == 276);
static_assert(offsetof(struct acpi_raw_fadt, flags) == 112);
static_assert(offsetof(struct acpi_raw_fadt, x_pm1a_control) == 172);
static_assert(offsetof(struct acpi_raw_fadt, sleep_control) == 244);
#define ACPI_FADT_MIN_BYTES 116 // revision 1: up to and including flags

#define ACPI_FADT_TMR_VAL_EXT     BIT(8)
#define ACPI_FADT_RESET_REG_SUP   BIT(10)
#define ACPI_FADT_HW_REDUCED_ACPI BIT(20)

// PCI firmware specification 3.3, 4.1.2: followed by entries.
struct acpi_raw_mcfg {
    struct acpi_raw_header header;
    uint64_t reserved;
} __packed;
static_assert(sizeof(struct acpi_raw_mcfg) == 44);

struct acpi_raw_mcfg_entry {
    uint64_t base_address;
    uint16_t segment;
    uint8_t first_bus;
    uint8_t last_bus;
    uint32_t reserved;
} __packed;
static_assert(sizeof(struct acpi_raw_mcfg_entry) == 16);

// 5.2.16, System Resource Affinity Table: followed by entries.
struct acpi_raw_srat {
    struct acpi_raw_header header;
    uint32_t reserved0;
    uint64_t reserved1;
} __packed;
static_assert(sizeof(struct acpi_raw_srat) == 48);

#define ACPI_SRAT_TYPE_LAPIC  0
#define ACPI_SRAT_TYPE_MEMORY 1
#define ACPI_SRAT_TYPE_X2APIC 2

#define ACPI_SRAT_ENABLED              BIT(0)
#define ACPI_SRAT_MEMORY_HOT_PLUGGABLE BIT(1)
#define ACPI_SRAT_MEMORY_NON_VOLATILE  BIT(2)

// 5.2.16.1
struct acpi_raw_srat_lapic {
    struct acpi_raw_entry entry;
    uint8_t domain_low;
    uint8_t apic_id;
    uint32_t flags;
    uint8_t sapic_eid;
    uint8_t domain_high[3]; // valid from revision 2 on
    uint32_t clock_domain;
} __packed;
static_assert(sizeof(struct acpi_raw_srat_lapic) == 16);

// 5.2.16.2
struct acpi_raw_srat_memory {
    struct acpi_raw_entry entry;
    uint32_t domain;
    uint16_t reserved0;
    uint64_t start;
    uint64_t len;
    uint32_t reserved1;
    uint32_t flags;
    uint64_t reserved2;
} __packed;
static_assert(sizeof(struct acpi_raw_srat_memory) == 40);

// 5.2.16.3
struct acpi_raw_srat_x2apic {
    struct acpi_raw_entry entry;
    uint16_t reserved0;
    uint32_t domain;
    uint32_t apic_id;
    uint32_t flags;
    uint32_t clock_domain;
    uint32_t reserved1;
} __packed;
static_assert(sizeof(struct acpi_raw_srat_x2apic) == 24);

// 5.2.17, System Locality Information Table: followed by count * count bytes.
struct acpi_raw_slit {
    struct acpi_raw_header header;
    uint64_t count;
} __packed;
static_assert(sizeof(struct acpi_raw_slit) == 44);

// IA-PC HPET specification 1.0a, 3.2.4.
struct acpi_raw_hpet {
    struct acpi_raw_header header;
    uint32_t block_id;
    struct acpi_raw_address address;
    uint8_t number;
    uint16_t minimum_tick;
    uint8_t page_protection;
} __packed;
static_assert(sizeof(struct acpi_raw_hpet) == 56);
