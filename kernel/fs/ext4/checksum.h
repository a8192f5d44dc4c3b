// SPDX-License-Identifier: MIT
// Checksums of the file system: crc32c (metadata_csum, journal) and crc16 (gdt_csum). As on the
// disk: no inversion at the end, the caller gives the start.
#pragma once

#include "kernel/base/types.h"

// Castagnoli polynomial, reflected. ext4_crc32c(~0, ...) begins.
uint32_t ext4_crc32c(uint32_t crc, const void *data, size_t len);
// Polynomial 0xa001, reflected.
uint16_t ext4_crc16(uint16_t crc, const void *data, size_t len);
// Makes the tables; again is harmless. Before the first ext4_crc32c().
void ext4_checksum_init(void);
