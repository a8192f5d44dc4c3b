// SPDX-License-Identifier: MIT
// Writing records: everything but the pieces of samples that are worth to be inline.
#include "perf/encode.h"

#include "kernel/base/assert.h"
#include "kernel/base/string.h"

static uint8_t *encode_header(uint8_t *at, enum perf_export_record_type type, uint8_t mode,
    const struct perf_who *who, uint32_t size)
{
    debug_assert(IS_ALIGNED(size, 8u) && size <= PERF_EXPORT_RECORD_MAX);
    *(struct perf_export_header *)at = (struct perf_export_header){.size = (uint16_t)size,
        .type = type,
        .mode = mode,
        .tsc = who->tsc,
        .pid = who->pid,
        .tid = who->tid};
    return at + sizeof(struct perf_export_header);
}

void perf_encode_pad(uint8_t *at, uint32_t len)
{
    debug_assert(len >= 8 && len <= PERF_EXPORT_RECORD_MAX && IS_ALIGNED(len, 8u));
    *(uint64_t *)at = 0;
    ((struct perf_export_header *)at)->size = (uint16_t)len;
    ((struct perf_export_header *)at)->type = PERF_EXPORT_PAD;
}

uint32_t perf_encode_lost(uint8_t *at, uint64_t tsc, uint64_t count)
{
    struct perf_who nobody = {.tsc = tsc};
    at = encode_header(at, PERF_EXPORT_LOST, PERF_EXPORT_IN_KERNEL, &nobody, PERF_ENCODED_LOST);
    *(struct perf_export_lost *)at = (struct perf_export_lost){.count = count};
    return PERF_ENCODED_LOST;
}

uint32_t perf_encode_comm(uint8_t *at, const struct perf_who *who, uint8_t flags, const char *name)
{
    at = encode_header(at, PERF_EXPORT_COMM, PERF_EXPORT_IN_KERNEL | flags, who, PERF_ENCODED_COMM);
    struct perf_export_comm *comm = (struct perf_export_comm *)at;
    memset(comm->name, 0, sizeof(comm->name));
    memcpy(comm->name, name, strnlen(name, sizeof(comm->name) - 1));
    return PERF_ENCODED_COMM;
}

uint32_t perf_encode_fork(uint8_t *at, enum perf_export_record_type type,
    const struct perf_who *who, uint32_t parent_pid, uint32_t parent_tid)
{
    debug_assert(type == PERF_EXPORT_FORK || type == PERF_EXPORT_EXIT);
    at = encode_header(at, type, PERF_EXPORT_IN_KERNEL, who, PERF_ENCODED_FORK);
    *(struct perf_export_fork *)at =
        (struct perf_export_fork){.parent_pid = parent_pid, .parent_tid = parent_tid};
    return PERF_ENCODED_FORK;
}

uint32_t perf_encode_switch(
    uint8_t *at, const struct perf_who *who, const struct perf_export_switch *previous)
{
    at = encode_header(at, PERF_EXPORT_SWITCH, PERF_EXPORT_IN_KERNEL, who, PERF_ENCODED_SWITCH);
    *(struct perf_export_switch *)at = *previous;
    return PERF_ENCODED_SWITCH;
}

uint32_t perf_encode_rundown_end(uint8_t *at, uint64_t tsc, uint32_t rundown, uint32_t tasks)
{
    struct perf_who nobody = {.tsc = tsc};
    at = encode_header(
        at, PERF_EXPORT_RUNDOWN_END, PERF_EXPORT_IN_KERNEL, &nobody, PERF_ENCODED_END);
    *(struct perf_export_rundown_end *)at =
        (struct perf_export_rundown_end){.rundown = rundown, .tasks = tasks};
    return PERF_ENCODED_END;
}

uint32_t perf_encoded_mmap_bytes(size_t name_len)
{
    return (uint32_t)(sizeof(struct perf_export_header) + sizeof(struct perf_export_mmap) +
                      ALIGN_UP(MIN(name_len, PERF_ENCODED_NAME_MAX) + 1, 8ul));
}

uint32_t perf_encode_mmap(uint8_t *at, const struct perf_who *who, uint8_t flags,
    const struct perf_export_mmap *mapping, const char *name, size_t name_len)
{
    assert(mapping->build_id_len <= sizeof(mapping->build_id));
    if (name_len > PERF_ENCODED_NAME_MAX) {
        name += name_len - PERF_ENCODED_NAME_MAX;
        name_len = PERF_ENCODED_NAME_MAX;
    }
    uint32_t size = perf_encoded_mmap_bytes(name_len);
    uint8_t *end = at + size;
    at = encode_header(at, PERF_EXPORT_MMAP, PERF_EXPORT_IN_KERNEL | flags, who, size);
    struct perf_export_mmap *record = (struct perf_export_mmap *)at;
    *record = *mapping;
    record->reserved = 0;
    record->name_len = (uint16_t)name_len;
    at += sizeof(*record);
    memcpy(at, name, name_len);
    memset(at + name_len, 0, (size_t)(end - at) - name_len);
    return size;
}

void perf_encode_raw(struct perf_encoder *encoder, const void *raw, uint32_t len)
{
    ((struct perf_export_header *)encoder->begin)->mode |= PERF_EXPORT_HAS_RAW;
    ((uint32_t *)encoder->at)[0] = len;
    ((uint32_t *)encoder->at)[1] = 0;
    encoder->at += 8;
    uint32_t padded = ALIGN_UP(len, 8u);
    if (padded != 0)
        *(uint64_t *)(encoder->at + padded - 8) = 0;
    memcpy(encoder->at, raw, len);
    encoder->at += padded;
}
