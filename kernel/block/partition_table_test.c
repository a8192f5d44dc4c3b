// SPDX-License-Identifier: MIT
// Claim: GPT and MBR tables that sfdisk's layout describes are found, with the second copy of a GPT
// where the first is broken; broken ones give no partitions.
// Method: tables put together here, one field wrong at a time.
#include "kernel/base/host/host_base.h"
#include "kernel/base/host/host_cmocka.h"
#include "kernel/block/partition_table.h"

#include <string.h>

#define SECTORS 4096u

static uint8_t disk[SECTORS * 512];
static uint8_t work[4096];
static struct partition_table table;
static int read_error;

static int read_disk(struct partition_reader *reader, uint64_t offset, void *to, size_t len)
{
    (void)reader;
    assert_true(offset + len <= sizeof(disk));
    memcpy(to, disk + offset, len);
    return read_error;
}

static int scan(void)
{
    struct partition_reader reader = {
        .read = read_disk, .block_bytes = 512, .sector_count = SECTORS, .buffer = work};
    return partition_table_read(&reader, &table);
}

static void put32(size_t at, uint32_t value)
{
    memcpy(disk + at, &value, 4);
}
static void put64(size_t at, uint64_t value)
{
    memcpy(disk + at, &value, 8);
}

static void put_mbr(size_t sector, unsigned slot, uint8_t type, uint32_t start, uint32_t count)
{
    const size_t at = sector * 512 + 446 + slot * 16;
    disk[at + 4] = type;
    put32(at + 8, start);
    put32(at + 12, count);
    disk[sector * 512 + 510] = 0x55;
    disk[sector * 512 + 511] = 0xaa;
}

static uint32_t crc32(const uint8_t *bytes, size_t len)
{
    uint32_t crc = ~0u;
    for (size_t i = 0; i < len; i++) {
        crc ^= bytes[i];
        for (unsigned bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

static void put_gpt(size_t lba, size_t entries)
{
    const size_t at = lba * 512, entry = entries * 512 + 128; // the second one
    memset(disk + entries * 512, 0, 4 * 128);
    disk[entry] = 1;
    disk[entry + 16] = 0x78;
    put64(entry + 32, 100);
    put64(entry + 40, 199);
    memcpy(disk + entry + 56, "r\0o\0\xe4\0t\0", 8);
    memcpy(disk + at, "EFI PART", 8);
    put32(at + 8, 0x10000);
    put32(at + 12, 92);
    put64(at + 24, lba);
    put64(at + 40, 40);
    put64(at + 48, SECTORS - 40);
    put64(at + 72, entries);
    put32(at + 80, 4);
    put32(at + 84, 128);
    put32(at + 88, crc32(disk + entries * 512, 4 * 128));
    put32(at + 16, 0);
    put32(at + 16, crc32(disk + at, 92));
}

static void nothing_is_nothing(void **state)
{
    (void)state;
    memset(disk, 0, sizeof(disk));
    assert_int_equal(scan(), 0);
    assert_null(table.type);
    read_error = -5;
    assert_int_equal(scan(), -5);
    read_error = 0;
}

static void mbr_with_logical_ones(void **state)
{
    (void)state;
    memset(disk, 0, sizeof(disk));
    put_mbr(0, 0, 0x83, 63, 100);
    put_mbr(0, 1, 0x05, 1000, 2000);
    put_mbr(0, 2, 0x83, 5000, 10);   // beyond the end
    put_mbr(0, 3, 0x83, 4000, 1000); // is cut
    put_mbr(1000, 0, 0x83, 63, 100);
    put_mbr(1000, 1, 0x05, 500, 300);
    put_mbr(1500, 0, 0x82, 10, 50);
    put_mbr(1500, 1, 0x05, 0, 300); // back: a loop
    assert_int_equal(scan(), 0);
    assert_string_equal(table.type, "dos");
    assert_int_equal(table.count, 5);
    static const uint32_t expected[5][3] = {
        {1, 63, 100}, {2, 1000, 2}, {4, 4000, 96}, {5, 1063, 100}, {6, 1510, 50}};
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(table.entries[i].number, expected[i][0]);
        assert_int_equal(table.entries[i].start_sector, expected[i][1]);
        assert_int_equal(table.entries[i].sector_count, expected[i][2]);
    }
}

static void check_gpt(void)
{
    assert_int_equal(scan(), 0);
    assert_string_equal(table.type, "gpt");
    assert_int_equal(table.count, 1);
    assert_int_equal(table.entries[0].number, 2);
    assert_int_equal(table.entries[0].start_sector, 100);
    assert_int_equal(table.entries[0].sector_count, 100);
    assert_string_equal(table.entries[0].label, "ro\xc3\xa4t");
    assert_string_equal(table.entries[0].uuid, "00000078-0000-0000-0000-000000000000");
}

static void gpt_and_its_copy(void **state)
{
    (void)state;
    memset(disk, 0, sizeof(disk));
    put_mbr(0, 0, 0xee, 1, SECTORS - 1);
    put_gpt(1, 2);
    check_gpt();
    put_gpt(SECTORS - 1, SECTORS - 34);
    disk[512 + 56]++; // the first header's checksum is wrong
    check_gpt();
    disk[(SECTORS - 34) * 512 + 300]++; // and the second one's entries
    assert_int_equal(scan(), 0);
    assert_null(table.type);
    assert_int_equal(table.count, 0);
}

// A header is refused for each field that is out of range, though its checksum is right.
static void gpt_fields_are_checked(void **state)
{
    (void)state;
    static const struct {
        size_t offset;
        uint64_t value;
        bool wide;
    } fields[] = {{12, 91, false}, {12, 600, false}, {24, 2, true}, {40, SECTORS, true},
        {48, SECTORS, true}, {72, SECTORS, true}, {72, UINT64_MAX, true}, {80, 0, false},
        {80, 129, false}, {84, 127, false}};
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        memset(disk, 0, sizeof(disk));
        put_mbr(0, 0, 0xee, 1, SECTORS - 1);
        put_gpt(1, 2);
        if (fields[i].wide)
            put64(512 + fields[i].offset, fields[i].value);
        else
            put32(512 + fields[i].offset, (uint32_t)fields[i].value);
        put32(512 + 16, 0);
        put32(512 + 16, crc32(disk + 512, 92));
        assert_int_equal(scan(), 0);
        assert_int_equal(table.count, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_nothing),
        cmocka_unit_test(mbr_with_logical_ones),
        cmocka_unit_test(gpt_and_its_copy),
        cmocka_unit_test(gpt_fields_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
