// SPDX-License-Identifier: MIT
//
// Any bytes as the physical memory that holds the ACPI tables, RSDP at 0x10. Checksums are made
// right first, or the fuzzer would never get past them: of the RSDP, and of every table when its
// bytes are mapped in full.
#include "kernel/base/acpi_layout.h"
#include "kernel/base/acpi_tables.h"
#include "kernel/base/assert.h"
#include "kernel/base/numa.h"
#include "kernel/base/string.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

#define RSDP_ADDRESS 0x10
#define MAPS_MAX     2000

struct memory {
    struct acpi_mapper mapper;
    const uint8_t *bytes;
    size_t size;
    void *maps[MAPS_MAX];
    size_t map_count;
};

static void fix_sum(uint8_t *bytes, size_t len, size_t checksum_offset)
{
    uint8_t sum = 0;
    for (size_t i = 0; i < len; i++) {
        sum = (uint8_t)(sum + bytes[i]);
    }
    bytes[checksum_offset] = (uint8_t)(bytes[checksum_offset] - sum);
}

// Copies of the exact size, so that ASan sees what is read outside.
static const void *map(struct acpi_mapper *mapper, uint64_t address, size_t len)
{
    struct memory *memory = container_of(mapper, struct memory, mapper);
    assert(len > 0);
    assert(len <= ACPI_TABLE_SIZE_MAX);
    if (range_exceeds(address, len, memory->size) || memory->map_count == MAPS_MAX) {
        return nullptr;
    }
    uint8_t *copy = malloc(len);
    memcpy(copy, memory->bytes + address, len);
    memory->maps[memory->map_count++] = copy;
    if (address == RSDP_ADDRESS) {
        fix_sum(copy, ACPI_RSDP_V1_BYTES, offsetof(struct acpi_raw_rsdp, checksum));
        fix_sum(copy, len, offsetof(struct acpi_raw_rsdp, oem_id) + (len > 20 ? 23 : 0));
    } else {
        fix_sum(copy, len, offsetof(struct acpi_raw_header, checksum));
    }
    return copy;
}

// The nodes that SRAT and SLIT describe; whatever they say, there must be nodes to work with.
static void parse_nodes(const struct acpi_tables *tables, struct acpi_table *table)
{
    static struct numa numa;
    struct acpi_srat srat;
    struct acpi_srat_entry entry;
    struct acpi_slit slit;
    uint32_t node;

    numa_init(&numa);
    if (acpi_tables_find(tables, "SRAT", 0, table) == 0 && acpi_srat_open(&srat, table) == 0) {
        while (acpi_srat_next(&srat, &entry) == 0) {
            int error = entry.kind == ACPI_SRAT_CPU
                            ? numa_node_of_domain(&numa, entry.proximity_domain, &node)
                            : numa_add_memory(&numa, entry.proximity_domain, entry.memory.start,
                                  entry.memory.len);
            assert(error == 0 || numa.incomplete);
        }
    }
    bool has_slit =
        acpi_tables_find(tables, "SLIT", 0, table) == 0 && acpi_slit_parse(table, &slit) == 0;
    int error = numa_settle(&numa, has_slit ? &slit : nullptr);
    assert(error == 0 || numa.node_count == 1);
    assert(numa_is_valid(&numa));
}

static void parse_cpus(const struct acpi_tables *tables, struct acpi_table *table)
{
    struct acpi_madt madt;
    struct acpi_madt_entry madt_entry;
    struct acpi_srat srat;
    struct acpi_srat_entry srat_entry;
    size_t count = 0;

    if (acpi_tables_find(tables, "APIC", 0, table) == 0 && acpi_madt_open(&madt, table) == 0) {
        while (acpi_madt_next(&madt, &madt_entry) == 0) {
            assert(++count <= table->len);
        }
    }
    if (acpi_tables_find(tables, "SRAT", 0, table) == 0 && acpi_srat_open(&srat, table) == 0) {
        while (acpi_srat_next(&srat, &srat_entry) == 0) {
            assert(srat_entry.kind == ACPI_SRAT_CPU ||
                   !range_overflows(srat_entry.memory.start, srat_entry.memory.len));
        }
    }
}

static void parse_devices(const struct acpi_tables *tables, struct acpi_table *table)
{
    struct acpi_fadt fadt;
    struct acpi_sleep_type type;
    struct acpi_mcfg mcfg;
    struct acpi_mcfg_entry entry;
    struct acpi_slit slit;
    struct acpi_hpet hpet;

    if (acpi_tables_find(tables, "FACP", 0, table) == 0 && acpi_fadt_parse(table, &fadt) == 0 &&
        acpi_table_at(tables, fadt.dsdt_address, "DSDT", table) == 0 &&
        acpi_s5_find(table, &type) == 0) {
        assert(type.a < 8);
        assert(type.b < 8);
    }
    struct acpi_virtio_mmio virtio;
    size_t offset = 0;
    for (size_t before = 0;
         acpi_tables_find(tables, "FACP", 0, table) == 0 && acpi_fadt_parse(table, &fadt) == 0 &&
         acpi_table_at(tables, fadt.dsdt_address, "DSDT", table) == 0 &&
         acpi_virtio_mmio_next(table, &offset, &virtio) == 0;
         before = offset) {
        assert(offset > before);
        assert(offset <= table->len);
    }
    if (acpi_tables_find(tables, "MCFG", 0, table) == 0 && acpi_mcfg_open(&mcfg, table) == 0) {
        while (acpi_mcfg_next(&mcfg, &entry) == 0) {
            assert(entry.first_bus <= entry.last_bus);
        }
    }
    if (acpi_tables_find(tables, "SLIT", 0, table) == 0 && acpi_slit_parse(table, &slit) == 0 &&
        slit.count > 0) {
        assert(slit.distances[(size_t)slit.count * slit.count - 1] == 10);
    }
    if (acpi_tables_find(tables, "HPET", 0, table) == 0 && acpi_hpet_parse(table, &hpet) == 0) {
        assert(hpet.address != 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct memory memory = {.mapper = {.map = map}, .bytes = bytes, .size = size};
    struct acpi_tables tables;
    struct acpi_table table;
    size_t offset;

    if (acpi_rsdp_search(bytes, size, &offset) == 0) {
        assert(offset + ACPI_RSDP_V1_BYTES <= size);
    }
    if (acpi_tables_open(&tables, &memory.mapper, RSDP_ADDRESS) == 0) {
        assert(tables.count <= ACPI_TABLES_MAX);
        parse_cpus(&tables, &table);
        parse_nodes(&tables, &table);
        parse_devices(&tables, &table);
    }
    while (memory.map_count > 0) {
        free(memory.maps[--memory.map_count]);
    }
    return 0;
}
