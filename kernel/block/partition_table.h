// SPDX-License-Identifier: MIT
// Partition tables: GPT (UEFI specification 2.10, chapter 5) and MBR with logical partitions. Pure.
// Everything that is read is the other side's: each field is checked before it is used.
#pragma once

#include "kernel/base/types.h"

#define PARTITION_TABLE_MAX 128

struct partition_entry {
    uint32_t number;                     // as in vda1
    uint64_t start_sector, sector_count; // in units of 512 bytes; within the device
    char uuid[37];                       // GPT: its own; MBR: signature-number
    char label[37 * 3];                  // GPT: UTF-8, NUL-terminated
};

struct partition_table {
    const char *type; // "gpt", "dos", or NULL: none
    uint32_t count;
    struct partition_entry entries[PARTITION_TABLE_MAX];
};

struct partition_reader {
    // Reads `len_bytes` (a multiple of block_bytes) from byte `offset`. 0 or -errno.
    int (*read)(struct partition_reader *reader, uint64_t offset, void *to, size_t len_bytes);
    uint32_t block_bytes;  // logical block of the device, 512..4096
    uint64_t sector_count; // of the device, in units of 512 bytes
    void *buffer;          // 4096 bytes of working memory
};

// Fills the table. 0 (also when there is no table: type NULL), or the error of a read.
[[nodiscard]] int partition_table_read(
    struct partition_reader *reader, struct partition_table *table);
