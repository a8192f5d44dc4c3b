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

// Blocks are taken, reported and given back between random allocations: what is reported is never
// handed to the reporter again, stays behind the others, and loses the mark when it is used.
static void reported_blocks_stay_behind(void **state)
{
    (void)state;
    struct prng prng = host_seed(__func__);
    struct page *held[HELD] = {};
    host_arena_create();
    host_zone.report_order = 4;
    for (int round = 0; round < 20000; round++) {
        size_t slot = prng_below(&prng, HELD);
        if (held[slot] == NULL) {
            held[slot] = buddy_alloc(&host_zone, (unsigned)prng_below(&prng, 8));
        } else {
            buddy_free(&host_zone, held[slot], held[slot]->order);
            held[slot] = NULL;
        }
        if (prng_below(&prng, 8) == 0) {
            unsigned order = 4 + (unsigned)prng_below(&prng, 5);
            uint64_t reported = host_zone.reported_pages, free = host_zone.free_pages;
            struct page *block = buddy_take_unreported(&host_zone, order);
            if (block != NULL) {
                uint64_t pages = 1ul << block->order;
                assert_true(block->order >= order);
                assert_int_equal(host_zone.free_pages, free - pages);
                buddy_give_reported(&host_zone, block, block->order, true);
                assert_true(host_zone.reported_pages >= reported + pages ||
                            host_zone.report_due); // merged with an unreported buddy
            }
        }
        if (round % 500 == 0)
            assert_true(buddy_is_valid(&host_zone));
    }
    for (size_t i = 0; i < HELD; i++)
        if (held[i] != NULL)
            buddy_free(&host_zone, held[i], held[i]->order);
    assert_true(buddy_is_valid(&host_zone));
    assert_true(host_zone.report_due);
    // In the end all of it is known.
    struct page *block;
    while ((block = buddy_take_unreported(&host_zone, 0)) != NULL)
        buddy_give_reported(&host_zone, block, block->order, true);
    assert_int_equal(host_zone.reported_pages, host_zone.free_pages);
    assert_true(buddy_is_valid(&host_zone));
    block = buddy_alloc(&host_zone, 3);
    assert_non_null(block);
    assert_int_equal(block->flags, 0);
    assert_int_equal(host_zone.reported_pages, host_zone.free_pages);
    buddy_free(&host_zone, block, 3);
    assert_true(host_zone.reported_pages < host_zone.free_pages);
    host_arena_destroy();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_blocks_match_an_array),
        cmocka_unit_test(memory_comes_block_by_block),
        cmocka_unit_test(ranges_are_freed_whole),
        cmocka_unit_test(reported_blocks_stay_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
