// SPDX-License-Identifier: MIT
// See collect.h. The guest is believed as far as a test may: what is wrong is counted.
#include "tests/pmu_vmm/collect.h"

#include "perf/decode.h"

#define DESCRIPTOR_ALIGNMENT 256
#define FRAMES               8

static struct perf_export_descriptor *descriptor_find(const struct machine *machine)
{
    for (uint64_t at = 0; at + sizeof(struct perf_export_descriptor) <= machine->memory_bytes;
         at += DESCRIPTOR_ALIGNMENT) {
        struct perf_export_descriptor *found =
            (struct perf_export_descriptor *)(machine->memory + at);
        if (found->magic == PERF_EXPORT_MAGIC && found->self_physical == at)
            return found;
    }
    return NULL;
}

bool collect_ask(
    struct collect *collect, struct machine *machine, const struct perf_export_event *event)
{
    if (collect->descriptor == NULL)
        collect->descriptor = descriptor_find(machine);
    if (collect->descriptor == NULL)
        return false;
    struct perf_export_request *request = &collect->descriptor->request;
    request->mode = event != NULL ? PERF_EXPORT_MODE_COLLECT : PERF_EXPORT_MODE_OFF;
    request->frames_kernel_max = request->frames_user_max = FRAMES;
    for (uint32_t i = 0; i < PERF_EXPORT_EVENTS; i++)
        request->events[i].type = PERF_EXPORT_EVENT_UNUSED;
    if (event != NULL)
        request->events[0] = *event;
    __atomic_store_n(&request->generation, request->generation + 1, __ATOMIC_RELEASE);
    return true;
}

bool collect_is_answered(const struct collect *collect, int32_t *error, uint32_t *source)
{
    const struct perf_export_descriptor *descriptor = collect->descriptor;
    if (descriptor == NULL || __atomic_load_n(&descriptor->status.generation, __ATOMIC_ACQUIRE) !=
                                  descriptor->request.generation)
        return false;
    *error = descriptor->status.error != 0 ? descriptor->status.error
                                           : descriptor->status.events[0].error;
    *source = descriptor->status.events[0].source;
    return true;
}

static void record_take(struct collect *collect, const struct perf_record *record)
{
    if (record->header.type != PERF_EXPORT_SAMPLE)
        return;
    collect->samples++;
    collect->periods += record->sample.has_period ? record->sample.period : 0;
    collect->user_samples += (record->header.mode & PERF_EXPORT_IN_MASK) == PERF_EXPORT_IN_USER;
}

void collect_drain(struct collect *collect, struct machine *machine)
{
    const struct perf_export_descriptor *descriptor = collect->descriptor;
    if (descriptor == NULL)
        return;
    const struct perf_export_cpu *cpu =
        machine_memory(machine, descriptor->status.directory_physical, sizeof(*cpu));
    if (descriptor->status.directory_physical == 0 || cpu == NULL || cpu->sample.bytes == 0)
        return;
    struct perf_export_ring *ring =
        machine_memory(machine, cpu->sample.control_physical, sizeof(*ring));
    const uint8_t *data = machine_memory(machine, cpu->sample.data_physical, cpu->sample.bytes);
    if (ring == NULL || data == NULL)
        return;
    uint64_t tail = ring->tail < ring->oldest ? ring->oldest : ring->tail;
    while (tail != ring->head) {
        const uint64_t offset = tail & (cpu->sample.bytes - 1);
        struct perf_record record;
        const uint32_t size = perf_decode(data + offset, cpu->sample.bytes - offset, &record);
        if (size == 0) {
            collect->wrong++;
            break;
        }
        record_take(collect, &record);
        tail += size;
    }
    __atomic_store_n(&ring->tail, tail, __ATOMIC_RELEASE);
    collect->wrong += ring->lost;
}
