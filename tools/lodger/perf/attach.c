// SPDX-License-Identifier: MIT
//
// Asking a guest for events, and reading its rings without believing a word.
#include "tools/lodger/perf/attach.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

// A count that its writer is changing is read again so often.
#define SEQUENCE_TRIES 8u

static bool is_power_of_two(uint64_t value)
{
    return value != 0 && (value & (value - 1)) == 0;
}

static uint64_t field_address(const struct attach *attach, size_t offset)
{
    return attach->physical + offset;
}

#define REQUEST(field)                                                                             \
    (offsetof(struct perf_export_descriptor, request) + offsetof(struct perf_export_request, field))
#define STATUS(field)                                                                              \
    (offsetof(struct perf_export_descriptor, status) + offsetof(struct perf_export_status, field))

// Reads a word that the guest changes; what is read later is not older.
static int read_word(struct attach *attach, uint64_t address, void *word, size_t size)
{
    const void *mapped = guest_memory_map(attach->memory, address, size);
    if (mapped == NULL) {
        return guest_memory_read(attach->memory, address, word, size);
    }
    if (size == sizeof(uint64_t) && address % sizeof(uint64_t) == 0) {
        *(uint64_t *)word = __atomic_load_n((const uint64_t *)mapped, __ATOMIC_ACQUIRE);
    } else if (size == sizeof(uint32_t) && address % sizeof(uint32_t) == 0) {
        *(uint32_t *)word = __atomic_load_n((const uint32_t *)mapped, __ATOMIC_ACQUIRE);
    } else {
        return -EINVAL;
    }
    return 0;
}

// Writes a word that the guest waits for; what was written before is there already.
static int write_word(struct attach *attach, uint64_t address, const void *word, size_t size)
{
    atomic_thread_fence(memory_order_release);
    return guest_memory_write(attach->memory, address, word, size);
}

int attach_open(struct attach *attach, struct guest_memory *memory, uint64_t physical)
{
    *attach = (struct attach){.memory = memory, .physical = physical};
    struct perf_export_descriptor *fixed = &attach->fixed;
    int error = guest_memory_read(memory, physical, fixed, sizeof(*fixed));
    if (error != 0) {
        return error;
    }
    attach->request = fixed->request;
    bool known = fixed->magic == PERF_EXPORT_MAGIC && fixed->version == PERF_EXPORT_VERSION &&
                 fixed->size == sizeof(*fixed) && fixed->self_physical == physical;
    bool sane = fixed->cpu_count > 0 && fixed->cpu_count <= PERF_EXPORT_CPUS &&
                fixed->build_id_len <= sizeof(fixed->build_id) &&
                fixed->text_start < fixed->text_end;
    return known && sane ? 0 : -EPROTO;
}

void attach_close(struct attach *attach)
{
    free(attach->cpus);
    buffer_free(&attach->bytes);
    *attach = (struct attach){};
}

uint64_t attach_owner(struct attach *attach)
{
    uint64_t owner = 0;
    uint32_t mode = 0;
    if (read_word(attach, field_address(attach, REQUEST(mode)), &mode, sizeof(mode)) != 0 ||
        mode == PERF_EXPORT_MODE_OFF ||
        read_word(attach, field_address(attach, REQUEST(owner)), &owner, sizeof(owner)) != 0) {
        return 0;
    }
    return owner;
}

int attach_request(struct attach *attach, const struct perf_export_request *request)
{
    uint32_t generation;
    uint64_t address = field_address(attach, REQUEST(generation));
    int error = read_word(attach, address, &generation, sizeof(generation));
    if (error != 0) {
        return error;
    }
    struct perf_export_request *own = &attach->request;
    uint32_t rundown = own->rundown, clock = own->clock;
    *own = *request;
    own->rundown = rundown;
    own->clock = clock;
    own->generation = generation + 1;
    // All but the generation, then that.
    const size_t first = sizeof(own->generation);
    error = guest_memory_write(
        attach->memory, address + first, (const uint8_t *)own + first, sizeof(*own) - first);
    if (error == 0) {
        error = write_word(attach, address, &own->generation, sizeof(own->generation));
    }
    return error;
}

// Takes a ring of the directory over, if it is well-formed.
static void open_ring(
    struct attach *attach, struct attach_ring *ring, const struct perf_export_ring_place *place)
{
    *ring = (struct attach_ring){};
    if (place->bytes == 0) {
        return;
    }
    uint64_t oldest;
    if (!is_power_of_two(place->bytes) || place->bytes < PERF_EXPORT_RING_MIN ||
        place->bytes > PERF_EXPORT_RING_MAX || place->control_physical % 64 != 0 ||
        place->data_physical % 8 != 0 ||
        read_word(attach, place->control_physical + offsetof(struct perf_export_ring, oldest),
            &oldest, sizeof(oldest)) != 0 ||
        oldest % 8 != 0) {
        attach->broken_rings++;
        return;
    }
    ring->place = *place;
    ring->tail = oldest;
    int error =
        write_word(attach, place->control_physical + offsetof(struct perf_export_ring, tail),
            &ring->tail, sizeof(ring->tail));
    if (error != 0) {
        attach->broken_rings++;
        *ring = (struct attach_ring){};
    }
}

static int open_directory(struct attach *attach)
{
    const struct perf_export_status *status = &attach->status;
    if (status->cpu_count == 0 || status->cpu_count > attach->fixed.cpu_count ||
        status->directory_stride < sizeof(struct perf_export_cpu) ||
        status->directory_stride > 65536 || status->directory_physical % 8 != 0) {
        return -EPROTO;
    }
    free(attach->cpus);
    attach->cpus = xmalloc(status->cpu_count * sizeof(attach->cpus[0]));
    memset(attach->cpus, 0, status->cpu_count * sizeof(attach->cpus[0]));
    for (uint32_t i = 0; i < status->cpu_count; i++) {
        struct perf_export_cpu entry;
        uint64_t address = status->directory_physical + (uint64_t)i * status->directory_stride;
        if (address < status->directory_physical ||
            guest_memory_read(attach->memory, address, &entry, sizeof(entry)) != 0) {
            return -EPROTO;
        }
        open_ring(attach, &attach->cpus[i].sample, &entry.sample);
        open_ring(attach, &attach->cpus[i].side, &entry.side);
    }
    return 0;
}

int attach_started(struct attach *attach)
{
    uint32_t generation;
    int error = read_word(
        attach, field_address(attach, STATUS(generation)), &generation, sizeof(generation));
    if (error != 0) {
        return error;
    }
    if (generation != attach->request.generation) {
        return 0;
    }
    struct perf_export_status *status = &attach->status;
    error = guest_memory_read(attach->memory,
        field_address(attach, offsetof(struct perf_export_descriptor, status)), status,
        sizeof(*status));
    if (error != 0) {
        return error;
    }
    if (status->error != 0) {
        return status->error < 0 && status->error > -4096 ? status->error : -EPROTO;
    }
    for (unsigned i = 0; i < PERF_EXPORT_EVENTS; i++) {
        // Used as numbers of time and of errors: only sensible ones.
        struct perf_export_event_status *event = &status->events[i];
        if (event->error > 0 || event->error <= -4096) {
            event->error = -EPROTO;
        }
    }
    if (attach->request.mode == PERF_EXPORT_MODE_OFF) {
        return 1;
    }
    error = open_directory(attach);
    return error != 0 ? error : 1;
}

int attach_beat(struct attach *attach)
{
    attach->request.heartbeat++;
    return write_word(attach, field_address(attach, REQUEST(heartbeat)), &attach->request.heartbeat,
        sizeof(attach->request.heartbeat));
}

int attach_ask_rundown(struct attach *attach)
{
    uint32_t answered;
    int error =
        read_word(attach, field_address(attach, STATUS(rundown)), &answered, sizeof(answered));
    if (error != 0) {
        return error;
    }
    attach->request.rundown = answered + 1;
    return write_word(attach, field_address(attach, REQUEST(rundown)), &attach->request.rundown,
        sizeof(attach->request.rundown));
}

bool attach_rundown_done(struct attach *attach, uint32_t *lost)
{
    uint32_t answered;
    return read_word(attach, field_address(attach, STATUS(rundown)), &answered, sizeof(answered)) ==
               0 &&
           answered == attach->request.rundown &&
           read_word(attach, field_address(attach, STATUS(rundown_lost)), lost, sizeof(*lost)) == 0;
}

// Copies `len_bytes` from position `at` of a ring to our buffer.
static int copy_ring(
    struct attach *attach, const struct attach_ring *ring, uint64_t at, uint32_t len_bytes)
{
    uint32_t bytes = ring->place.bytes;
    assert(len_bytes <= bytes);
    if (attach->bytes.capacity_bytes < len_bytes) {
        static const uint8_t zero[4096];
        while (attach->bytes.len_bytes < len_bytes) {
            buffer_add(&attach->bytes, zero, sizeof(zero));
        }
    }
    attach->bytes.len_bytes = len_bytes;
    uint32_t start = (uint32_t)(at & (bytes - 1));
    uint32_t part = len_bytes < bytes - start ? len_bytes : bytes - start;
    int error = 0;
    if (part > 0) {
        error = guest_memory_read(
            attach->memory, ring->place.data_physical + start, attach->bytes.data, part);
    }
    if (error == 0 && len_bytes > part) {
        error = guest_memory_read(
            attach->memory, ring->place.data_physical, attach->bytes.data + part, len_bytes - part);
    }
    return error;
}

// Gives the records in our buffer to `sink`. Returns how many bytes were well-formed.
static uint32_t walk(
    struct attach *attach, unsigned cpu, int64_t *count, attach_sink *sink, void *context)
{
    uint32_t at = 0;
    while (at < attach->bytes.len_bytes) {
        struct perf_record record;
        uint32_t size = perf_decode(attach->bytes.data + at, attach->bytes.len_bytes - at, &record);
        if (size == 0) {
            break;
        }
        if (record.header.type != PERF_EXPORT_PAD) {
            sink(context, cpu, &record);
            (*count)++;
        }
        at += size;
    }
    return at;
}

static void give_up(struct attach *attach, struct attach_ring *ring)
{
    ring->place.bytes = 0;
    attach->broken_rings++;
}

// One ring: at most `limit_bytes` of it. Returns the bytes taken or a negative errno.
static int64_t poll_ring(struct attach *attach, unsigned cpu, struct attach_ring *ring,
    uint32_t limit_bytes, int64_t *count, attach_sink *sink, void *context)
{
    uint64_t head, lost;
    uint64_t control = ring->place.control_physical;
    int error =
        read_word(attach, control + offsetof(struct perf_export_ring, head), &head, sizeof(head));
    if (error == 0) {
        error = read_word(
            attach, control + offsetof(struct perf_export_ring, lost), &lost, sizeof(lost));
    }
    if (error == -EFAULT) {
        give_up(attach, ring); // it lies where no memory is
        return 0;
    }
    if (error != 0) {
        return error;
    }
    if (lost > ring->lost) {
        ring->lost = lost;
    }
    uint64_t available = head - ring->tail;
    if (available > ring->place.bytes || head % 8 != 0) {
        give_up(attach, ring);
        return 0;
    }
    // A part of it ends within a record, which the next round then gets whole.
    uint32_t len_bytes = available < limit_bytes ? (uint32_t)available : limit_bytes;
    error = copy_ring(attach, ring, ring->tail, len_bytes);
    if (error == -EFAULT) {
        give_up(attach, ring);
        return 0;
    }
    if (error != 0) {
        return error;
    }
    uint32_t done = walk(attach, cpu, count, sink, context);
    if (done < len_bytes &&
        (len_bytes == available || len_bytes - done >= PERF_EXPORT_RECORD_MAX)) {
        give_up(attach, ring);
        return done;
    }
    ring->tail += done;
    if (done > 0) {
        error = write_word(attach, control + offsetof(struct perf_export_ring, tail), &ring->tail,
            sizeof(ring->tail));
    }
    return error != 0 ? error : done;
}

int64_t attach_poll(struct attach *attach, bool samples, attach_sink *sink, void *context)
{
    int64_t count = 0;
    uint32_t budget_bytes = ATTACH_ROUND_MAX_BYTES;
    uint32_t cpu_count = attach->status.cpu_count;
    for (uint32_t i = 0; i < (samples ? 2 : 1) * cpu_count; i++) {
        unsigned cpu = i % cpu_count;
        struct attach_cpu *entry = &attach->cpus[cpu];
        struct attach_ring *ring = i < cpu_count ? &entry->side : &entry->sample;
        if (ring->place.bytes == 0 || budget_bytes < PERF_EXPORT_RECORD_MAX) {
            continue;
        }
        int64_t taken = poll_ring(attach, cpu, ring, budget_bytes, &count, sink, context);
        if (taken < 0) {
            return taken;
        }
        assert(taken <= budget_bytes);
        budget_bytes -= (uint32_t)taken;
    }
    return count;
}

// The intact part of a ring that is being overwritten.
static int read_flight_ring(struct attach *attach, unsigned cpu, struct attach_ring *ring,
    int64_t *count, attach_sink *sink, void *context)
{
    uint64_t head, oldest, oldest_after;
    uint64_t control = ring->place.control_physical;
    uint64_t oldest_address = control + offsetof(struct perf_export_ring, oldest);
    int error =
        read_word(attach, control + offsetof(struct perf_export_ring, head), &head, sizeof(head));
    error = error != 0 ? error : read_word(attach, oldest_address, &oldest, sizeof(oldest));
    if (error != 0) {
        return error;
    }
    // The guest may have gone on since head was read.
    oldest = head - oldest > ring->place.bytes ? head - ring->place.bytes : oldest;
    if (head % 8 != 0 || oldest % 8 != 0) {
        give_up(attach, ring);
        return 0;
    }
    error = copy_ring(attach, ring, oldest, (uint32_t)(head - oldest));
    error =
        error != 0 ? error : read_word(attach, oldest_address, &oldest_after, sizeof(oldest_after));
    if (error != 0) {
        return error;
    }
    uint64_t skip = oldest_after - oldest;
    if (skip >= attach->bytes.len_bytes) {
        return 0; // empty, or all of it was overwritten meanwhile
    }
    memmove(attach->bytes.data, attach->bytes.data + skip, attach->bytes.len_bytes - skip);
    attach->bytes.len_bytes -= skip;
    if (walk(attach, cpu, count, sink, context) < attach->bytes.len_bytes) {
        attach->broken_rings++;
    }
    return 0;
}

int64_t attach_read_flight(struct attach *attach, attach_sink *sink, void *context)
{
    int64_t count = 0;
    uint32_t cpu_count = attach->status.cpu_count;
    for (uint32_t i = 0; i < 2 * cpu_count; i++) {
        struct attach_cpu *entry = &attach->cpus[i % cpu_count];
        struct attach_ring *ring = i < cpu_count ? &entry->side : &entry->sample;
        int error = 0;
        if (ring->place.bytes != 0) {
            error = read_flight_ring(attach, i % cpu_count, ring, &count, sink, context);
        }
        if (error != 0) {
            return error;
        }
    }
    return count;
}

int attach_read_counts(struct attach *attach)
{
    for (uint32_t i = 0; i < attach->status.cpu_count; i++) {
        struct perf_export_cpu entry;
        uint64_t address =
            attach->status.directory_physical + (uint64_t)i * attach->status.directory_stride;
        uint32_t sequence = 1;
        for (unsigned tries = 0; tries < SEQUENCE_TRIES; tries++) {
            int error = guest_memory_read(attach->memory, address, &entry, sizeof(entry));
            if (error == 0) {
                error =
                    read_word(attach, address + offsetof(struct perf_export_cpu, count_sequence),
                        &sequence, sizeof(sequence));
            }
            if (error != 0) {
                return error;
            }
            if (sequence % 2 == 0 && sequence == entry.count_sequence) {
                attach->cpus[i].steal_ns = entry.steal_ns;
                attach->cpus[i].idle_ns = entry.idle_ns;
                memcpy(attach->cpus[i].counts, entry.counts, sizeof(entry.counts));
                break;
            }
        }
    }
    return 0;
}

uint64_t attach_lost(const struct attach *attach)
{
    uint64_t lost = 0;
    for (uint32_t i = 0; i < attach->status.cpu_count; i++) {
        lost += attach->cpus[i].sample.lost + attach->cpus[i].side.lost;
    }
    return lost;
}
