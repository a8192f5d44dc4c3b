// SPDX-License-Identifier: MIT
//
// The disk of benchmarks that have one: blocks of 4 KiB of which each knows its number.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define DISK_BLOCKS      2048u
#define DISK_BLOCK_BYTES 4096u
#define DISK_SIZE        "32M" // for the description; behind the blocks lies as much to write to

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

// ---- writing, to as many blocks behind those that are read ----

// Where block `number` lies there.
off_t disk_written_at(uint32_t number);
// Makes a block that disk_fill() has filled another one, at little cost: only its first word tells.
void disk_stamp(void *block, uint32_t number);
// Reads `blocks` blocks from block `first` on: do they hold what disk_fill(_, 0, 1) and
// disk_stamp() with their numbers made?
bool disk_was_written(const struct disk *disk, uint32_t first, uint32_t blocks);
