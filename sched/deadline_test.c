// SPDX-License-Identifier: MIT
//
// deadline.h: admission; the structure stays valid under random use, and the earliest deadline is
// first (against a scan); a set of servers within the bandwidth of a CPU misses no deadline,
// whatever they ask for; no server gets more than its bandwidth in any window; sleeping gathers
// nothing; the boosted run without budget and pay back.
#include "sched/deadline.h"

#include "kernel/base/host/host_base.h"
#include "kernel/base/host/host_cmocka.h"

#include <string.h>

#define SERVERS 8
#define US      UINT64_C(1000)
#define MS      UINT64_C(1000000)

static struct deadline_queue queue;
static struct deadline_entity servers[SERVERS];
static bool queued[SERVERS];

static void reset(void)
{
    memset(&queue, 0, sizeof(queue));
    memset(servers, 0, sizeof(servers));
    memset(queued, 0, sizeof(queued));
}

static void wake(int i, uint64_t now_ns)
{
    deadline_wake(&servers[i], now_ns);
    deadline_enqueue(&queue, &servers[i]);
    queued[i] = true;
}

static void block(int i)
{
    deadline_dequeue(&queue, &servers[i]);
    queued[i] = false;
}

static void parameters_are_checked(void **state)
{
    (void)state;
    assert_true(deadline_parameters_valid(1 * MS, 10 * MS, 10 * MS));
    assert_true(deadline_parameters_valid(1 * MS, 10 * MS, 0));
    assert_true(deadline_parameters_valid(1024, 100 * US, 100 * US));
    assert_true(deadline_parameters_valid(10 * MS, 10 * MS, 10 * MS));
    assert_false(deadline_parameters_valid(1023, 10 * MS, 10 * MS));
    assert_false(deadline_parameters_valid(0, 0, 0));
    assert_false(deadline_parameters_valid(11 * MS, 10 * MS, 20 * MS));
    assert_false(deadline_parameters_valid(1 * MS, 21 * MS, 20 * MS));
    assert_false(deadline_parameters_valid(2 * US, 50 * US, 99 * US));
    assert_false(deadline_parameters_valid(1 * MS, UINT64_MAX, UINT64_MAX));
    assert_false(deadline_parameters_valid(1 * MS, 10 * MS, DEADLINE_PERIOD_MAX_NS + 1));
}

static void admission_is_by_bandwidth(void **state)
{
    (void)state;
    uint64_t half = deadline_bandwidth(5 * MS, 10 * MS);
    assert_int_equal(half, DEADLINE_BANDWIDTH_ONE / 2);
    assert_true(deadline_is_admitted(0, 0, half, 1));
    assert_false(deadline_is_admitted(half, 0, half, 1)); // 100 % of 95 %
    assert_true(deadline_is_admitted(half, half, half, 1));
    assert_true(deadline_is_admitted(half, 0, half, 2));
    assert_true(deadline_is_admitted(0, 0, DEADLINE_BANDWIDTH_CPU, 1));
    assert_false(deadline_is_admitted(0, 0, DEADLINE_BANDWIDTH_CPU + 1, 1));
}

// The ready server with the earliest deadline, by looking at all.
static uint64_t earliest_by_scan(void)
{
    uint64_t earliest = UINT64_MAX;
    for (int i = 0; i < SERVERS; i++) {
        if (queued[i] && !servers[i].throttled)
            earliest = MIN(earliest, deadline_effective_ns(&servers[i]));
    }
    return earliest;
}

static void random_parameters(struct prng *prng, int i)
{
    uint64_t period_ns = 100 * US + prng_below(prng, 20 * MS);
    uint64_t deadline_ns = period_ns - prng_below(prng, period_ns / 2);
    deadline_set(&servers[i], 1024 + prng_below(prng, deadline_ns - 1024), deadline_ns, period_ns);
}

static void random_use_keeps_it_valid(void **state)
{
    (void)state;
    struct prng prng = host_seed("deadline");
    uint64_t now_ns = 1;
    reset();
    for (int i = 0; i < SERVERS; i++)
        random_parameters(&prng, i);
    for (int step = 0; step < 50000; step++) {
        int i = (int)prng_below(&prng, SERVERS);
        struct deadline_entity *first = deadline_first(&queue);
        now_ns += prng_below(&prng, 1 * MS);
        switch (prng_below(&prng, 6)) {
        case 0:
            if (!queued[i])
                wake(i, now_ns);
            break;
        case 1:
            if (queued[i])
                block(i);
            break;
        case 2:
            if (first != NULL)
                (void)deadline_account(&queue, first, prng_below(&prng, 5 * MS));
            break;
        case 3:
            (void)deadline_replenish(&queue, now_ns);
            assert_true(deadline_next_replenishment_ns(&queue) > now_ns);
            break;
        case 4:
            if (first != NULL && deadline_yield(&queue, first))
                assert_true(first->throttled || first->boosted_until_ns != 0);
            break;
        default: // somebody begins or ends to wait for it
            if (queued[i])
                deadline_dequeue(&queue, &servers[i]);
            servers[i].boosted_until_ns =
                prng_below(&prng, 2) ? now_ns + prng_below(&prng, 10 * MS) : 0;
            if (queued[i])
                deadline_enqueue(&queue, &servers[i]);
            break;
        }
        assert_true(deadline_is_valid(&queue));
        first = deadline_first(&queue);
        assert_int_equal(first != NULL ? first->effective_ns : UINT64_MAX, earliest_by_scan());
    }
}

// ---- a CPU that runs servers -------------------------------------------------------------------

struct model {
    uint64_t now_ns;
    uint64_t released_ns[SERVERS]; // when the current job arrived; 0: none
    uint64_t left_ns[SERVERS];     // of the job
    uint64_t next_ns[SERVERS];     // arrival of the next job
    uint64_t ran_ns[SERVERS];      // in total
};

// Runs the CPU until `until_ns`, event by event.
static void model_run(struct model *model, uint64_t until_ns)
{
    (void)deadline_replenish(&queue, model->now_ns);
    struct deadline_entity *first = deadline_first(&queue);
    uint64_t next_ns = MIN(until_ns, deadline_next_replenishment_ns(&queue));
    if (first == NULL) {
        model->now_ns = next_ns;
        return;
    }
    int i = (int)(first - servers);
    uint64_t step_ns = MIN(model->left_ns[i], (uint64_t)first->budget_ns);
    step_ns = MIN(step_ns, next_ns - model->now_ns);
    model->now_ns += step_ns;
    model->left_ns[i] -= step_ns;
    model->ran_ns[i] += step_ns;
    (void)deadline_account(&queue, first, step_ns);
    if (model->left_ns[i] == 0)
        block(i);
}

// Periodic jobs that need what they reserved: with up to 95 % in total each ends before the next.
static void no_deadline_is_missed(void **state)
{
    (void)state;
    struct prng prng = host_seed("deadlines");
    for (int round = 0; round < 200; round++) {
        struct model model = {.now_ns = 1};
        uint64_t total = 0;
        reset();
        for (int i = 0; i < SERVERS; i++) {
            uint64_t period_ns = 1 * MS + prng_below(&prng, 20 * MS);
            uint64_t share = DEADLINE_BANDWIDTH_CPU / SERVERS;
            uint64_t runtime_ns = period_ns * share / DEADLINE_BANDWIDTH_ONE;
            deadline_set(&servers[i], runtime_ns, period_ns, 0);
            assert_true(
                deadline_is_admitted(total, 0, deadline_bandwidth(runtime_ns, period_ns), 1));
            total += deadline_bandwidth(runtime_ns, period_ns);
            model.next_ns[i] = 1 + prng_below(&prng, 10 * MS);
        }
        while (model.now_ns < 300 * MS) {
            uint64_t next_ns = UINT64_MAX;
            for (int i = 0; i < SERVERS; i++) {
                if (model.next_ns[i] <= model.now_ns) {
                    assert_int_equal(model.left_ns[i], 0); // the last one has ended in time
                    model.left_ns[i] = servers[i].runtime_ns;
                    model.next_ns[i] += servers[i].period_ns;
                    wake(i, model.now_ns);
                }
                next_ns = MIN(next_ns, model.next_ns[i]);
            }
            model_run(&model, next_ns);
        }
    }
}

// Greedy and erratic jobs: none gets more than bandwidth * time and one runtime on top, and the
// polite one beside them misses nothing.
static void greed_takes_nothing(void **state)
{
    (void)state;
    struct prng prng = host_seed("greed");
    for (int round = 0; round < 100; round++) {
        struct model model = {.now_ns = 1};
        reset();
        deadline_set(&servers[0], 1 * MS, 5 * MS, 0);
        for (int i = 1; i < SERVERS; i++) {
            uint64_t period_ns = 1 * MS + prng_below(&prng, 20 * MS);
            deadline_set(&servers[i], period_ns / 10, period_ns, 0);
        }
        for (int i = 0; i < SERVERS; i++)
            model.next_ns[i] = 1 + prng_below(&prng, 10 * MS);
        while (model.now_ns < 300 * MS) {
            uint64_t next_ns = UINT64_MAX;
            for (int i = 0; i < SERVERS; i++) {
                if (model.next_ns[i] <= model.now_ns && !queued[i]) {
                    model.left_ns[i] = i == 0 ? 1 * MS : prng_below(&prng, 30 * MS) + 1;
                    model.next_ns[i] =
                        i == 0 ? model.next_ns[i] + 5 * MS
                               : model.now_ns + prng_below(&prng, 3 * servers[i].period_ns) + 1;
                    wake(i, model.now_ns);
                } else if (model.next_ns[i] <= model.now_ns) {
                    assert_int_not_equal(i, 0); // the polite one has ended in time
                    model.left_ns[i] += 1 * MS;
                    model.next_ns[i] = model.now_ns + servers[i].period_ns;
                }
                next_ns = MIN(next_ns, model.next_ns[i]);
            }
            model_run(&model, next_ns);
        }
        for (int i = 1; i < SERVERS; i++)
            assert_true(model.ran_ns[i] <= model.now_ns / 10 + 2 * servers[i].runtime_ns);
    }
}

static void sleeping_gathers_nothing(void **state)
{
    (void)state;
    reset();
    deadline_set(&servers[0], 2 * MS, 10 * MS, 0);
    wake(0, 100 * MS);
    assert_int_equal(servers[0].until_ns, 110 * MS);
    (void)deadline_account(&queue, &servers[0], 1 * MS);
    block(0);
    wake(0, 101 * MS); // 1 ms of 9 ms is less than a fifth: goes on
    assert_int_equal(servers[0].until_ns, 110 * MS);
    assert_int_equal(servers[0].budget_ns, 1 * MS);
    block(0);
    wake(0, 109 * MS); // 1 ms in 1 ms would be too much: a new period
    assert_int_equal(servers[0].until_ns, 119 * MS);
    assert_int_equal(servers[0].budget_ns, 2 * MS);
}

static void used_up_waits_for_its_period(void **state)
{
    (void)state;
    reset();
    deadline_set(&servers[0], 2 * MS, 5 * MS, 10 * MS); // deadline shorter than the period
    wake(0, 100 * MS);
    assert_true(deadline_account(&queue, &servers[0], 3 * MS)); // 1 ms too late
    assert_true(servers[0].throttled);
    assert_null(deadline_first(&queue));
    assert_int_equal(deadline_next_replenishment_ns(&queue), 110 * MS);
    block(0);
    wake(0, 106 * MS); // sleeping does not help
    assert_true(servers[0].throttled);
    assert_int_equal(deadline_replenish(&queue, 110 * MS - 1), 0);
    assert_int_equal(deadline_replenish(&queue, 110 * MS), 1);
    assert_int_equal(servers[0].until_ns, 115 * MS);
    assert_int_equal(servers[0].budget_ns, 1 * MS); // the debt is paid
    assert_true(deadline_yield(&queue, &servers[0]));
    assert_int_equal(deadline_next_replenishment_ns(&queue), 120 * MS);
    block(0);
    wake(0, 500 * MS); // long after
    assert_int_equal(servers[0].until_ns, 505 * MS);
    block(0);
    wake(0, 507 * MS); // D4: the deadline is past, the period is not
    assert_true(servers[0].throttled);
    assert_int_equal(deadline_next_replenishment_ns(&queue), 510 * MS);
}

static void the_boosted_pay_back(void **state)
{
    (void)state;
    reset();
    deadline_set(&servers[0], 1 * MS, 10 * MS, 0);
    servers[0].boosted_until_ns = 105 * MS;
    wake(0, 100 * MS);
    assert_int_equal(servers[0].effective_ns, 105 * MS);
    assert_true(deadline_account(&queue, &servers[0], 4 * MS));
    assert_false(servers[0].throttled);
    assert_false(deadline_yield(&queue, &servers[0]));
    deadline_dequeue(&queue, &servers[0]);
    servers[0].boosted_until_ns = 0;
    deadline_enqueue(&queue, &servers[0]);
    assert_true(servers[0].throttled);
    assert_int_equal(deadline_replenish(&queue, 110 * MS), 1);
    assert_int_equal(servers[0].until_ns, 150 * MS); // 3 ms of debt, and a new one
    assert_int_equal(servers[0].budget_ns, 1 * MS);
    block(0);
    servers[1].boosted_until_ns = 7; // no server of its own
    wake(1, 1);
    assert_false(deadline_account(&queue, &servers[1], 100 * MS));
    assert_ptr_equal(deadline_first(&queue), &servers[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parameters_are_checked),
        cmocka_unit_test(admission_is_by_bandwidth),
        cmocka_unit_test(random_use_keeps_it_valid),
        cmocka_unit_test(no_deadline_is_missed),
        cmocka_unit_test(greed_takes_nothing),
        cmocka_unit_test(sleeping_gathers_nothing),
        cmocka_unit_test(used_up_waits_for_its_period),
        cmocka_unit_test(the_boosted_pay_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
