// SPDX-License-Identifier: MIT
// Partition tables.
#include "kernel/block/partition_table.h"
#include "kernel/base/fmt.h"
#include "kernel/base/string.h"
#include <linux/errno.h>

#define SECTOR_BYTES      512u
#define BUFFER_BYTES      4096u
#define MBR_TABLE         446
#define MBR_DISK_ID       440
#define MBR_MAGIC         510
#define MBR_TYPE_EXTENDED 0x05 // and 0x0f, 0x85
#define MBR_TYPE_GPT      0xee
#define LOGICAL_FIRST     5 // number of the first logical partition
#define LOGICAL_MAX       60
#define GPT_ENTRIES_MAX   128

struct mbr_entry {
    uint8_t status, first_chs[3], type, last_chs[3];
    uint8_t start[4], count[4]; // little endian, in logical blocks
};
static_assert(sizeof(struct mbr_entry) == 16);

struct gpt_header {
    uint8_t signature[8];
    uint32_t revision, header_bytes, header_crc, reserved;
    uint64_t my_lba, alternate_lba, first_usable_lba, last_usable_lba;
    uint8_t disk_guid[16];
    uint64_t entries_lba;
    uint32_t entry_count, entry_bytes, entries_crc;
} __attribute__((packed));
static_assert(sizeof(struct gpt_header) == 92);

struct gpt_entry {
    uint8_t type_guid[16], guid[16];
    uint64_t first_lba, last_lba, attributes;
    uint16_t name[36];
} __attribute__((packed));
static_assert(sizeof(struct gpt_entry) == 128);

static uint32_t crc32(uint32_t crc, const void *data, size_t len)
{
    const uint8_t *bytes = data;
    for (size_t i = 0; i < len; i++) {
        crc ^= bytes[i];
        for (unsigned bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return crc;
}

static uint32_t get_u32(const uint8_t *bytes)
{
    uint32_t value;
    memcpy(&value, bytes, sizeof(value));
    return value;
}

// Adds [start, start + count) in logical blocks, unless it does not lie on the device.
static void add(struct partition_reader *reader, struct partition_table *table, uint32_t number,
    uint64_t start, uint64_t count)
{
    const uint64_t scale = reader->block_bytes / SECTOR_BYTES;
    const uint64_t blocks = reader->sector_count / scale;
    if (table->count == PARTITION_TABLE_MAX || count == 0 || start == 0 || start >= blocks)
        return;
    count = MIN(count, blocks - start); // as Linux: cut where the device ends
    struct partition_entry *entry = &table->entries[table->count++];
    memset(entry, 0, sizeof(*entry));
    entry->number = number;
    entry->start_sector = start * scale;
    entry->sector_count = count * scale;
}

static int read_block(struct partition_reader *reader, uint64_t block, size_t len)
{
    const uint64_t blocks = reader->sector_count / (reader->block_bytes / SECTOR_BYTES);
    const uint64_t needed = DIV_ROUND_UP(len, reader->block_bytes);
    if (block >= blocks || needed > blocks - block)
        return -ERANGE;
    return reader->read(
        reader, block * reader->block_bytes, reader->buffer, needed * reader->block_bytes);
}

// ---- MBR ----

static bool has_mbr_magic(const uint8_t *sector)
{
    return sector[MBR_MAGIC] == 0x55 && sector[MBR_MAGIC + 1] == 0xaa;
}

static bool is_extended(uint8_t type)
{
    return type == MBR_TYPE_EXTENDED || type == 0x0f || type == 0x85;
}

static void set_mbr_uuid(struct partition_table *table, uint32_t before, uint32_t disk_id)
{
    for (uint32_t i = before; i < table->count; i++)
        (void)fmt_snprintf(table->entries[i].uuid, sizeof(table->entries[i].uuid), "%08x-%02x",
            disk_id, table->entries[i].number);
}

// The chain of extended boot records that begins at block `base`; it may lead anywhere, also back.
static int read_logical(struct partition_reader *reader, struct partition_table *table,
    uint64_t base, uint64_t base_count)
{
    uint64_t at = base;
    uint32_t number = LOGICAL_FIRST;
    for (unsigned i = 0; i < LOGICAL_MAX; i++) {
        int error = read_block(reader, at, SECTOR_BYTES);
        if (error != 0)
            return error == -ERANGE ? 0 : error;
        const uint8_t *sector = reader->buffer;
        if (!has_mbr_magic(sector))
            return 0;
        struct mbr_entry entries[2];
        memcpy(entries, sector + MBR_TABLE, sizeof(entries));
        const uint64_t count = get_u32(entries[0].count);
        const uint64_t start = get_u32(entries[0].start);
        if (entries[0].type != 0 && count != 0 && !is_extended(entries[0].type)) {
            if (at - base + start + count <= base_count)
                add(reader, table, number, at + start, count);
            number++;
        }
        const uint64_t next = base + get_u32(entries[1].start);
        if (!is_extended(entries[1].type) || get_u32(entries[1].count) == 0 || next <= at)
            return 0; // chains ascend: one that does not is a loop
        at = next;
    }
    return 0;
}

static int read_mbr(
    struct partition_reader *reader, struct partition_table *table, const uint8_t *sector)
{
    struct mbr_entry entries[4];
    memcpy(entries, sector + MBR_TABLE, sizeof(entries));
    const uint32_t disk_id = get_u32(sector + MBR_DISK_ID);
    for (unsigned i = 0; i < ARRAY_SIZE(entries); i++) {
        if (entries[i].status & 0x7f)
            return 0; // a boot sector of a file system
    }
    table->type = "dos";
    for (unsigned i = 0; i < ARRAY_SIZE(entries); i++) {
        const uint64_t start = get_u32(entries[i].start), count = get_u32(entries[i].count);
        if (entries[i].type == 0 || count == 0)
            continue;
        // Of an extended partition only the boot record is shown, so that nobody formats it.
        if (is_extended(entries[i].type))
            add(reader, table, i + 1, start,
                MIN(count, (uint64_t)MAX(2 * SECTOR_BYTES / reader->block_bytes, 1u)));
        else
            add(reader, table, i + 1, start, count);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(entries); i++) {
        const uint64_t start = get_u32(entries[i].start), count = get_u32(entries[i].count);
        if (is_extended(entries[i].type) && count != 0) {
            int error = read_logical(reader, table, start, count);
            if (error != 0)
                return error;
        }
    }
    set_mbr_uuid(table, 0, disk_id);
    return 0;
}

// ---- GPT ----

static void format_guid(char text[37], const uint8_t guid[16])
{
    (void)fmt_snprintf(text, 37,
        "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", guid[3], guid[2],
        guid[1], guid[0], guid[5], guid[4], guid[7], guid[6], guid[8], guid[9], guid[10], guid[11],
        guid[12], guid[13], guid[14], guid[15]);
}

// UTF-16LE to UTF-8; what can't be expressed, and control characters, become '_'.
static void format_label(char *text, const struct gpt_entry *entry)
{
    size_t len = 0;
    for (unsigned i = 0; i < ARRAY_SIZE(entry->name); i++) {
        const uint16_t unit = entry->name[i];
        if (unit == 0)
            break;
        if (unit < 0x20 || unit == 0x7f || (unit >= 0xd800 && unit < 0xe000)) {
            text[len++] = '_';
        } else if (unit < 0x80) {
            text[len++] = (char)unit;
        } else if (unit < 0x800) {
            text[len++] = (char)(0xc0 | unit >> 6);
            text[len++] = (char)(0x80 | (unit & 0x3f));
        } else {
            text[len++] = (char)(0xe0 | unit >> 12);
            text[len++] = (char)(0x80 | (unit >> 6 & 0x3f));
            text[len++] = (char)(0x80 | (unit & 0x3f));
        }
    }
    text[len] = 0;
}

// The header at block `lba`, checked. 0, -EINVAL: not one, or a read error.
static int read_gpt_header(struct partition_reader *reader, uint64_t lba, struct gpt_header *header)
{
    int error = read_block(reader, lba, SECTOR_BYTES);
    if (error != 0)
        return error == -ERANGE ? -EINVAL : error;
    memcpy(header, reader->buffer, sizeof(*header));
    if (memcmp(header->signature, "EFI PART", 8) != 0 || header->header_bytes < sizeof(*header) ||
        header->header_bytes > reader->block_bytes || header->my_lba != lba)
        return -EINVAL;
    // The checksum is computed with zeroes in its own place.
    memset((char *)reader->buffer + offsetof(struct gpt_header, header_crc), 0, 4);
    if (~crc32(~0u, reader->buffer, header->header_bytes) != header->header_crc)
        return -EINVAL;
    const uint64_t blocks = reader->sector_count / (reader->block_bytes / SECTOR_BYTES);
    if (header->entry_bytes != sizeof(struct gpt_entry) || header->entry_count == 0 ||
        header->entry_count > GPT_ENTRIES_MAX ||
        header->first_usable_lba > header->last_usable_lba || header->last_usable_lba >= blocks ||
        header->entries_lba >= blocks)
        return -EINVAL;
    return 0;
}

// Calls for each piece of the array of entries; `add_entries` or only the checksum.
static int read_gpt_entries(struct partition_reader *reader, const struct gpt_header *header,
    struct partition_table *table, uint32_t *crc)
{
    const size_t total = (size_t)header->entry_count * sizeof(struct gpt_entry);
    *crc = ~0u;
    for (size_t done = 0; done < total; done += BUFFER_BYTES) {
        const size_t piece = MIN(total - done, (size_t)BUFFER_BYTES);
        int error = read_block(reader, header->entries_lba + done / reader->block_bytes, piece);
        if (error != 0)
            return error == -ERANGE ? -EINVAL : error;
        *crc = crc32(*crc, reader->buffer, piece);
        for (size_t at = 0; table != NULL && at < piece; at += sizeof(struct gpt_entry)) {
            static const uint8_t unused[16];
            struct gpt_entry entry;
            memcpy(&entry, (char *)reader->buffer + at, sizeof(entry));
            if (memcmp(entry.type_guid, unused, sizeof(unused)) == 0 ||
                entry.first_lba < header->first_usable_lba || entry.last_lba < entry.first_lba ||
                entry.last_lba > header->last_usable_lba)
                continue;
            const uint32_t before = table->count;
            add(reader, table, (uint32_t)((done + at) / sizeof(entry)) + 1, entry.first_lba,
                entry.last_lba - entry.first_lba + 1);
            if (table->count != before) {
                format_guid(table->entries[before].uuid, entry.guid);
                format_label(table->entries[before].label, &entry);
            }
        }
    }
    *crc = ~*crc;
    return 0;
}

static int read_gpt_at(struct partition_reader *reader, struct partition_table *table, uint64_t lba)
{
    struct gpt_header header;
    uint32_t crc;
    int error = read_gpt_header(reader, lba, &header);
    if (error == 0)
        error = read_gpt_entries(reader, &header, NULL, &crc);
    if (error == 0 && crc != header.entries_crc)
        error = -EINVAL;
    if (error == 0)
        error = read_gpt_entries(reader, &header, table, &crc);
    // The device may answer differently the second time: entries are checked one by one, so that
    // the table is sound whatever it holds.
    if (error == 0)
        table->type = "gpt";
    return error;
}

int partition_table_read(struct partition_reader *reader, struct partition_table *table)
{
    uint8_t sector[SECTOR_BYTES];
    table->type = NULL;
    table->count = 0;
    int error = read_block(reader, 0, SECTOR_BYTES);
    if (error != 0)
        return error == -ERANGE ? 0 : error;
    memcpy(sector, reader->buffer, sizeof(sector));
    if (!has_mbr_magic(sector))
        return 0;
    struct mbr_entry entries[4];
    memcpy(entries, sector + MBR_TABLE, sizeof(entries));
    bool protective = false;
    for (unsigned i = 0; i < ARRAY_SIZE(entries); i++)
        protective |= entries[i].type == MBR_TYPE_GPT;
    if (!protective)
        return read_mbr(reader, table, sector);
    error = read_gpt_at(reader, table, 1);
    if (error == -EINVAL) { // the first copy is broken: the second lies in the last block
        const uint64_t blocks = reader->sector_count / (reader->block_bytes / SECTOR_BYTES);
        table->count = 0;
        error = read_gpt_at(reader, table, blocks - 1);
    }
    if (error != 0)
        table->count = 0;
    return error == -EINVAL ? 0 : error;
}
