// SPDX-License-Identifier: MIT
//
// Finding ACPI tables: RSDP, then XSDT or RSDT, then whatever these list. A table is mapped twice:
// its header, to learn the length, then the whole of it.
#include "kernel/base/acpi_tables.h"

#include "kernel/base/acpi_layout.h"
#include "kernel/base/assert.h"
#include "kernel/base/string.h"

#include <linux/errno.h>

static bool checksum_is_right(const uint8_t *bytes, size_t len)
{
    uint8_t sum = 0;
    for (size_t i = 0; i < len; i++) {
        sum = (uint8_t)(sum + bytes[i]);
    }
    return sum == 0;
}

static bool rsdp_is_right(const uint8_t *bytes)
{
    return memcmp(bytes, "RSD PTR ", 8) == 0 && checksum_is_right(bytes, ACPI_RSDP_V1_BYTES);
}

int acpi_rsdp_search(const void *bytes, size_t len, size_t *offset)
{
    for (size_t at = 0; !range_exceeds(at, ACPI_RSDP_V1_BYTES, len); at += 16) {
        if (rsdp_is_right((const uint8_t *)bytes + at)) {
            *offset = at;
            return 0;
        }
    }
    return -ENOENT;
}

int acpi_table_check(const void *bytes, size_t len, const char *signature, struct acpi_table *table)
{
    struct acpi_raw_header header;

    if (len < sizeof(header)) {
        return -EINVAL;
    }
    memcpy(&header, bytes, sizeof(header));
    if (signature != nullptr && memcmp(header.signature, signature, 4) != 0) {
        return -EINVAL;
    }
    if (header.len < sizeof(header) || header.len > len || header.len > ACPI_TABLE_SIZE_MAX) {
        return -EINVAL;
    }
    if (!checksum_is_right(bytes, header.len)) {
        return -EINVAL;
    }
    *table = (struct acpi_table){.bytes = bytes, .len = header.len};
    return 0;
}

// Maps the header at an address. NULL if that is not possible.
static const void *map_header(struct acpi_mapper *mapper, uint64_t address)
{
    if (address == 0 || range_overflows(address, ACPI_TABLE_SIZE_MAX)) {
        return nullptr;
    }
    return mapper->map(mapper, address, sizeof(struct acpi_raw_header));
}

int acpi_table_at(const struct acpi_tables *tables, uint64_t address, const char *signature,
    struct acpi_table *table)
{
    struct acpi_raw_header header;
    const void *bytes = map_header(tables->mapper, address);

    if (bytes == nullptr) {
        return -EFAULT;
    }
    memcpy(&header, bytes, sizeof(header));
    if (header.len < sizeof(header) || header.len > ACPI_TABLE_SIZE_MAX) {
        return -EINVAL;
    }
    size_t len = header.len;
    bytes = tables->mapper->map(tables->mapper, address, len);
    if (bytes == nullptr) {
        return -EFAULT;
    }
    int error = acpi_table_check(bytes, len, signature, table);
    table->address = address;
    return error;
}

// Takes over the addresses of an XSDT (8 bytes each) or RSDT (4 bytes each).
static int open_root(struct acpi_tables *tables, uint64_t address, bool is_xsdt)
{
    struct acpi_table root;
    size_t size = is_xsdt ? sizeof(uint64_t) : sizeof(uint32_t);
    int error = acpi_table_at(tables, address, is_xsdt ? "XSDT" : "RSDT", &root);

    if (error != 0) {
        return error;
    }
    tables->root_address = address;
    tables->count = 0;
    for (size_t at = sizeof(struct acpi_raw_header);
        !range_exceeds(at, size, root.len) && tables->count < ACPI_TABLES_MAX; at += size) {
        uint64_t entry = 0;
        memcpy(&entry, root.bytes + at, size); // little-endian: the upper half stays 0
        tables->addresses[tables->count++] = entry;
    }
    return 0;
}

int acpi_tables_open(struct acpi_tables *tables, struct acpi_mapper *mapper, uint64_t rsdp_address)
{
    struct acpi_raw_rsdp rsdp = {};

    *tables = (struct acpi_tables){.mapper = mapper};
    if (rsdp_address == 0 || range_overflows(rsdp_address, sizeof(rsdp))) {
        return -EFAULT;
    }
    const void *bytes = mapper->map(mapper, rsdp_address, ACPI_RSDP_V1_BYTES);
    if (bytes == nullptr) {
        return -EFAULT;
    }
    if (!rsdp_is_right(bytes)) {
        return -EINVAL;
    }
    memcpy(&rsdp, bytes, ACPI_RSDP_V1_BYTES);
    if (rsdp.revision >= 2) {
        bytes = mapper->map(mapper, rsdp_address, sizeof(rsdp));
        if (bytes != nullptr && checksum_is_right(bytes, sizeof(rsdp))) {
            memcpy(&rsdp, bytes, sizeof(rsdp));
            if (open_root(tables, rsdp.xsdt_address, true) == 0) {
                return 0;
            }
        }
    }
    return open_root(tables, rsdp.rsdt_address, false);
}

int acpi_tables_find(const struct acpi_tables *tables, const char *signature, unsigned int instance,
    struct acpi_table *table)
{
    assert(strlen(signature) == 4);
    assert(tables->count <= ACPI_TABLES_MAX);
    for (uint32_t i = 0; i < tables->count; i++) {
        const void *header = map_header(tables->mapper, tables->addresses[i]);
        if (header == nullptr || memcmp(header, signature, 4) != 0 || instance-- > 0) {
            continue;
        }
        return acpi_table_at(tables, tables->addresses[i], signature, table);
    }
    return -ENOENT;
}
