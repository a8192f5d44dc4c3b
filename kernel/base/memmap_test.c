// SPDX-License-Identifier: MIT
//
// memmap.h: random ranges against an array with the type of every block of a small address space;
// the full array; page rounding; the limits of physical addresses.
#include "kernel/base/memmap.h"

#include "kernel/base/host/host_base.h"
#include "kernel/base/host/host_cmocka.h"

#include <errno.h>
#include <string.h>

#define CAPACITY 128
#define BLOCKS   200
#define BLOCK    0x800ul // half a page, so that ranges begin and end inside pages

static uint8_t model[BLOCKS]; // enum memmap_type, 0: no memory

static void model_add(uint64_t start, uint64_t count, enum memmap_type type)
{
    for (uint64_t block = start; block < start + count; block++) {
        model[block] = MAX(model[block], (uint8_t)type);
    }
}

static void check_map(const struct memmap *map)
{
    uint64_t totals[MEMMAP_UNUSABLE + 1] = {};
    assert_true(memmap_is_valid(map));
    for (uint64_t block = 0; block < BLOCKS; block++) {
        const struct memmap_range *range = memmap_find(map, block * BLOCK + 1);
        assert_int_equal(range == nullptr ? 0 : range->type, model[block]);
        totals[model[block]] += BLOCK;
    }
    for (int type = MEMMAP_USABLE; type <= MEMMAP_UNUSABLE; type++) {
        assert_int_equal(memmap_total(map, (enum memmap_type)type), totals[type]);
    }
    // Usable pages are those of which both halves are usable.
    uint64_t cursor = 0;
    uint64_t start;
    uint64_t end;
    uint64_t page = 0;
    while (memmap_next_usable(map, &cursor, &start, &end)) {
        assert_true(start < end);
        for (; page < start / PAGE_SIZE; page++) {
            assert_true(model[page * 2] != MEMMAP_USABLE || model[page * 2 + 1] != MEMMAP_USABLE);
        }
        for (; page < end / PAGE_SIZE; page++) {
            assert_true(model[page * 2] == MEMMAP_USABLE && model[page * 2 + 1] == MEMMAP_USABLE);
        }
    }
    for (; page < BLOCKS / 2; page++) {
        assert_true(model[page * 2] != MEMMAP_USABLE || model[page * 2 + 1] != MEMMAP_USABLE);
    }
}

static void allocate(struct memmap *map, struct prng *prng)
{
    uint64_t len = prng_below(prng, 4) + 1;
    uint64_t alignment = 1ul << prng_below(prng, 3);
    uint64_t min = prng_below(prng, BLOCKS / 2);
    uint64_t max = min + prng_below(prng, BLOCKS);
    uint64_t expected = UINT64_MAX;
    for (uint64_t at = min; at + len <= MIN(max, (uint64_t)BLOCKS); at++) {
        bool usable = at % alignment == 0;
        for (uint64_t i = 0; i < len; i++) {
            usable &= model[at + i] == MEMMAP_USABLE;
        }
        expected = usable ? at : expected;
    }
    uint64_t start = 0;
    int error =
        memmap_allocate(map, len * BLOCK, alignment * BLOCK, min * BLOCK, max * BLOCK, &start);
    if (expected == UINT64_MAX) {
        assert_int_equal(error, -ENOMEM);
        return;
    }
    assert_int_equal(error, 0);
    assert_int_equal(start, expected * BLOCK);
    model_add(expected, len, MEMMAP_IN_USE);
}

static void map_matches_an_array(void **state)
{
    struct prng prng = host_seed(__func__);
    for (int round = 0; round < 500; round++) {
        struct memmap_range ranges[CAPACITY];
        struct memmap map;
        memmap_init(&map, ranges, CAPACITY);
        memset(model, 0, sizeof(model));
        for (uint64_t adds = prng_below(&prng, 30); adds > 0; adds--) {
            uint64_t start = prng_below(&prng, BLOCKS);
            uint64_t count = prng_below(&prng, MIN(BLOCKS - start, 40ul) + 1);
            uint64_t type =
                MIN(prng_below(&prng, MEMMAP_UNUSABLE + 3) + 1, (uint64_t)MEMMAP_UNUSABLE);
            model_add(start, count, (enum memmap_type)type);
            assert_int_equal(
                memmap_add(&map, start * BLOCK, count * BLOCK, (enum memmap_type)type), 0);
            check_map(&map);
        }
        for (int i = 0; i < 5; i++) {
            allocate(&map, &prng);
            check_map(&map);
        }
        for (size_t block = 0; block < BLOCKS; block++) {
            model[block] = model[block] == MEMMAP_RECLAIMABLE ? MEMMAP_USABLE : model[block];
        }
        memmap_reclaim(&map);
        check_map(&map);
    }
}

// With an array that is too short, nothing may look less restricted than it is.
static void full_array_errs_on_the_safe_side(void **state)
{
    struct prng prng = host_seed(__func__);
    for (int round = 0; round < 2000; round++) {
        struct memmap_range ranges[6];
        struct memmap map;
        int errors = 0;
        memmap_init(&map, ranges, prng_below(&prng, 6) + 1);
        memset(model, 0, sizeof(model));
        for (int adds = 0; adds < 12; adds++) {
            uint64_t start = prng_below(&prng, BLOCKS - 40);
            uint64_t count = prng_below(&prng, 40);
            uint64_t type =
                MIN(prng_below(&prng, MEMMAP_UNUSABLE + 3) + 1, (uint64_t)MEMMAP_UNUSABLE);
            model_add(start, count, (enum memmap_type)type);
            int error = memmap_add(&map, start * BLOCK, count * BLOCK, (enum memmap_type)type);
            assert_true(error == 0 || error == -ENOSPC);
            errors += error != 0;
            assert_true(memmap_is_valid(&map));
        }
        for (uint64_t block = 0; block < BLOCKS; block++) {
            const struct memmap_range *range = memmap_find(&map, block * BLOCK);
            if (range != nullptr && errors > 0) {
                assert_true(range->type >= (enum memmap_type)model[block] || model[block] == 0);
            } else if (errors == 0) {
                assert_int_equal(range == nullptr ? 0 : range->type, model[block]);
            }
        }
    }
}

static void hostile_ranges_are_cut(void **state)
{
    struct memmap_range ranges[8];
    struct memmap map;
    uint64_t start;
    memmap_init(&map, ranges, ARRAY_SIZE(ranges));
    assert_int_equal(memmap_add(&map, 0x1000, UINT64_MAX, MEMMAP_USABLE), 0);
    assert_int_equal(map.count, 1);
    assert_int_equal(map.ranges[0].end, MEMMAP_ADDRESS_LIMIT);
    assert_int_equal(memmap_add(&map, MEMMAP_ADDRESS_LIMIT, 0x1000, MEMMAP_RESERVED), 0);
    assert_int_equal(memmap_add(&map, UINT64_MAX, UINT64_MAX, MEMMAP_RESERVED), 0);
    assert_int_equal(memmap_add(&map, 0x5000, 0, MEMMAP_RESERVED), 0);
    assert_int_equal(map.count, 1);
    assert_int_equal(memmap_highest(&map, MEMMAP_USABLE), MEMMAP_ADDRESS_LIMIT);
    assert_int_equal(memmap_highest(&map, MEMMAP_RESERVED), 0);
    assert_int_equal(memmap_allocate(&map, UINT64_MAX, 1, 0, UINT64_MAX, &start), -ENOMEM);
    assert_int_equal(memmap_allocate(&map, 0x1000, 1, 0x1000, 0x1fff, &start), -ENOMEM);
    assert_int_equal(memmap_allocate(&map, 0x1000, BIT(63), 1, UINT64_MAX, &start), -ENOMEM);
}

static void validation_sees_damage(void **state)
{
    struct memmap_range ranges[3];
    struct memmap map;
    uint64_t start;
    memmap_init(&map, ranges, ARRAY_SIZE(ranges));
    assert_int_equal(memmap_add(&map, 0x1000, 0x1000, MEMMAP_USABLE), 0);
    assert_int_equal(memmap_add(&map, 0x3000, 0x1000, MEMMAP_USABLE), 0);
    assert_int_equal(memmap_allocate(&map, 0x800, 1, 0, UINT64_MAX, &start), -ENOSPC);
    assert_true(memmap_is_valid(&map));
    const struct memmap_range good = ranges[1];
    const struct memmap_range bad[] = {
        {0x3000, 0x3000, MEMMAP_USABLE},                     // empty
        {0x3000, MEMMAP_ADDRESS_LIMIT + 1, MEMMAP_RESERVED}, // too far
        {0x1fff, 0x4000, MEMMAP_RESERVED},                   // overlaps
        {0x2000, 0x4000, MEMMAP_USABLE},                     // not merged
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        ranges[1] = bad[i];
        assert_false(memmap_is_valid(&map));
    }
    ranges[1] = good;
    map.count = 4;
    assert_false(memmap_is_valid(&map));
}

static void types_are_translated(void **state)
{
    const uint64_t write_back = BIT(3);
    assert_int_equal(memmap_type_of_e820(1), MEMMAP_USABLE);
    assert_int_equal(memmap_type_of_e820(2), MEMMAP_RESERVED);
    assert_int_equal(memmap_type_of_e820(3), MEMMAP_ACPI_TABLES);
    assert_int_equal(memmap_type_of_e820(4), MEMMAP_ACPI_NVS);
    assert_int_equal(memmap_type_of_e820(5), MEMMAP_UNUSABLE);
    assert_int_equal(memmap_type_of_e820(7), MEMMAP_PERSISTENT);
    assert_int_equal(memmap_type_of_e820(0), MEMMAP_RESERVED);
    assert_int_equal(memmap_type_of_e820(UINT32_MAX), MEMMAP_RESERVED);
    assert_int_equal(memmap_type_of_efi(7, write_back), MEMMAP_USABLE);
    assert_int_equal(memmap_type_of_efi(7, 0), MEMMAP_RESERVED);
    assert_int_equal(memmap_type_of_efi(7, write_back | BIT(18)), MEMMAP_RESERVED);
    assert_int_equal(memmap_type_of_efi(4, write_back), MEMMAP_RECLAIMABLE);
    assert_int_equal(memmap_type_of_efi(9, write_back), MEMMAP_ACPI_TABLES);
    assert_int_equal(memmap_type_of_efi(6, write_back), MEMMAP_RESERVED);
    assert_int_equal(memmap_type_of_efi(8, write_back), MEMMAP_UNUSABLE);
    assert_int_equal(memmap_type_of_efi(10, write_back), MEMMAP_ACPI_NVS);
    assert_int_equal(memmap_type_of_efi(14, write_back), MEMMAP_PERSISTENT);
    assert_int_equal(memmap_type_of_efi(UINT32_MAX, UINT64_MAX), MEMMAP_RESERVED);
    assert_string_equal(memmap_type_name(MEMMAP_ACPI_NVS), "ACPI NVS");
    assert_string_equal(memmap_type_name(MEMMAP_USABLE), "usable");
    assert_string_equal(memmap_type_name(MEMMAP_UNUSABLE), "unusable");
    assert_string_equal(memmap_type_name((enum memmap_type)0), "unknown");
    assert_string_equal(memmap_type_name((enum memmap_type)(MEMMAP_UNUSABLE + 1)), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(map_matches_an_array),
        cmocka_unit_test(full_array_errs_on_the_safe_side),
        cmocka_unit_test(hostile_ranges_are_cut),
        cmocka_unit_test(validation_sees_damage),
        cmocka_unit_test(types_are_translated),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
