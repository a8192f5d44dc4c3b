// SPDX-License-Identifier: MIT
//
// The collector's end of perf/export.h: checks the descriptor, asks the guest for events, reads
// its rings.
//
// TRUST. The guest may be hostile and may change its memory at any time. So: each field is read
// once, into a private copy, and compared with its limits before it is used; records are decoded
// from a private copy; a ring gives at most its size in one round, and all rings together at most
// ATTACH_ROUND_MAX_BYTES; a ring that is not well-formed is given up until the next generation,
// and counted. Nothing that the guest writes makes a loop longer or an access go astray:
// attach_fuzz.c tries.
#pragma once

#include "perf/decode.h"
#include "perf/export.h"
#include "tools/lodger/perf/guest_memory.h"

#define ATTACH_ROUND_MAX_BYTES (64u << 20)

struct attach_ring {
    struct perf_export_ring_place place; // bytes 0: no ring, or broken
    uint64_t tail;                       // our own copy
    uint64_t lost;                       // as the guest counts
};

struct attach_cpu {
    struct attach_ring sample, side;
    uint64_t steal_ns, idle_ns;
    struct perf_export_count counts[PERF_EXPORT_EVENTS];
};

struct attach {
    struct guest_memory *memory;
    uint64_t physical;                    // of the descriptor
    struct perf_export_descriptor fixed;  // its constant part, checked
    struct perf_export_request request;   // as we wrote it last
    struct perf_export_status status;     // of the running generation, checked
    struct attach_cpu *cpus;              // status.cpu_count
    struct buffer bytes;                  // of one ring in one round
    uint64_t broken_rings, broken_events; // how often the guest wrote nonsense
};

// One record of a guest. `record` points into memory that lives as long as the call.
typedef void attach_sink(void *context, unsigned cpu, const struct perf_record *record);

// Reads and checks the descriptor. Returns 0, -EPROTO (it is none that this program knows) or the
// error of reading.
[[nodiscard]] int attach_open(
    struct attach *attach, struct guest_memory *memory, uint64_t physical);
void attach_close(struct attach *attach);

// Who collects from the guest now (request.owner), 0: nobody.
uint64_t attach_owner(struct attach *attach);

// Writes the request with the next generation and returns its error; attach_started() tells when
// the guest has answered.
[[nodiscard]] int attach_request(struct attach *attach, const struct perf_export_request *request);

// Looks for the answer. Returns 1: it is there, and rings are open; 0: not yet; or a negative
// errno (what the guest said, -EPROTO: nonsense).
[[nodiscard]] int attach_started(struct attach *attach);

// Says that the collector lives. Returns 0 or the error of writing: the guest is gone.
[[nodiscard]] int attach_beat(struct attach *attach);

// Asks for records of all tasks. attach_rundown_done() tells when they are in the rings.
[[nodiscard]] int attach_ask_rundown(struct attach *attach);
bool attach_rundown_done(struct attach *attach, uint32_t *lost);

// Gives all records that are in the rings to `sink`, ring by ring: first those of all side rings,
// so that mappings are known before samples in them, then, if `samples`, those of the sample
// rings. Returns their number or a negative errno (the guest is gone).
[[nodiscard]] int64_t attach_poll(
    struct attach *attach, bool samples, attach_sink *sink, void *context);

// The same in flight-recorder mode: rings are not emptied.
[[nodiscard]] int64_t attach_read_flight(struct attach *attach, attach_sink *sink, void *context);

// Brings steal_ns, idle_ns and counts of all CPUs up to date. Returns 0 or a negative errno.
[[nodiscard]] int attach_read_counts(struct attach *attach);

// Records that did not fit, of all rings.
uint64_t attach_lost(const struct attach *attach);
