// SPDX-License-Identifier: MIT
// Claim: the buddy allocator never hands out a page twice, merges all it gets back, and keeps B1 to
// B3. Method: random allocations and releases against an array that says who has each page.
#include "mm/buddy.h"

#include "kernel/base/host/host_base.h"
#include "kernel/base/host/host_cmocka.h"
#include "mm/host/host_mm.h"

#define PAGES ((uint64_t)HOST_ARENA_BLOCKS << PAGE_ORDER_MAX)
#define HELD  512

static uint8_t owned[PAGES];

static void mark(uint64_t pfn, unsigned order, uint8_t from, uint8_t to)
{
    for (uint64_t i = pfn; i < pfn + (1ul << order); i++) {
        assert_int_equal(owned[i], from);
        owned[i] = to;
    }
}

static void random_blocks_match_an_array(void **state)
{
    (void)state;
    struct prng prng = host_seed(__func__);
    struct {
        struct page *page;
        unsigned order;
    } held[HELD] = {};
    uint64_t held_pages = 0;
    host_arena_create();
    for (int round = 0; round < 40000; round++) {
        size_t slot = prng_below(&prng, HELD);
        if (held[slot].page == NULL) {
            unsigned order = (unsigned)MIN(
                prng_below(&prng, PAGE_ORDER_MAX + 1), prng_below(&prng, PAGE_ORDER_MAX + 1));
            struct page *page = buddy_alloc(&host_zone, order);
            if (page == NULL)
                continue;
            assert_true(IS_ALIGNED(page_to_pfn(page), 1ul << order));
            mark(page_to_pfn(page), order, 0, 1);
            held[slot].page = page;
            held[slot].order = order;
            held_pages += 1ul << order;
        } else {
            mark(page_to_pfn(held[slot].page), held[slot].order, 1, 0);
            buddy_free(&host_zone, held[slot].page, held[slot].order);
            held_pages -= 1ul << held[slot].order;
            held[slot].page = NULL;
        }
        assert_int_equal(host_zone.free_pages + host_zone.promised_pages + held_pages, PAGES);
        if (round % 500 == 0)
            assert_true(buddy_is_valid(&host_zone));
    }
    for (size_t i = 0; i < HELD; i++)
        if (held[i].page != NULL)
            buddy_free(&host_zone, held[i].page, held[i].order);
    assert_true(buddy_is_valid(&host_zone));
    // Everything has merged again.
    for (unsigned order = 0; order < PAGE_ORDER_MAX; order++)
        assert_true(list_is_empty(&host_zone.free[order]));
    host_arena_destroy();
}

static void memory_comes_block_by_block(void **state)
{
    (void)state;
    host_arena_create();
    assert_int_equal(host_zone.free_pages, 0);
    struct page *page = buddy_alloc(&host_zone, 0);
    assert_non_null(page);
    assert_int_equal(host_zone.promised_pages, PAGES - (1ul << PAGE_ORDER_MAX));
    uint64_t count = 1;
    while (buddy_alloc(&host_zone, 0) != NULL)
        count++;
    assert_int_equal(count, PAGES);
    assert_int_equal(host_zone.promised_pages, 0);
    assert_int_equal(host_zone.free_pages, 0);
    host_arena_destroy();
}

static void ranges_are_freed_whole(void **state)
{
    (void)state;
    struct prng prng = host_seed(__func__);
    for (int round = 0; round < 200; round++) {
        host_arena_create();
        struct page *block = buddy_alloc(&host_zone, PAGE_ORDER_MAX);
        uint64_t first = page_to_pfn(block), free_before = host_zone.free_pages;
        uint64_t start = prng_below(&prng, 1025), end = start + prng_below(&prng, 1025 - start);
        buddy_free_range(&host_zone, first + start, first + end);
        assert_int_equal(host_zone.free_pages, free_before + end - start);
        assert_true(buddy_is_valid(&host_zone));
        host_arena_destroy();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_blocks_match_an_array),
        cmocka_unit_test(memory_comes_block_by_block),
        cmocka_unit_test(ranges_are_freed_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
