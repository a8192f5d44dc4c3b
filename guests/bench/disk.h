// SPDX-License-Identifier: MIT
//
// The disk of benchmarks that have one: blocks of 4 KiB of which each knows its number, and as many
// behind them to write to.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define DISK_BLOCKS      2048u
#define DISK_BLOCK_BYTES 4096u
#define DISK_SIZE        "32M" // for the description

struct disk {
    int file; // open for direct I/O
    uint32_t random;
    uint16_t version; // of what this round writes: whatever an earlier one left has another
};

// Opens the disk, and writes its blocks if that was not done before. Ends the round as unsupported
// if there is none.
void disk_open(struct disk *disk);
void disk_close(struct disk *disk);
// The number of the next block: every one comes once before any comes again, in no order.
uint32_t disk_next(struct disk *disk);
// A buffer for `blocks` blocks, aligned as direct I/O wants it.
void *disk_buffer(uint32_t blocks);
// Whether `block` holds what disk_open() wrote as block `number`.
bool disk_holds(const void *block, uint32_t number);

// ---- whole benchmarks: one request at a time, each timed ----

// Requests of one block lie at random, those of `blocks` > 1, a divisor of DISK_CHECKED, one behind
// the other. All that was
// read is checked by the first and the last block of each request.
void disk_read_requests(unsigned count, uint32_t blocks);
// The same with writes, each followed by fsync if `sync`. What the last DISK_CHECKED blocks hold is
// checked. A round of fewer reads some again: the check costs the same in all rounds, and whoever
// counts rounds against each other does not count it.
#define DISK_CHECKED 32u
void disk_write_requests(unsigned count, uint32_t blocks, bool sync);
