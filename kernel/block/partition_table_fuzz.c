// SPDX-License-Identifier: MIT
//
// Any bytes as a disk with a partition table, of any block size: every partition that is found lies
// within the device, numbers and texts are sound. Checksums of GPT headers are made right first, or
// the fuzzer would never get past them.
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/block/partition_table.h"

#include <linux/errno.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

struct disk {
    struct partition_reader reader;
    const uint8_t *bytes;
    size_t size;
    uint32_t reads;
};

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

// A block that says it is a GPT header gets the right checksums.
static void make_right(struct disk *disk, uint8_t *block, uint64_t offset)
{
    uint32_t header_bytes, entry_count, zero = 0;
    uint64_t entries, lba = offset / disk->reader.block_bytes;
    if (memcmp(block, "EFI PART", 8) != 0)
        return;
    memcpy(&header_bytes, block + 12, 4);
    memcpy(&entries, block + 72, 8);
    memcpy(&entry_count, block + 80, 4);
    memcpy(block + 24, &lba, 8);
    const uint64_t start = entries * disk->reader.block_bytes;
    const uint64_t len = (uint64_t)(entry_count % 129) * 128;
    if (entries < disk->size && start < disk->size && len <= disk->size - start) {
        const uint32_t crc = crc32(disk->bytes + start, len);
        memcpy(block + 88, &crc, 4);
    }
    if (header_bytes <= 512) {
        memcpy(block + 16, &zero, 4);
        const uint32_t crc = crc32(block, header_bytes);
        memcpy(block + 16, &crc, 4);
    }
}

static int read_disk(struct partition_reader *reader, uint64_t offset, void *to, size_t len)
{
    struct disk *disk = container_of(reader, struct disk, reader);
    assert(len <= 4096);
    assert(len % reader->block_bytes == 0);
    assert(offset + len <= disk->reader.sector_count * 512);
    if (++disk->reads > 1000)
        return -EIO;
    memset(to, 0, len);
    if (offset < disk->size)
        memcpy(to, disk->bytes + offset, MIN(len, disk->size - offset));
    make_right(disk, to, offset);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (size < 2)
        return 0;
    struct disk disk = {
        .reader = {.read = read_disk, .block_bytes = 512u << bytes[0] % 4, .buffer = malloc(4096)},
        .bytes = bytes + 2,
        .size = size - 2,
    };
    const uint32_t unit = disk.reader.block_bytes / 512;
    disk.reader.sector_count = ((size - 2) / 512 + bytes[1]) / unit * unit;
    struct partition_table *table = calloc(1, sizeof(*table));
    int error = partition_table_read(&disk.reader, table);
    assert(error == 0 || error == -EIO);
    assert(table->count <= PARTITION_TABLE_MAX);
    for (uint32_t i = 0; i < table->count; i++) {
        const struct partition_entry *entry = &table->entries[i];
        assert(entry->number != 0);
        assert(entry->sector_count != 0);
        assert(entry->start_sector < disk.reader.sector_count);
        assert(entry->sector_count <= disk.reader.sector_count - entry->start_sector);
        assert(memchr(entry->label, 0, sizeof(entry->label)) != NULL);
        assert(memchr(entry->uuid, 0, sizeof(entry->uuid)) != NULL);
    }
    free(table);
    free(disk.reader.buffer);
    return 0;
}
