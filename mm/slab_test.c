// SPDX-License-Identifier: MIT
// Claim: a slab cache hands out each object once, aligned, keeps its content, gives memory back,
// and survives page allocations that fail anywhere. Method: random allocations and releases against
// a table of what is held.
#include "mm/slab.h"

#include "kernel/base/host/host_base.h"
#include "kernel/base/host/host_cmocka.h"
#include "mm/host/host_mm.h"
#include "mm/slab_internal.h"

#include <string.h>

#define HELD 3000

static void *held[HELD];
static uint8_t patterns[HELD];

static void check_pattern(const void *object, size_t size, uint8_t pattern)
{
    const uint8_t *bytes = object;
    for (size_t i = 0; i < size; i++)
        assert_int_equal(bytes[i], pattern);
}

static void exercise(struct prng *prng, struct slab_cache *cache, size_t size, size_t align)
{
    memset(held, 0, sizeof(held));
    for (int round = 0; round < 20000; round++) {
        size_t slot = prng_below(prng, HELD);
        if (prng_below(prng, 50) == 0)
            host_page_alloc_fail(prng_below(prng, 3));
        if (held[slot] == NULL) {
            void *object = slab_alloc(cache, round % 3 == 0 ? PAGE_ALLOC_ZERO : 0);
            host_page_alloc_fail(UINT64_MAX);
            if (object == NULL)
                continue;
            assert_true(IS_ALIGNED((uintptr_t)object, align));
            if (round % 3 == 0)
                check_pattern(object, size, 0);
            patterns[slot] = (uint8_t)prng_below(prng, 256);
            memset(object, patterns[slot], size);
            held[slot] = object;
        } else {
            host_page_alloc_fail(UINT64_MAX);
            check_pattern(held[slot], size, patterns[slot]);
            slab_free(cache, held[slot]);
            held[slot] = NULL;
        }
        if (round % 1000 == 0)
            assert_true(slab_cache_is_valid(cache));
    }
    for (size_t i = 0; i < HELD; i++)
        slab_free(cache, held[i]);
    (void)slab_shrink();
    assert_true(slab_cache_is_valid(cache));
    assert_int_equal(cache->slabs, 0);
    assert_int_equal(cache->used, 0);
}

static void objects_of_many_sizes(void **state)
{
    (void)state;
    struct prng prng = host_seed(__func__);
    static const size_t sizes[] = {1, 16, 17, 64, 100, 576, 1024, 2048, 3000, 4096, 8192};
    host_arena_create();
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct slab_cache *cache = slab_cache_create("test", sizes[i], 0);
        assert_non_null(cache);
        exercise(&prng, cache, sizes[i], sizes[i] >= 64 ? 64 : 16);
    }
    assert_int_equal(
        host_zone.free_pages + host_zone.promised_pages, HOST_ARENA_BLOCKS << PAGE_ORDER_MAX);
    host_arena_destroy();
}

static void caches_run_out_cleanly(void **state)
{
    (void)state;
    unsigned created = 0;
    while (slab_cache_create("more", 32, 0) != NULL)
        created++;
    assert_true(created < SLAB_CACHES_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(objects_of_many_sizes),
        cmocka_unit_test(caches_run_out_cleanly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
