// SPDX-License-Identifier: MIT
#include "guests/bench/disk.h"
#include "guests/bench/bench.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WORDS (DISK_BLOCK_BYTES / sizeof(uint64_t))
// Written in pieces of that many blocks.
#define FILL_BLOCKS 64u

static_assert(DISK_BLOCKS % FILL_BLOCKS == 0);

static uint64_t word_of(uint32_t number, uint32_t version, size_t index)
{
    return ((uint64_t)version << 48) + ((uint64_t)(number + 1) << 16) + index;
}

void disk_fill(void *block, uint32_t number, uint32_t version)
{
    uint64_t *words = block;
    for (size_t i = 0; i < WORDS; i++) {
        words[i] = word_of(number, version, i);
    }
}

bool disk_holds(const void *block, uint32_t number, uint32_t version)
{
    const uint64_t *words = block;
    for (size_t i = 0; i < WORDS; i += WORDS / 8 - 1) { // first, last, and some between
        if (words[i] != word_of(number, version, i)) {
            return false;
        }
    }
    return true;
}

void *disk_buffer(uint32_t blocks)
{
    void *buffer = aligned_alloc(DISK_BLOCK_BYTES, (size_t)blocks * DISK_BLOCK_BYTES);
    bench_require(buffer != NULL, "memory");
    memset(buffer, 0, (size_t)blocks * DISK_BLOCK_BYTES);
    return buffer;
}

static off_t offset_of(uint32_t number)
{
    return (off_t)number * DISK_BLOCK_BYTES;
}

// Did an earlier round write the blocks?
static bool is_filled(int file)
{
    char *block = disk_buffer(1);
    bool filled = true;
    for (uint32_t number = 0; filled && number < DISK_BLOCKS; number += DISK_BLOCKS - 1) {
        filled = pread(file, block, DISK_BLOCK_BYTES, offset_of(number)) == DISK_BLOCK_BYTES &&
                 disk_holds(block, number, 0);
    }
    free(block);
    return filled;
}

void disk_open(struct disk *disk)
{
    const char *path = bench_disk();
    disk_rewind(disk);
    disk->file = open(path, O_RDWR | O_DIRECT);
    if (disk->file < 0) {
        bench_unsupported(path);
    }
    if (is_filled(disk->file)) {
        return;
    }
    char *blocks = disk_buffer(FILL_BLOCKS);
    for (uint32_t number = 0; number < DISK_BLOCKS; number += FILL_BLOCKS) {
        for (uint32_t i = 0; i < FILL_BLOCKS; i++) {
            disk_fill(blocks + (size_t)i * DISK_BLOCK_BYTES, number + i, 0);
        }
        ssize_t done =
            pwrite(disk->file, blocks, FILL_BLOCKS * DISK_BLOCK_BYTES, offset_of(number));
        bench_require(done == FILL_BLOCKS * DISK_BLOCK_BYTES, "writing the disk");
    }
    bench_require(is_filled(disk->file), "what was written to the disk");
    free(blocks);
}

void disk_close(struct disk *disk)
{
    close(disk->file);
}

void disk_rewind(struct disk *disk)
{
    disk->random = 0;
}

uint32_t disk_next(struct disk *disk)
{
    static_assert((DISK_BLOCKS & (DISK_BLOCKS - 1)) == 0); // so that the sequence has full length
    disk->random = disk->random * 1664525 + 1013904223;
    return disk->random % DISK_BLOCKS;
}

off_t disk_written_at(uint32_t number)
{
    return offset_of(DISK_BLOCKS + number);
}

void disk_stamp(void *block, uint32_t number)
{
    *(uint64_t *)block = word_of(number, 2, 0);
}

bool disk_was_written(const struct disk *disk, uint32_t first, uint32_t blocks)
{
    char *expected = disk_buffer(1), *block = disk_buffer(1);
    bool right = true;
    disk_fill(expected, 0, 1);
    for (uint32_t number = first; right && number < first + blocks; number++) {
        disk_stamp(expected, number);
        right = pread(disk->file, block, DISK_BLOCK_BYTES, disk_written_at(number)) ==
                    DISK_BLOCK_BYTES &&
                memcmp(block, expected, DISK_BLOCK_BYTES) == 0;
    }
    free(block);
    free(expected);
    return right;
}
