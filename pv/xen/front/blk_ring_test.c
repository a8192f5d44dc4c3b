// SPDX-License-Identifier: MIT
// Unit tests: slots and responses of a disk's ring, against a model and a back end that writes
// nonsense.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>

#include "pv/xen/front/blk_ring.h"

// Slots are taken and given back at random; a model says which are in use.
static void slots_like_a_model(void **state)
{
    static const uint32_t counts[] = {1, 32, 63, 64, 65, 127, 128};
    srand(1);
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        struct ring_slots slots;
        bool used[RING_SLOTS_MAX] = {};
        uint32_t used_count = 0;
        ring_slots_init(&slots, counts[i]);
        for (unsigned step = 0; step < 20000; step++) {
            uint32_t slot = (uint32_t)rand() % RING_SLOTS_MAX;
            assert_int_equal(ring_slots_is_used(&slots, slot), used[slot]);
            if (used[slot]) {
                ring_slots_give(&slots, slot);
                used[slot] = false;
                used_count--;
            } else {
                int taken = ring_slots_take(&slots);
                assert_int_equal(taken == -ENOSPC, used_count == counts[i]);
                if (taken >= 0) {
                    assert_true((uint32_t)taken < counts[i] && !used[taken]);
                    used[taken] = true;
                    used_count++;
                }
            }
            assert_int_equal(slots.used_count, used_count);
        }
    }
}

static void positions(void **state)
{
    struct ring_slots slots;
    ring_slots_init(&slots, 32);
    assert_int_equal(ring_responses_check(&slots, 7, 7), 0);
    assert_int_equal(ring_responses_check(&slots, 8, 7), -EPROTO); // nothing was asked
    for (unsigned i = 0; i < 3; i++) {
        assert_true(ring_slots_take(&slots) >= 0);
    }
    assert_int_equal(ring_responses_check(&slots, 10, 7), 3);
    assert_int_equal(ring_responses_check(&slots, 1, UINT32_MAX), 2); // wrapped
    assert_int_equal(ring_responses_check(&slots, 11, 7), -EPROTO);
    assert_int_equal(ring_responses_check(&slots, 6, 7), -EPROTO); // backwards
}

static void responses(void **state)
{
    struct ring_slots slots;
    ring_slots_init(&slots, 32);
    int taken = ring_slots_take(&slots);
    assert_int_equal(taken, 0);
    struct blkif_response response = {.id = 0};
    assert_int_equal(blk_response_slot(&slots, &response), 0);
    static const uint64_t wrong[] = {
        1, 31, 32, 127, 128, UINT32_MAX, UINT64_MAX, UINT64_C(1) << 32};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        response.id = wrong[i];
        assert_int_equal(blk_response_slot(&slots, &response), -EPROTO);
    }
    static const struct {
        int16_t status;
        int error;
    } statuses[] = {{BLKIF_RSP_OKAY, 0}, {BLKIF_RSP_ERROR, -EIO},
        {BLKIF_RSP_EOPNOTSUPP, -EOPNOTSUPP}, {1, -EIO}, {INT16_MIN, -EIO}};
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        response.status = statuses[i].status;
        assert_int_equal(blk_response_error(&response), statuses[i].error);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slots_like_a_model),
        cmocka_unit_test(positions),
        cmocka_unit_test(responses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
