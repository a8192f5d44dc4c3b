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
static_assert(DISK_BLOCKS % DISK_CHECKED == 0);

static uint64_t word_of(uint32_t number, uint32_t version, size_t index)
{
    return ((uint64_t)version << 48) + ((uint64_t)(number + 1) << 16) + index;
}

// Block `number` of those that are read.
static void fill(void *block, uint32_t number)
{
    uint64_t *words = block;
    for (size_t i = 0; i < WORDS; i++) {
        words[i] = word_of(number, 0, i);
    }
}

bool disk_holds(const void *block, uint32_t number)
{
    const uint64_t *words = block;
    for (size_t i = 0; i < WORDS; i += WORDS / 8 - 1) { // first, last, and some between
        if (words[i] != word_of(number, 0, i)) {
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
                 disk_holds(block, number);
    }
    free(block);
    return filled;
}

void disk_open(struct disk *disk)
{
    const char *path = bench_disk();
    *disk = (struct disk){.version = (uint16_t)(bench_now_ns() >> 10 | 1)};
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
            fill(blocks + (size_t)i * DISK_BLOCK_BYTES, number + i);
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

uint32_t disk_next(struct disk *disk)
{
    static_assert((DISK_BLOCKS & (DISK_BLOCKS - 1)) == 0); // so that the sequence has full length
    disk->random = disk->random * 1664525 + 1013904223;
    return disk->random % DISK_BLOCKS;
}

// ---- whole benchmarks ----

static uint32_t first_block(struct disk *disk, unsigned request, uint32_t blocks)
{
    return blocks == 1 ? disk_next(disk) : request * blocks % DISK_BLOCKS;
}

void disk_read_requests(unsigned count, uint32_t blocks)
{
    struct disk disk;
    unsigned right = 0;
    size_t size_bytes = (size_t)blocks * DISK_BLOCK_BYTES;

    disk_open(&disk);
    char *buffer = disk_buffer(blocks);
    const char *last = buffer + size_bytes - DISK_BLOCK_BYTES;
    for (unsigned i = 0; i < count; i++) {
        uint32_t number = first_block(&disk, i, blocks);
        uint64_t start_ns = bench_now_ns();
        bench_start();
        ssize_t got = pread(disk.file, buffer, size_bytes, offset_of(number));
        bench_stop();
        bench_latency(bench_now_ns() - start_ns);
        right += got == (ssize_t)size_bytes && disk_holds(buffer, number) &&
                 (blocks == 1 || disk_holds(last, number + blocks - 1));
    }
    bench_require(right == count, "what was read");
    free(buffer);
    disk_close(&disk);
}

// Makes blocks that belong together different ones, at little cost: only their first words tell.
static void stamp(const struct disk *disk, char *buffer, uint32_t number, uint32_t blocks)
{
    for (uint32_t i = 0; i < blocks; i++) {
        *(uint64_t *)(buffer + (size_t)i * DISK_BLOCK_BYTES) =
            word_of(number + i, disk->version, 0);
    }
}

// `buffer` held what was written but for the stamp, and is overwritten.
static void check_written(
    const struct disk *disk, char *buffer, char *read, uint32_t number, uint32_t blocks)
{
    size_t size_bytes = (size_t)blocks * DISK_BLOCK_BYTES;
    stamp(disk, buffer, number, blocks);
    bench_require(pread(disk->file, read, size_bytes, offset_of(DISK_BLOCKS + number)) ==
                          (ssize_t)size_bytes &&
                      memcmp(read, buffer, size_bytes) == 0,
        "what was written");
}

void disk_write_requests(unsigned count, uint32_t blocks, bool sync)
{
    struct disk disk;
    uint32_t last[DISK_CHECKED] = {}, checked = DISK_CHECKED / blocks;
    size_t size_bytes = (size_t)blocks * DISK_BLOCK_BYTES;

    disk_open(&disk);
    char *buffer = disk_buffer(blocks), *read = disk_buffer(blocks);
    for (uint32_t i = 0; i < blocks; i++) {
        fill(buffer + (size_t)i * DISK_BLOCK_BYTES, 0);
    }
    for (unsigned i = 0; i < count; i++) {
        uint32_t number = first_block(&disk, i, blocks);
        stamp(&disk, buffer, number, blocks);
        last[i % checked] = number;
        uint64_t start_ns = bench_now_ns();
        bench_start();
        ssize_t done = pwrite(disk.file, buffer, size_bytes, offset_of(DISK_BLOCKS + number));
        int error = sync ? fsync(disk.file) : 0;
        bench_stop();
        bench_latency(bench_now_ns() - start_ns);
        bench_require(done == (ssize_t)size_bytes, "pwrite");
        bench_require(error == 0, "fsync");
    }
    for (unsigned i = 0, known = count < checked ? count : checked; i < checked; i++) {
        check_written(&disk, buffer, read, last[i % known], blocks);
    }
    free(read);
    free(buffer);
    disk_close(&disk);
}
