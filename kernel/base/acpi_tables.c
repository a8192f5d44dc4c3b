// SPDX-License-Identifier: MIT
//
// Finding ACPI tables: RSDP, then XSDT or RSDT, then whatever these list (ACPI 6.5, 5.2.1). A table
// is mapped twice: its header, to learn the length, then the whole of it. Nothing is kept but
// addresses, so that the caller can give mappings back when it has read what it wants.
//
// Which list is used: with revision 2 or later the XSDT, whose addresses have 64 bits, if RSDP and
// XSDT have right sums; else the RSDT. Both list the same tables where both are right.
#include "kernel/base/acpi_tables.h"

#include "kernel/base/acpi_layout.h"
#include "kernel/base/assert.h"
#include "kernel/base/string.h"

#include <linux/errno.h>

// All bytes of a table add up to 0 modulo 256.
static bool checksum_is_right(const uint8_t *bytes, size_t len)
{
    uint8_t sum = 0;
    for (size_t i = 0; i < len; i++) {
        sum = (uint8_t)(sum + bytes[i]);
    }
    return sum == 0;
}

// The first 20 bytes of an RSDP of any revision.
static bool rsdp_is_right(const uint8_t *bytes)
{
    return memcmp(bytes, "RSD PTR ", 8) == 0 && checksum_is_right(bytes, ACPI_RSDP_V1_BYTES);
}

// The structure lies on a 16-byte boundary (5.2.5.1).
int acpi_rsdp_search(const void *bytes, size_t len, size_t *offset)
{
    for (size_t at = 0; !range_exceeds(at, ACPI_RSDP_V1_BYTES, len); at += 16) {
        // The first eight bytes decide nearly always, and there are thousands of places to look at.
        const uint8_t *candidate = (const uint8_t *)bytes + at;
        if (load_unaligned_u64(candidate) == load_unaligned_u64("RSD PTR ") &&
            rsdp_is_right(candidate)) {
            *offset = at;
            return 0;
        }
    }
    return -ENOENT;
}

// The length is checked before it is used for the sum, against what can be read and against a
// limit of our own.
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

// The header is copied before its length is used for the second mapping; acpi_table_check then
// looks at the length in the mapping itself, which limits it once more: a host that changes it
// in between gains nothing.
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

// Revision 2 and later have an XSDT with 64-bit addresses. Broken firmware exists that has the
// revision but no valid XSDT, hence the second try with the RSDT.
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

// Goes through the list with headers only and checks just the table that matches. Addresses that
// cannot be mapped are passed over: one bad entry must not hide the good ones.
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
