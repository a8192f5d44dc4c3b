// SPDX-License-Identifier: MIT
//
// The disk of benchmarks that have one: blocks of 4 KiB of which each knows its number.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define DISK_BLOCKS      2048u
#define DISK_BLOCK_BYTES 4096u
#define DISK_SIZE        "16M" // for the description

struct disk {
    int file; // open for direct I/O
    uint32_t random;
};

// Opens the disk, and writes its blocks if that was not done before. Ends the round as unsupported
// if there is none.
void disk_open(struct disk *disk);
void disk_close(struct disk *disk);
// The number of the next block: every one comes once before any comes again, in no order.
uint32_t disk_next(struct disk *disk);
// The numbers come again from the first one.
void disk_rewind(struct disk *disk);
// A buffer for `blocks` blocks, aligned as direct I/O wants it.
void *disk_buffer(uint32_t blocks);
// What block `number` holds after its `version`-th writing; version 0 is what disk_open() wrote.
void disk_fill(void *block, uint32_t number, uint32_t version);
bool disk_holds(const void *block, uint32_t number, uint32_t version);
