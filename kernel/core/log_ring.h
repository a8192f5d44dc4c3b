// SPDX-License-Identifier: MIT
// The ring of log records: lock-free, writers in any context, NMI included. Also compiled for the
// host.
//
// A record is numbered; number n lies in slot n % LOG_SLOTS. A slot's `state` says what it holds: 2
// n + 1 while record n is being written, 2 n + 2 when it is there. Writers draw numbers by an
// atomic addition.
//   L1  A writer takes its slot by a compare-and-exchange from a finished state (or 0) of an older
//       record. If it finds the slot taken by a writer that was overtaken by the whole ring
//       (stopped meanwhile), it drops its own record and counts it.
//   L2  Readers copy a record between two looks at its state; if the state is not the one they want
//       both times, the record is gone. The bytes are copied by relaxed atomic accesses, so a copy
//       that is thrown away is no race.
#pragma once

#include "kernel/base/types.h"

#define LOG_SLOTS      256
#define LOG_TEXT_BYTES 232

struct log_record {
    uint64_t time_ns;
    uint16_t len_bytes; // of text, without a terminator
    uint8_t level;
    char text[LOG_TEXT_BYTES];
};

struct log_slot {
    uint64_t state;                                      // L1
    uint64_t words[(sizeof(struct log_record) + 7) / 8]; // a struct log_record
};

struct log_ring {
    uint64_t next;    // number of the next record; atomic
    uint64_t dropped; // records lost by L1; atomic
    struct log_slot slots[LOG_SLOTS];
};

// Any context. True if the record was stored.
bool log_ring_write(struct log_ring *ring, const struct log_record *record);

enum log_ring_result {
    LOG_RING_OK,
    LOG_RING_NOT_YET, // being written, or not begun
    LOG_RING_GONE,    // overwritten or dropped
};
// Copies record number `number`.
enum log_ring_result log_ring_read(
    struct log_ring *ring, uint64_t number, struct log_record *record);

uint64_t log_ring_first(
    const struct log_ring *ring); // number of the oldest record that may be there
uint64_t log_ring_next(const struct log_ring *ring);
