// SPDX-License-Identifier: MIT
//
// Turns what collectors bring into a perf.data file.
//
// ORDER. perf sorts records by time within a window that FINISHED_ROUND records open and close:
// before the Nth of them stands everything that is older than the newest record before the one
// before it. The recorder sorts each round's records and writes one such mark after it. A record
// that comes too late for its window (its vCPU was off its processor between taking the time and
// writing) gets the window's first time and is counted.
//
// Records of a rundown describe what was so before the recording began; they get the time of its
// beginning. Nothing is written until the rundown is complete, or has taken RUNDOWN_PATIENCE_NS.
#pragma once

#include "tools/lodger/perf/collector.h"
#include "tools/lodger/perf/data_writer.h"

#define RECORDER_GUESTS_MAX 16u

struct recorder;

struct recorder_guest_result {
    uint64_t samples, lost, late;
};

// Creates the file for collectors that have been started. Returns 0 or a negative errno.
[[nodiscard]] int recorder_open(
    const char *path, struct collector *const *collectors, size_t count, struct recorder **result);

// One round of collector `index`. Returns 0 or its error.
[[nodiscard]] int recorder_collect(struct recorder *recorder, size_t index);

// Whether all guests have told which tasks they have. Until then names are missing.
bool recorder_has_names(const struct recorder *recorder);

// Writes what all collectors have brought in this round. Returns 0 or the error of writing.
[[nodiscard]] int recorder_flush(struct recorder *recorder);

// Completes the file. Returns 0 or the first error of writing.
[[nodiscard]] int recorder_close(struct recorder *recorder, char *const *command);

uint64_t recorder_bytes(const struct recorder *recorder);
const struct recorder_guest_result *recorder_result(const struct recorder *recorder, size_t index);
