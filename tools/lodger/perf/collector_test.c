// SPDX-License-Identifier: MIT
//
// Claim: what a guest writes into its rings stands in the recording: each sample with task, CPU,
// time, period and callers, under the names of the rundown; the clock is right within the bound
// that is given; a guest that refuses, that has an owner, or that writes nonsense is told so, and
// the file can be read.
// Method: a guest in a thread (fake_guest.h) that encodes with the kernel's own code, and the
// ordinary perf on the recording. The user program is this test.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/lodger/cpio.h"
#include "tools/lodger/perf/collector.h"
#include "tools/lodger/perf/fake_guest.h"
#include "tools/lodger/perf/recorder.h"
#include "tools/lodger/process.h"

#define SAMPLES    300u
#define MAP_START  0x10000000ull
#define PATIENCE   5000000000ull
#define LEAF_SHARE 3u // of 4 samples, so many are in the leaf

static char program[512]; // this test

__attribute__((noinline)) static void fake_leaf(void)
{
    __asm__ volatile("");
}

__attribute__((noinline)) static void fake_caller(void)
{
    fake_leaf();
}

static uint64_t address_of(void (*function)(void))
{
    extern const char __ehdr_start;
    return MAP_START + (uint64_t)((uintptr_t)function - (uintptr_t)&__ehdr_start);
}

static char *perf(const char *arguments, const char *path)
{
    char *line = xasprintf("perf %s -i %s 2>&1", arguments, path);
    char *command[] = {"sh", "-c", line, NULL};
    struct process_result result;
    process_run(command, NULL, 60000000000ull, &result);
    buffer_add(&result.output, "", 1);
    if (!process_succeeded(&result)) {
        fail_msg("%s\n%s", line, (char *)result.output.data);
    }
    free(line);
    return (char *)result.output.data;
}

static unsigned count_text(const char *text, const char *part)
{
    unsigned count = 0;
    for (const char *at = text; (at = strstr(at, part)) != NULL; at++) {
        count++;
    }
    return count;
}

// The rundown: one process of four threads that was there before.
static void tell_process(struct fake_guest *guest)
{
    static _Alignas(8) uint8_t record[PERF_EXPORT_RECORD_MAX];
    struct perf_who who = {fake_guest_tsc(guest), 40, 40};
    uint32_t size;
    for (; who.tid < 40 + FAKE_CPUS; who.tid++) {
        size = perf_encode_comm(record, &who, PERF_EXPORT_FLAG_RUNDOWN, "worker");
        fake_guest_put(&guest->sides[0], record, size);
    }
    who.tid = 40;
    struct perf_export_mmap mapping = {
        .start = MAP_START, .len = 64u << 20, .protection = 5, .map_flags = 2};
    size = perf_encode_mmap(record, &who, PERF_EXPORT_FLAG_RUNDOWN, &mapping, "/bin/worker", 11);
    fake_guest_put(&guest->sides[0], record, size);
}

// SAMPLES samples on each CPU, LEAF_SHARE of 4 in the leaf.
static void put_samples(struct fake_guest *guest)
{
    static _Alignas(8) uint8_t record[PERF_EXPORT_RECORD_MAX];
    unsigned *done = guest->context;
    if (*done == SAMPLES) {
        return;
    }
    for (unsigned cpu = 0; cpu < guest->cpu_count; cpu++) {
        struct perf_who who = {fake_guest_tsc(guest), 40, 40 + cpu};
        bool leaf = *done % 4 < LEAF_SHARE;
        struct perf_encoder encoder;
        perf_encode_begin(&encoder, record, PERF_EXPORT_IN_USER, 0, &who,
            address_of(leaf ? fake_leaf : fake_caller));
        perf_encode_kernel_frames_end(&encoder, 0);
        perf_encode_user_frames(&encoder)[0] = address_of(fake_caller) + 1;
        perf_encode_user_frames_end(&encoder, leaf ? 1 : 0);
        fake_guest_put(&guest->samples[cpu], record, perf_encode_end(&encoder));
    }
    ++*done;
}

static void start(struct fake_guest *guest, struct collector *collector)
{
    struct guest_memory memory;
    guest_memory_open_buffer(&memory, guest->bytes, FAKE_MEMORY_BYTES);
    assert_null(collector_open_memory(collector, &memory, FAKE_DESCRIPTOR));
}

// The guest's programs come from an initial file system: with this test in it.
static void give_initrd(struct collector *collector)
{
    struct cpio cpio = {};
    assert_int_equal(cpio_add_host_file(&cpio, "/bin/worker", 0755, program), 0);
    cpio_finish(&cpio);
    char *path = xasprintf("%s/initrd.cpio", folder_temporary());
    file_write(path, cpio.archive.data, cpio.archive.len_bytes);
    cpio_free(&cpio);
    programs_free(&collector->programs);
    programs_init(&collector->programs, path);
    free(path);
}

static const struct collector_settings usual = {
    .frequency_hz = 1000, .kernel_frames = 8, .user_frames = 8};

static void record_until(struct recorder *recorder, const unsigned *done)
{
    for (unsigned i = 0; i < 400 && *done < SAMPLES; i++) {
        assert_int_equal(recorder_collect(recorder, 0), 0);
        assert_int_equal(recorder_flush(recorder), 0);
        usleep(10000);
    }
    assert_int_equal(*done, SAMPLES);
    assert_int_equal(recorder_collect(recorder, 0), 0);
}

static void samples_arrive(void **state)
{
    struct fake_guest guest;
    unsigned done = 0;
    fake_guest_init(&guest, FAKE_CPUS);
    guest.rundown = tell_process;
    guest.tick = put_samples;
    guest.context = &done;
    guest.skew_ns = 123456789;
    fake_guest_start(&guest);
    struct collector collector;
    start(&guest, &collector);
    give_initrd(&collector);
    assert_null(collector_start(&collector, &usual, PATIENCE));
    char *path = xasprintf("%s/samples.data", folder_temporary());
    struct recorder *recorder;
    struct collector *collectors[] = {&collector};
    assert_int_equal(recorder_open(path, collectors, 1, &recorder), 0);
    record_until(recorder, &done);
    assert_int_equal(recorder_result(recorder, 0)->samples, SAMPLES * FAKE_CPUS);
    char *command[] = {"test", NULL};
    assert_int_equal(recorder_close(recorder, command), 0);
    collector_stop(&collector);
    fake_guest_stop(&guest);

    char *text = perf("script -F +machine_pid,+vcpu", path);
    assert_int_equal(count_text(text, "cpu-clock:"), SAMPLES * FAKE_CPUS);
    assert_int_equal(count_text(text, "worker    43 [003]"), SAMPLES);
    assert_int_equal(count_text(text, "VCPU:002"), SAMPLES);
    // In the leaf: it and its caller; else the caller alone.
    assert_int_equal(count_text(text, " fake_leaf+"), SAMPLES * FAKE_CPUS * LEAF_SHARE / 4);
    assert_int_equal(count_text(text, " fake_caller+"), SAMPLES * FAKE_CPUS);
    free(text);
    text = perf("report --stdio --no-children -g none -F overhead,comm,sym", path);
    assert_true(strstr(text, "75.00%  worker   [u] fake_leaf") != NULL);
    assert_true(strstr(text, "25.00%  worker   [u] fake_caller") != NULL);
    free(text);
    collector_close(&collector);
    fake_guest_free(&guest);
    free(path);
}

static void clock_is_right(void **state)
{
    struct fake_guest guest;
    fake_guest_init(&guest, 1);
    guest.skew_ns = -98765432;
    fake_guest_start(&guest);
    struct collector collector;
    start(&guest, &collector);
    assert_null(collector_start(&collector, &usual, PATIENCE));
    for (unsigned i = 0; i < 20; i++) {
        guest_clock_handshake(&collector.clock, &collector.attach, 50000000);
        usleep(20000);
    }
    assert_true(collector.clock.count >= 2);
    uint64_t now_ns = time_now_ns();
    uint64_t tsc = fake_guest_tsc_at(&guest, now_ns);
    uint64_t bound_ns = guest_clock_error_ns(&collector.clock, tsc);
    int64_t error_ns = (int64_t)(guest_clock_convert(&collector.clock, tsc) - now_ns);
    // The bound itself depends on how the two threads were scheduled; being within it does not.
    if ((uint64_t)llabs(error_ns) > bound_ns) {
        fail_msg("error %lld ns, bound %llu ns", (long long)error_ns, (unsigned long long)bound_ns);
    }
    collector_stop(&collector);
    fake_guest_stop(&guest);
    collector_close(&collector);
    fake_guest_free(&guest);
}

static void expect_reason(char *reason, const char *expected)
{
    if (reason == NULL || strstr(reason, expected) == NULL) {
        fail_msg("expected \"%s\", got \"%s\"", expected, reason != NULL ? reason : "success");
    }
    free(reason);
}

static void refusals(void **state)
{
    struct fake_guest guest;
    fake_guest_init(&guest, 1);
    struct collector collector;
    struct guest_memory memory;
    guest_memory_open_buffer(&memory, guest.bytes, FAKE_MEMORY_BYTES);
    // Nobody answers.
    start(&guest, &collector);
    expect_reason(collector_start(&collector, &usual, 50000000), "has not answered");
    collector_close(&collector);
    // The guest says no.
    guest.refuse = -ENOMEM;
    fake_guest_start(&guest);
    start(&guest, &collector);
    expect_reason(collector_start(&collector, &usual, PATIENCE), "refuses: Cannot allocate memory");
    collector_close(&collector);
    guest.refuse = 0;
    // It has no such event.
    start(&guest, &collector);
    struct collector_settings cycles = usual;
    const char *const events[] = {"cycles", NULL};
    cycles.events = events;
    expect_reason(collector_start(&collector, &cycles, PATIENCE), "none of the events");
    collector_close(&collector);
    const char *const bad[] = {"cpu-cloc", "sched:*", "probe:x", NULL};
    for (unsigned i = 0; bad[i] != NULL; i++) {
        const char *const one[] = {bad[i], NULL};
        cycles.events = one;
        start(&guest, &collector);
        expect_reason(collector_start(&collector, &cycles, PATIENCE), bad[i]);
        collector_close(&collector);
    }
    // Somebody who lives (our parent) collects already.
    guest.descriptor->request.mode = PERF_EXPORT_MODE_COLLECT;
    guest.descriptor->request.owner = (uint64_t)getppid();
    start(&guest, &collector);
    expect_reason(collector_start(&collector, &usual, PATIENCE), "collects from this guest");
    collector_close(&collector);
    fake_guest_stop(&guest);
    // Another version.
    guest.descriptor->version++;
    expect_reason(collector_open_memory(&collector, &memory, FAKE_DESCRIPTOR), "version");
    collector_close(&collector);
    fake_guest_free(&guest);
}

// Writes random bytes and random fields into all that the guest shares, while it is recorded.
static void put_nonsense(struct fake_guest *guest)
{
    static uint32_t seed = 12345;
    for (unsigned i = 0; i < 2000; i++) {
        seed = seed * 1664525 + 1013904223;
        unsigned cpu = (seed >> 8) % guest->cpu_count;
        struct perf_ring *ring = (seed & 0x10000) != 0 ? &guest->samples[cpu] : &guest->sides[cpu];
        _Alignas(8) uint8_t record[256];
        for (unsigned j = 0; j < sizeof(record); j++) {
            seed = seed * 1664525 + 1013904223;
            record[j] = (uint8_t)(seed >> 24);
        }
        // Mostly with a header that leads on.
        struct perf_export_header *header = (struct perf_export_header *)record;
        header->size = (uint16_t)((seed % 28 + 4) * 8);
        header->type = (uint8_t)((seed >> 5) % 9);
        header->event = 0;
        header->kernel_frames %= 8;
        header->user_frames %= 8;
        uint8_t *at = perf_ring_reserve(ring, header->size, 0);
        if (at != NULL) {
            uint16_t size = header->size;
            memcpy(at, record, size);
            perf_ring_commit(ring, size);
        }
    }
    unsigned *done = guest->context;
    *done += *done < SAMPLES ? 1 : 0;
}

static void nonsense_is_survived(void **state)
{
    struct fake_guest guest;
    unsigned done = 0;
    fake_guest_init(&guest, FAKE_CPUS);
    guest.rundown = tell_process;
    guest.context = &done;
    fake_guest_start(&guest);
    struct collector collector;
    start(&guest, &collector);
    assert_null(collector_start(&collector, &usual, PATIENCE));
    char *path = xasprintf("%s/nonsense.data", folder_temporary());
    struct recorder *recorder;
    struct collector *collectors[] = {&collector};
    assert_int_equal(recorder_open(path, collectors, 1, &recorder), 0);
    for (unsigned generation = 0; generation < 40; generation++) {
        put_nonsense(&guest);
        assert_int_equal(recorder_collect(recorder, 0), 0);
        assert_int_equal(recorder_flush(recorder), 0);
        // A ring that was given up is opened again by the next request.
        assert_int_equal(attach_request(&collector.attach, &collector.attach.request), 0);
        for (unsigned i = 0; i < 1000 && attach_started(&collector.attach) == 0; i++) {
            usleep(1000);
        }
    }
    assert_true(collector.attach.broken_rings > 0);
    char *command[] = {"test", NULL};
    assert_int_equal(recorder_close(recorder, command), 0);
    fake_guest_stop(&guest);
    char *text = perf("script", path);
    free(text);
    text = perf("report --stdio", path);
    free(text);
    collector_close(&collector);
    fake_guest_free(&guest);
    free(path);
}

int main(void)
{
    ssize_t len_bytes = readlink("/proc/self/exe", program, sizeof(program) - 1);
    if (len_bytes <= 0) {
        return 1;
    }
    setenv("HOME", folder_temporary(), 1); // for the cache of build-ids
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(samples_arrive),
        cmocka_unit_test(clock_is_right),
        cmocka_unit_test(refusals),
        cmocka_unit_test(nonsense_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
