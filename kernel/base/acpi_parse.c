// SPDX-License-Identifier: MIT
//
// Contents of single ACPI tables. What has been checked when these functions are called is what
// acpi_table_check says: the table is as long as its header says, and its sum is right. A right sum
// proves nothing about who wrote it: the host may send anything.
//
// Rules that all parsers follow:
//   1. A structure is copied out of the table before a field of it is looked at. Tables have no
//      alignment, and nobody can change a copy between its check and its use.
//   2. Before a copy, offset and length are compared with the table's length by range_exceeds,
//      which cannot overflow.
//   3. An iterator moves forwards with every call or ends; an entry of length 0 is malformed.
//   4. What is not understood is skipped if the specification allows it to be there (unknown entry
//      types, later versions of a structure), and refused otherwise.
//   5. Results are plain numbers. Whether an address may be mapped or a CPU number is too great is
//      for the caller to decide, who knows its limits.
#include "kernel/base/acpi_layout.h"
#include "kernel/base/acpi_tables.h"
#include "kernel/base/assert.h"
#include "kernel/base/string.h"

#include <linux/errno.h>

// Is this the kind of table that the caller thinks? Each parser asks, so that a table found for
// one purpose cannot be read as another.
static bool has_signature(const struct acpi_table *table, const char *signature)
{
    debug_assert(table->len >= sizeof(struct acpi_raw_header));
    return memcmp(table->bytes, signature, 4) == 0;
}

// Next entry with a type and length byte of MADT or SRAT, of at least the header's two bytes.
static int next_entry(const uint8_t *bytes, size_t len, size_t offset, struct acpi_raw_entry *entry)
{
    if (offset == len) {
        return -ENOENT;
    }
    if (range_exceeds(offset, sizeof(*entry), len)) {
        return -EINVAL;
    }
    memcpy(entry, bytes + offset, sizeof(*entry));
    if (entry->len < sizeof(*entry) || range_exceeds(offset, entry->len, len)) {
        return -EINVAL;
    }
    return 0;
}

// ---- MADT

// The fixed part; entries begin right behind it.
int acpi_madt_open(struct acpi_madt *madt, const struct acpi_table *table)
{
    struct acpi_raw_madt raw;

    if (!has_signature(table, "APIC") || table->len < sizeof(raw)) {
        return -EINVAL;
    }
    memcpy(&raw, table->bytes, sizeof(raw));
    *madt = (struct acpi_madt){
        .bytes = table->bytes,
        .len = table->len,
        .offset = sizeof(raw),
        .lapic_address = raw.lapic_address,
        .has_8259 = (raw.flags & 1) != 0,
    };
    return 0;
}

// Polarity and trigger of an interrupt; what "as the bus" means is what ISA does: high, edge.
static bool is_active_low(uint16_t flags)
{
    return (flags & 3) == 3;
}

// Trigger mode: 3 is level, 1 is edge, 0 is what the bus does (edge), 2 is reserved and taken
// for edge.
static bool is_level(uint16_t flags)
{
    return (flags >> 2 & 3) == 3;
}

// The decoders below are given an entry of at least their structure's size (the table of
// decoders says so).
// A CPU with an 8-bit APIC id, 5.2.12.2.
static void decode_lapic(const uint8_t *bytes, struct acpi_madt_entry *entry)
{
    struct acpi_raw_madt_lapic raw;
    memcpy(&raw, bytes, sizeof(raw));
    entry->kind = ACPI_MADT_CPU;
    entry->cpu.apic_id = raw.apic_id;
    entry->cpu.uid = raw.uid;
    entry->cpu.is_enabled = (raw.flags & 1) != 0;
    entry->cpu.is_online_capable = (raw.flags & 2) != 0;
}

// A CPU with a 32-bit APIC id, 5.2.12.12. Firmware uses it for ids of 255 and more, some for
// all.
static void decode_x2apic(const uint8_t *bytes, struct acpi_madt_entry *entry)
{
    struct acpi_raw_madt_x2apic raw;
    memcpy(&raw, bytes, sizeof(raw));
    entry->kind = ACPI_MADT_CPU;
    entry->cpu.apic_id = raw.apic_id;
    entry->cpu.uid = raw.uid;
    entry->cpu.is_enabled = (raw.flags & 1) != 0;
    entry->cpu.is_online_capable = (raw.flags & 2) != 0;
}

// An I/O APIC and the first global interrupt that it serves, 5.2.12.3.
static void decode_ioapic(const uint8_t *bytes, struct acpi_madt_entry *entry)
{
    struct acpi_raw_madt_ioapic raw;
    memcpy(&raw, bytes, sizeof(raw));
    entry->kind = ACPI_MADT_IOAPIC;
    entry->ioapic.address = raw.address;
    entry->ioapic.id = raw.id;
    entry->ioapic.gsi_base = raw.gsi_base;
}

// An ISA interrupt that is not wired to the global interrupt of the same number (the timer: 0 to
// 2), 5.2.12.5.
static void decode_override(const uint8_t *bytes, struct acpi_madt_entry *entry)
{
    struct acpi_raw_madt_override raw;
    memcpy(&raw, bytes, sizeof(raw));
    entry->kind = ACPI_MADT_OVERRIDE;
    entry->override.gsi = raw.gsi;
    entry->override.bus_irq = raw.source;
    entry->override.is_active_low = is_active_low(raw.flags);
    entry->override.is_level = is_level(raw.flags);
}

// A global interrupt that is to be programmed as NMI, 5.2.12.6.
static void decode_nmi_source(const uint8_t *bytes, struct acpi_madt_entry *entry)
{
    struct acpi_raw_madt_nmi_source raw;
    memcpy(&raw, bytes, sizeof(raw));
    entry->kind = ACPI_MADT_IOAPIC_NMI;
    entry->ioapic_nmi.gsi = raw.gsi;
    entry->ioapic_nmi.is_active_low = is_active_low(raw.flags);
    entry->ioapic_nmi.is_level = is_level(raw.flags);
}

// The pin of local APICs where NMIs arrive, 5.2.12.7. 0xff is how 8 bits say "all processors".
static void decode_lapic_nmi(const uint8_t *bytes, struct acpi_madt_entry *entry)
{
    struct acpi_raw_madt_lapic_nmi raw;
    memcpy(&raw, bytes, sizeof(raw));
    entry->kind = ACPI_MADT_LOCAL_NMI;
    entry->local_nmi.uid = raw.uid == 0xff ? UINT32_MAX : raw.uid;
    entry->local_nmi.lint = raw.lint;
    entry->local_nmi.is_active_low = is_active_low(raw.flags);
    entry->local_nmi.is_level = is_level(raw.flags);
}

// The same for processors with 32-bit ids, 5.2.12.13.
static void decode_x2apic_nmi(const uint8_t *bytes, struct acpi_madt_entry *entry)
{
    struct acpi_raw_madt_x2apic_nmi raw;
    memcpy(&raw, bytes, sizeof(raw));
    entry->kind = ACPI_MADT_LOCAL_NMI;
    entry->local_nmi.uid = raw.uid;
    entry->local_nmi.lint = raw.lint;
    entry->local_nmi.is_active_low = is_active_low(raw.flags);
    entry->local_nmi.is_level = is_level(raw.flags);
}

// Takes the place of the 32-bit address in the table's fixed part, 5.2.12.8.
static void decode_lapic_override(const uint8_t *bytes, struct acpi_madt_entry *entry)
{
    struct acpi_raw_madt_lapic_override raw;
    memcpy(&raw, bytes, sizeof(raw));
    entry->kind = ACPI_MADT_LAPIC_ADDRESS;
    entry->lapic_address = raw.address;
}

// Entry type -> its size and who decodes it.
static const struct madt_decoder {
    uint8_t type;
    uint8_t size;
    void (*decode)(const uint8_t *bytes, struct acpi_madt_entry *entry);
} madt_decoders[] = {
    {ACPI_MADT_TYPE_LAPIC, sizeof(struct acpi_raw_madt_lapic), decode_lapic},
    {ACPI_MADT_TYPE_IOAPIC, sizeof(struct acpi_raw_madt_ioapic), decode_ioapic},
    {ACPI_MADT_TYPE_OVERRIDE, sizeof(struct acpi_raw_madt_override), decode_override},
    {ACPI_MADT_TYPE_NMI_SOURCE, sizeof(struct acpi_raw_madt_nmi_source), decode_nmi_source},
    {ACPI_MADT_TYPE_LAPIC_NMI, sizeof(struct acpi_raw_madt_lapic_nmi), decode_lapic_nmi},
    {ACPI_MADT_TYPE_LAPIC_OVERRIDE, sizeof(struct acpi_raw_madt_lapic_override),
        decode_lapic_override},
    {ACPI_MADT_TYPE_X2APIC, sizeof(struct acpi_raw_madt_x2apic), decode_x2apic},
    {ACPI_MADT_TYPE_X2APIC_NMI, sizeof(struct acpi_raw_madt_x2apic_nmi), decode_x2apic_nmi},
};

// An entry of a kind that we know must be at least as long as its structure (later versions may
// append); of an unknown one only the length counts. The loop ends, because every entry moves
// the offset by at least two bytes.
int acpi_madt_next(struct acpi_madt *madt, struct acpi_madt_entry *entry)
{
    for (;;) {
        struct acpi_raw_entry raw;
        int error = next_entry(madt->bytes, madt->len, madt->offset, &raw);
        if (error != 0) {
            return error;
        }
        const uint8_t *bytes = madt->bytes + madt->offset;
        for (size_t i = 0; i < ARRAY_SIZE(madt_decoders); i++) {
            const struct madt_decoder *decoder = &madt_decoders[i];
            if (decoder->type != raw.type) {
                continue;
            }
            if (raw.len < decoder->size) {
                return -EINVAL;
            }
            *entry = (struct acpi_madt_entry){};
            decoder->decode(bytes, entry);
            madt->offset += raw.len;
            return 0;
        }
        madt->offset += raw.len;
    }
}

// ---- FADT

// Addresses stay as they are: whether a register is reachable is for its user to decide.
static struct acpi_address decode_address(const struct acpi_raw_address *raw)
{
    return (struct acpi_address){
        .address = raw->address,
        .space = raw->space,
        .bit_width = raw->bit_width,
        .bit_offset = raw->bit_offset,
        .access_size = raw->access_size,
    };
}

// The 64-bit form of a register block if it is given, else the port of the old form.
static struct acpi_address choose_block(
    const struct acpi_raw_address *extended, uint32_t port, uint8_t len)
{
    if (extended->address != 0) {
        return decode_address(extended);
    }
    return (struct acpi_address){
        .address = port,
        .space = ACPI_SPACE_IO,
        .bit_width = (uint8_t)MIN(len * 8, 255),
    };
}

// Fields that an older table does not have read as 0, which means "not there" for every one of
// them: the structure is cleared, then as much as there is is copied over it.
int acpi_fadt_parse(const struct acpi_table *table, struct acpi_fadt *fadt)
{
    struct acpi_raw_fadt raw = {};

    if (!has_signature(table, "FACP") || table->len < ACPI_FADT_MIN_BYTES) {
        return -EINVAL;
    }
    memcpy(&raw, table->bytes, MIN(table->len, sizeof(raw)));
    *fadt = (struct acpi_fadt){
        .dsdt_address = raw.x_dsdt_address != 0 ? raw.x_dsdt_address : raw.dsdt_address,
        .facs_address = raw.x_facs_address != 0 ? raw.x_facs_address : raw.facs_address,
        .pm1a_event = choose_block(&raw.x_pm1a_event, raw.pm1a_event_block, raw.pm1_event_len),
        .pm1b_event = choose_block(&raw.x_pm1b_event, raw.pm1b_event_block, raw.pm1_event_len),
        .pm1a_control =
            choose_block(&raw.x_pm1a_control, raw.pm1a_control_block, raw.pm1_control_len),
        .pm1b_control =
            choose_block(&raw.x_pm1b_control, raw.pm1b_control_block, raw.pm1_control_len),
        .pm_timer = choose_block(&raw.x_pm_timer, raw.pm_timer_block, raw.pm_timer_len),
        .reset = decode_address(&raw.reset_register),
        .sleep_control = decode_address(&raw.sleep_control),
        .sleep_status = decode_address(&raw.sleep_status),
        .flags = raw.flags,
        .smi_command_port = raw.smi_command_port,
        .sci_interrupt = raw.sci_interrupt,
        .boot_flags = raw.boot_flags,
        .acpi_enable = raw.acpi_enable,
        .reset_value = raw.reset_value,
        .century_index = raw.century,
        .has_reset = (raw.flags & ACPI_FADT_RESET_REG_SUP) != 0 && raw.reset_register.address != 0,
        .is_hardware_reduced = (raw.flags & ACPI_FADT_HW_REDUCED_ACPI) != 0,
        .pm_timer_is_32_bit = (raw.flags & ACPI_FADT_TMR_VAL_EXT) != 0,
    };
    return 0;
}

// ---- \_S5

// AML encoding, ACPI 6.5, 20.2.
#define AML_ZERO_OP    0x00
#define AML_ONE_OP     0x01
#define AML_NAME_OP    0x08
#define AML_BYTE       0x0a
#define AML_WORD       0x0b
#define AML_DWORD      0x0c
#define AML_PACKAGE_OP 0x12
#define AML_ONES_OP    0xff

struct aml_bytes {
    const uint8_t *at;
    size_t left;
};

// The next byte, if there is one.
static bool aml_take(struct aml_bytes *aml, uint8_t *byte)
{
    if (aml->left == 0) {
        return false;
    }
    *byte = *aml->at++;
    aml->left--;
    return true;
}

// A constant integer; only its low byte matters. 20.2.3, ComputationalData.
static bool aml_take_constant(struct aml_bytes *aml, uint8_t *value)
{
    uint8_t op;
    if (!aml_take(aml, &op)) {
        return false;
    }
    if (op == AML_ZERO_OP || op == AML_ONE_OP || op == AML_ONES_OP) {
        *value = op;
        return true;
    }
    size_t size = op == AML_BYTE ? 1 : op == AML_WORD ? 2 : op == AML_DWORD ? 4 : 0;
    if (size == 0 || aml->left < size) {
        return false;
    }
    *value = aml->at[0];
    aml->at += size;
    aml->left -= size;
    return true;
}

// PackageOp PkgLength NumElements SLP_TYPa SLP_TYPb ...; 20.2.5.4 and 20.2.4.
static bool aml_take_s5_package(struct aml_bytes *aml, struct acpi_sleep_type *type)
{
    uint8_t op;
    uint8_t lead;
    uint8_t count;
    uint8_t a;
    uint8_t b = 0;

    if (!aml_take(aml, &op) || op != AML_PACKAGE_OP || !aml_take(aml, &lead)) {
        return false;
    }
    // Bits 6-7 of the lead byte: how many more bytes the length has. The length itself is not
    // needed.
    for (uint8_t more = lead >> 6; more > 0; more--) {
        uint8_t ignored;
        if (!aml_take(aml, &ignored)) {
            return false;
        }
    }
    if (!aml_take(aml, &count) || count < 1 || !aml_take_constant(aml, &a)) {
        return false;
    }
    if (count > 1 && !aml_take_constant(aml, &b)) {
        return false;
    }
    // Old firmware with one element packs both into it.
    type->a = a & 7;
    type->b = b & 7;
    return true;
}

// Every place where the name occurs is tried, since "_S5_" may also be data or a reference to
// the object. The tables are some ten kilobytes, so looking at every byte is cheap, and it is
// done once, before the machine is switched off or at boot.
int acpi_s5_find(const struct acpi_table *table, struct acpi_sleep_type *type)
{
    const size_t name_len = 4;
    for (size_t at = sizeof(struct acpi_raw_header) + 1; !range_exceeds(at, name_len, table->len);
        at++) {
        const uint8_t *name = table->bytes + at;
        if (memcmp(name, "_S5_", name_len) != 0) {
            continue;
        }
        // Before it NameOp, perhaps with the root's backslash between.
        bool is_name = name[-1] == AML_NAME_OP ||
                       (name[-1] == '\\' && at >= sizeof(struct acpi_raw_header) + 2 &&
                           name[-2] == AML_NAME_OP);
        struct aml_bytes aml = {.at = name + name_len, .left = table->len - at - name_len};
        if (is_name && aml_take_s5_package(&aml, type)) {
            return 0;
        }
    }
    return -ENOENT;
}

// ---- virtio-mmio devices

#define AML_STRING     0x0d
#define AML_BUFFER_OP  0x11
#define HID_BYTES      14 // _HID, string, LNRO0005, 0
#define CRS_SEARCH_MAX 64 // _CRS follows within so many bytes: _UID and _CCA lie between

// Large resource items, ACPI 6.5, 6.4.3.
#define RESOURCE_MEMORY32  0x86 // fixed range: flags, base, length
#define RESOURCE_INTERRUPT 0x89 // flags, count, numbers

static uint32_t load_u32(const uint8_t *bytes)
{
    return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

// Reads a list of resources up to the first item that is none of ours. True: both were there.
static bool read_resources(const uint8_t *at, size_t left, struct acpi_virtio_mmio *device)
{
    bool has_memory = false, has_interrupt = false;
    while (left >= 3 && (at[0] == RESOURCE_MEMORY32 || at[0] == RESOURCE_INTERRUPT)) {
        size_t len = 3 + (at[1] | (size_t)at[2] << 8);
        if (len > left) {
            return false;
        }
        if (at[0] == RESOURCE_MEMORY32 && len >= 12) {
            device->address = load_u32(at + 4);
            device->len_bytes = load_u32(at + 8);
            has_memory = true;
        } else if (at[0] == RESOURCE_INTERRUPT && len >= 9 && at[4] >= 1) {
            device->gsi = load_u32(at + 5);
            has_interrupt = true;
        }
        at += len;
        left -= len;
    }
    return has_memory && has_interrupt;
}

// The resources of the device whose _HID ends before `at`: Name (_CRS, Buffer (length) {...}).
static bool find_resources(
    const struct acpi_table *table, size_t at, struct acpi_virtio_mmio *device)
{
    static const uint8_t name[] = {AML_NAME_OP, '_', 'C', 'R', 'S', AML_BUFFER_OP};
    for (size_t i = at; i < at + CRS_SEARCH_MAX && !range_exceeds(i, sizeof(name), table->len);
        i++) {
        if (memcmp(table->bytes + i, name, sizeof(name)) != 0) {
            continue;
        }
        // PkgLength and BufferSize of a byte each: the list is short.
        i += sizeof(name);
        if (range_exceeds(i, 3, table->len) || table->bytes[i + 1] != AML_BYTE) {
            return false;
        }
        size_t len = table->bytes[i + 2];
        return !range_exceeds(i + 3, len, table->len) &&
               read_resources(table->bytes + i + 3, len, device);
    }
    return false;
}

int acpi_virtio_mmio_next(
    const struct acpi_table *table, size_t *offset, struct acpi_virtio_mmio *device)
{
    static const uint8_t hid[HID_BYTES] = {
        '_', 'H', 'I', 'D', AML_STRING, 'L', 'N', 'R', 'O', '0', '0', '0', '5', 0};
    size_t at = MAX(*offset, sizeof(struct acpi_raw_header));
    for (; !range_exceeds(at, sizeof(hid), table->len); at++) {
        if (memcmp(table->bytes + at, hid, sizeof(hid)) != 0) {
            continue;
        }
        *offset = at + sizeof(hid);
        if (find_resources(table, *offset, device)) {
            return 0;
        }
    }
    *offset = table->len;
    return -ENOENT;
}

// ---- MCFG

// The fixed part; entries of a fixed size follow.
int acpi_mcfg_open(struct acpi_mcfg *mcfg, const struct acpi_table *table)
{
    if (!has_signature(table, "MCFG") || table->len < sizeof(struct acpi_raw_mcfg)) {
        return -EINVAL;
    }
    *mcfg = (struct acpi_mcfg){
        .bytes = table->bytes, .len = table->len, .offset = sizeof(struct acpi_raw_mcfg)};
    return 0;
}

// One segment group and its buses. What is refused here would become a mapping of the wrong
// memory.
int acpi_mcfg_next(struct acpi_mcfg *mcfg, struct acpi_mcfg_entry *entry)
{
    struct acpi_raw_mcfg_entry raw;

    if (mcfg->offset == mcfg->len) {
        return -ENOENT;
    }
    if (range_exceeds(mcfg->offset, sizeof(raw), mcfg->len)) {
        return -EINVAL;
    }
    memcpy(&raw, mcfg->bytes + mcfg->offset, sizeof(raw));
    // 1 MiB for each bus, counted from bus 0.
    if (raw.first_bus > raw.last_bus || !IS_ALIGNED(raw.base_address, 1ul << 20) ||
        range_overflows(raw.base_address, ((uint64_t)raw.last_bus + 1) << 20)) {
        return -EINVAL;
    }
    *entry = (struct acpi_mcfg_entry){
        .base_address = raw.base_address,
        .segment = raw.segment,
        .first_bus = raw.first_bus,
        .last_bus = raw.last_bus,
    };
    mcfg->offset += sizeof(raw);
    return 0;
}

// ---- SRAT

// The fixed part; entries with type and length follow.
int acpi_srat_open(struct acpi_srat *srat, const struct acpi_table *table)
{
    if (!has_signature(table, "SRAT") || table->len < sizeof(struct acpi_raw_srat)) {
        return -EINVAL;
    }
    *srat = (struct acpi_srat){
        .bytes = table->bytes, .len = table->len, .offset = sizeof(struct acpi_raw_srat)};
    return 0;
}

// The decoders return 0 and *entry, -ENOENT for an entry to be skipped, or -EINVAL.

// CPU by 8-bit APIC id, 5.2.16.1. Revision 1 left the upper bytes of the domain undefined.
static int decode_srat_lapic(
    const struct acpi_srat *srat, size_t entry_len, struct acpi_srat_entry *entry)
{
    struct acpi_raw_srat_lapic raw;
    if (entry_len < sizeof(raw)) {
        return -EINVAL;
    }
    memcpy(&raw, srat->bytes + srat->offset, sizeof(raw));
    if ((raw.flags & ACPI_SRAT_ENABLED) == 0) {
        return -ENOENT;
    }
    uint8_t revision = srat->bytes[offsetof(struct acpi_raw_header, revision)];
    entry->kind = ACPI_SRAT_CPU;
    entry->apic_id = raw.apic_id;
    entry->proximity_domain = raw.domain_low;
    if (revision >= 2) {
        entry->proximity_domain |= (uint32_t)raw.domain_high[0] << 8 |
                                   (uint32_t)raw.domain_high[1] << 16 |
                                   (uint32_t)raw.domain_high[2] << 24;
    }
    return 0;
}

// CPU by 32-bit APIC id, 5.2.16.3.
static int decode_srat_x2apic(
    const struct acpi_srat *srat, size_t entry_len, struct acpi_srat_entry *entry)
{
    struct acpi_raw_srat_x2apic raw;
    if (entry_len < sizeof(raw)) {
        return -EINVAL;
    }
    memcpy(&raw, srat->bytes + srat->offset, sizeof(raw));
    if ((raw.flags & ACPI_SRAT_ENABLED) == 0) {
        return -ENOENT;
    }
    entry->kind = ACPI_SRAT_CPU;
    entry->apic_id = raw.apic_id;
    entry->proximity_domain = raw.domain;
    return 0;
}

// Memory of a node, 5.2.16.2. Empty slots for memory modules appear as entries of length 0.
static int decode_srat_memory(
    const struct acpi_srat *srat, size_t entry_len, struct acpi_srat_entry *entry)
{
    struct acpi_raw_srat_memory raw;
    if (entry_len < sizeof(raw)) {
        return -EINVAL;
    }
    memcpy(&raw, srat->bytes + srat->offset, sizeof(raw));
    if ((raw.flags & ACPI_SRAT_ENABLED) == 0 || raw.len == 0) {
        return -ENOENT;
    }
    if (range_overflows(raw.start, raw.len)) {
        return -EINVAL;
    }
    entry->kind = ACPI_SRAT_MEMORY;
    entry->proximity_domain = raw.domain;
    entry->memory.start = raw.start;
    entry->memory.len = raw.len;
    entry->memory.is_hot_pluggable = (raw.flags & ACPI_SRAT_MEMORY_HOT_PLUGGABLE) != 0;
    entry->memory.is_persistent = (raw.flags & ACPI_SRAT_MEMORY_NON_VOLATILE) != 0;
    return 0;
}

// Progress as in acpi_madt_next: every entry is at least two bytes long.
int acpi_srat_next(struct acpi_srat *srat, struct acpi_srat_entry *entry)
{
    for (;;) {
        struct acpi_raw_entry raw;
        int error = next_entry(srat->bytes, srat->len, srat->offset, &raw);
        if (error != 0) {
            return error;
        }
        *entry = (struct acpi_srat_entry){};
        switch (raw.type) {
        case ACPI_SRAT_TYPE_LAPIC:
            error = decode_srat_lapic(srat, raw.len, entry);
            break;
        case ACPI_SRAT_TYPE_X2APIC:
            error = decode_srat_x2apic(srat, raw.len, entry);
            break;
        case ACPI_SRAT_TYPE_MEMORY:
            error = decode_srat_memory(srat, raw.len, entry);
            break;
        default:
            error = -ENOENT;
            break;
        }
        if (error == -EINVAL) {
            return error;
        }
        srat->offset += raw.len;
        if (error == 0) {
            return 0;
        }
    }
}

// ---- SLIT

// A matrix that breaks the rules of 5.2.17 is refused as a whole: with distances that make no
// sense, none is better (all nodes are then equally far).
int acpi_slit_parse(const struct acpi_table *table, struct acpi_slit *slit)
{
    const uint8_t self = 10; // distance to oneself
    struct acpi_raw_slit raw;

    if (!has_signature(table, "SLIT") || table->len < sizeof(raw)) {
        return -EINVAL;
    }
    memcpy(&raw, table->bytes, sizeof(raw));
    // The table is at most 16 MiB long, so that a valid count is at most 4096.
    if (raw.count > 4096 || raw.count * raw.count > table->len - sizeof(raw)) {
        return -EINVAL;
    }
    const uint8_t *distances = table->bytes + sizeof(raw);
    for (uint64_t from = 0; from < raw.count; from++) {
        for (uint64_t to = 0; to < raw.count; to++) {
            uint8_t distance = distances[from * raw.count + to];
            if (from == to ? distance != self : distance < self) {
                return -EINVAL;
            }
        }
    }
    *slit = (struct acpi_slit){.distances = distances, .count = (uint32_t)raw.count};
    return 0;
}

// ---- HPET

// Only the place of the registers is taken from the table; what the timer can do is read from
// it.
int acpi_hpet_parse(const struct acpi_table *table, struct acpi_hpet *hpet)
{
    struct acpi_raw_hpet raw;

    if (!has_signature(table, "HPET") || table->len < sizeof(raw)) {
        return -EINVAL;
    }
    memcpy(&raw, table->bytes, sizeof(raw));
    if (raw.address.space != ACPI_SPACE_MEMORY || raw.address.address == 0) {
        return -EINVAL;
    }
    *hpet = (struct acpi_hpet){.address = raw.address.address, .number = raw.number};
    return 0;
}
