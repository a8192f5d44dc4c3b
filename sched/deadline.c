// SPDX-License-Identifier: MIT
// The deadline class; deadline.h has the theory.
#include "sched/deadline.h"

#include "kernel/base/assert.h"

static struct deadline_entity *entity_of(const struct rbtree_node *node)
{
    return container_of((struct rbtree_node *)(uintptr_t)node, struct deadline_entity, node);
}

bool deadline_parameters_valid(uint64_t runtime_ns, uint64_t deadline_ns, uint64_t period_ns)
{
    if (period_ns == 0)
        period_ns = deadline_ns;
    return runtime_ns >= DEADLINE_RUNTIME_MIN_NS && runtime_ns <= deadline_ns &&
           deadline_ns <= period_ns && period_ns >= DEADLINE_PERIOD_MIN_NS &&
           period_ns <= DEADLINE_PERIOD_MAX_NS;
}

uint64_t deadline_bandwidth(uint64_t runtime_ns, uint64_t period_ns)
{
    assert(period_ns != 0);
    debug_assert(runtime_ns <= DEADLINE_PERIOD_MAX_NS); // the product fits
    return runtime_ns * DEADLINE_BANDWIDTH_ONE / period_ns;
}

bool deadline_is_admitted(uint64_t total, uint64_t released, uint64_t wanted, uint32_t cpu_count)
{
    assert(released <= total);
    assert(cpu_count != 0);
    return total - released + wanted <= DEADLINE_BANDWIDTH_CPU * cpu_count;
}

void deadline_set(
    struct deadline_entity *entity, uint64_t runtime_ns, uint64_t deadline_ns, uint64_t period_ns)
{
    debug_assert(deadline_parameters_valid(runtime_ns, deadline_ns, period_ns));
    entity->runtime_ns = runtime_ns;
    entity->deadline_ns = deadline_ns;
    entity->period_ns = period_ns != 0 ? period_ns : deadline_ns;
    entity->budget_ns = 0;
    entity->until_ns = 0;
}

// ---- budget ------------------------------------------------------------------------------------

static bool entity_is_boosted(const struct deadline_entity *entity)
{
    return entity->boosted_until_ns != 0;
}

static bool entity_is_ready(const struct deadline_entity *entity) // D2
{
    return entity->budget_ns > 0 || entity_is_boosted(entity);
}

// The beginning of the period after the one that `until_ns` belongs to.
static uint64_t entity_next_period_ns(const struct deadline_entity *entity)
{
    return entity->until_ns - entity->deadline_ns + entity->period_ns;
}

static void entity_begin_period(struct deadline_entity *entity, uint64_t now_ns)
{
    entity->until_ns = now_ns + entity->deadline_ns;
    entity->budget_ns = (int64_t)entity->runtime_ns;
}

// The periods that it takes to get out of debt, at once.
static void entity_replenish(struct deadline_entity *entity, uint64_t now_ns)
{
    uint64_t debt_ns = (uint64_t)-entity->budget_ns;
    uint64_t periods = debt_ns / entity->runtime_ns + 1;
    debug_assert(entity->budget_ns <= 0);
    entity->budget_ns += (int64_t)(periods * entity->runtime_ns);
    entity->until_ns += periods * entity->period_ns;
    if (entity->until_ns <= now_ns) // it was late, or asleep
        entity_begin_period(entity, now_ns);
    debug_assert(entity->budget_ns > 0);
}

// D3: would the rest of the budget be more than the bandwidth until the deadline?
static bool entity_is_too_rich(const struct deadline_entity *entity, uint64_t now_ns)
{
    unsigned __int128 has = (unsigned __int128)entity->budget_ns * entity->deadline_ns;
    unsigned __int128 may = (unsigned __int128)(entity->until_ns - now_ns) * entity->runtime_ns;
    return has > may;
}

void deadline_wake(struct deadline_entity *entity, uint64_t now_ns)
{
    if (entity->runtime_ns == 0)
        return; // only boosted: no server of its own
    if (entity->until_ns == 0) {
        entity_begin_period(entity, now_ns);
    } else if (entity->budget_ns <= 0) {
        if (entity_next_period_ns(entity) <= now_ns)
            entity_replenish(entity, now_ns);
    } else if (entity->until_ns <= now_ns) {
        if (entity_next_period_ns(entity) <= now_ns)
            entity_begin_period(entity, now_ns);
        else
            entity->budget_ns = 0; // D4
    } else if (entity_is_too_rich(entity, now_ns)) {
        if (entity->deadline_ns == entity->period_ns)
            entity_begin_period(entity, now_ns);
        else // the deadline stays, and the budget becomes what the density allows; less than 2^64
            entity->budget_ns =
                (int64_t)((entity->until_ns - now_ns) * entity->runtime_ns / entity->deadline_ns);
    }
}

// ---- queues ------------------------------------------------------------------------------------

static bool ready_less(const struct rbtree_node *a, const struct rbtree_node *b)
{
    return entity_of(a)->effective_ns < entity_of(b)->effective_ns;
}

static bool throttled_less(const struct rbtree_node *a, const struct rbtree_node *b)
{
    return entity_next_period_ns(entity_of(a)) < entity_next_period_ns(entity_of(b));
}

uint64_t deadline_effective_ns(const struct deadline_entity *entity) // D1
{
    if (!entity_is_boosted(entity))
        return entity->until_ns;
    return entity->budget_ns > 0 ? MIN(entity->until_ns, entity->boosted_until_ns)
                                 : entity->boosted_until_ns;
}

void deadline_enqueue(struct deadline_queue *queue, struct deadline_entity *entity)
{
    debug_assert(!rbtree_is_linked(&entity->node));
    entity->throttled = !entity_is_ready(entity);
    if (entity->throttled) {
        (void)rbtree_cached_insert(&queue->throttled, &entity->node, throttled_less);
        queue->throttled_count++;
    } else {
        entity->effective_ns = deadline_effective_ns(entity);
        (void)rbtree_cached_insert(&queue->ready, &entity->node, ready_less);
        queue->ready_count++;
    }
}

void deadline_dequeue(struct deadline_queue *queue, struct deadline_entity *entity)
{
    debug_assert(rbtree_is_linked(&entity->node));
    if (entity->throttled) {
        rbtree_cached_remove(&queue->throttled, &entity->node, nullptr);
        queue->throttled_count--;
    } else {
        rbtree_cached_remove(&queue->ready, &entity->node, nullptr);
        queue->ready_count--;
    }
    entity->throttled = false;
}

bool deadline_account(
    struct deadline_queue *queue, struct deadline_entity *entity, uint64_t delta_ns)
{
    debug_assert(!entity->throttled);
    if (entity->runtime_ns == 0)
        return false;
    bool had_budget = entity->budget_ns > 0;
    entity->budget_ns -= (int64_t)delta_ns;
    if (!had_budget || entity->budget_ns > 0)
        return false;
    deadline_dequeue(queue, entity);
    deadline_enqueue(queue, entity);
    return true;
}

bool deadline_yield(struct deadline_queue *queue, struct deadline_entity *entity)
{
    if (entity_is_boosted(entity))
        return false;
    return deadline_account(queue, entity, (uint64_t)entity->budget_ns);
}

struct deadline_entity *deadline_first(const struct deadline_queue *queue)
{
    const struct rbtree_node *node = rbtree_cached_first(&queue->ready);
    return node != NULL ? entity_of(node) : NULL;
}

struct deadline_entity *deadline_next(const struct deadline_entity *entity)
{
    const struct rbtree_node *node = rbtree_next(&entity->node);
    return node != NULL ? entity_of(node) : NULL;
}

uint64_t deadline_next_replenishment_ns(const struct deadline_queue *queue)
{
    const struct rbtree_node *node = rbtree_cached_first(&queue->throttled);
    return node != NULL ? entity_next_period_ns(entity_of(node)) : UINT64_MAX;
}

struct deadline_entity *deadline_first_throttled(const struct deadline_queue *queue)
{
    const struct rbtree_node *node = rbtree_cached_first(&queue->throttled);
    return node != NULL ? entity_of(node) : NULL;
}

uint32_t deadline_replenish(struct deadline_queue *queue, uint64_t now_ns)
{
    uint32_t count = 0;
    while (deadline_next_replenishment_ns(queue) <= now_ns) {
        struct deadline_entity *entity = entity_of(rbtree_cached_first(&queue->throttled));
        deadline_dequeue(queue, entity);
        entity_replenish(entity, now_ns);
        deadline_enqueue(queue, entity);
        debug_assert(!entity->throttled);
        count++;
    }
    return count;
}

static bool tree_is_valid(const struct rbtree_cached *tree, uint32_t count, bool throttled)
{
    if (!rbtree_is_valid(&tree->tree, throttled ? throttled_less : ready_less) ||
        tree->first != rbtree_first(&tree->tree))
        return false;
    uint32_t found = 0;
    for (struct rbtree_node *node = rbtree_first(&tree->tree); node != NULL;
         node = rbtree_next(node)) {
        const struct deadline_entity *entity = entity_of(node);
        if (entity->throttled != throttled || entity_is_ready(entity) == throttled)
            return false;
        found++;
    }
    return found == count;
}

bool deadline_is_valid(const struct deadline_queue *queue)
{
    return tree_is_valid(&queue->ready, queue->ready_count, false) &&
           tree_is_valid(&queue->throttled, queue->throttled_count, true);
}
