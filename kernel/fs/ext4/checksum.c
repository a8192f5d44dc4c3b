// SPDX-License-Identifier: MIT
// Checksums. crc32c goes eight bytes at a time through eight tables ("slicing by 8"), which are
// made at the first mount: 8 KiB that a kernel without ext4 does not touch.
#include "kernel/fs/ext4/checksum.h"
#include "kernel/base/string.h"

#define CASTAGNOLI 0x82f63b78u
#define CRC16      0xa001u

static uint32_t table[8][256]; // written by ext4_checksum_init(), always with the same values

void ext4_checksum_init(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? CASTAGNOLI : 0);
        table[0][byte] = crc;
    }
    for (uint32_t byte = 0; byte < 256; byte++)
        for (int i = 1; i < 8; i++)
            table[i][byte] = table[i - 1][byte] >> 8 ^ table[0][table[i - 1][byte] & 0xff];
}

uint32_t ext4_crc32c(uint32_t crc, const void *data, size_t len)
{
    const uint8_t *at = data;
    for (; len >= 8; len -= 8, at += 8) {
        const uint64_t word = load_unaligned_u64(at) ^ crc;
        crc = 0;
        for (int i = 0; i < 8; i++)
            crc ^= table[7 - i][word >> (8 * i) & 0xff];
    }
    for (; len != 0; len--, at++)
        crc = crc >> 8 ^ table[0][(crc ^ *at) & 0xff];
    return crc;
}

uint16_t ext4_crc16(uint16_t crc, const void *data, size_t len)
{
    const uint8_t *at = data;
    uint32_t value = crc;
    for (; len != 0; len--, at++) {
        value ^= *at;
        for (int bit = 0; bit < 8; bit++)
            value = value >> 1 ^ (value & 1 ? CRC16 : 0);
    }
    return (uint16_t)value;
}
