// SPDX-License-Identifier: MIT
// Writing records of perf/export.h. Each function writes at `at`, which is 8-byte aligned and has
// room for what is said, and returns the record's size. Any context.
#pragma once

#include "kernel/base/types.h"
#include "perf/export.h"

// Whose record it is, and when.
struct perf_who {
    uint64_t tsc;
    uint32_t pid, tid;
};

#define PERF_ENCODED_LOST   (sizeof(struct perf_export_header) + sizeof(struct perf_export_lost))
#define PERF_ENCODED_COMM   (sizeof(struct perf_export_header) + sizeof(struct perf_export_comm))
#define PERF_ENCODED_FORK   (sizeof(struct perf_export_header) + sizeof(struct perf_export_fork))
#define PERF_ENCODED_SWITCH (sizeof(struct perf_export_header) + sizeof(struct perf_export_switch))
#define PERF_ENCODED_END                                                                           \
    (sizeof(struct perf_export_header) + sizeof(struct perf_export_rundown_end))
// Longest name of a mapped file; of a longer one the end is kept.
#define PERF_ENCODED_NAME_MAX                                                                      \
    (PERF_EXPORT_RECORD_MAX - sizeof(struct perf_export_header) -                                  \
        sizeof(struct perf_export_mmap) - 8)

// Fills `len` bytes (a multiple of 8, 8..PERF_EXPORT_RECORD_MAX) that no record fits into.
void perf_encode_pad(uint8_t *at, uint32_t len);
uint32_t perf_encode_lost(uint8_t *at, uint64_t tsc, uint64_t count);
uint32_t perf_encode_comm(uint8_t *at, const struct perf_who *who, uint8_t flags, const char *name);
// type is PERF_EXPORT_FORK (`who` is the child) or PERF_EXPORT_EXIT.
uint32_t perf_encode_fork(uint8_t *at, enum perf_export_record_type type,
    const struct perf_who *who, uint32_t parent_pid, uint32_t parent_tid);
uint32_t perf_encode_switch(
    uint8_t *at, const struct perf_who *who, const struct perf_export_switch *previous);
uint32_t perf_encode_rundown_end(uint8_t *at, uint64_t tsc, uint32_t rundown, uint32_t tasks);
// What it needs at most for a name of `name_len` bytes.
uint32_t perf_encoded_mmap_bytes(size_t name_len);
// `mapping` with build_id_len <= 20; name_len is taken from the argument.
uint32_t perf_encode_mmap(uint8_t *at, const struct perf_who *who, uint8_t flags,
    const struct perf_export_mmap *mapping, const char *name, size_t name_len);

// ---- samples, piece by piece: in the order of export.h ----

// Where the next piece goes.
struct perf_encoder {
    uint8_t *begin, *at;
};

// Most that a sample needs.
#define PERF_ENCODED_SAMPLE(kernel_frames, user_frames, raw_len)                                   \
    (sizeof(struct perf_export_header) + 8 + 8 + 16 + 16 + ALIGN_UP((kernel_frames)*4u, 8u) +      \
        (user_frames)*8u + 8 + ALIGN_UP((uint32_t)(raw_len), 8u))
static_assert(
    sizeof(struct perf_export_header) + 48 + 8 + 128 * 4 + 127 * 8 + 256 < PERF_EXPORT_RECORD_MAX);
// Bytes of raw data that fit with two full stacks.
#define PERF_ENCODED_RAW_MAX 256

static inline void perf_encode_begin(struct perf_encoder *encoder, uint8_t *at, uint8_t mode,
    uint16_t event, const struct perf_who *who, uint64_t ip)
{
    struct perf_export_header *header = (struct perf_export_header *)at;
    header->type = PERF_EXPORT_SAMPLE;
    header->mode = mode;
    header->kernel_frames = 0;
    header->user_frames = 0;
    header->event = event;
    header->tsc = who->tsc;
    header->pid = who->pid;
    header->tid = who->tid;
    *(uint64_t *)(at + sizeof(*header)) = ip;
    encoder->begin = at;
    encoder->at = at + sizeof(*header) + 8;
}

static inline void perf_encode_u64(struct perf_encoder *encoder, uint8_t flag, uint64_t value)
{
    ((struct perf_export_header *)encoder->begin)->mode |= flag;
    *(uint64_t *)encoder->at = value;
    encoder->at += 8;
}

// Two words at a stack pointer, with their flag.
static inline void perf_encode_words(
    struct perf_encoder *encoder, uint8_t flag, const uint64_t words[2])
{
    perf_encode_u64(encoder, flag, words[0]);
    perf_encode_u64(encoder, flag, words[1]);
}

// The frames are written by the caller, at perf_encode_kernel_frames() and then at
// perf_encode_user_frames().
static inline uint32_t *perf_encode_kernel_frames(struct perf_encoder *encoder)
{
    return (uint32_t *)encoder->at;
}

static inline void perf_encode_kernel_frames_end(struct perf_encoder *encoder, uint32_t count)
{
    ((struct perf_export_header *)encoder->begin)->kernel_frames = (uint8_t)count;
    if (count % 2 != 0)
        ((uint32_t *)encoder->at)[count] = 0;
    encoder->at += ALIGN_UP(count * 4u, 8u);
}

static inline uint64_t *perf_encode_user_frames(struct perf_encoder *encoder)
{
    return (uint64_t *)encoder->at;
}

static inline void perf_encode_user_frames_end(struct perf_encoder *encoder, uint32_t count)
{
    ((struct perf_export_header *)encoder->begin)->user_frames = (uint8_t)count;
    encoder->at += count * 8ul;
}

void perf_encode_raw(struct perf_encoder *encoder, const void *raw, uint32_t len);

// The record's size.
static inline uint32_t perf_encode_end(struct perf_encoder *encoder)
{
    uint32_t size = (uint32_t)(encoder->at - encoder->begin);
    ((struct perf_export_header *)encoder->begin)->size = (uint16_t)size;
    return size;
}
