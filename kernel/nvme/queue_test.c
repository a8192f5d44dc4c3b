// SPDX-License-Identifier: MIT
// A pair of queues against a model controller in one thread, for small, odd and large queues:
// random sequences of adding, publishing, fetching, completing in any order, and taking. Checked:
//   Q1  every command reaches the controller once, whole, and its token comes back once with the
//       status and value that the controller gave
//   Q2  no more commands are under way than there are slots, however fast the controller is
//   Q3  after a reset every token comes back once more, and no second time
//   Q4  a completion that is for nothing, for something else, late or twice breaks the queue (N3),
//       whatever is in the rest of its memory, and touches nothing outside
// The model fetches from the submission queue by the tail it was told, and posts with the phase tag
// of the base specification 2.0, 3.3.3.2.4.

#include "kernel/nvme/queue.h"
#include "kernel/base/host/host_base.h"
#include "kernel/base/host/host_cmocka.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define QUEUE_ID 3

struct world {
    struct prng prng;
    struct nvme_queue queue;
    struct nvme_command *fetched; // [slot_count]: under way in the controller
    uint32_t fetched_count;
    uint32_t sq_head, sq_tail, cq_tail; // the controller's
    uint32_t cq_used;                   // posted, and not taken by us
    bool phase;
    uint64_t next_token, taken;
    bool *given; // [tokens]: under way
    uint32_t *values;
};

#define TOKENS 100000

static void world_start(struct world *world, uint16_t size, uint16_t slots)
{
    struct nvme_queue *queue = &world->queue;
    *queue = (struct nvme_queue){.commands = calloc(size, sizeof(*queue->commands)),
        .completions = calloc(size, sizeof(*queue->completions)),
        .slots = calloc(slots, sizeof(*queue->slots))};
    world->fetched = calloc(slots, sizeof(*world->fetched));
    world->given = calloc(TOKENS, sizeof(*world->given));
    world->values = calloc(TOKENS, sizeof(*world->values));
    nvme_queue_init(queue, QUEUE_ID, size, slots);
    assert_true(nvme_queue_is_valid(queue));
    world->phase = true;
    world->fetched_count = world->sq_head = world->sq_tail = world->cq_tail = world->cq_used = 0;
    world->next_token = 1;
    world->taken = 0;
}

static void world_end(struct world *world)
{
    free(world->queue.commands);
    free(world->queue.completions);
    free(world->queue.slots);
    free(world->fetched);
    free(world->given);
    free(world->values);
}

static void add(struct world *world)
{
    struct nvme_queue *queue = &world->queue;
    if (nvme_queue_next_slot(queue) == queue->slot_count) {
        assert_int_equal(queue->outstanding, queue->slot_count); // Q2
        return;
    }
    uint64_t token = world->next_token++;
    struct nvme_command command = {.opcode = 2, .prp1 = token, .cdw10 = (uint32_t)token * 7};
    nvme_queue_add(queue, &command, (void *)token);
    world->given[token] = true;
}

static void fetch(struct world *world)
{
    while (world->sq_head != world->sq_tail) {
        struct nvme_command *command = &world->fetched[world->fetched_count++];
        assert_true(world->fetched_count <= world->queue.slot_count); // Q2
        *command = world->queue.commands[world->sq_head];
        assert_int_equal(command->cdw10, (uint32_t)command->prp1 * 7); // Q1
        assert_true(world->given[command->prp1]);
        world->sq_head = (world->sq_head + 1) % world->queue.size;
    }
}

static void post(struct world *world, struct nvme_completion completion)
{
    completion.status = (uint16_t)(completion.status << 1 | world->phase);
    world->queue.completions[world->cq_tail] = completion;
    world->cq_used++;
    world->cq_tail = (world->cq_tail + 1) % world->queue.size;
    if (world->cq_tail == 0)
        world->phase = !world->phase;
}

static struct nvme_completion finish_one(struct world *world)
{
    uint32_t index = (uint32_t)prng_below(&world->prng, world->fetched_count);
    struct nvme_command command = world->fetched[index];
    world->fetched[index] = world->fetched[--world->fetched_count];
    uint32_t value = (uint32_t)prng_u64(&world->prng);
    world->values[command.prp1] = value;
    return (struct nvme_completion){.result = value,
        .sq_head = (uint16_t)world->sq_head,
        .sq_id = QUEUE_ID,
        .id = command.id,
        .status = (uint16_t)(value & 0x7fff)};
}

static void complete(struct world *world)
{
    if (world->fetched_count != 0 && world->cq_used < world->queue.size - 1u)
        post(world, finish_one(world));
}

static void take(struct world *world)
{
    struct nvme_result result;
    while (nvme_queue_has_completion(&world->queue)) {
        assert_int_equal(nvme_queue_take(&world->queue, &result), 1);
        uint64_t token = (uint64_t)result.token;
        assert_true(token < world->next_token);
        assert_true(world->given[token]); // Q1
        world->given[token] = false;
        assert_int_equal(result.value, world->values[token]);
        assert_int_equal(result.status, world->values[token] & 0x7fff);
        world->cq_used--;
        world->taken++;
    }
    assert_int_equal(nvme_queue_take(&world->queue, &result), 0);
}

static void step(struct world *world)
{
    switch (prng_below(&world->prng, 6)) {
    case 0:
    case 1:
        add(world);
        break;
    case 2:
        if (nvme_queue_publish(&world->queue))
            world->sq_tail = world->queue.tail;
        break;
    case 3:
        fetch(world);
        break;
    case 4:
        complete(world);
        break;
    default:
        take(world);
        break;
    }
}

// Q3.
static void take_back(struct world *world)
{
    void *token;
    while ((token = nvme_queue_take_outstanding(&world->queue)) != NULL) {
        assert_true(world->given[(uint64_t)token]);
        world->given[(uint64_t)token] = false;
    }
    for (uint64_t i = 0; i < world->next_token; i++)
        assert_false(world->given[i]);
    assert_true(nvme_queue_is_valid(&world->queue));
}

static void test_random(void **state)
{
    static const uint16_t sizes[][2] = {{2, 1}, {3, 2}, {5, 3}, {64, 63}, {256, 255}, {1024, 1000}};
    struct world world = {.prng = host_seed("nvme_queue")};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        world_start(&world, sizes[i][0], sizes[i][1]);
        for (uint32_t round = 0; round < 30000; round++) {
            step(&world);
            if (round % 64 == 0)
                assert_true(nvme_queue_is_valid(&world.queue));
        }
        assert_true(world.taken > 1000);
        take_back(&world);
        // And again, as after a reset of the controller.
        nvme_queue_init(&world.queue, QUEUE_ID, sizes[i][0], sizes[i][1]);
        assert_false(nvme_queue_has_completion(&world.queue));
        world_end(&world);
    }
}

// What a bad controller says instead of a completion: each breaks the queue.
static void spoil(struct world *world, struct nvme_completion *completion, uint64_t how)
{
    struct nvme_queue *queue = &world->queue;
    switch (how) {
    case 0:
        completion->sq_id++;
        break;
    case 1:
        completion->sq_head = (uint16_t)(queue->size + prng_below(&world->prng, 100));
        break;
    case 2: // no such slot
        completion->id =
            (uint16_t)(queue->slot_count | (completion->id & ~(NVME_QUEUE_SIZE_MAX - 1)));
        break;
    case 3: // another generation of the slot
        completion->id ^= (uint16_t)(NVME_QUEUE_SIZE_MAX << prng_below(&world->prng, 6));
        break;
    default: // twice
        post(world, *completion);
        break;
    }
}

static void test_hostile(void **state)
{
    struct world world = {.prng = host_seed("nvme_queue_hostile")};
    for (uint32_t round = 0; round < 500; round++) {
        world_start(&world, 16, 15);
        for (uint32_t i = 0; i < prng_below(&world.prng, 100); i++)
            step(&world);
        take(&world);
        add(&world);
        if (nvme_queue_publish(&world.queue))
            world.sq_tail = world.queue.tail;
        fetch(&world);
        struct nvme_completion completion = finish_one(&world);
        uint64_t how = round % 5;
        spoil(&world, &completion, how);
        post(&world, completion);
        struct nvme_result result;
        int taken = nvme_queue_take(&world.queue, &result);
        if (how == 4) {
            assert_int_equal(taken, 1);
            world.given[(uint64_t)result.token] = false;
            taken = nvme_queue_take(&world.queue, &result);
        }
        assert_int_equal(taken, -EIO); // Q4
        assert_non_null(world.queue.broken);
        assert_false(nvme_queue_has_completion(&world.queue));
        assert_int_equal(nvme_queue_take(&world.queue, &result), -EIO);
        take_back(&world);
        world_end(&world);
    }
}

// Memory full of anything: whatever is taken was given, and the end comes.
static void test_noise(void **state)
{
    struct world world = {.prng = host_seed("nvme_queue_noise")};
    for (uint32_t round = 0; round < 2000; round++) {
        world_start(&world, 8, 7);
        for (uint32_t i = 0; i < 5; i++)
            add(&world);
        for (uint32_t i = 0; i < 8; i++) {
            struct nvme_completion *entry = &world.queue.completions[i];
            entry->sq_id = prng_below(&world.prng, 20) == 0 ? 0 : QUEUE_ID;
            entry->sq_head = (uint16_t)prng_below(&world.prng, 9);
            entry->id = (uint16_t)(prng_below(&world.prng, 8) | NVME_QUEUE_SIZE_MAX);
            entry->status = (uint16_t)prng_u64(&world.prng);
        }
        struct nvme_result result;
        uint32_t taken = 0;
        while (nvme_queue_take(&world.queue, &result) == 1) {
            assert_true(world.given[(uint64_t)result.token]);
            world.given[(uint64_t)result.token] = false;
            taken++;
        }
        assert_true(taken <= 5);
        take_back(&world);
        world_end(&world);
    }
}

static void test_age(void **state)
{
    struct world world = {.prng = host_seed("nvme_queue_age")};
    world_start(&world, 8, 7);
    assert_int_equal(nvme_queue_oldest_round(&world.queue), world.queue.round);
    add(&world);
    world.queue.round = UINT32_MAX; // as if it had been long before
    add(&world);
    world.queue.round += 2;
    assert_int_equal(world.queue.round - nvme_queue_oldest_round(&world.queue), 2);
    world_end(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_noise),
        cmocka_unit_test(test_age),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
