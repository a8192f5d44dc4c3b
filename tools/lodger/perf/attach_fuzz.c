// SPDX-License-Identifier: MIT
//
// A guest that writes anything into descriptor, directory and rings: the collector never reads or
// writes outside of its memory (ASan), never loops, and hands on records that are well-formed.
//
// The input is the content of a ring, then patches of 8 bytes at any place: u16 place, u64 value.
#include "tools/lodger/perf/attach.h"
#include "tools/lodger/perf/counters.h"
#include "tools/lodger/perf/fake_guest.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void sink(void *context, unsigned cpu, const struct perf_record *record)
{
    uint64_t *sum = context;
    if (cpu >= FAKE_CPUS) {
        abort();
    }
    // All that a consumer reads.
    if (record->header.type == PERF_EXPORT_SAMPLE) {
        for (unsigned i = 0; i < record->header.kernel_frames; i++) {
            *sum += record->sample.kernel_frames[i];
        }
        for (unsigned i = 0; i < record->header.user_frames; i++) {
            *sum += record->sample.user_frames[i];
        }
        for (unsigned i = 0; record->sample.raw != NULL && i < record->sample.raw_len; i++) {
            *sum += record->sample.raw[i];
        }
    } else if (record->header.type == PERF_EXPORT_MMAP) {
        *sum += strlen(record->mmap.name);
    } else if (record->header.type == PERF_EXPORT_COMM) {
        *sum += strlen(record->comm->name);
    }
}

// Places that are worth changing: descriptor, directory, controls, first bytes of the rings.
static uint8_t *place_of(struct fake_guest *guest, uint16_t place)
{
    static const uint32_t areas[4] = {FAKE_DESCRIPTOR, 0x10000, 0x30000, 0x100000};
    static const uint32_t sizes[4] = {sizeof(struct perf_export_descriptor), 4096, 2048, 65536};
    uint32_t area = place >> 14, offset = (place & 0x3fff) * 4u;
    return guest->bytes + areas[area] + offset % (sizes[area] - 8);
}

// The memory as it was before the first input, where inputs change it.
static void reset(struct fake_guest *guest)
{
    static struct perf_export_descriptor fresh;
    if (guest->bytes == NULL) {
        fake_guest_init(guest, FAKE_CPUS);
        fresh = *guest->descriptor;
    }
    *guest->descriptor = fresh;
    memset(guest->bytes + 0x10000, 0, 4096);
    memset(guest->bytes + 0x30000, 0, 2048);
    memset(guest->samples, 0, sizeof(guest->samples));
    memset(guest->sides, 0, sizeof(guest->sides));
}

static void read_counters(struct guest_memory *memory)
{
    struct attach attach;
    struct counters counters;
    if (attach_open(&attach, memory, FAKE_DESCRIPTOR) == 0 &&
        counters_open(&counters, &attach) == 0) {
        (void)!counters_read(&counters);
        counters_close(&counters);
    }
    attach_close(&attach);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fake_guest guest;
    reset(&guest);
    struct guest_memory memory;
    guest_memory_open_buffer(&memory, guest.bytes, FAKE_MEMORY_BYTES);
    struct attach attach;
    struct perf_export_request request = {.mode = PERF_EXPORT_MODE_COLLECT};
    if (attach_open(&attach, &memory, FAKE_DESCRIPTOR) != 0 ||
        attach_request(&attach, &request) != 0) {
        abort();
    }
    fake_guest_answer(&guest);
    size_t ring_bytes = size < 4096 ? size & ~(size_t)7 : 4096;
    memcpy(guest.bytes + 0x100000, data, ring_bytes);
    ((struct perf_export_ring *)(guest.bytes + 0x30000))->head = ring_bytes;
    // Half of the patches before the directory is read, half after it.
    size_t patches = (size - ring_bytes) / 10;
    bool started = patches > 0 || attach_started(&attach) == 1;
    for (size_t i = 0; i < patches && started; i++) {
        uint16_t place;
        memcpy(&place, data + ring_bytes + i * 10, sizeof(place));
        memcpy(place_of(&guest, place), data + ring_bytes + i * 10 + 2, 8);
        started = i != patches / 2 || attach_started(&attach) == 1;
    }
    uint64_t sum = 0;
    for (unsigned round = 0; round < 3 && started; round++) {
        (void)!attach_poll(&attach, round > 0, sink, &sum);
        (void)!attach_read_flight(&attach, sink, &sum);
        (void)!attach_read_counts(&attach);
    }
    attach_close(&attach);
    read_counters(&memory);
    return 0;
}
