// SPDX-License-Identifier: MIT
//
// timer.h: random arming, re-arming and cancelling on one CPU against a model; timers that arm
// themselves; arming and synchronous cancelling of the same timers from several CPUs under the race
// detector.
#include "kernel/core/timer.h"

#include "kernel/base/atomic.h"
#include "kernel/base/host/host_base.h"
#include "kernel/base/host/host_cmocka.h"
#include "kernel/core/host/host_core.h"
#include "kernel/core/percpu.h"

#include <pthread.h>

#define TIMERS 20

static struct model {
    struct timer timer;
    uint64_t deadline_ns; // 0: not armed
    uint64_t fired;
} models[TIMERS];

static void model_fired(struct timer *timer)
{
    struct model *model = container_of(timer, struct model, timer);
    assert_true(model->deadline_ns != 0);
    assert_true(model->deadline_ns <= atomic_load(&host_now_ns));
    model->deadline_ns = 0;
    model->fired++;
}

static void timers_fire_when_they_shall(void **state)
{
    (void)state;
    struct prng prng = host_seed("timer");
    host_cpu_begin(0);
    for (int i = 0; i < TIMERS; i++)
        timer_init(&models[i].timer, model_fired);
    for (int step = 0; step < 20000; step++) {
        struct model *model = &models[prng_below(&prng, TIMERS)];
        switch (prng_below(&prng, 3)) {
        case 0:
            model->deadline_ns = host_now_ns + 1 + prng_below(&prng, 1000);
            timer_arm(&model->timer, model->deadline_ns);
            break;
        case 1:
            assert_int_equal(timer_cancel(&model->timer), model->deadline_ns != 0);
            model->deadline_ns = 0;
            break;
        default:
            host_now_ns += prng_below(&prng, 100);
            host_interrupts();
            uint64_t next_ns = UINT64_MAX;
            for (int i = 0; i < TIMERS; i++) {
                assert_int_equal(timer_is_queued(&models[i].timer), models[i].deadline_ns != 0);
                if (models[i].deadline_ns != 0)
                    next_ns = MIN(next_ns, models[i].deadline_ns);
            }
            assert_true(next_ns > host_now_ns);
            assert_true(timer_next_deadline() == next_ns);
            break;
        }
    }
    for (int i = 0; i < TIMERS; i++)
        timer_cancel_sync(&models[i].timer);
    assert_true(timer_next_deadline() == UINT64_MAX);
}

static unsigned periodic_fired;

static void periodic(struct timer *timer)
{
    periodic_fired++;
    timer_arm(timer, timer_deadline_ns(timer) + 10);
}

static void a_timer_may_arm_itself(void **state)
{
    (void)state;
    struct timer timer;
    timer_init(&timer, periodic);
    timer_arm(&timer, host_now_ns); // in the past: fires with the next interrupt
    for (int i = 0; i < 50; i++) {
        host_interrupts();
        host_now_ns += 10;
    }
    assert_int_equal(periodic_fired, 50);
    assert_true(timer_cancel(&timer));
}

static void timers_move_to_another_cpu(void **state)
{
    (void)state;
    static struct model here[3];
    host_cpu_begin(1);
    for (int i = 0; i < 3; i++) {
        timer_init(&here[i].timer, model_fired);
        here[i].deadline_ns = host_now_ns + 10;
        timer_arm(&here[i].timer, here[i].deadline_ns);
    }
    host_cpu_end();
    host_cpu_begin(0);
    timer_migrate(1);
    host_now_ns += 10;
    host_interrupts();
    for (int i = 0; i < 3; i++)
        assert_int_equal(here[i].fired, 1);
}

#define CPUS 4

static void *cancel_play(void *argument)
{
    static uint64_t runs; // atomic
    uint32_t cpu = (uint32_t)(uintptr_t)argument;
    struct prng prng = {.state = cpu};
    host_cpu_begin(cpu);
    for (int round = 0; round < 3000; round++) {
        // On the stack: after the synchronous cancellation nobody may touch it.
        struct model model = {0};
        model.deadline_ns = atomic_load(&host_now_ns) + prng_below(&prng, 20);
        timer_init(&model.timer, model_fired);
        timer_arm(&model.timer, model.deadline_ns);
        atomic_fetch_add(&host_now_ns, prng_below(&prng, 10));
        host_interrupts();
        timer_cancel_sync(&model.timer);
        atomic_fetch_add(&runs, model.fired);
    }
    host_cpu_end();
    return NULL;
}

static void several_cpus(void **state)
{
    (void)state;
    pthread_t threads[CPUS];
    for (uintptr_t cpu = 0; cpu < CPUS; cpu++)
        pthread_create(&threads[cpu], NULL, cancel_play, (void *)cpu);
    for (int cpu = 0; cpu < CPUS; cpu++)
        pthread_join(threads[cpu], NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timers_fire_when_they_shall),
        cmocka_unit_test(a_timer_may_arm_itself),
        cmocka_unit_test(timers_move_to_another_cpu),
        cmocka_unit_test(several_cpus),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
