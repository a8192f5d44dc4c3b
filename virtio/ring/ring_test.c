// SPDX-License-Identifier: MIT
// Rings against a model device in one thread: random sequences of add, publish, take and interrupt
// switching on one side, of pop, use and notification switching on the other, for every combination
// of format and features and for small, odd and large rings. The model checks the driver's rules
// (each names its section of virtio 1.2); here it is checked that
//   T1  every buffer comes back once, with its own token, and never before the device used it
//   T2  segments reach the device as they were added; lengths come back as the device said
//   T3  no notification is lost: a device that sleeps is notified of the next batch
//   T4  no interrupt is lost: who was told that none is there now gets one for the next
//   T5  what does not fit is refused and changes nothing
//   T6  after a break or reset every token comes back once more, and no second time

#include "kernel/base/host/host_base.h"
#include "kernel/base/host/host_cmocka.h"
#include "virtio/ring/model_device.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define REQUESTS_MAX 512

struct request {
    bool is_added, is_used, is_taken;
    uint32_t readable, writable, writable_bytes, written_bytes;
    struct virtio_segment segments[MODEL_SEGMENTS_MAX];
    struct virtio_indirect indirect;
    _Alignas(16) char table[MODEL_SEGMENTS_MAX * 16];
};

struct world {
    struct prng prng;
    struct virtio_ring ring;
    struct model_device device;
    struct request requests[REQUESTS_MAX];
    struct model_buffer popped[REQUESTS_MAX + 1]; // what the device works on, oldest first
    uint32_t popped_count;
    uint32_t in_ring;     // added and not taken
    uint32_t unpublished; // added and not published
    bool device_sleeps;   // it wants a notification for the next batch
    bool driver_sleeps;   // it wants an interrupt
    uint64_t taken, notifications, batches;
};

static struct world world;

static struct request *find_idle_request(void)
{
    for (size_t i = 0; i < REQUESTS_MAX; i++) {
        if (!world.requests[i].is_added)
            return &world.requests[i];
    }
    return NULL;
}

static void add_one(uint32_t most_segments)
{
    struct request *request = find_idle_request();
    if (request == NULL)
        return;
    uint32_t count = 1 + (uint32_t)prng_below(&world.prng, most_segments);
    uint32_t readable = (uint32_t)prng_below(&world.prng, count + 1);
    request->readable = readable;
    request->writable = count - readable;
    request->writable_bytes = 0;
    for (uint32_t i = 0; i < count; i++) {
        request->segments[i].address = prng_u64(&world.prng);
        request->segments[i].len_bytes = (uint32_t)prng_below(&world.prng, 100000);
        if (i >= readable)
            request->writable_bytes += request->segments[i].len_bytes;
    }
    // T2 finds the request by the address of its first segment.
    request->segments[0].address = (uint64_t)request;
    request->indirect =
        (struct virtio_indirect){request->table, (uint64_t)request->table, MODEL_SEGMENTS_MAX};
    bool use_table = prng_below(&world.prng, 2) == 0;
    uint32_t needed = use_table && world.ring.config.has_indirect ? 1 : count;
    uint32_t free = world.ring.free;
    int error = virtio_ring_add(&world.ring, request->segments, request->readable,
        request->writable, request, use_table ? &request->indirect : NULL);
    if (count > world.ring.config.size) {
        assert_int_equal(error, -EMSGSIZE); // T5
    } else {
        assert_int_equal(error, needed > free ? -ENOSPC : 0);
    }
    assert_int_equal(world.ring.free, error == 0 ? free - needed : free);
    if (error == 0) {
        request->is_added = true;
        request->is_used = request->is_taken = false;
        world.in_ring++;
        world.unpublished++;
    }
}

static void publish(void)
{
    bool notify = virtio_ring_publish(&world.ring);
    world.batches += world.unpublished != 0;
    world.notifications += notify;
    if (world.unpublished != 0 && world.device_sleeps) {
        assert_true(notify); // T3
        world.device_sleeps = false;
        model_device_notify_disable(&world.device);
    }
    if (world.unpublished == 0)
        assert_false(notify);
    world.unpublished = 0;
}

static void device_pop(void)
{
    struct model_buffer *buffer = &world.popped[world.popped_count];
    if (world.popped_count == REQUESTS_MAX || !model_device_pop(&world.device, buffer))
        return;
    struct request *request = (struct request *)buffer->segments[0].address;
    assert_true(request->is_added && !request->is_used);
    assert_int_equal(buffer->readable, request->readable);
    assert_int_equal(buffer->writable, request->writable);
    assert_memory_equal(buffer->segments, request->segments,
        (request->readable + request->writable) * sizeof(struct virtio_segment)); // T2
    world.popped_count++;
}

static void driver_interrupted(void)
{
    if (world.driver_sleeps)
        virtio_ring_interrupt_disable(&world.ring);
    world.driver_sleeps = false;
}

static void show_used(void)
{
    model_device_show(&world.device);
    if (model_device_wants_interrupt(&world.device))
        driver_interrupted();
}

static void device_use(void)
{
    if (world.popped_count == 0) {
        show_used();
        return;
    }
    uint32_t first = 0, count = 1;
    if (world.device.config.is_in_order)
        count = 1 + (uint32_t)prng_below(&world.prng, world.popped_count);
    else
        first = (uint32_t)prng_below(&world.prng, world.popped_count);
    uint32_t skipped_descriptors = 0;
    for (uint32_t i = first; i < first + count; i++) {
        struct request *request = (struct request *)world.popped[i].segments[0].address;
        request->is_used = true;
        request->written_bytes = request->writable_bytes;
        if (i + 1 < first + count)
            skipped_descriptors += world.popped[i].descriptors;
        else
            request->written_bytes =
                (uint32_t)prng_below(&world.prng, request->writable_bytes + 1ul);
    }
    struct model_buffer *last = &world.popped[first + count - 1];
    // Within one lap of the ring a device asks whether an interrupt is wanted (2.8.10: the event's
    // place has one wrap bit).
    if (world.device.event_base + skipped_descriptors + last->descriptors >
            world.ring.config.size &&
        world.device.config.is_packed && model_device_wants_interrupt(&world.device))
        driver_interrupted();
    model_device_push(&world.device, last,
        ((struct request *)last->segments[0].address)->written_bytes, count - 1,
        skipped_descriptors);
    world.popped_count -= count;
    memmove(&world.popped[first], &world.popped[first + count],
        (world.popped_count - first) * sizeof(world.popped[0]));
    if (prng_below(&world.prng, 3) != 0)
        show_used();
}

static bool take_one(void)
{
    void *token = NULL;
    uint32_t written_bytes = UINT32_MAX;
    int result = virtio_ring_take(&world.ring, &token, &written_bytes);
    assert_in_range(result, 0, 1);
    if (result == 0)
        return false;
    struct request *request = token;
    assert_true(request->is_added && request->is_used && !request->is_taken); // T1
    assert_int_equal(written_bytes, request->written_bytes);                  // T2
    request->is_taken = true;
    request->is_added = false;
    world.in_ring--;
    world.taken++;
    return true;
}

static void driver_sleep(void)
{
    uint32_t after = prng_below(&world.prng, 2) == 0
                         ? 0
                         : (uint32_t)prng_below(&world.prng, world.ring.config.size);
    if (virtio_ring_interrupt_enable(&world.ring, after)) {
        virtio_ring_interrupt_disable(&world.ring);
        assert_true(virtio_ring_has_used(&world.ring));
        world.driver_sleeps = false;
        return;
    }
    world.driver_sleeps = true;
}

static void device_sleep(void)
{
    model_device_notify_enable(&world.device);
    // A device looks once more after it has asked for notifications.
    uint32_t before = world.popped_count;
    device_pop();
    world.device_sleeps = world.popped_count == before;
    if (!world.device_sleeps)
        model_device_notify_disable(&world.device);
}

// Lets both sides come to rest; nothing must be left anywhere.
static void drain(void)
{
    for (;;) {
        publish();
        uint32_t popped;
        do {
            popped = world.popped_count;
            device_pop();
        } while (world.popped_count != popped);
        while (world.popped_count != 0)
            device_use();
        show_used();
        assert_false(world.driver_sleeps && virtio_ring_in_flight(&world.ring) != 0); // T4
        while (take_one())
            ;
        if (world.in_ring == 0)
            break;
    }
    assert_int_equal(world.ring.free, world.ring.config.size);
}

static void step(uint32_t most_segments)
{
    switch (prng_below(&world.prng, 12)) {
    case 0 ... 3:
        add_one(most_segments);
        break;
    case 4:
        publish();
        break;
    case 5:
    case 6:
        device_pop();
        break;
    case 7:
    case 8:
        device_use();
        break;
    case 9:
        take_one();
        break;
    case 10:
        driver_sleep();
        break;
    case 11:
        device_sleep();
        break;
    }
}

static void start(const struct virtio_ring_config *config)
{
    struct prng prng = world.prng;
    memset(&world, 0, sizeof(world));
    world.prng = prng;
    virtio_ring_init(&world.ring, config);
    model_device_init(&world.device, config);
}

static void run(bool is_packed, uint16_t size, uint32_t features)
{
    static struct virtio_ring_buffer buffers[1024];
    struct virtio_ring_layout layout = virtio_ring_layout(is_packed, size);
    // Of exactly that length, so that ASan sees an access beyond.
    void *memory = aligned_alloc(64, layout.len_bytes + (-layout.len_bytes & 63));
    struct virtio_ring_config config = {.is_packed = is_packed,
        .size = size,
        .has_event_idx = features & 1,
        .has_indirect = features & 2,
        .is_in_order = features & 4,
        .memory = memory,
        .buffers = buffers};
    start(&config);
    uint32_t most_segments = size < 4 ? 5 : 12;
    for (int i = 0; i < 12000; i++) {
        step(most_segments);
        if (i % 3000 == 2999)
            drain();
    }
    assert_true(world.taken > (size < 16 ? 20 : 300));
    assert_true(world.notifications <= world.batches);

    // T6, from the middle of something.
    for (int i = 0; i < 200; i++)
        step(most_segments);
    uint32_t left = world.in_ring;
    virtio_ring_break(&world.ring, "the test says so");
    void *token;
    uint32_t written_bytes;
    assert_int_equal(virtio_ring_take(&world.ring, &token, &written_bytes), -EIO);
    assert_false(virtio_ring_publish(&world.ring));
    assert_int_equal(
        virtio_ring_add(&world.ring, world.requests[0].segments, 1, 0, &world, NULL), -EIO);
    while ((token = virtio_ring_outstanding(&world.ring)) != NULL) {
        struct request *request = token;
        assert_true(request->is_added);
        request->is_added = false;
        left--;
    }
    assert_int_equal(left, 0);
    // 2.6.1: after a reset the queue starts anew, in the same memory.
    start(&config);
    for (int i = 0; i < 1000; i++)
        step(most_segments);
    drain();
    free(memory);
}

static void split_rings_match_the_model(void **state)
{
    world.prng = host_seed(__func__);
    static const uint16_t sizes[] = {1, 2, 4, 16, 256};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        for (uint32_t features = 0; features < 8; features++)
            run(false, sizes[i], features);
    }
}

static void packed_rings_match_the_model(void **state)
{
    world.prng = host_seed(__func__);
    static const uint16_t sizes[] = {1, 2, 3, 7, 16, 100, 256};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        for (uint32_t features = 0; features < 8; features++)
            run(true, sizes[i], features);
    }
}

// A batch costs one notification, and none while the device is awake (2.7.7, 2.8.10).
static void a_batch_is_notified_once(void **state)
{
    for (int is_packed = 0; is_packed <= 1; is_packed++) {
        static struct virtio_ring_buffer buffers[256];
        _Alignas(4096) static char memory[16384];
        struct virtio_ring_config config = {.is_packed = is_packed,
            .has_event_idx = true,
            .size = 256,
            .memory = memory,
            .buffers = buffers};
        start(&config);
        model_device_notify_enable(&world.device);
        struct virtio_segment segment = {0x1000, 512};
        struct model_buffer buffer;
        for (int i = 0; i < 32; i++)
            assert_int_equal(virtio_ring_add(&world.ring, &segment, 0, 1, &world, NULL), 0);
        assert_false(model_device_pop(&world.device, &buffer)); // nothing shows before publishing
        assert_true(virtio_ring_publish(&world.ring));
        assert_false(virtio_ring_publish(&world.ring));
        model_device_notify_disable(&world.device);
        assert_int_equal(virtio_ring_add(&world.ring, &segment, 0, 1, &world, NULL), 0);
        assert_false(virtio_ring_publish(&world.ring));
        uint32_t count = 0;
        while (model_device_pop(&world.device, &buffer))
            count++;
        assert_int_equal(count, 33);
        // 2.9: what a notification carries is where the next buffer goes.
        assert_int_equal(virtio_ring_notification_data(&world.ring), is_packed ? 33 | 0x8000 : 33);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(split_rings_match_the_model),
        cmocka_unit_test(packed_rings_match_the_model),
        cmocka_unit_test(a_batch_is_notified_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
