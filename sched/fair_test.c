// SPDX-License-Identifier: MIT
//
// fair.h: the structure stays valid under random use; CPU time is shared by weight; nobody is owed
// or owes much more than a slice; a thread that sleeps neither gains nor loses; the earliest
// deadline among the eligible is picked (against a scan); the functions for two threads do what
// those for any number do.
#include "sched/fair.h"

#include "kernel/base/host/host_base.h"
#include "kernel/base/host/host_cmocka.h"

#include <string.h>

#define THREADS 12
#define TICK_NS UINT64_C(1000000)

static struct fair_queue queue;
static struct sched_entity entities[THREADS];
static bool queued[THREADS];

static void reset(void)
{
    memset(&queue, 0, sizeof(queue));
    memset(entities, 0, sizeof(entities));
    memset(queued, 0, sizeof(queued));
    queue.base = UINT64_MAX - 5 * FAIR_SLICE_NS; // virtual time wraps during the test
    for (int i = 0; i < THREADS; i++) {
        entities[i].slice_ns = FAIR_SLICE_NS;
        entities[i].weight = fair_weight(0);
    }
}

static void enqueue(int i, bool is_new)
{
    fair_enqueue(&queue, &entities[i], is_new);
    queued[i] = true;
}

// The thread that should be picked, by looking at all.
static const struct sched_entity *scan(void)
{
    const struct sched_entity *best = NULL;
    for (int i = 0; i < THREADS; i++) {
        if (!queued[i] || queue.current == &entities[i] || !fair_is_eligible(&queue, &entities[i]))
            continue;
        if (best == NULL || (int64_t)(entities[i].deadline - best->deadline) < 0)
            best = &entities[i];
    }
    return best;
}

static struct sched_entity *switch_thread(void)
{
    if (queue.current != NULL)
        fair_put_current(&queue);
    const struct sched_entity *expected = scan();
    struct sched_entity *next = fair_pick(&queue);
    if (expected != NULL)
        assert_true(next->deadline == expected->deadline);
    if (next != NULL)
        fair_set_current(&queue, next);
    return next;
}

static void random_use_keeps_it_valid(void **state)
{
    (void)state;
    struct prng prng = host_seed("fair");
    reset();
    for (int step = 0; step < 50000; step++) {
        int i = (int)prng_below(&prng, THREADS);
        switch (prng_below(&prng, 5)) {
        case 0:
            if (!queued[i])
                enqueue(i, prng_below(&prng, 2) != 0);
            break;
        case 1:
            if (queued[i]) {
                fair_dequeue(&queue, &entities[i]);
                queued[i] = false;
            }
            break;
        case 2:
            if (queue.current != NULL)
                (void)fair_account(&queue, prng_below(&prng, 5 * TICK_NS));
            break;
        case 3:
            fair_set_nice(queued[i] ? &queue : NULL, &entities[i], (int)prng_below(&prng, 40) - 20);
            break;
        default:
            (void)switch_thread();
            break;
        }
        assert_true(fair_is_valid(&queue));
        for (int k = 0; k < THREADS; k++) {
            if (queued[k] && queue.current != &entities[k])
                assert_true(queue.count >= 1);
        }
        assert_true((fair_pick(&queue) != NULL) == (queue.count != 0));
    }
}

// Runs `ms` ticks with all queued threads, and adds each one's time to run_ns.
static void run(uint64_t ms, uint64_t *run_ns)
{
    for (uint64_t tick = 0; tick < ms; tick++) {
        if (queue.current == NULL)
            (void)switch_thread();
        run_ns[queue.current - entities] += TICK_NS;
        if (fair_account(&queue, TICK_NS))
            (void)switch_thread();
    }
}

static void time_is_shared_by_weight(void **state)
{
    (void)state;
    uint64_t run_ns[THREADS] = {0};
    static const int nices[4] = {0, 5, -5, 10};
    uint64_t sum = 0;
    reset();
    for (int i = 0; i < 4; i++) {
        fair_set_nice(NULL, &entities[i], nices[i]);
        enqueue(i, true);
        sum += entities[i].weight;
    }
    run(20000, run_ns);
    for (int i = 0; i < 4; i++) {
        double share = (double)run_ns[i] / (20000.0 * (double)TICK_NS);
        double ideal = (double)entities[i].weight / (double)sum;
        assert_true(share > ideal * 0.95 - 0.001);
        assert_true(share < ideal * 1.05 + 0.001);
    }
}

static void nobody_waits_long(void **state)
{
    (void)state;
    uint64_t last[4] = {0};
    reset();
    for (int i = 0; i < 4; i++)
        enqueue(i, true);
    for (uint64_t tick = 1; tick < 5000; tick++) {
        uint64_t run_ns[THREADS] = {0};
        run(1, run_ns);
        for (int i = 0; i < 4; i++) {
            if (run_ns[i] != 0)
                last[i] = tick;
            assert_true(tick - last[i] <= 4 * FAIR_SLICE_NS / TICK_NS + 1);
        }
    }
}

static void sleeping_earns_nothing(void **state)
{
    (void)state;
    uint64_t run_ns[THREADS] = {0};
    reset();
    enqueue(0, true);
    enqueue(1, true);
    run(100, run_ns);
    fair_dequeue(&queue, &entities[1]);
    queued[1] = false;
    run(1000, run_ns);
    enqueue(1, false);
    uint64_t before[2] = {run_ns[0], run_ns[1]};
    run(100, run_ns);
    int64_t difference = (int64_t)(run_ns[0] - before[0]) - (int64_t)(run_ns[1] - before[1]);
    assert_true(difference <= (int64_t)(3 * FAIR_SLICE_NS));
    assert_true(difference >= -(int64_t)(3 * FAIR_SLICE_NS));
}

static void a_woken_thread_preempts_one_that_had_its_share(void **state)
{
    (void)state;
    uint64_t run_ns[THREADS] = {0};
    reset();
    enqueue(0, true);
    enqueue(1, true);
    run(40, run_ns);
    fair_dequeue(&queue, &entities[1]);
    queued[1] = false;
    if (queue.current == NULL)
        (void)switch_thread();
    (void)fair_account(&queue, FAIR_SLICE_NS / 2);
    (void)fair_account(&queue, FAIR_SLICE_NS); // a new slice has begun: its deadline is later
    entities[1].lag = (int64_t)FAIR_SLICE_NS / 2;
    enqueue(1, false);
    assert_true(fair_should_preempt(&queue, &entities[1]));
    fair_dequeue(&queue, &entities[1]);
    entities[1].lag = -(int64_t)FAIR_SLICE_NS; // it is ahead itself
    enqueue(1, false);
    assert_false(fair_should_preempt(&queue, &entities[1]));
}

// ---- two threads -------------------------------------------------------------------------------

// The same two threads twice: `a` is driven by the fair_pair functions, `b` by the general ones.
static struct {
    struct fair_queue queue;
    struct sched_entity entities[2];
} a, b;

static int index_of(const struct sched_entity *entities, const struct sched_entity *entity)
{
    return entity == NULL ? -1 : (int)(entity - entities);
}

static void assert_same(void)
{
    const struct sched_entity *waits = fair_pick(&b.queue); // from the tree, or `only`
    assert_int_equal(index_of(a.entities, a.queue.current), index_of(b.entities, b.queue.current));
    assert_int_equal(index_of(a.entities, a.queue.only), index_of(b.entities, waits));
    assert_int_equal(a.queue.count, b.queue.count);
    assert_true(a.queue.base == b.queue.base);
    assert_true(a.queue.sum_weight == b.queue.sum_weight);
    assert_true(a.queue.sum_weighted == b.queue.sum_weighted);
    for (int i = 0; i < 2; i++) {
        assert_true(a.entities[i].lag == b.entities[i].lag);
        assert_true(a.entities[i].vruntime == b.entities[i].vruntime);
        assert_true(a.entities[i].deadline == b.entities[i].deadline);
    }
    assert_true(fair_is_valid(&a.queue));
}

static void general_pick(bool yields)
{
    if (!yields)
        fair_put_current(&b.queue);
    struct sched_entity *next = fair_pick(&b.queue);
    if (yields)
        fair_put_current(&b.queue);
    fair_set_current(&b.queue, next);
}

// The thread that does not run wakes up if it sleeps; else the running one goes to sleep.
static void pair_wake_or_sleep(void)
{
    int running = index_of(a.entities, a.queue.current);
    if (a.queue.count == 0) {
        assert_true(fair_pair_may_join(&a.queue, &a.entities[1 - running]));
        fair_pair_join(&a.queue, &a.entities[1 - running]);
        fair_enqueue(&b.queue, &b.entities[1 - running], false);
        assert_true(fair_pair_other_preempts(&a.queue) ==
                    fair_should_preempt(&b.queue, &b.entities[1 - running]));
        return;
    }
    (void)fair_pair_leave(&a.queue);
    fair_dequeue(&b.queue, &b.entities[running]);
    fair_set_current(&b.queue, fair_pick(&b.queue));
}

// The last thread goes to sleep; who wakes up then runs at once.
static void alone_wake_or_sleep(int thread)
{
    if (a.queue.current == NULL) {
        fair_alone_join(&a.queue, &a.entities[thread]);
        fair_enqueue(&b.queue, &b.entities[thread], false);
        assert_same();
        assert_true(fair_waits_alone(&a.queue));
        (void)fair_take_waiting(&a.queue);
        fair_set_current(&b.queue, fair_pick(&b.queue));
    } else if (a.queue.count == 0) {
        fair_alone_leave(&a.queue);
        fair_dequeue(&b.queue, b.queue.current);
    }
}

static void pair_pick(bool yields)
{
    if (a.queue.count == 0)
        return;
    if (yields || fair_pair_other_is_next(&a.queue))
        (void)fair_pair_swap(&a.queue);
    general_pick(yields);
}

static void one_and_two_are_like_any_number(void **state)
{
    (void)state;
    struct prng prng = host_seed("pair");
    uint32_t together = 0, asleep = 0;
    memset(&a, 0, sizeof(a));
    a.queue.base = UINT64_MAX - 5 * FAIR_SLICE_NS;
    for (int i = 0; i < 2; i++) {
        a.entities[i].slice_ns = FAIR_SLICE_NS;
        a.entities[i].weight = fair_weight(0);
    }
    b = a;
    fair_enqueue(&a.queue, &a.entities[0], true);
    fair_set_current(&a.queue, &a.entities[0]);
    fair_enqueue(&b.queue, &b.entities[0], true);
    fair_set_current(&b.queue, &b.entities[0]);
    for (int step = 0; step < 100000; step++) {
        uint64_t delta_ns = prng_below(&prng, prng_below(&prng, 50) == 0 ? 5 * TICK_NS : 2000);
        if (a.queue.current == NULL || prng_below(&prng, 10) == 0) {
            alone_wake_or_sleep((int)prng_below(&prng, 2));
            asleep += a.queue.current == NULL;
            assert_same();
            continue;
        }
        switch (prng_below(&prng, 4)) {
        case 0:
            pair_wake_or_sleep();
            break;
        case 1:
            pair_pick(prng_below(&prng, 2) != 0);
            break;
        default:
            assert_true(fair_account(&a.queue, delta_ns) == fair_account(&b.queue, delta_ns));
            break;
        }
        together += fair_is_pair(&a.queue);
        assert_same();
    }
    assert_true(together > 10000);
    assert_true(asleep > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_use_keeps_it_valid),
        cmocka_unit_test(time_is_shared_by_weight),
        cmocka_unit_test(nobody_waits_long),
        cmocka_unit_test(sleeping_earns_nothing),
        cmocka_unit_test(a_woken_thread_preempts_one_that_had_its_share),
        cmocka_unit_test(one_and_two_are_like_any_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
