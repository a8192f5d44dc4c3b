// SPDX-License-Identifier: MIT
//
// The guest's side of perf/export.h in a thread of a test.
#include "tools/lodger/perf/fake_guest.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DIRECTORY 0x10000u
#define CLOCK     0x20000u
#define CONTROLS  0x30000u
#define RINGS     0x100000u

uint64_t fake_guest_tsc_at(const struct fake_guest *guest, uint64_t host_ns)
{
    double ns = (double)(int64_t)(host_ns - guest->tsc_start) + (double)guest->skew_ns;
    return (uint64_t)(1e12 + ns * ((double)FAKE_TSC_HZ / 1e9));
}

uint64_t fake_guest_tsc(const struct fake_guest *guest)
{
    return fake_guest_tsc_at(guest, time_now_ns());
}

void fake_guest_init(struct fake_guest *guest, unsigned cpu_count)
{
    *guest = (struct fake_guest){.bytes = aligned_alloc(4096, FAKE_MEMORY_BYTES),
        .cpu_count = cpu_count,
        .tsc_start = time_now_ns()};
    memset(guest->bytes, 0, FAKE_MEMORY_BYTES);
    guest->descriptor = (struct perf_export_descriptor *)(guest->bytes + FAKE_DESCRIPTOR);
    guest->clock = (struct perf_export_clock *)(guest->bytes + CLOCK);
    *guest->descriptor = (struct perf_export_descriptor){.magic = PERF_EXPORT_MAGIC,
        .version = PERF_EXPORT_VERSION,
        .size = sizeof(*guest->descriptor),
        .self_physical = FAKE_DESCRIPTOR,
        .text_start = PERF_EXPORT_IMAGE_BASE + 0x200000,
        .text_end = PERF_EXPORT_IMAGE_BASE + 0x300000,
        .boot_id = 7,
        // Wrong by 200 ppm, as the guest's measure may be.
        .tsc_hz = FAKE_TSC_HZ + FAKE_TSC_HZ / 5000,
        .flags = PERF_EXPORT_TSC_INVARIANT,
        .cpu_count = cpu_count};
}

void fake_guest_free(struct fake_guest *guest)
{
    free(guest->bytes);
}

static void lay_ring_out(struct fake_guest *guest, struct perf_ring *ring,
    struct perf_export_ring_place *place, unsigned number, bool overwrite)
{
    *place = (struct perf_export_ring_place){.control_physical = CONTROLS + number * 128,
        .data_physical = RINGS + number * FAKE_RING_BYTES,
        .bytes = FAKE_RING_BYTES};
    perf_ring_init(ring, (struct perf_export_ring *)(guest->bytes + place->control_physical),
        guest->bytes + place->data_physical, place->bytes, overwrite);
}

void fake_guest_answer(struct fake_guest *guest)
{
    struct perf_export_descriptor *descriptor = guest->descriptor;
    uint32_t generation = __atomic_load_n(&descriptor->request.generation, __ATOMIC_ACQUIRE);
    struct perf_export_request request = descriptor->request;
    struct perf_export_status *status = &descriptor->status;
    struct perf_export_cpu *cpus = (struct perf_export_cpu *)(guest->bytes + DIRECTORY);
    for (unsigned i = 0; i < guest->cpu_count && request.mode != PERF_EXPORT_MODE_OFF; i++) {
        bool overwrite = request.mode == PERF_EXPORT_MODE_FLIGHT;
        cpus[i].cpu = i;
        lay_ring_out(guest, &guest->samples[i], &cpus[i].sample, i * 2, overwrite);
        lay_ring_out(guest, &guest->sides[i], &cpus[i].side, i * 2 + 1, overwrite);
    }
    status->state = request.mode;
    status->error = guest->refuse;
    status->sample_ring_bytes = status->side_ring_bytes = FAKE_RING_BYTES;
    status->directory_physical = DIRECTORY;
    status->cpu_count = guest->cpu_count;
    status->directory_stride = sizeof(struct perf_export_cpu);
    status->clock_physical = CLOCK;
    for (unsigned i = 0; i < PERF_EXPORT_EVENTS; i++) {
        bool hardware = request.events[i].type == 0; // PERF_TYPE_HARDWARE
        status->events[i] = (struct perf_export_event_status){
            .error = hardware ? -2 : 0, .source = PERF_EXPORT_SOURCE_TIMER, .period = 1000000};
    }
    __atomic_store_n(&status->generation, generation, __ATOMIC_RELEASE);
}

// Its half of the handshake.
static void handshake(struct fake_guest *guest, uint32_t wanted)
{
    struct perf_export_clock *clock = guest->clock;
    uint64_t last = 0;
    uint32_t count = 0;
    for (unsigned i = 0; i < PERF_EXPORT_CLOCK_ROUNDS; i++) {
        __atomic_store_n(&clock->guest_tsc, fake_guest_tsc(guest), __ATOMIC_RELEASE);
        uint64_t host_ns = __atomic_load_n(&clock->host_ns, __ATOMIC_ACQUIRE);
        uint64_t tsc = fake_guest_tsc(guest);
        if (host_ns != last && count < PERF_EXPORT_CLOCK_PAIRS) {
            clock->pairs[count++] = (struct perf_export_clock_pair){host_ns, tsc};
            last = host_ns;
        }
    }
    clock->pair_count = count;
    __atomic_store_n(&guest->descriptor->status.clock, wanted, __ATOMIC_RELEASE);
}

static void *run(void *context)
{
    struct fake_guest *guest = context;
    struct perf_export_descriptor *descriptor = guest->descriptor;
    while (__atomic_load_n(&guest->stop, __ATOMIC_RELAXED) == 0) {
        uint32_t generation = __atomic_load_n(&descriptor->request.generation, __ATOMIC_ACQUIRE);
        if (generation != descriptor->status.generation) {
            fake_guest_answer(guest);
        }
        uint32_t clock = __atomic_load_n(&descriptor->request.clock, __ATOMIC_ACQUIRE);
        if (clock != descriptor->status.clock) {
            handshake(guest, clock);
        }
        uint32_t rundown = __atomic_load_n(&descriptor->request.rundown, __ATOMIC_ACQUIRE);
        if (rundown != descriptor->status.rundown) {
            if (guest->rundown != NULL) {
                guest->rundown(guest);
            }
            __atomic_store_n(&descriptor->status.rundown, rundown, __ATOMIC_RELEASE);
        }
        if (guest->tick != NULL && descriptor->status.state == PERF_EXPORT_STATE_COLLECT) {
            guest->tick(guest);
        }
        usleep(100);
    }
    return NULL;
}

void fake_guest_start(struct fake_guest *guest)
{
    guest->stop = 0;
    if (pthread_create(&guest->thread, NULL, run, guest) != 0) {
        abort();
    }
}

void fake_guest_stop(struct fake_guest *guest)
{
    __atomic_store_n(&guest->stop, 1, __ATOMIC_RELAXED);
    pthread_join(guest->thread, NULL);
}

void fake_guest_put(struct perf_ring *ring, const uint8_t *record, uint32_t size)
{
    uint8_t *at;
    while ((at = perf_ring_reserve(ring, size, 0)) == NULL) {
        usleep(1000);
    }
    memcpy(at, record, size);
    perf_ring_commit(ring, size);
}
