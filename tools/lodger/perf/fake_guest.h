// SPDX-License-Identifier: MIT
//
// A guest without a machine, for tests: memory with an export descriptor and rings, and a thread
// that answers a collector as the kernel does (perf/export.h).
#pragma once

#include "perf/encode.h"
#include "perf/ring.h"
#include "tools/lodger/perf/guest_memory.h"

#include <pthread.h>

#define FAKE_MEMORY_BYTES (8u << 20)
#define FAKE_DESCRIPTOR   0x3000u
#define FAKE_CPUS         4u
#define FAKE_RING_BYTES   65536u
#define FAKE_TSC_HZ       2000000000ull

struct fake_guest {
    uint8_t *bytes; // its memory
    struct perf_export_descriptor *descriptor;
    struct perf_export_clock *clock;
    struct perf_ring samples[FAKE_CPUS], sides[FAKE_CPUS];
    unsigned cpu_count;
    pthread_t thread;
    int stop;                                  // the thread ends
    int32_t refuse;                            // what it answers to a request, 0: it starts
    int64_t skew_ns;                           // its clock is so much off the host's
    uint64_t tsc_start;                        // of the host's clock
    void (*rundown)(struct fake_guest *guest); // writes what there is
    void (*tick)(struct fake_guest *guest);    // called all the time while it collects
    void *context;
};

// Makes memory and descriptor. The thread runs between fake_guest_start() and fake_guest_stop().
void fake_guest_init(struct fake_guest *guest, unsigned cpu_count);
void fake_guest_start(struct fake_guest *guest);
void fake_guest_stop(struct fake_guest *guest);
void fake_guest_free(struct fake_guest *guest);

// Lays rings out and answers the request (also without a thread).
void fake_guest_answer(struct fake_guest *guest);

// Its TSC at a time of the host's clock, and now.
uint64_t fake_guest_tsc_at(const struct fake_guest *guest, uint64_t host_ns);
uint64_t fake_guest_tsc(const struct fake_guest *guest);

// Puts an encoded record into a ring; waits while it is full.
void fake_guest_put(struct perf_ring *ring, const uint8_t *record, uint32_t size);
