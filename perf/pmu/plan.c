// SPDX-License-Identifier: MIT
// Which event gets which counter: a matching of events to counters, group by group.
//
// An event is put onto a free counter of its own; where there is none, along the shortest chain of
// others that can move (an augmenting path). So a group finds room whenever there is any way to
// arrange it with those before it. A group is planned whole or not at all. Counters that events
// have already are tried first: most plans then change nothing.
#include "kernel/base/assert.h"
#include "perf/pmu/backend.h"

#define OF_NOBODY NULL

// Moves along the chain that ends at a free counter: `taker[c]` is who goes to c.
static void chain_apply(struct pmu_plan *plan, struct pmu_want *const *taker, int counter)
{
    for (int moves = 0; counter >= 0; moves++) {
        assert(moves < PMU_COUNTERS_MAX);
        struct pmu_want *want = taker[counter];
        int before = want->planned;
        plan->owner[counter] = want;
        want->planned = (int8_t)counter;
        counter = before;
    }
}

// One step of the search: who could go where `want` can go? The free counter, or -1.
static int search_from(const struct pmu_plan *plan, struct pmu_want *want, uint64_t *seen,
    struct pmu_want **taker, struct pmu_want **queue, size_t *queued)
{
    pmu_for_each(counter, want->counters & ~*seen)
    {
        *seen |= BIT(counter);
        taker[counter] = want;
        if (plan->owner[counter] == OF_NOBODY)
            return counter;
        queue[(*queued)++] = plan->owner[counter];
    }
    return -1;
}

static bool want_place(struct pmu_plan *plan, struct pmu_want *want)
{
    struct pmu_want *taker[PMU_COUNTERS_MAX];
    struct pmu_want *queue[PMU_COUNTERS_MAX + 1];
    size_t queued = 0;
    uint64_t seen = 0;
    want->planned = -1;
    if (want->has >= 0 && plan->owner[want->has] == OF_NOBODY) {
        plan->owner[want->has] = want;
        want->planned = want->has;
        return true;
    }
    queue[queued++] = want;
    for (size_t i = 0; i < queued; i++) {
        int counter = search_from(plan, queue[i], &seen, taker, queue, &queued);
        if (counter >= 0) {
            chain_apply(plan, taker, counter);
            return true;
        }
    }
    return false;
}

static void plan_restore(struct pmu_plan *plan, const struct pmu_plan *before)
{
    *plan = *before;
    for (int counter = 0; counter < PMU_COUNTERS_MAX; counter++) {
        if (plan->owner[counter] != OF_NOBODY)
            plan->owner[counter]->planned = (int8_t)counter;
    }
}

static bool group_place(struct pmu_plan *plan, struct pmu_group *group)
{
    struct pmu_plan before = *plan;
    struct pmu_event *event;
    list_for_each_entry (event, &group->members, member) {
        if (!want_place(plan, &event->want)) {
            plan_restore(plan, &before);
            return false;
        }
    }
    return true;
}

bool pmu_plan(const struct pmu_cpu *cpu, struct pmu_plan *plan)
{
    struct pmu_group *group;
    bool all = true;
    *plan = (struct pmu_plan){0};
    for (int pinned = 1; pinned >= 0; pinned--) {
        list_for_each_entry (group, &cpu->groups, node) {
            if (group->pinned == (pinned != 0) && !group_place(plan, group))
                all = false;
        }
    }
    return all;
}

bool pmu_group_fits(const uint64_t *counters, size_t count)
{
    struct pmu_plan plan = {0};
    struct pmu_want wants[PMU_COUNTERS_MAX];
    if (count > PMU_COUNTERS_MAX)
        return false;
    for (size_t i = 0; i < count; i++) {
        wants[i] = (struct pmu_want){.counters = counters[i], .has = -1};
        if (!want_place(&plan, &wants[i]))
            return false;
    }
    return true;
}
