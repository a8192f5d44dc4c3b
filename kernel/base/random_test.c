// SPDX-License-Identifier: MIT
//
// random.h: the test vectors of RFC 8439, and that the generator erases, mixes and does not repeat.
#include "kernel/base/random.h"

#include "kernel/base/host/host_base.h"
#include "kernel/base/host/host_cmocka.h"

#include <string.h>

// RFC 8439, 2.3.2.
static void block_matches_the_rfc(void **state)
{
    static const uint8_t expected[64] = {0x10, 0xf1, 0xe7, 0xe4, 0xd1, 0x3b, 0x59, 0x15, 0x50, 0x0f,
        0xdd, 0x1f, 0xa3, 0x20, 0x71, 0xc4, 0xc7, 0xd1, 0xf4, 0xc7, 0x33, 0xc0, 0x68, 0x03, 0x04,
        0x22, 0xaa, 0x9a, 0xc3, 0xd4, 0x6c, 0x4e, 0xd2, 0x82, 0x64, 0x46, 0x07, 0x9f, 0xaa, 0x09,
        0x14, 0xc2, 0xd7, 0x05, 0xd9, 0x8b, 0x02, 0xa2, 0xb5, 0x12, 0x9c, 0xd1, 0xde, 0x16, 0x4e,
        0xb9, 0xcb, 0xd0, 0x83, 0xe8, 0xa2, 0x50, 0x3c, 0x4e};
    const uint32_t nonce[3] = {0x09000000, 0x4a000000, 0};
    uint32_t key[8];
    uint8_t block[64];
    for (uint8_t i = 0; i < 32; i++) {
        ((uint8_t *)key)[i] = i;
    }
    chacha20_block(key, 1, nonce, block);
    assert_memory_equal(block, expected, sizeof(block));
}

static void output_depends_on_what_was_mixed_in(void **state)
{
    struct random_generator a;
    struct random_generator b;
    random_init(&a);
    random_init(&b);
    assert_true(random_u64(&a) == random_u64(&b));
    random_mix(&a, "x", 1);
    assert_true(random_u64(&a) != random_u64(&b));
    random_mix(&b, "x", 1); // the key is still the same as a's was
    random_u64(&b);
    assert_true(random_u64(&a) == random_u64(&b));
    char zeros[100] = {};
    random_mix(&a, zeros, sizeof(zeros));
    assert_true(random_u64(&a) != random_u64(&b));
}

// Output in pieces is output in one go, and what was given out is no longer in the state.
static void pieces_add_up_and_are_erased(void **state)
{
    struct prng prng = host_seed(__func__);
    struct random_generator whole;
    struct random_generator pieces;
    static uint8_t a[4096];
    static uint8_t b[4096];
    random_init(&whole);
    random_mix(&whole, "seed", 4);
    pieces = whole;
    random_bytes(&whole, a, sizeof(a));
    for (size_t at = 0; at < sizeof(b);) {
        size_t len = MIN(prng_below(&prng, 300), sizeof(b) - at);
        random_bytes(&pieces, b + at, len);
        for (size_t i = 0; i < sizeof(pieces.buffer) - pieces.available; i++) {
            assert_int_equal(pieces.buffer[i], 0);
        }
        at += len;
    }
    assert_memory_equal(a, b, sizeof(a));
    for (size_t i = 0; i + 8 < sizeof(a); i += 8) {
        assert_memory_not_equal(a + i, whole.key, 8);
    }
}

static void bits_are_balanced(void **state)
{
    struct random_generator generator;
    uint32_t counts[64] = {};
    random_init(&generator);
    for (int i = 0; i < 10000; i++) {
        uint64_t value = random_u64(&generator);
        for (unsigned int bit = 0; bit < 64; bit++) {
            counts[bit] += (value & BIT(bit)) != 0;
        }
    }
    for (unsigned int bit = 0; bit < 64; bit++) {
        assert_in_range(counts[bit], 4700, 5300); // 6 standard deviations
    }
}

static void small_generator_stays_in_range(void **state)
{
    struct prng prng = host_seed(__func__);
    uint32_t counts[7] = {};
    for (int i = 0; i < 70000; i++) {
        uint64_t value = prng_below(&prng, 7);
        assert_true(value < 7);
        counts[value]++;
    }
    for (int i = 0; i < 7; i++) {
        assert_in_range(counts[i], 9300, 10700);
    }
    assert_int_equal(prng_below(&prng, 1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(block_matches_the_rfc),
        cmocka_unit_test(output_depends_on_what_was_mixed_in),
        cmocka_unit_test(pieces_add_up_and_are_erased),
        cmocka_unit_test(bits_are_balanced),
        cmocka_unit_test(small_generator_stays_in_range),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
