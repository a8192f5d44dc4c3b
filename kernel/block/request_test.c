// SPDX-License-Identifier: MIT
// Claim: requests never exceed a device's limits, however they are filled and merged; merging keeps
// every sector with its memory; the scheduler serves classes in order, owners by weight, respects
// limits of bandwidth and depth, and loses nothing.
// Method: random limits and requests against a model of which sector lies where; a simulated device
// that ends requests in turn.
#include "kernel/base/host/host_base.h"
#include "kernel/base/host/host_cmocka.h"
#include "kernel/block/internal.h"
#include "kernel/block/scheduler.h"
#include "mm/slab.h"

#include <linux/ioprio.h>
#include <stdlib.h>
#include <string.h>

static bool no_memory;

void *kmalloc(size_t size, uint32_t flags)
{
    (void)flags;
    return no_memory ? NULL : malloc(size);
}
void kfree(const void *object)
{
    free((void *)(uintptr_t)object);
}

static struct block_device device;
static struct block_volume volume = {.device = &device};

static void set_limits(struct block_limits limits)
{
    device.limits = limits;
    assert_int_equal(block_limits_complete(&device.limits), 0);
}

static struct block_request *make(uint64_t sector, uint64_t phys, uint32_t bytes)
{
    struct block_request *request = block_request_create(&volume, BLOCK_WRITE, sector, 8, 0, 0);
    assert_non_null(request);
    assert_true(block_request_add(request, phys, bytes));
    return request;
}

static void limits_are_checked(void **state)
{
    (void)state;
    struct block_limits none = {.max_segments = 1};
    assert_int_equal(block_limits_complete(&none), 0);
    assert_int_equal(none.logical_block_bytes, 512);
    assert_true(none.max_sectors >= 8);
    static const struct block_limits bad[] = {
        {.max_segments = 0},
        {.max_segments = 1, .logical_block_bytes = 513},
        {.max_segments = 1, .logical_block_bytes = 8192},
        {.max_segments = 1, .dma_alignment = 3},
        {.max_segments = 1, .segment_max_bytes = 512},
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct block_limits limits = bad[i];
        assert_int_not_equal(block_limits_complete(&limits), 0);
    }
}

static void memory_is_joined(void **state)
{
    (void)state;
    set_limits((struct block_limits){.max_segments = 4});
    struct block_request *request = make(0, 0x1000, 4096);
    assert_true(block_request_add(request, 0x2000, 4096));
    assert_int_equal(request->segment_count, 1);
    assert_int_equal(request->sector_count, 16);
    assert_true(block_request_add(request, 0x8000, 512));
    assert_int_equal(request->segment_count, 2);
    block_request_free(request);
    set_limits((struct block_limits){.max_segments = 4, .segment_in_page = true});
    request = make(0, 0x1000, 4096);
    assert_true(block_request_add(request, 0x2000, 2048));
    assert_int_equal(request->segment_count, 2);
    assert_true(block_request_add(request, 0x2800, 2048));
    assert_int_equal(request->segment_count, 2);
    block_request_free(request);
    no_memory = true;
    assert_null(block_request_create(&volume, BLOCK_READ, 0, 1, 0, 0));
    no_memory = false;
}

// Every chain: ascending, contiguous, within the limits, its totals right; each sector's memory is
// where it was.
static uint32_t check_chain(const struct block_request *first)
{
    uint64_t sector = first->sector;
    uint32_t sectors = 0, segments = 0;
    for (const struct block_request *each = first; each != NULL; each = each->merged) {
        assert_int_equal(each->sector, sector);
        sector += each->sector_count;
        sectors += each->sector_count;
        segments += each->segment_count;
    }
    assert_int_equal(sectors, first->total_sectors);
    assert_int_equal(segments, first->total_segments);
    assert_true(sectors <= device.limits.max_sectors);
    assert_true(segments <= device.limits.max_segments);
    struct block_cursor cursor = block_cursor_begin(first);
    const struct block_segment *segment;
    uint64_t at = first->sector;
    while ((segment = block_cursor_next(&cursor)) != NULL) {
        assert_int_equal(segment->phys, at * 4096); // as the test lays it out: never contiguous
        at += segment->len_bytes >> BLOCK_SECTOR_SHIFT;
    }
    return sectors;
}

static void neighbours_are_merged(void **state)
{
    (void)state;
    struct prng prng = host_seed("neighbours_are_merged");
    for (int round = 0; round < 300; round++) {
        set_limits((struct block_limits){.max_segments = 1 + (uint32_t)prng_below(&prng, 20),
            .max_sectors = 8 + (uint32_t)prng_below(&prng, 100)});
        struct list_node list;
        list_init(&list);
        uint32_t total = 0, merged = 0, count = 1 + (uint32_t)prng_below(&prng, 60);
        uint64_t sector = prng_below(&prng, 1000);
        for (uint32_t i = 0; i < count; i++) {
            const uint32_t sectors = 1 + (uint32_t)prng_below(&prng, 8);
            struct block_request *request = make(sector, sector * 4096, sectors * 512);
            if (prng_below(&prng, 10) == 0)
                request->flags |= BLOCK_FUA;
            if (prng_below(&prng, 10) == 0)
                request->priority = 1;
            total += sectors;
            merged += block_add_or_merge(&device.limits, &list, request);
            sector = prng_below(&prng, 4) == 0 ? prng_below(&prng, 1000) : sector + sectors;
        }
        struct block_request *request;
        uint32_t chains = 0;
        while ((request = list_pop_head_entry_or_null(&list, struct block_request, node)) != NULL) {
            total -= check_chain(request);
            chains++;
            while (request != NULL) {
                struct block_request *next = request->merged;
                block_request_free(request);
                request = next;
            }
        }
        assert_int_equal(total, 0);
        assert_int_equal(chains + merged, count);
    }
}

static void stream_becomes_one(void **state)
{
    (void)state;
    set_limits((struct block_limits){.max_segments = 128});
    struct list_node list;
    list_init(&list);
    for (uint32_t i = 0; i < 32; i++) // backwards
        (void)block_add_or_merge(&device.limits, &list, make((31 - i) * 8, (31 - i) * 32768, 4096));
    assert_int_equal(list_length(&list), 1);
    struct block_request *request = list_first_entry(&list, struct block_request, node);
    assert_int_equal(check_chain(request), 256);
    while (request != NULL) {
        struct block_request *next = request->merged;
        block_request_free(request);
        request = next;
    }
}

// ---- scheduler ----

#define MS UINT64_C(1000000)

static struct block_scheduler scheduler;

static struct block_request *put(
    uint32_t owner, int class, int level, uint64_t sector, uint64_t now)
{
    struct block_request *request = make(sector, sector * 4096, 4096);
    request->owner = owner;
    request->priority = (uint16_t)IOPRIO_PRIO_VALUE(class, level);
    request->start_ns = now;
    assert_false(block_scheduler_add(&scheduler, request));
    return request;
}

// Takes one and ends it. Its owner, 0: none may go.
static uint32_t serve(uint64_t now)
{
    struct block_request *request = block_scheduler_take(&scheduler, now);
    if (request == NULL)
        return 0;
    const uint32_t owner = request->owner;
    block_scheduler_done(&scheduler, request);
    block_request_free(request);
    return owner;
}

static void empty(void)
{
    struct block_request *request;
    while ((request = block_scheduler_take(&scheduler, UINT64_MAX)) != NULL) {
        block_scheduler_done(&scheduler, request);
        block_request_free(request);
    }
    assert_true(block_scheduler_is_valid(&scheduler));
    assert_int_equal(scheduler.waiting, 0);
    assert_int_equal(scheduler.started, 0);
}

static void classes_go_in_order(void **state)
{
    (void)state;
    set_limits((struct block_limits){.max_segments = 8});
    block_scheduler_init(&scheduler, &device.limits);
    put(3, IOPRIO_CLASS_IDLE, 0, 1000, 0);
    put(2, IOPRIO_CLASS_BE, 4, 2000, 0);
    put(1, IOPRIO_CLASS_RT, 4, 3000, 0);
    assert_true(block_scheduler_is_valid(&scheduler));
    assert_int_equal(serve(MS), 1);
    assert_int_equal(serve(MS), 2);
    assert_int_equal(serve(MS), 3);
    // Idle waits while others are in the device, but not for ever.
    put(2, IOPRIO_CLASS_BE, 4, 2000, 0);
    struct block_request *busy = block_scheduler_take(&scheduler, MS);
    put(3, IOPRIO_CLASS_IDLE, 0, 1000, 0);
    assert_int_equal(serve(MS), 0);
    assert_int_equal(serve(3000 * MS), 3);
    block_scheduler_done(&scheduler, busy);
    block_request_free(busy);
    empty();
}

static void owners_share_by_weight(void **state)
{
    (void)state;
    set_limits((struct block_limits){.max_segments = 8});
    block_scheduler_init(&scheduler, &device.limits);
    uint32_t served[4] = {};
    uint64_t sector = 0;
    for (int i = 0; i < 900; i++) {
        put(1, IOPRIO_CLASS_BE, 7, sector += 100, 1); // weight 1
        put(2, IOPRIO_CLASS_BE, 0, sector += 100, 1); // weight 8
    }
    for (int i = 0; i < 900; i++)
        served[serve(2)]++;
    assert_true(served[2] > 7 * served[1]);
    assert_true(served[2] < 9 * served[1]);
    // A newcomer does not get what it has missed.
    for (int i = 0; i < 100; i++)
        put(3, IOPRIO_CLASS_BE, 0, sector += 100, 1);
    uint32_t before = served[2];
    for (int i = 0; i < 100; i++)
        served[serve(2)]++;
    assert_true(served[2] - before >= 40);
    empty();
}

static void limits_of_bandwidth_hold(void **state)
{
    (void)state;
    set_limits((struct block_limits){.max_segments = 8});
    block_scheduler_init(&scheduler, &device.limits);
    scheduler.classes[BLOCK_CLASS_BEST_EFFORT].limit_bytes = 409600; // 100 requests a second
    uint64_t sector = 0;
    for (int i = 0; i < 1000; i++)
        put(1, IOPRIO_CLASS_BE, 4, sector += 100, 1000 * MS);
    uint32_t count = 0;
    for (uint64_t now = 1000 * MS; now < 3000 * MS; now += MS) {
        count += serve(now) != 0;
        const uint64_t next = block_scheduler_next_ns(&scheduler);
        assert_true(next != UINT64_MAX);
    }
    assert_in_range(count, 195, 210);
    empty();
}

static void depth_is_kept(void **state)
{
    (void)state;
    set_limits((struct block_limits){.max_segments = 8});
    block_scheduler_init(&scheduler, &device.limits);
    scheduler.depth = 3;
    struct block_request *taken[3];
    for (uint32_t i = 0; i < 5; i++)
        put(i, IOPRIO_CLASS_BE, 4, i * 100, 0);
    for (uint32_t i = 0; i < 3; i++)
        assert_non_null(taken[i] = block_scheduler_take(&scheduler, 1));
    assert_null(block_scheduler_take(&scheduler, 1));
    assert_int_equal(block_scheduler_next_ns(&scheduler), UINT64_MAX);
    for (uint32_t i = 0; i < 3; i++) {
        block_scheduler_done(&scheduler, taken[i]);
        block_request_free(taken[i]);
    }
    empty();
}

static void late_requests_go_first(void **state)
{
    (void)state;
    set_limits((struct block_limits){.max_segments = 8});
    block_scheduler_init(&scheduler, &device.limits);
    // Owner 1 has used much; owner 2 is behind, and would go first.
    for (uint32_t i = 0; i < 20; i++) {
        put(1, IOPRIO_CLASS_BE, 4, i * 100, 0);
        (void)serve(1);
    }
    put(1, IOPRIO_CLASS_BE, 4, 5000, 0);
    for (uint32_t i = 0; i < 30; i++)
        put(2, IOPRIO_CLASS_BE, 0, 9000 + i * 100, 9000 * MS);
    assert_int_equal(serve(9000 * MS), 1);
    empty();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(limits_are_checked),
        cmocka_unit_test(memory_is_joined),
        cmocka_unit_test(neighbours_are_merged),
        cmocka_unit_test(stream_becomes_one),
        cmocka_unit_test(classes_go_in_order),
        cmocka_unit_test(owners_share_by_weight),
        cmocka_unit_test(limits_of_bandwidth_hold),
        cmocka_unit_test(depth_is_kept),
        cmocka_unit_test(late_requests_go_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
