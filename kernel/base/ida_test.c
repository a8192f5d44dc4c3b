// SPDX-License-Identifier: MIT
//
// ida.h against an array of bool, with allocations failing at every place.
#include "kernel/base/ida.h"

#include "kernel/base/host/host_base.h"
#include "kernel/base/host/host_cmocka.h"

#include <errno.h>
#include <string.h>

#define IDS 20000 // more than four leaves

static bool model[IDS];

static uint32_t model_lowest_free(uint32_t min, uint32_t max)
{
    uint32_t id = min;
    while (id <= max && model[id]) {
        id++;
    }
    return id;
}

static void check_alloc(struct ida *ida, uint32_t min, uint32_t max)
{
    uint32_t expected = model_lowest_free(min, max);
    uint32_t id = UINT32_MAX;
    int error = host_with_failing_allocations(
        ida_alloc(ida, min, max, &id), assert_true(ida_is_valid(ida)));
    assert_int_equal(error, expected > max ? -ENOSPC : 0);
    if (error == 0) {
        assert_int_equal(id, expected);
        model[id] = true;
    }
}

static void ids_match_an_array(void **state)
{
    struct prng prng = host_seed(__func__);
    struct ida ida = {};
    uint64_t live = host_alloc_live();

    memset(model, 0, sizeof(model));
    for (int round = 0; round < 60000; round++) {
        uint32_t id = (uint32_t)prng_below(&prng, IDS);
        bool filling = round / 15000 % 2 == 0;
        uint64_t choice = prng_below(&prng, 10);
        if (choice < (filling ? 8 : 2)) {
            uint32_t max = choice == 0 ? id + (uint32_t)prng_below(&prng, IDS - id) : IDS - 1;
            check_alloc(&ida, choice <= 4 ? id : 0, MAX(id, max));
        } else if (choice == 8) {
            int error = host_with_failing_allocations(
                ida_reserve(&ida, id), assert_true(ida_is_valid(&ida)));
            assert_int_equal(error, model[id] ? -EBUSY : 0);
            model[id] = true;
        } else if (model[id]) {
            ida_free(&ida, id);
            model[id] = false;
        }
        assert_int_equal(ida_is_allocated(&ida, id), model[id]);
        if (round % 256 == 0) {
            assert_true(ida_is_valid(&ida));
        }
    }
    for (uint32_t id = 0; id < IDS; id++) {
        assert_int_equal(ida_is_allocated(&ida, id), model[id]);
        if (model[id]) {
            ida_free(&ida, id);
        }
    }
    assert_int_equal(ida.count, 0);
    assert_int_equal(host_alloc_live(), live);
}

static void sequences_are_dense_and_limited(void **state)
{
    struct ida ida = {};
    uint32_t id;
    for (uint32_t i = 0; i < 10000; i++) {
        assert_int_equal(ida_alloc(&ida, 1, 10000, &id), 0);
        assert_int_equal(id, i + 1);
    }
    assert_int_equal(ida_alloc(&ida, 1, 10000, &id), -ENOSPC);
    assert_int_equal(ida_alloc(&ida, 10000, 10000, &id), -ENOSPC);
    assert_int_equal(ida_alloc(&ida, 0, 10000, &id), 0);
    assert_int_equal(id, 0);
    ida_free(&ida, 4096);
    assert_int_equal(ida_alloc(&ida, 1, 10000, &id), 0);
    assert_int_equal(id, 4096);
    ida_destroy(&ida);
    assert_true(ida_is_valid(&ida));
}

static void greatest_ids_work(void **state)
{
    struct ida ida = {};
    uint32_t id;
    assert_int_equal(ida_reserve(&ida, 3), 0);
    int error = host_with_failing_allocations(
        ida_alloc(&ida, IDA_MAX, IDA_MAX, &id), assert_true(ida_is_valid(&ida)));
    assert_int_equal(error, 0);
    assert_int_equal(id, IDA_MAX);
    assert_int_equal(ida_alloc(&ida, IDA_MAX, IDA_MAX, &id), -ENOSPC);
    assert_true(ida_is_allocated(&ida, 3));
    assert_true(ida_is_valid(&ida));
    ida_free(&ida, IDA_MAX);
    ida_free(&ida, 3);
    assert_null(ida.root);
    expect_assert_failure(ida_free(&ida, 3));
}

static void cyclic_allocation_wraps(void **state)
{
    struct ida ida = {};
    uint32_t id;
    for (uint32_t i = 0; i < 10; i++) {
        assert_int_equal(ida_alloc_cyclic(&ida, 1, 10, i + 1, &id), 0);
        assert_int_equal(id, i + 1);
    }
    assert_int_equal(ida_alloc_cyclic(&ida, 1, 10, 5, &id), -ENOSPC);
    ida_free(&ida, 3);
    assert_int_equal(ida_alloc_cyclic(&ida, 1, 10, 5, &id), 0);
    assert_int_equal(id, 3);
    ida_free(&ida, 2);
    ida_free(&ida, 8);
    assert_int_equal(ida_alloc_cyclic(&ida, 1, 10, 5, &id), 0);
    assert_int_equal(id, 8);
    ida_destroy(&ida);
}

// The root is the only node here; its first two words are `full` and `used`, then come the bitmaps.
static void validation_sees_damage(void **state)
{
    struct ida ida = {};
    uint32_t id;
    for (uint32_t i = 0; i < 100; i++) {
        assert_int_equal(ida_alloc(&ida, 0, IDA_MAX, &id), 0);
    }
    uint64_t *words = (uint64_t *)ida.root;
    for (size_t word = 0; word < 10; word++) {
        assert_true(ida_is_valid(&ida));
        words[word] ^= 1;
        assert_false(ida_is_valid(&ida));
        words[word] ^= 1;
    }
    uint64_t used = words[1];
    words[1] = 0;
    assert_false(ida_is_valid(&ida));
    words[1] = used;
    ida_destroy(&ida);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_match_an_array),
        cmocka_unit_test(sequences_are_dense_and_limited),
        cmocka_unit_test(greatest_ids_work),
        cmocka_unit_test(cyclic_allocation_wraps),
        cmocka_unit_test(validation_sees_damage),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
