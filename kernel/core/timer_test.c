// SPDX-License-Identifier: MIT
//
// timer.h: random arming, re-arming and cancelling on one CPU against a model, with and without
// slack; what slack saves; timers that arm themselves; arming and synchronous cancelling of the same timers from several CPUs under the race
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
    uint64_t due_ns;      // may not fire before
    uint64_t deadline_ns; // 0: not armed
    uint64_t fired;
} models[TIMERS];

static void model_fired(struct timer *timer)
{
    struct model *model = container_of(timer, struct model, timer);
    assert_true(model->deadline_ns != 0);
    assert_true(model->due_ns <= atomic_load(&host_now_ns));
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
            model->due_ns = host_now_ns + 1 + prng_below(&prng, 1000);
            uint64_t slack_ns = prng_below(&prng, 2) * prng_below(&prng, 200);
            model->deadline_ns = model->due_ns + slack_ns;
            timer_arm_within(&model->timer, model->due_ns, slack_ns);
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

static void arm_model(struct model *model, uint64_t due_ns, uint64_t slack_ns)
{
    timer_init(&model->timer, model_fired);
    model->fired = 0;
    model->due_ns = due_ns;
    model->deadline_ns = due_ns + slack_ns;
    timer_arm_within(&model->timer, due_ns, slack_ns);
}

static void slack_saves_interrupts(void **state)
{
    (void)state;
    host_now_ns += 2000;
    host_interrupts(); // what was armed for cancelled timers comes now
    uint64_t start_ns = host_now_ns;
    // Ten sleeps that end within 50 ns of each other, all with a slack of 50: one interrupt, when
    // the first has to end, ends all that are due then.
    for (int i = 0; i < 10; i++)
        arm_model(&models[i], start_ns + 100 + (uint64_t)i * 5, 50);
    host_now_ns = start_ns + 149;
    host_interrupts();
    for (int i = 0; i < 10; i++)
        assert_int_equal(models[i].fired, 0);
    host_now_ns = start_ns + 150;
    host_interrupts();
    for (int i = 0; i < 10; i++)
        assert_int_equal(models[i].fired, 1);
    assert_true(timer_next_deadline() == UINT64_MAX);
    // An exact one in between takes along what is due.
    start_ns = host_now_ns;
    arm_model(&models[0], start_ns + 100, 50);
    arm_model(&models[1], start_ns + 120, 0);
    host_now_ns = start_ns + 119;
    host_interrupts();
    assert_int_equal(models[0].fired + models[1].fired, 0);
    host_now_ns = start_ns + 120;
    host_interrupts();
    assert_int_equal(models[0].fired + models[1].fired, 2);
    // No slack is so large that the end wraps.
    arm_model(&models[2], UINT64_MAX - 10, 0);
    timer_arm_within(&models[2].timer, UINT64_MAX - 10, UINT64_MAX);
    assert_true(timer_next_deadline() == UINT64_MAX - 1);
    assert_true(timer_cancel(&models[2].timer));
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
        here[i].due_ns = here[i].deadline_ns = host_now_ns + 10;
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
        model.due_ns = model.deadline_ns = atomic_load(&host_now_ns) + prng_below(&prng, 20);
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
        cmocka_unit_test(slack_saves_interrupts),
        cmocka_unit_test(a_timer_may_arm_itself),
        cmocka_unit_test(timers_move_to_another_cpu),
        cmocka_unit_test(several_cpus),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
