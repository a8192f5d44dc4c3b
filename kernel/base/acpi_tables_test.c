// SPDX-License-Identifier: MIT
//
// acpi_tables.h on a small physical memory full of tables built here: what QEMU's firmware offers,
// then each thing that can be wrong with it, then random damage. The mapper hands out copies of
// exactly the size that was asked for, so that ASan sees every byte read outside.
#include "kernel/base/acpi_tables.h"

#include "kernel/base/acpi_layout.h"
#include "kernel/base/host/host_base.h"
#include "kernel/base/host/host_cmocka.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MEMORY_SIZE 0x10000
#define MAPS_MAX    256

struct memory {
    struct acpi_mapper mapper;
    uint8_t bytes[MEMORY_SIZE];
    size_t used;
    void *maps[MAPS_MAX];
    size_t map_count;
};

static struct memory memory;

static const void *map(struct acpi_mapper *mapper, uint64_t address, size_t len)
{
    assert_ptr_equal(mapper, &memory.mapper);
    assert_true(len > 0 && len <= ACPI_TABLE_SIZE_MAX);
    if (range_exceeds(address, len, MEMORY_SIZE)) {
        return nullptr;
    }
    void *copy = malloc(len);
    assert_non_null(copy);
    assert_true(memory.map_count < MAPS_MAX);
    memory.maps[memory.map_count++] = copy;
    memcpy(copy, memory.bytes + address, len);
    return copy;
}

static void unmap_all(void)
{
    while (memory.map_count > 0) {
        free(memory.maps[--memory.map_count]);
    }
}

static uint8_t sum(const uint8_t *bytes, size_t len)
{
    uint8_t total = 0;
    while (len-- > 0) {
        total = (uint8_t)(total + *bytes++);
    }
    return total;
}

static void fix_checksum(uint64_t address)
{
    uint32_t len;
    uint8_t *bytes = memory.bytes + address;
    memcpy(&len, bytes + 4, sizeof(len));
    bytes[9] = (uint8_t)(bytes[9] - sum(bytes, len));
}

// Places a table; the header is filled in. Returns its address.
static uint64_t place(const char *signature, uint8_t revision, const void *table, size_t len)
{
    uint64_t address = memory.used;
    struct acpi_raw_header header = {.len = (uint32_t)len, .revision = revision};
    assert_true(len >= sizeof(header) && memory.used + len <= MEMORY_SIZE);
    memcpy(header.signature, signature, 4);
    memcpy(memory.bytes + address, table, len);
    memcpy(memory.bytes + address, &header, sizeof(header));
    fix_checksum(address);
    memory.used += ALIGN_UP(len, 16) + 16;
    return address;
}

// A table under construction: fixed part, then entries.
struct builder {
    uint8_t bytes[2048];
    size_t len;
};

static void append(struct builder *builder, const void *bytes, size_t len)
{
    assert_true(builder->len + len <= sizeof(builder->bytes));
    memcpy(builder->bytes + builder->len, bytes, len);
    builder->len += len;
}

#define append_struct(builder, type, ...)                                                          \
    append(builder, &(struct type){__VA_ARGS__}, sizeof(struct type))

#define ENTRY(number, name) .entry = {.type = (number), .len = sizeof(struct name)}

static struct builder make_madt(void)
{
    struct builder madt = {};
    append_struct(&madt, acpi_raw_madt, .lapic_address = 0xfee00000, .flags = 1);
    append_struct(&madt, acpi_raw_madt_lapic, ENTRY(0, acpi_raw_madt_lapic), .uid = 1, .apic_id = 2,
        .flags = 1);
    append_struct(&madt, acpi_raw_madt_lapic, ENTRY(0, acpi_raw_madt_lapic), .uid = 3, .apic_id = 4,
        .flags = 2);
    append_struct(&madt, acpi_raw_madt_ioapic, ENTRY(1, acpi_raw_madt_ioapic), .id = 7,
        .address = 0xfec00000, .gsi_base = 24);
    append_struct(
        &madt, acpi_raw_madt_override, ENTRY(2, acpi_raw_madt_override), .source = 0, .gsi = 2);
    append(&madt, (uint8_t[]){0x7f, 5, 1, 2, 3}, 5); // unknown: skipped
    append_struct(&madt, acpi_raw_madt_override, ENTRY(2, acpi_raw_madt_override), .source = 9,
        .gsi = 9, .flags = 0xf);
    append_struct(
        &madt, acpi_raw_madt_nmi_source, ENTRY(3, acpi_raw_madt_nmi_source), .gsi = 5, .flags = 3);
    append_struct(
        &madt, acpi_raw_madt_lapic_nmi, ENTRY(4, acpi_raw_madt_lapic_nmi), .uid = 0xff, .lint = 1);
    append_struct(&madt, acpi_raw_madt_lapic_override, ENTRY(5, acpi_raw_madt_lapic_override),
        .address = 0x1fee00000);
    append_struct(&madt, acpi_raw_madt_x2apic, ENTRY(9, acpi_raw_madt_x2apic), .apic_id = 300,
        .uid = 400, .flags = 1);
    append_struct(&madt, acpi_raw_madt_x2apic_nmi, ENTRY(10, acpi_raw_madt_x2apic_nmi),
        .uid = UINT32_MAX, .lint = 1, .flags = 0xf);
    return madt;
}

static struct builder make_srat(void)
{
    struct builder srat = {};
    append_struct(&srat, acpi_raw_srat, .reserved0 = 1);
    append_struct(&srat, acpi_raw_srat_lapic, ENTRY(0, acpi_raw_srat_lapic), .domain_low = 1,
        .domain_high = {2, 3, 4}, .apic_id = 5, .flags = 1);
    append_struct(&srat, acpi_raw_srat_lapic, ENTRY(0, acpi_raw_srat_lapic), .apic_id = 6);
    append_struct(&srat, acpi_raw_srat_memory, ENTRY(1, acpi_raw_srat_memory), .domain = 1,
        .start = 0x100000000, .len = 0x40000000, .flags = 3);
    append_struct(&srat, acpi_raw_srat_memory, ENTRY(1, acpi_raw_srat_memory), .domain = 1,
        .start = 0x100, .flags = 1);
    append_struct(&srat, acpi_raw_srat_x2apic, ENTRY(2, acpi_raw_srat_x2apic), .domain = 9,
        .apic_id = 500, .flags = 1);
    return srat;
}

static struct acpi_raw_fadt make_fadt(uint64_t dsdt)
{
    return (struct acpi_raw_fadt){
        .dsdt_address = (uint32_t)dsdt,
        .facs_address = 0x2000,
        .sci_interrupt = 9,
        .smi_command_port = 0xb2,
        .acpi_enable = 2,
        .pm1a_event_block = 0x600,
        .pm1_event_len = 4,
        .pm1a_control_block = 0x604,
        .pm1_control_len = 2,
        .pm_timer_block = 0x608,
        .pm_timer_len = 4,
        .century = 0x32,
        .flags = ACPI_FADT_RESET_REG_SUP | ACPI_FADT_TMR_VAL_EXT,
        .reset_register = {.space = ACPI_SPACE_IO, .bit_width = 8, .address = 0xcf9},
        .reset_value = 0xf,
        .x_pm1b_control = {.space = ACPI_SPACE_MEMORY, .bit_width = 16, .address = 0x123456789},
    };
}

struct dsdt {
    struct acpi_raw_header header;
    uint8_t aml[40];
} __packed;

static struct dsdt make_dsdt(void)
{
    return (struct dsdt){.aml = {0x10, '_', 'S', '5', '_', 0x12, 0x08, '_', 'S', '5', '_', 0x12,
                             0x08, 0x04, 0x0a, 0x05, 0x0b, 0x0f, 0x00, 0x00, 0x00}};
}

// RSDP at 0xe0 (revision 2) with an XSDT, and RSDT with fewer tables. Returns the RSDP's address.
static uint64_t build_all(void)
{
    unmap_all();
    memset(&memory, 0, sizeof(memory));
    memory.mapper.map = map;
    memory.used = 0x1000;

    struct dsdt dsdt = make_dsdt();
    struct builder madt = make_madt();
    struct builder srat = make_srat();
    uint64_t dsdt_address = place("DSDT", 1, &dsdt, sizeof(dsdt));
    struct acpi_raw_fadt fadt = make_fadt(dsdt_address);
    uint64_t fadt_address = place("FACP", 6, &fadt, sizeof(fadt));
    uint64_t madt_address = place("APIC", 5, madt.bytes, madt.len);
    uint64_t srat_address = place("SRAT", 3, srat.bytes, srat.len);
    uint64_t ssdt_address = place("SSDT", 1, &dsdt, sizeof(dsdt));

    struct builder xsdt = {.len = sizeof(struct acpi_raw_header)};
    struct builder rsdt = {.len = sizeof(struct acpi_raw_header)};
    const uint64_t addresses[] = {
        fadt_address, madt_address, 0, UINT64_MAX, srat_address, ssdt_address, dsdt_address};
    for (size_t i = 0; i < ARRAY_SIZE(addresses); i++) {
        append(&xsdt, &addresses[i], 8);
    }
    append(&rsdt, &addresses[0], 4);
    struct acpi_raw_rsdp rsdp = {
        .signature = {'R', 'S', 'D', ' ', 'P', 'T', 'R', ' '},
        .revision = 2,
        .len = sizeof(rsdp),
        .xsdt_address = place("XSDT", 1, xsdt.bytes, xsdt.len),
        .rsdt_address = (uint32_t)place("RSDT", 1, rsdt.bytes, rsdt.len),
    };
    rsdp.checksum = (uint8_t)-sum((uint8_t *)&rsdp, 20);
    rsdp.extended_checksum = (uint8_t)-sum((uint8_t *)&rsdp, sizeof(rsdp));
    memcpy(memory.bytes + 0xe0, &rsdp, sizeof(rsdp));
    return 0xe0;
}

static struct acpi_table find(const char *signature)
{
    struct acpi_tables tables;
    struct acpi_table table;
    assert_int_equal(acpi_tables_open(&tables, &memory.mapper, 0xe0), 0);
    assert_int_equal(acpi_tables_find(&tables, signature, 0, &table), 0);
    return table;
}

static void tables_are_found(void **state)
{
    struct acpi_tables tables;
    struct acpi_table table;
    size_t offset;
    uint64_t rsdp = build_all();

    assert_int_equal(acpi_rsdp_search(memory.bytes, 0x200, &offset), 0);
    assert_int_equal(offset, rsdp);
    assert_int_equal(acpi_rsdp_search(memory.bytes, rsdp + 19, &offset), -ENOENT);
    assert_int_equal(acpi_tables_open(&tables, &memory.mapper, rsdp), 0);
    assert_int_equal(tables.count, 7);
    assert_int_equal(acpi_tables_find(&tables, "APIC", 0, &table), 0);
    assert_int_equal(table.len, make_madt().len);
    assert_int_equal(acpi_tables_find(&tables, "APIC", 1, &table), -ENOENT);
    assert_int_equal(acpi_tables_find(&tables, "SSDT", 0, &table), 0);
    assert_int_equal(acpi_tables_find(&tables, "HPET", 0, &table), -ENOENT);
    assert_int_equal(acpi_table_at(&tables, table.address, "DSDT", &table), -EINVAL);
    assert_int_equal(acpi_table_at(&tables, 0x1000, "DSDT", &table), 0);
    assert_int_equal(acpi_table_at(&tables, MEMORY_SIZE - 20, nullptr, &table), -EFAULT);
    assert_int_equal(acpi_table_at(&tables, UINT64_MAX - 20, nullptr, &table), -EFAULT);
    assert_int_equal(acpi_tables_open(&tables, &memory.mapper, 0), -EFAULT);
    assert_int_equal(acpi_tables_open(&tables, &memory.mapper, MEMORY_SIZE), -EFAULT);
    assert_int_equal(acpi_tables_open(&tables, &memory.mapper, 0x100), -EINVAL);
    unmap_all();
}

static void broken_xsdt_falls_back_to_rsdt(void **state)
{
    struct acpi_tables tables;
    uint64_t rsdp = build_all();
    memory.bytes[rsdp + 32] ^= 1; // extended checksum
    assert_int_equal(acpi_tables_open(&tables, &memory.mapper, rsdp), 0);
    assert_int_equal(tables.count, 1);
    memory.bytes[rsdp + 8] ^= 1; // checksum
    assert_int_equal(acpi_tables_open(&tables, &memory.mapper, rsdp), -EINVAL);
    unmap_all();
}

static void list_of_tables_is_limited(void **state)
{
    struct acpi_tables tables;
    build_all();
    struct builder xsdt = {.len = sizeof(struct acpi_raw_header)};
    for (uint64_t i = 0; i < ACPI_TABLES_MAX + 10; i++) {
        append(&xsdt, &i, sizeof(i));
    }
    uint64_t address = place("XSDT", 1, xsdt.bytes, xsdt.len);
    uint8_t *rsdp = memory.bytes + 0xe0;
    memcpy(rsdp + offsetof(struct acpi_raw_rsdp, xsdt_address), &address, sizeof(address));
    rsdp[32] = (uint8_t)(rsdp[32] - sum(rsdp, 36));
    assert_int_equal(acpi_tables_open(&tables, &memory.mapper, 0xe0), 0);
    assert_int_equal(tables.root_address, address);
    assert_int_equal(tables.count, ACPI_TABLES_MAX);
    assert_int_equal(tables.addresses[ACPI_TABLES_MAX - 1], ACPI_TABLES_MAX - 1);
    unmap_all();
}

static void bad_lengths_and_checksums_are_refused(void **state)
{
    struct acpi_tables tables;
    struct acpi_table table;
    uint32_t len;
    uint64_t rsdp = build_all();
    uint64_t address = find("APIC").address;

    assert_int_equal(acpi_tables_open(&tables, &memory.mapper, rsdp), 0);
    memory.bytes[address + 40] ^= 1;
    assert_int_equal(acpi_tables_find(&tables, "APIC", 0, &table), -EINVAL);
    memory.bytes[address + 40] ^= 1;
    assert_int_equal(acpi_tables_find(&tables, "APIC", 0, &table), 0);
    const uint32_t lens[] = {0, 35, ACPI_TABLE_SIZE_MAX + 1, UINT32_MAX};
    for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
        memcpy(memory.bytes + address + 4, &lens[i], 4);
        assert_int_equal(acpi_tables_find(&tables, "APIC", 0, &table), -EINVAL);
    }
    len = MEMORY_SIZE;
    memcpy(memory.bytes + address + 4, &len, 4);
    assert_int_equal(acpi_tables_find(&tables, "APIC", 0, &table), -EFAULT);
    unmap_all();
}

static void madt_is_decoded(void **state)
{
    struct acpi_madt madt;
    struct acpi_madt_entry entry;
    build_all();
    struct acpi_table table = find("APIC");

    assert_int_equal(acpi_madt_open(&madt, &table), 0);
    assert_int_equal(madt.lapic_address, 0xfee00000);
    assert_true(madt.has_8259);
    assert_int_equal(acpi_madt_next(&madt, &entry), 0);
    assert_int_equal(entry.kind, ACPI_MADT_CPU);
    assert_int_equal(entry.cpu.apic_id, 2);
    assert_int_equal(entry.cpu.uid, 1);
    assert_true(entry.cpu.is_enabled && !entry.cpu.is_online_capable);
    assert_int_equal(acpi_madt_next(&madt, &entry), 0);
    assert_true(!entry.cpu.is_enabled && entry.cpu.is_online_capable);
    assert_int_equal(acpi_madt_next(&madt, &entry), 0);
    assert_int_equal(entry.kind, ACPI_MADT_IOAPIC);
    assert_int_equal(entry.ioapic.id, 7);
    assert_int_equal(entry.ioapic.address, 0xfec00000);
    assert_int_equal(entry.ioapic.gsi_base, 24);
    assert_int_equal(acpi_madt_next(&madt, &entry), 0);
    assert_int_equal(entry.kind, ACPI_MADT_OVERRIDE);
    assert_int_equal(entry.override.gsi, 2);
    assert_true(!entry.override.is_active_low && !entry.override.is_level);
    assert_int_equal(acpi_madt_next(&madt, &entry), 0);
    assert_int_equal(entry.override.bus_irq, 9);
    assert_true(entry.override.is_active_low && entry.override.is_level);
    assert_int_equal(acpi_madt_next(&madt, &entry), 0);
    assert_int_equal(entry.kind, ACPI_MADT_IOAPIC_NMI);
    assert_int_equal(entry.ioapic_nmi.gsi, 5);
    assert_true(entry.ioapic_nmi.is_active_low && !entry.ioapic_nmi.is_level);
    assert_int_equal(acpi_madt_next(&madt, &entry), 0);
    assert_int_equal(entry.kind, ACPI_MADT_LOCAL_NMI);
    assert_int_equal(entry.local_nmi.uid, UINT32_MAX);
    assert_int_equal(entry.local_nmi.lint, 1);
    assert_int_equal(acpi_madt_next(&madt, &entry), 0);
    assert_int_equal(entry.kind, ACPI_MADT_LAPIC_ADDRESS);
    assert_int_equal(entry.lapic_address, 0x1fee00000);
    assert_int_equal(acpi_madt_next(&madt, &entry), 0);
    assert_int_equal(entry.kind, ACPI_MADT_CPU);
    assert_int_equal(entry.cpu.apic_id, 300);
    assert_int_equal(entry.cpu.uid, 400);
    assert_int_equal(acpi_madt_next(&madt, &entry), 0);
    assert_int_equal(entry.local_nmi.uid, UINT32_MAX);
    assert_true(entry.local_nmi.is_level);
    assert_int_equal(acpi_madt_next(&madt, &entry), -ENOENT);
    unmap_all();
}

// A MADT whose only entry has this length byte.
static int next_of_entry_len(uint8_t type, uint8_t entry_len, size_t room)
{
    struct builder builder = {};
    struct acpi_madt madt;
    struct acpi_madt_entry entry;
    append_struct(&builder, acpi_raw_madt, .flags = 0);
    append(&builder, (uint8_t[40]){type, entry_len}, room);
    struct acpi_table table = {.bytes = malloc(builder.len), .len = builder.len};
    assert_non_null(table.bytes);
    memcpy((void *)table.bytes, builder.bytes, builder.len);
    memcpy((void *)table.bytes, "APIC", 4);
    assert_int_equal(acpi_madt_open(&madt, &table), 0);
    int error = acpi_madt_next(&madt, &entry);
    free((void *)table.bytes);
    return error;
}

static void bad_madt_entries_are_refused(void **state)
{
    assert_int_equal(next_of_entry_len(0, 8, 8), 0);
    assert_int_equal(next_of_entry_len(0, 0, 8), -EINVAL);
    assert_int_equal(next_of_entry_len(0, 1, 8), -EINVAL);
    assert_int_equal(next_of_entry_len(0, 7, 8), -EINVAL);
    assert_int_equal(next_of_entry_len(0, 9, 8), -EINVAL);
    assert_int_equal(next_of_entry_len(9, 8, 8), -EINVAL);
    assert_int_equal(next_of_entry_len(0x55, 0, 8), -EINVAL); // would be skipped for ever
    assert_int_equal(next_of_entry_len(0x55, 8, 8), -ENOENT);
    assert_int_equal(next_of_entry_len(0, 8, 1), -EINVAL);
}

static void fadt_is_decoded(void **state)
{
    struct acpi_fadt fadt;
    build_all();
    struct acpi_table table = find("FACP");

    assert_int_equal(acpi_fadt_parse(&table, &fadt), 0);
    assert_int_equal(fadt.dsdt_address, 0x1000);
    assert_int_equal(fadt.pm1a_control.address, 0x604);
    assert_int_equal(fadt.pm1a_control.space, ACPI_SPACE_IO);
    assert_int_equal(fadt.pm1a_control.bit_width, 16);
    assert_int_equal(fadt.pm1b_control.address, 0x123456789);
    assert_int_equal(fadt.pm1b_control.space, ACPI_SPACE_MEMORY);
    assert_int_equal(fadt.pm1b_event.address, 0);
    assert_int_equal(fadt.pm_timer.address, 0x608);
    assert_true(fadt.has_reset);
    assert_int_equal(fadt.reset.address, 0xcf9);
    assert_int_equal(fadt.reset_value, 0xf);
    assert_false(fadt.is_hardware_reduced);
    assert_true(fadt.pm_timer_is_32_bit);
    assert_int_equal(fadt.sci_interrupt, 9);
    assert_int_equal(fadt.century_index, 0x32);

    assert_int_equal(fadt.facs_address, 0x2000);

    table.len = ACPI_FADT_MIN_BYTES; // revision 1: no reset register
    assert_int_equal(acpi_fadt_parse(&table, &fadt), 0);
    assert_false(fadt.has_reset);
    assert_int_equal(fadt.dsdt_address, 0x1000);
    assert_int_equal(fadt.pm1b_control.address, 0);
    table.len = ACPI_FADT_MIN_BYTES - 1;
    assert_int_equal(acpi_fadt_parse(&table, &fadt), -EINVAL);
    unmap_all();
}

static int find_s5(const uint8_t *aml, size_t len, struct acpi_sleep_type *type)
{
    struct acpi_table table = {.bytes = calloc(1, 36 + len), .len = 36 + len};
    assert_non_null(table.bytes);
    memcpy((uint8_t *)table.bytes + 36, aml, len);
    int error = acpi_s5_find(&table, type);
    free((void *)table.bytes);
    return error;
}

// What QEMU 7.2 writes for a device of a microvm, and every beginning of it.
static void virtio_devices_are_found_in_aml(void **state)
{
    static const uint8_t device[] = {0x5b, 0x82, 0x42, 0x04, 'V', 'R', '2', '3', 0x08, '_', 'H',
        'I', 'D', 0x0d, 'L', 'N', 'R', 'O', '0', '0', '0', '5', 0, 0x08, '_', 'U', 'I', 'D', 0x0a,
        0x17, 0x08, '_', 'C', 'C', 'A', 1, 0x08, '_', 'C', 'R', 'S', 0x11, 0x1a, 0x0a, 0x17, 0x86,
        0x09, 0, 1, 0, 0x2e, 0xb0, 0xfe, 0, 2, 0, 0, 0x89, 0x06, 0, 1, 1, 0x2f, 0, 0, 0, 0x79, 0};
    for (size_t len = 0; len <= 2 * sizeof(device); len++) {
        uint8_t *bytes = calloc(1, 36 + len);
        assert_non_null(bytes);
        for (size_t i = 0; i < len; i++)
            bytes[36 + i] = device[i % sizeof(device)];
        struct acpi_table table = {.bytes = bytes, .len = 36 + len};
        struct acpi_virtio_mmio found;
        size_t offset = 0, count = 0;
        while (acpi_virtio_mmio_next(&table, &offset, &found) == 0) {
            assert_int_equal(found.address, 0xfeb02e00);
            assert_int_equal(found.len_bytes, 0x200);
            assert_int_equal(found.gsi, 47);
            count++;
        }
        assert_int_equal(count, len / sizeof(device));
        free(bytes);
    }
}

static void s5_is_found_in_aml(void **state)
{
    struct acpi_sleep_type type;
    struct dsdt dsdt = make_dsdt();

    assert_int_equal(find_s5(dsdt.aml, sizeof(dsdt.aml), &type), 0);
    assert_int_equal(type.a, 5);
    assert_int_equal(type.b, 7);
    // What QEMU writes: Name (_S5, Package () {Zero, Zero, Zero, Zero}), also with the root's name.
    const uint8_t qemu[] = {0x08, '_', 'S', '5', '_', 0x12, 0x06, 0x04, 0, 0, 0, 0};
    assert_int_equal(find_s5(qemu, sizeof(qemu), &type), 0);
    assert_int_equal(type.a, 0);
    const uint8_t root[] = {0x08, '\\', '_', 'S', '5', '_', 0x12, 0x41, 0x01, 0x02, 1, 0xff};
    assert_int_equal(find_s5(root, sizeof(root), &type), 0);
    assert_int_equal(type.a, 1);
    assert_int_equal(type.b, 7);
    const uint8_t single[] = {0x08, '_', 'S', '5', '_', 0x12, 0x04, 0x01, 0x0a, 0x03};
    assert_int_equal(find_s5(single, sizeof(single), &type), 0);
    assert_int_equal(type.a, 3);
    assert_int_equal(type.b, 0);
    for (size_t len = 0; len < 10; len++) {
        assert_int_equal(find_s5(qemu, len, &type), -ENOENT);
    }
    for (size_t len = 0; len < sizeof(root); len++) {
        assert_int_equal(find_s5(root, len, &type), -ENOENT);
    }
}

static void mcfg_is_decoded(void **state)
{
    struct builder builder = {};
    struct acpi_mcfg mcfg;
    struct acpi_mcfg_entry entry;
    append_struct(&builder, acpi_raw_mcfg, .reserved = 0);
    append_struct(&builder, acpi_raw_mcfg_entry, .base_address = 0xb0000000, .segment = 1,
        .first_bus = 2, .last_bus = 255);
    append_struct(
        &builder, acpi_raw_mcfg_entry, .base_address = 0xb0000000, .first_bus = 2, .last_bus = 1);
    memcpy(builder.bytes, "MCFG", 4);
    struct acpi_table table = {.bytes = builder.bytes, .len = builder.len};
    assert_int_equal(acpi_mcfg_open(&mcfg, &table), 0);
    assert_int_equal(acpi_mcfg_next(&mcfg, &entry), 0);
    assert_int_equal(entry.base_address, 0xb0000000);
    assert_int_equal(entry.segment, 1);
    assert_int_equal(entry.first_bus, 2);
    assert_int_equal(entry.last_bus, 255);
    assert_int_equal(acpi_mcfg_next(&mcfg, &entry), -EINVAL);
    table.len -= sizeof(struct acpi_raw_mcfg_entry);
    assert_int_equal(acpi_mcfg_open(&mcfg, &table), 0);
    assert_int_equal(acpi_mcfg_next(&mcfg, &entry), 0);
    assert_int_equal(acpi_mcfg_next(&mcfg, &entry), -ENOENT);
    table.len--;
    assert_int_equal(acpi_mcfg_open(&mcfg, &table), 0);
    assert_int_equal(acpi_mcfg_next(&mcfg, &entry), -EINVAL);
}

static void srat_is_decoded(void **state)
{
    struct acpi_srat srat;
    struct acpi_srat_entry entry;
    build_all();
    struct acpi_table table = find("SRAT");

    assert_int_equal(acpi_srat_open(&srat, &table), 0);
    assert_int_equal(acpi_srat_next(&srat, &entry), 0);
    assert_int_equal(entry.kind, ACPI_SRAT_CPU);
    assert_int_equal(entry.apic_id, 5);
    assert_int_equal(entry.proximity_domain, 0x04030201);
    assert_int_equal(acpi_srat_next(&srat, &entry), 0); // the disabled CPU is skipped
    assert_int_equal(entry.kind, ACPI_SRAT_MEMORY);
    assert_int_equal(entry.memory.start, 0x100000000);
    assert_int_equal(entry.memory.len, 0x40000000);
    assert_true(entry.memory.is_hot_pluggable && !entry.memory.is_persistent);
    assert_int_equal(acpi_srat_next(&srat, &entry), 0); // and so is the empty memory
    assert_int_equal(entry.apic_id, 500);
    assert_int_equal(entry.proximity_domain, 9);
    assert_int_equal(acpi_srat_next(&srat, &entry), -ENOENT);
    unmap_all();
}

static int parse_slit(uint64_t count, const uint8_t *distances, size_t len, struct acpi_slit *slit)
{
    struct builder builder = {};
    append_struct(&builder, acpi_raw_slit, .count = count);
    append(&builder, distances, len);
    memcpy(builder.bytes, "SLIT", 4);
    struct acpi_table table = {.bytes = builder.bytes, .len = builder.len};
    return acpi_slit_parse(&table, slit);
}

static void slit_and_hpet_are_decoded(void **state)
{
    struct acpi_slit slit;
    struct acpi_hpet hpet;
    const uint8_t distances[] = {10, 20, 30, 10};
    assert_int_equal(parse_slit(2, distances, 4, &slit), 0);
    assert_int_equal(slit.count, 2);
    assert_int_equal(parse_slit(2, (uint8_t[]){10, 10, 10, 10}, 4, &slit), 0);
    assert_int_equal(parse_slit(2, distances, 3, &slit), -EINVAL);
    assert_int_equal(parse_slit(UINT64_MAX, distances, 4, &slit), -EINVAL);
    assert_int_equal(parse_slit(1ul << 32, distances, 4, &slit), -EINVAL);
    assert_int_equal(parse_slit(2, (uint8_t[]){10, 9, 30, 10}, 4, &slit), -EINVAL);
    assert_int_equal(parse_slit(2, (uint8_t[]){11, 20, 30, 10}, 4, &slit), -EINVAL);

    struct acpi_raw_hpet raw = {.address = {.address = 0xfed00000}, .number = 1};
    memcpy(raw.header.signature, "HPET", 4);
    struct acpi_table table = {.bytes = (uint8_t *)&raw, .len = sizeof(raw)};
    assert_int_equal(acpi_hpet_parse(&table, &hpet), 0);
    assert_int_equal(hpet.address, 0xfed00000);
    table.len--;
    assert_int_equal(acpi_hpet_parse(&table, &hpet), -EINVAL);
    table.len++;
    raw.header.signature[0] = 'X';
    assert_int_equal(acpi_hpet_parse(&table, &hpet), -EINVAL);
    raw.header.signature[0] = 'H';
    raw.address.space = ACPI_SPACE_IO;
    assert_int_equal(acpi_hpet_parse(&table, &hpet), -EINVAL);
}

// Each parser refuses tables of another kind, tables that are too short, and entries that are.
static void short_tables_are_refused(void **state)
{
    union {
        struct acpi_madt madt;
        struct acpi_fadt fadt;
        struct acpi_mcfg mcfg;
        struct acpi_srat srat;
        struct acpi_slit slit;
        struct acpi_hpet hpet;
    } out;
    struct acpi_srat srat;
    struct acpi_srat_entry entry;
    struct acpi_table checked;
    struct builder builder = {.len = sizeof(struct acpi_raw_header)};
    const struct acpi_table table = {.bytes = builder.bytes, .len = builder.len};

    for (int right_signature = 0; right_signature < 2; right_signature++) {
#define SIGN(signature) memcpy(builder.bytes, right_signature ? signature : "XXXX", 4)
        SIGN("APIC");
        assert_int_equal(acpi_madt_open(&out.madt, &table), -EINVAL);
        SIGN("FACP");
        assert_int_equal(acpi_fadt_parse(&table, &out.fadt), -EINVAL);
        SIGN("MCFG");
        assert_int_equal(acpi_mcfg_open(&out.mcfg, &table), -EINVAL);
        SIGN("SRAT");
        assert_int_equal(acpi_srat_open(&out.srat, &table), -EINVAL);
        SIGN("SLIT");
        assert_int_equal(acpi_slit_parse(&table, &out.slit), -EINVAL);
        SIGN("HPET");
        assert_int_equal(acpi_hpet_parse(&table, &out.hpet), -EINVAL);
#undef SIGN
    }
    assert_int_equal(acpi_table_check(builder.bytes, 35, nullptr, &checked), -EINVAL);
    for (uint32_t len = 0; len < 40; len++) {
        // Checksums are right throughout: only the length decides.
        struct acpi_raw_header header = {.len = len};
        header.checksum = (uint8_t)-sum((uint8_t *)&header, sizeof(header));
        int error = acpi_table_check(&header, sizeof(header), nullptr, &checked);
        assert_int_equal(error, len == sizeof(header) ? 0 : -EINVAL);
    }

    static const uint8_t lens[] = {0, 1, sizeof(struct acpi_raw_srat_lapic) - 1};
    for (uint8_t type = ACPI_SRAT_TYPE_LAPIC; type <= ACPI_SRAT_TYPE_X2APIC + 1; type++) {
        for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
            struct builder bytes = {};
            append_struct(&bytes, acpi_raw_srat, .reserved0 = 1);
            append(&bytes, (uint8_t[16]){type, lens[i]}, lens[i] + 1);
            memcpy(bytes.bytes, "SRAT", 4);
            struct acpi_table short_table = {.bytes = bytes.bytes, .len = bytes.len};
            assert_int_equal(acpi_srat_open(&srat, &short_table), 0);
            assert_int_equal(acpi_srat_next(&srat, &entry), -EINVAL);
        }
    }
    struct builder bytes = {};
    append_struct(&bytes, acpi_raw_srat, .reserved0 = 1);
    append(&bytes, (uint8_t[]){0x55, 3, 0}, 3); // unknown: skipped
    append_struct(&bytes, acpi_raw_srat_x2apic, ENTRY(2, acpi_raw_srat_x2apic), .flags = 0);
    append_struct(&bytes, acpi_raw_srat_memory, ENTRY(1, acpi_raw_srat_memory), .start = UINT64_MAX,
        .len = 2, .flags = 1);
    memcpy(bytes.bytes, "SRAT", 4);
    struct acpi_table wrapping = {.bytes = bytes.bytes, .len = bytes.len};
    assert_int_equal(acpi_srat_open(&srat, &wrapping), 0);
    assert_int_equal(acpi_srat_next(&srat, &entry), -EINVAL);
}

// Damage with right checksums, so that the parsers are reached; ends are all that is checked, by
// ASan.
static void damage_does_no_harm(void **state)
{
    struct prng prng = host_seed(__func__);
    for (int round = 0; round < 5000; round++) {
        uint64_t rsdp = build_all();
        for (uint64_t flips = prng_below(&prng, 6) + 1; flips > 0; flips--) {
            memory.bytes[0x1000 + prng_below(&prng, memory.used - 0x1000)] =
                (uint8_t)prng_u64(&prng);
        }
        struct acpi_tables tables;
        struct acpi_table table;
        for (uint64_t at = 0x1000; at < memory.used; at += 16) {
            uint32_t len;
            memcpy(&len, memory.bytes + at + 4, 4);
            if (len >= 36 && len < MEMORY_SIZE - at && memory.bytes[at] >= 'A') {
                fix_checksum(at);
            }
        }
        if (acpi_tables_open(&tables, &memory.mapper, rsdp) == 0) {
            struct acpi_madt madt;
            struct acpi_madt_entry madt_entry;
            struct acpi_srat srat;
            struct acpi_srat_entry srat_entry;
            struct acpi_fadt fadt;
            struct acpi_sleep_type type;
            if (acpi_tables_find(&tables, "APIC", 0, &table) == 0 &&
                acpi_madt_open(&madt, &table) == 0) {
                while (acpi_madt_next(&madt, &madt_entry) == 0) {
                }
            }
            if (acpi_tables_find(&tables, "SRAT", 0, &table) == 0 &&
                acpi_srat_open(&srat, &table) == 0) {
                while (acpi_srat_next(&srat, &srat_entry) == 0) {
                }
            }
            if (acpi_tables_find(&tables, "FACP", 0, &table) == 0 &&
                acpi_fadt_parse(&table, &fadt) == 0 &&
                acpi_table_at(&tables, fadt.dsdt_address, "DSDT", &table) == 0) {
                (void)!acpi_s5_find(&table, &type);
            }
        }
        unmap_all();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_are_found),
        cmocka_unit_test(broken_xsdt_falls_back_to_rsdt),
        cmocka_unit_test(list_of_tables_is_limited),
        cmocka_unit_test(bad_lengths_and_checksums_are_refused),
        cmocka_unit_test(madt_is_decoded),
        cmocka_unit_test(bad_madt_entries_are_refused),
        cmocka_unit_test(fadt_is_decoded),
        cmocka_unit_test(s5_is_found_in_aml),
        cmocka_unit_test(virtio_devices_are_found_in_aml),
        cmocka_unit_test(mcfg_is_decoded),
        cmocka_unit_test(srat_is_decoded),
        cmocka_unit_test(slit_and_hpet_are_decoded),
        cmocka_unit_test(short_tables_are_refused),
        cmocka_unit_test(damage_does_no_harm),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
