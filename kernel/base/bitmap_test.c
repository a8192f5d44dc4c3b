// SPDX-License-Identifier: MIT
//
// bitmap.h against arrays of bool, for sizes around the word boundaries. Bits behind the end are
// garbage throughout, because no question may look at them.
#include "kernel/base/bitmap.h"

#include "kernel/base/host/host_base.h"
#include "kernel/base/host/host_cmocka.h"

#include <string.h>

#define BITS_MAX 260

static const size_t sizes[] = {1, 2, 63, 64, 65, 127, 128, 129, 200, 256, BITS_MAX};

struct pair {
    uint64_t map[BITMAP_WORDS(BITS_MAX)];
    bool model[BITS_MAX];
    size_t bits;
};

static void randomise(struct pair *pair, size_t bits, struct prng *prng)
{
    uint64_t density = prng_below(prng, 4); // 0: empty, 3: full
    pair->bits = bits;
    for (size_t word = 0; word < BITMAP_WORDS(BITS_MAX); word++) {
        pair->map[word] = prng_u64(prng); // garbage behind the end
    }
    for (size_t bit = 0; bit < bits; bit++) {
        pair->model[bit] = prng_below(prng, 3) < density;
        bitmap_assign(pair->map, bit, pair->model[bit]);
    }
}

static size_t model_find(const struct pair *pair, size_t from, bool value)
{
    for (size_t bit = from; bit < pair->bits; bit++) {
        if (pair->model[bit] == value) {
            return bit;
        }
    }
    return pair->bits;
}

static size_t model_find_range(const struct pair *pair, size_t from, size_t count, size_t alignment)
{
    for (size_t start = from; start + count <= pair->bits; start++) {
        size_t len = 0;
        while (len < count && !pair->model[start + len]) {
            len++;
        }
        if (start % alignment == 0 && len == count) {
            return start;
        }
    }
    return pair->bits;
}

static void check_questions(const struct pair *pair, struct prng *prng)
{
    size_t weight = 0;
    size_t last = pair->bits;
    size_t bit;
    for (bit = 0; bit < pair->bits; bit++) {
        assert_int_equal(bitmap_test(pair->map, bit), pair->model[bit]);
        weight += pair->model[bit];
        last = pair->model[bit] ? bit : last;
    }
    assert_int_equal(bitmap_weight(pair->map, pair->bits), weight);
    assert_int_equal(bitmap_is_empty(pair->map, pair->bits), weight == 0);
    assert_int_equal(bitmap_is_full(pair->map, pair->bits), weight == pair->bits);
    assert_int_equal(bitmap_find_last_set(pair->map, pair->bits), last);
    bitmap_for_each_set (bit, pair->map, pair->bits) {
        assert_true(pair->model[bit]);
        weight--;
    }
    assert_int_equal(weight, 0);
    for (size_t from = 0; from <= pair->bits + 1; from++) {
        assert_int_equal(
            bitmap_find_next_set(pair->map, pair->bits, from), model_find(pair, from, true));
        assert_int_equal(
            bitmap_find_next_zero(pair->map, pair->bits, from), model_find(pair, from, false));
    }
    size_t from = prng_below(prng, pair->bits);
    size_t count = prng_below(prng, 10) + 1;
    size_t alignment = 1ul << prng_below(prng, 5);
    assert_int_equal(bitmap_find_zero_range(pair->map, pair->bits, from, count, alignment),
        model_find_range(pair, from, count, alignment));
}

static void check_pairs(const struct pair *a, const struct pair *b)
{
    bool equal = true;
    bool intersects = false;
    bool subset = true;
    struct pair results[3] = {{.bits = a->bits}, {.bits = a->bits}, {.bits = a->bits}};

    for (size_t bit = 0; bit < a->bits; bit++) {
        equal &= a->model[bit] == b->model[bit];
        intersects |= a->model[bit] && b->model[bit];
        subset &= !a->model[bit] || b->model[bit];
        results[0].model[bit] = a->model[bit] && b->model[bit];
        results[1].model[bit] = a->model[bit] || b->model[bit];
        results[2].model[bit] = a->model[bit] && !b->model[bit];
    }
    assert_int_equal(bitmap_is_equal(a->map, b->map, a->bits), equal);
    assert_int_equal(bitmap_intersects(a->map, b->map, a->bits), intersects);
    assert_int_equal(bitmap_is_subset(a->map, b->map, a->bits), subset);
    bitmap_and(results[0].map, a->map, b->map, a->bits);
    bitmap_or(results[1].map, a->map, b->map, a->bits);
    bitmap_and_not(results[2].map, a->map, b->map, a->bits);
    for (size_t i = 0; i < ARRAY_SIZE(results); i++) {
        for (size_t bit = 0; bit < BITMAP_WORDS(a->bits) * 64; bit++) {
            bool expected = bit < a->bits && results[i].model[bit];
            assert_int_equal(bitmap_test(results[i].map, bit), expected);
        }
    }
}

static void bitmap_matches_an_array(void **state)
{
    struct prng prng = host_seed(__func__);
    for (int round = 0; round < 300; round++) {
        struct pair a;
        struct pair b;
        size_t bits = sizes[prng_below(&prng, ARRAY_SIZE(sizes))];
        randomise(&a, bits, &prng);
        randomise(&b, bits, &prng);
        check_questions(&a, &prng);
        check_pairs(&a, &b);

        size_t start = prng_below(&prng, bits);
        size_t count = prng_below(&prng, bits - start + 1);
        bool value = prng_below(&prng, 2) == 0;
        if (value) {
            bitmap_set_range(a.map, start, count);
        } else {
            bitmap_clear_range(a.map, start, count);
        }
        memset(&a.model[start], value, count);
        check_questions(&a, &prng);

        bitmap_copy(b.map, a.map, bits);
        assert_true(bitmap_is_equal(a.map, b.map, bits));
        bitmap_fill(b.map, bits);
        assert_true(bitmap_is_full(b.map, bits));
        assert_int_equal(bitmap_weight(b.map, BITMAP_WORDS(bits) * 64), bits);
        bitmap_zero(b.map, bits);
        assert_true(bitmap_is_empty(b.map, bits));
    }
}

static void atomic_forms_return_the_old_bit(void **state)
{
    uint64_t map[2] = {};
    assert_false(bitmap_test_and_set_atomic(map, 70));
    assert_true(bitmap_test_and_set_atomic(map, 70));
    assert_true(bitmap_test_and_clear_atomic(map, 70));
    assert_false(bitmap_test_and_clear_atomic(map, 70));
    bitmap_set_atomic(map, 127);
    assert_int_equal(bitmap_find_first_set(map, 128), 127);
    bitmap_clear_atomic(map, 127);
    assert_int_equal(bitmap_find_first_set(map, 128), 128);
    assert_int_equal(bitmap_find_first_zero(map, 0), 0);
}

static void bit_arithmetic(void **state)
{
    struct prng prng = host_seed(__func__);
    for (unsigned int bit = 0; bit < 64; bit++) {
        uint64_t below = bit == 0 ? 0 : prng_u64(&prng) & (BIT(bit) - 1);
        uint64_t above = prng_u64(&prng) & ~(BIT(bit) - 1);
        assert_int_equal(bit_highest(BIT(bit) | below), bit);
        assert_int_equal(bit_lowest(BIT(bit) | above), bit);
    }
    for (int round = 0; round < 1000; round++) {
        uint64_t value = prng_u64(&prng) & prng_u64(&prng);
        assert_int_equal(bit_count(value), __builtin_popcountll(value));
    }
    assert_int_equal(round_up_power_of_two(1), 1);
    assert_int_equal(round_up_power_of_two(64), 64);
    assert_int_equal(round_up_power_of_two(65), 128);
    assert_true(round_up_power_of_two(BIT(63)) == BIT(63));
    assert_false(range_exceeds(10, 0, 10));
    assert_true(range_exceeds(11, 0, 10));
    assert_true(range_exceeds(1, UINT64_MAX, 10));
    assert_false(range_overflows(1, UINT64_MAX - 1));
    assert_true(range_overflows(2, UINT64_MAX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bitmap_matches_an_array),
        cmocka_unit_test(atomic_forms_return_the_old_bit),
        cmocka_unit_test(bit_arithmetic),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
