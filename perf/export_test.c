// SPDX-License-Identifier: MIT
// export.h: what the encoder writes the decoder reads; rings in both modes against a model; a host
// that writes nonsense into what it may write, and a guest that does.
#include "perf/decode.h"
#include "perf/encode.h"
#include "perf/format.h"
#include "perf/ring.h"

#include "kernel/base/host/host_base.h"
#include "kernel/base/host/host_cmocka.h"

#include <stdlib.h>
#include <string.h>

static _Alignas(8) uint8_t bytes[PERF_EXPORT_RECORD_MAX];
static const struct perf_who who = {.tsc = 0x123456789abcdef, .pid = 17, .tid = 18};

static void check_header(const struct perf_record *record, uint32_t size, uint8_t type)
{
    assert_int_equal(record->header.size, size);
    assert_int_equal(record->header.type, type);
    assert_int_equal(record->header.tsc, who.tsc);
    assert_int_equal(record->header.pid, who.pid);
    assert_int_equal(record->header.tid, who.tid);
}

// Writes a sample with random pieces and reads it back.
static void sample_round(struct prng *prng)
{
    uint64_t words[2] = {prng_u64(prng), prng_u64(prng)};
    uint8_t raw[PERF_ENCODED_RAW_MAX];
    uint32_t kernel = (uint32_t)prng_below(prng, PERF_EXPORT_FRAMES_MAX + 1);
    uint32_t user = (uint32_t)prng_below(prng, PERF_EXPORT_FRAMES_MAX + 1);
    uint32_t raw_len = (uint32_t)prng_below(prng, sizeof(raw) + 1);
    uint32_t pieces = (uint32_t)prng_u64(prng);
    struct perf_encoder encoder;
    perf_encode_begin(&encoder, bytes, PERF_EXPORT_IN_USER, 3, &who, 0x401000);
    if (pieces & 1)
        perf_encode_u64(&encoder, PERF_EXPORT_HAS_PERIOD, 99);
    if (pieces & 2)
        perf_encode_words(&encoder, PERF_EXPORT_HAS_KERNEL_WORDS, words);
    if (pieces & 4)
        perf_encode_words(&encoder, PERF_EXPORT_HAS_USER_WORDS, words);
    for (uint32_t i = 0; i < kernel; i++)
        perf_encode_kernel_frames(&encoder)[i] = 0x81000000 + i;
    perf_encode_kernel_frames_end(&encoder, kernel);
    for (uint32_t i = 0; i < user; i++)
        perf_encode_user_frames(&encoder)[i] = 0x7f0000000000 + i;
    perf_encode_user_frames_end(&encoder, user);
    for (uint32_t i = 0; i < raw_len; i++)
        raw[i] = (uint8_t)prng_u64(prng);
    if (pieces & 8)
        perf_encode_raw(&encoder, raw, raw_len);
    uint32_t size = perf_encode_end(&encoder);
    assert_true(size <= PERF_ENCODED_SAMPLE(kernel, user, raw_len));

    struct perf_record record;
    assert_int_equal(perf_decode(bytes, size, &record), size);
    check_header(&record, size, PERF_EXPORT_SAMPLE);
    assert_int_equal(record.header.mode & PERF_EXPORT_IN_MASK, PERF_EXPORT_IN_USER);
    assert_int_equal(record.header.event, 3);
    assert_int_equal(record.sample.ip, 0x401000);
    assert_int_equal(record.sample.has_period, (pieces & 1) != 0);
    assert_int_equal(record.sample.period, pieces & 1 ? 99 : 0);
    assert_int_equal(record.sample.kernel_words != NULL, (pieces & 2) != 0);
    assert_int_equal(record.sample.user_words != NULL, (pieces & 4) != 0);
    if (pieces & 4)
        assert_memory_equal(record.sample.user_words, words, sizeof(words));
    assert_int_equal(record.header.kernel_frames, kernel);
    for (uint32_t i = 0; i < kernel; i++)
        assert_int_equal(perf_decode_kernel_frame(record.sample.kernel_frames[i]),
            UINT64_C(0xffffffff81000000) + i);
    assert_int_equal(record.header.user_frames, user);
    for (uint32_t i = 0; i < user; i++)
        assert_int_equal(record.sample.user_frames[i], UINT64_C(0x7f0000000000) + i);
    assert_int_equal(record.sample.raw != NULL, (pieces & 8) != 0);
    if (pieces & 8) {
        assert_int_equal(record.sample.raw_len, raw_len);
        assert_memory_equal(record.sample.raw, raw, raw_len);
    }
    // Cut anywhere it is none.
    assert_int_equal(perf_decode(bytes, size - 8, &record), 0);
    ((struct perf_export_header *)bytes)->size = (uint16_t)(size - 8);
    assert_int_equal(perf_decode(bytes, size - 8, &record), 0);
}

static void samples_come_back(void **state)
{
    struct prng prng = host_seed("samples_come_back");
    for (int i = 0; i < 2000; i++)
        sample_round(&prng);
}

static void side_band_comes_back(void **state)
{
    struct perf_record record;
    uint32_t size = perf_encode_comm(bytes, &who, PERF_EXPORT_FLAG_EXEC, "a name of many letters");
    assert_int_equal(perf_decode(bytes, size, &record), size);
    check_header(&record, size, PERF_EXPORT_COMM);
    assert_true(record.header.mode & PERF_EXPORT_FLAG_EXEC);
    assert_string_equal(record.comm->name, "a name of many ");

    size = perf_encode_fork(bytes, PERF_EXPORT_FORK, &who, 5, 6);
    assert_int_equal(perf_decode(bytes, size, &record), size);
    check_header(&record, size, PERF_EXPORT_FORK);
    assert_int_equal(record.fork->parent_pid, 5);
    assert_int_equal(record.fork->parent_tid, 6);

    struct perf_export_switch previous = {.previous_pid = 7, .previous_tid = 8, .preempted = 1};
    size = perf_encode_switch(bytes, &who, &previous);
    assert_int_equal(perf_decode(bytes, size, &record), size);
    check_header(&record, size, PERF_EXPORT_SWITCH);
    assert_memory_equal(record.switched, &previous, sizeof(previous));

    size = perf_encode_rundown_end(bytes, who.tsc, 4, 33);
    assert_int_equal(perf_decode(bytes, size, &record), size);
    assert_int_equal(record.rundown_end->rundown, 4);
    assert_int_equal(record.rundown_end->tasks, 33);

    size = perf_encode_lost(bytes, who.tsc, 12);
    assert_int_equal(perf_decode(bytes, size, &record), size);
    assert_int_equal(record.lost->count, 12);
}

static void mappings_come_back(void **state)
{
    static char name[5000];
    memset(name, 'x', sizeof(name) - 1);
    struct perf_export_mmap mapping = {
        .start = 0x400000, .len = 0x1000, .build_id = {1, 2, 3}, .build_id_len = 20};
    struct perf_record record;
    for (size_t len = 0; len < sizeof(name); len += len < 40 ? 1 : 311) {
        const char *tail = name + sizeof(name) - 1 - len;
        uint32_t size =
            perf_encode_mmap(bytes, &who, PERF_EXPORT_FLAG_RUNDOWN, &mapping, tail, len);
        assert_int_equal(size, perf_encoded_mmap_bytes(len));
        assert_int_equal(perf_decode(bytes, size, &record), size);
        check_header(&record, size, PERF_EXPORT_MMAP);
        size_t kept = MIN(len, PERF_ENCODED_NAME_MAX);
        assert_int_equal(strlen(record.mmap.name), kept);
        assert_string_equal(record.mmap.name, name + sizeof(name) - 1 - kept);
        assert_int_equal(record.mmap.fields->start, 0x400000);
        assert_int_equal(record.mmap.fields->build_id[2], 3);
    }
    // A name with a 0 in it, and a build-id that is too long
    uint32_t size = perf_encode_mmap(bytes, &who, 0, &mapping, "/bin/sh", 7);
    struct perf_export_mmap *fields = (struct perf_export_mmap *)(bytes + 24);
    fields->build_id_len = 21;
    assert_int_equal(perf_decode(bytes, size, &record), 0);
    fields->build_id_len = 20;
    ((char *)(fields + 1))[3] = 0;
    assert_int_equal(perf_decode(bytes, size, &record), 0);
}

// ---- rings --------------------------------------------------------------------------------------

#define RING_BYTES 8192u
static _Alignas(64) struct perf_export_ring control;
static _Alignas(8) uint8_t data[RING_BYTES];

// Writes a record that carries `number` and is as long as `prng` says; false: no room.
static bool write_one(struct perf_ring *ring, struct prng *prng, uint64_t number)
{
    uint32_t raw_len = (uint32_t)prng_below(prng, 1500);
    uint8_t *at = perf_ring_reserve(ring, (uint32_t)PERF_ENCODED_SAMPLE(0, 0, raw_len), number);
    if (at == NULL)
        return false;
    static uint8_t raw[1500];
    struct perf_encoder encoder;
    perf_encode_begin(&encoder, at, PERF_EXPORT_IN_KERNEL, 0, &who, number);
    perf_encode_raw(&encoder, raw, raw_len);
    perf_ring_commit(ring, perf_encode_end(&encoder));
    assert_true(perf_ring_is_valid(ring));
    return true;
}

// Reads up to `most` records from `position`, which moves; each sample must be the next after
// *number, but for those that LOST records speak of.
static void read_some(uint64_t *position, uint64_t head, uint64_t *number, uint32_t most)
{
    while (*position < head && most-- > 0) {
        struct perf_record record;
        uint32_t offset = (uint32_t)(*position & (RING_BYTES - 1));
        uint32_t size = perf_decode(data + offset, RING_BYTES - offset, &record);
        assert_int_not_equal(size, 0);
        if (record.header.type == PERF_EXPORT_SAMPLE) {
            assert_int_equal(record.sample.ip, *number);
            (*number)++;
        } else if (record.header.type == PERF_EXPORT_LOST) {
            *number += record.lost->count;
        } else {
            assert_int_equal(record.header.type, PERF_EXPORT_PAD);
        }
        *position += size;
    }
    assert_true(*position <= head);
}

static void ring_is_collected(void **state)
{
    struct prng prng = host_seed("ring_is_collected");
    struct perf_ring ring = {0};
    perf_ring_init(&ring, &control, data, RING_BYTES, false);
    uint64_t expected = 0;
    uint64_t lost = 0;
    uint64_t written = 0;
    for (; written < 20000; written++) {
        lost += !write_one(&ring, &prng, written);
        uint64_t tail = control.tail;
        // Sometimes nobody reads for a while.
        if (written / 64 % 3 != 0)
            read_some(&tail, control.head, &expected, (uint32_t)prng_below(&prng, 4));
        control.tail = tail;
    }
    assert_true(lost > 100);
    assert_int_equal(control.lost, lost);
    // Room again: what was lost is said.
    control.tail = control.head;
    assert_true(write_one(&ring, &prng, written));
    assert_int_equal(ring.lost, ring.lost_told);
}

static void ring_is_overwritten(void **state)
{
    struct prng prng = host_seed("ring_is_overwritten");
    struct perf_ring ring = {0};
    perf_ring_init(&ring, &control, data, RING_BYTES, true);
    for (uint64_t written = 0; written < 5000; written++) {
        assert_true(write_one(&ring, &prng, written));
        // All that is said to be intact is, up to the newest.
        assert_true(control.head - control.oldest <= RING_BYTES);
        uint64_t position = control.oldest;
        struct perf_record record = {0};
        do {
            uint32_t offset = (uint32_t)(position & (RING_BYTES - 1));
            position += perf_decode(data + offset, RING_BYTES - offset, &record);
        } while (record.header.type == PERF_EXPORT_PAD);
        uint64_t number = record.sample.ip;
        position = control.oldest;
        read_some(&position, control.head, &number, UINT32_MAX);
        assert_int_equal(number, written + 1);
    }
    assert_int_equal(control.lost, 0);
}

static void ring_survives_the_host(void **state)
{
    struct prng prng = host_seed("ring_survives_the_host");
    for (int overwrite = 0; overwrite < 2; overwrite++) {
        struct perf_ring ring = {0};
        perf_ring_init(&ring, &control, data, RING_BYTES, overwrite != 0);
        for (uint64_t i = 0; i < 20000; i++) {
            (void)write_one(&ring, &prng, i);
            control.tail = i % 3 == 0 ? prng_u64(&prng) : ring.head - prng_below(&prng, 9000);
            control.head = prng_u64(&prng);
            control.oldest = prng_u64(&prng);
            for (int k = 0; k < 20; k++)
                data[prng_below(&prng, RING_BYTES)] = (uint8_t)prng_u64(&prng);
        }
    }
}

static void format_is_that_of_linux(void **state)
{
    static const struct perf_format_field fields[] = {
        {"char", "comm", 8, 16, 16, 0, 0}, {"pid_t", "pid", 24, 4, 0, 1, 0}};
    struct perf_format format = {.name = "sched_thing",
        .id = 1003,
        .fields = fields,
        .field_count = 2,
        .print = "\"comm=%s pid=%d\", REC->comm, REC->pid"};
    static const char expected[] =
        "name: sched_thing\nID: 1003\nformat:\n"
        "\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n"
        "\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;\n"
        "\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;\n"
        "\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n\n"
        "\tfield:char comm[16];\toffset:8;\tsize:16;\tsigned:0;\n"
        "\tfield:pid_t pid;\toffset:24;\tsize:4;\tsigned:1;\n\n"
        "print fmt: \"comm=%s pid=%d\", REC->comm, REC->pid\n";
    char text[1000];
    assert_int_equal(perf_format_text(&format, text, sizeof(text)), strlen(expected));
    assert_string_equal(text, expected);
    assert_int_equal(perf_format_text(&format, text, 10), strlen(expected));
    assert_int_equal(strlen(text), 9);
    assert_int_equal(perf_format_text(&format, NULL, 0), strlen(expected));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(samples_come_back),
        cmocka_unit_test(side_band_comes_back),
        cmocka_unit_test(mappings_come_back),
        cmocka_unit_test(ring_is_collected),
        cmocka_unit_test(ring_is_overwritten),
        cmocka_unit_test(ring_survives_the_host),
        cmocka_unit_test(format_is_that_of_linux),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
