// SPDX-License-Identifier: MIT
//
// log_ring.h: what is written can be read until it is overwritten; several writers and a reader
// under the race detector never see a mixed record; a writer that was overtaken by the whole ring
// loses its record only.
#include "kernel/core/log_ring.h"

#include "kernel/base/atomic.h"
#include "kernel/base/host/host_cmocka.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static struct log_ring ring;

static struct log_record record_of(uint64_t number)
{
    struct log_record record = {.time_ns = number, .level = (uint8_t)(number % 8)};
    record.len_bytes = (uint16_t)(number % LOG_TEXT_BYTES + 1);
    memset(record.text, 'a' + (int)(number % 26), record.len_bytes);
    return record;
}

static bool record_is_whole(const struct log_record *record)
{
    struct log_record expected = record_of(record->time_ns);
    return record->level == expected.level && record->len_bytes == expected.len_bytes &&
           memcmp(record->text, expected.text, expected.len_bytes) == 0;
}

static void records_are_kept_until_overwritten(void **state)
{
    (void)state;
    struct log_record record;
    for (uint64_t number = 0; number < 3 * LOG_SLOTS; number++) {
        struct log_record written = record_of(number);
        assert_int_equal(log_ring_read(&ring, number, &record), LOG_RING_NOT_YET);
        assert_true(log_ring_write(&ring, &written));
        assert_int_equal(log_ring_read(&ring, number, &record), LOG_RING_OK);
        assert_true(record_is_whole(&record));
        if (number >= LOG_SLOTS)
            assert_int_equal(log_ring_read(&ring, number - LOG_SLOTS, &record), LOG_RING_GONE);
    }
    assert_int_equal(log_ring_first(&ring), 2 * LOG_SLOTS);
    assert_int_equal(log_ring_next(&ring), 3 * LOG_SLOTS);
}

static void an_overtaken_writer_blocks_nobody(void **state)
{
    (void)state;
    struct log_record record = record_of(7);
    memset(&ring, 0, sizeof(ring));
    ring.next = 1;
    ring.slots[0].state = 1; // the writer of record 0 stopped in the middle
    for (uint64_t i = 1; i < 2 * LOG_SLOTS + 1; i++)
        (void)log_ring_write(&ring, &record);
    assert_int_equal(ring.dropped, 2); // records LOG_SLOTS and 2 LOG_SLOTS had no slot
    assert_int_equal(log_ring_read(&ring, LOG_SLOTS + 1, &record), LOG_RING_OK);
    assert_int_equal(log_ring_read(&ring, LOG_SLOTS, &record), LOG_RING_GONE);
}

#define WRITERS 3
#define ROUNDS  20000

static uint32_t writing; // writers that go on; atomic

static void *write_play(void *argument)
{
    for (uint64_t i = 0; i < ROUNDS; i++) {
        struct log_record record = record_of(i * WRITERS + (uintptr_t)argument);
        (void)log_ring_write(&ring, &record);
    }
    atomic_fetch_sub(&writing, 1u);
    return NULL;
}

static void readers_see_whole_records(void **state)
{
    (void)state;
    pthread_t threads[WRITERS];
    uint64_t whole = 0;
    memset(&ring, 0, sizeof(ring));
    writing = WRITERS;
    for (uintptr_t i = 0; i < WRITERS; i++)
        pthread_create(&threads[i], NULL, write_play, (void *)i);
    while (atomic_load(&writing) != 0) {
        for (uint64_t number = log_ring_first(&ring); number < log_ring_next(&ring); number++) {
            struct log_record record;
            if (log_ring_read(&ring, number, &record) != LOG_RING_OK)
                continue;
            if (!record_is_whole(&record))
                abort();
            whole++;
        }
    }
    for (int i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    assert_true(whole > 0);
    assert_int_equal(log_ring_next(&ring), WRITERS * ROUNDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_are_kept_until_overwritten),
        cmocka_unit_test(an_overtaken_writer_blocks_nobody),
        cmocka_unit_test(readers_see_whole_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
