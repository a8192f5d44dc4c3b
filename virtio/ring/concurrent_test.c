// SPDX-License-Identifier: MIT
// Driver and device in two threads, under ThreadSanitizer: data written before a buffer is
// published is seen by the device, what the device wrote is seen by the driver, and with both sides
// sleeping whenever the other says nothing, nobody sleeps for ever.

#include "kernel/base/atomic.h"
#include "kernel/base/host/host_base.h"
#include "kernel/base/host/host_cmocka.h"
#include "virtio/ring/model_device.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH    64
#define REQUESTS 20000

struct request {
    uint64_t question, answer;
};

static struct shared {
    struct virtio_ring ring;
    struct model_device device;
    sem_t notification, interrupt;
    uint64_t seed;
    uint32_t done; // by the device; atomic
} shared;

static void *device_main(void *argument)
{
    struct prng prng = {shared.seed};
    uint32_t done = 0;
    while (done < REQUESTS) {
        struct model_buffer buffer;
        if (!model_device_pop(&shared.device, &buffer)) {
            model_device_notify_enable(&shared.device);
            if (!model_device_pop(&shared.device, &buffer)) {
                sem_wait(&shared.notification);
                model_device_notify_disable(&shared.device);
                continue;
            }
            model_device_notify_disable(&shared.device);
        }
        const uint64_t *question = (const uint64_t *)buffer.segments[0].address;
        uint64_t *answer = (uint64_t *)buffer.segments[1].address;
        *answer = ~*question;
        model_device_push(&shared.device, &buffer, sizeof(uint64_t), 0, 0);
        model_device_show(&shared.device);
        if (model_device_wants_interrupt(&shared.device))
            sem_post(&shared.interrupt);
        done++;
        if (prng_below(&prng, 16) == 0)
            sched_yield();
    }
    return NULL;
}

static void driver(struct prng *prng)
{
    static struct request requests[DEPTH];
    static uint32_t idle[DEPTH];
    uint32_t idle_count = 0, started = 0, finished = 0;
    for (uint32_t i = 0; i < DEPTH; i++)
        idle[idle_count++] = i;
    virtio_ring_interrupt_disable(&shared.ring);
    while (finished < REQUESTS) {
        uint64_t batch = 1 + prng_below(prng, 16);
        while (batch-- != 0 && idle_count != 0 && started < REQUESTS) {
            struct request *request = &requests[idle[--idle_count]];
            request->question = prng_u64(prng);
            struct virtio_segment segments[2] = {
                {(uint64_t)&request->question, 8}, {(uint64_t)&request->answer, 8}};
            assert_int_equal(virtio_ring_add(&shared.ring, segments, 1, 1, request, NULL), 0);
            started++;
        }
        if (virtio_ring_publish(&shared.ring))
            sem_post(&shared.notification);
        void *token;
        uint32_t written_bytes;
        int result = virtio_ring_take(&shared.ring, &token, &written_bytes);
        if (result == 0 && (idle_count == 0 || started == REQUESTS)) {
            if (!virtio_ring_interrupt_enable(&shared.ring, (uint32_t)prng_below(prng, 4)))
                sem_wait(&shared.interrupt);
            virtio_ring_interrupt_disable(&shared.ring);
        }
        for (; result == 1; result = virtio_ring_take(&shared.ring, &token, &written_bytes)) {
            struct request *request = token;
            assert_int_equal(written_bytes, 8);
            assert_true(request->answer == ~request->question);
            idle[idle_count++] = (uint32_t)(request - requests);
            finished++;
        }
        assert_int_equal(result, 0);
    }
}

static void two_threads(void **state)
{
    struct prng prng = host_seed(__func__);
    for (uint32_t features = 0; features < 4; features++) {
        static struct virtio_ring_buffer buffers[2 * DEPTH];
        _Alignas(4096) static char memory[8192];
        struct virtio_ring_config config = {.is_packed = features & 1,
            .has_event_idx = features & 2,
            .size = 2 * DEPTH,
            .memory = memory,
            .buffers = buffers};
        virtio_ring_init(&shared.ring, &config);
        model_device_init(&shared.device, &config);
        sem_init(&shared.notification, 0, 0);
        sem_init(&shared.interrupt, 0, 0);
        shared.seed = prng_u64(&prng);
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, device_main, NULL), 0);
        driver(&prng);
        pthread_join(thread, NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(two_threads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
