// SPDX-License-Identifier: MIT
// The fair class; fair.h has the theory.
#include "sched/fair.h"

#include "kernel/base/assert.h"

// 1024 * 1.25^-nice, rounded: each step of nice changes the share by a tenth, for two threads.
static const uint32_t fair_weights[40] = {
    88818, 71054, 56843, 45475, 36380, 29104, 23283, 18626, 14901, 11921, // -20
    9537, 7629, 6104, 4883, 3906, 3125, 2500, 2000, 1600, 1280,           // -10
    1024, 819, 655, 524, 419, 336, 268, 215, 172, 137,                    // 0
    110, 88, 70, 56, 45, 36, 29, 23, 18, 15,                              // 10
};

uint32_t fair_weight(int nice)
{
    assert(nice >= -20 && nice <= 19);
    return fair_weights[nice + 20];
}

static struct sched_entity *entity_of(const struct rbtree_node *node)
{
    return container_of((struct rbtree_node *)(uintptr_t)node, struct sched_entity, node);
}

static bool fair_less(const struct rbtree_node *a, const struct rbtree_node *b)
{
    return fair_difference(entity_of(a)->deadline, entity_of(b)->deadline) < 0;
}

static bool fair_update_summary(struct rbtree_node *node)
{
    struct sched_entity *entity = entity_of(node);
    uint64_t least = entity->vruntime;
    if (node->left != NULL && fair_difference(entity_of(node->left)->min_vruntime, least) < 0)
        least = entity_of(node->left)->min_vruntime;
    if (node->right != NULL && fair_difference(entity_of(node->right)->min_vruntime, least) < 0)
        least = entity_of(node->right)->min_vruntime;
    bool changed = entity->min_vruntime != least;
    entity->min_vruntime = least;
    return changed;
}

static int64_t fair_key(const struct fair_queue *queue, const struct sched_entity *entity)
{
    return fair_difference(entity->vruntime, queue->base);
}

// Sums over tree and current.
static void fair_sums(const struct fair_queue *queue, int64_t *weighted, int64_t *weight)
{
    *weighted = queue->sum_weighted;
    *weight = (int64_t)queue->sum_weight;
    if (queue->current != NULL) {
        *weighted += (int64_t)queue->current->weight * fair_key(queue, queue->current);
        *weight += queue->current->weight;
    }
}

// Average virtual run time; base if there is nobody.
static uint64_t fair_average(const struct fair_queue *queue)
{
    int64_t weighted, weight;
    if (queue->count == 0)
        return queue->current != NULL ? queue->current->vruntime : queue->base;
    fair_sums(queue, &weighted, &weight);
    int64_t average = weighted / weight;
    if (weighted < 0 && weighted % weight != 0)
        average--; // round down
    return queue->base + (uint64_t)average;
}

static bool fair_key_is_eligible(int64_t weighted, int64_t weight, int64_t key)
{
    return weighted >= (__int128)key * weight;
}

bool fair_is_eligible(const struct fair_queue *queue, const struct sched_entity *entity)
{
    int64_t weighted, weight;
    fair_sums(queue, &weighted, &weight);
    return fair_key_is_eligible(weighted, weight, fair_key(queue, entity));
}

static void fair_tree_insert(struct fair_queue *queue, struct sched_entity *entity)
{
    entity->min_vruntime = entity->vruntime;
    (void)rbtree_cached_insert_augmented(
        &queue->tree, &entity->node, fair_less, fair_update_summary);
}

static void fair_insert(struct fair_queue *queue, struct sched_entity *entity)
{
    if (queue->count == 0) {
        queue->only = entity;
    } else {
        if (queue->only != NULL) {
            fair_tree_insert(queue, queue->only);
            queue->only = NULL;
        }
        fair_tree_insert(queue, entity);
    }
    queue->sum_weighted += (int64_t)entity->weight * fair_key(queue, entity);
    queue->sum_weight += entity->weight;
    queue->count++;
}

static void fair_take(struct fair_queue *queue, struct sched_entity *entity)
{
    if (queue->only != NULL) {
        debug_assert(queue->only == entity);
        queue->only = NULL;
    } else {
        rbtree_cached_remove(&queue->tree, &entity->node, fair_update_summary);
    }
    queue->sum_weighted -= (int64_t)entity->weight * fair_key(queue, entity);
    queue->sum_weight -= entity->weight;
    queue->count--;
}

// Brings base up to the average when it fell far behind.
void fair_rebase(struct fair_queue *queue)
{
    int64_t behind = fair_difference(fair_average(queue), queue->base);
    queue->base += (uint64_t)behind;
    queue->sum_weighted -= (int64_t)queue->sum_weight * behind;
}

void fair_enqueue(struct fair_queue *queue, struct sched_entity *entity, bool is_new)
{
    debug_assert(queue->only != entity);
    debug_assert(queue->current != entity);
    uint64_t average = fair_average(queue);
    int64_t lag = entity->lag;
    if (lag != 0) {
        // Its joining moves the average towards it; the factor makes its lag come out as it was
        // (F4).
        int64_t weight =
            (int64_t)queue->sum_weight + (queue->current != NULL ? queue->current->weight : 0);
        lag = weight != 0 ? lag * (weight + entity->weight) / weight
                          : 0; // alone: nobody to owe anything
    }
    uint64_t slice_ns = is_new ? entity->slice_ns / 2 : entity->slice_ns;
    entity->vruntime = average - (uint64_t)lag;
    entity->deadline = entity->vruntime + fair_virtual(entity, slice_ns);
    fair_insert(queue, entity);
}

// What the thread is owed, or owes (negative), as it leaves.
static int64_t fair_lag(const struct fair_queue *queue, const struct sched_entity *entity)
{
    const struct sched_entity *other = queue->only;
    int64_t limit = (int64_t)fair_virtual(entity, 2 * entity->slice_ns);
    int64_t lag;
    if (other != NULL && queue->current == entity && other->weight == entity->weight)
        lag = fair_difference(other->vruntime, entity->vruntime) >> 1; // two of a kind
    else
        lag = fair_difference(fair_average(queue), entity->vruntime);
    return CLAMP(lag, -limit, limit);
}

void fair_dequeue(struct fair_queue *queue, struct sched_entity *entity)
{
    if (queue->current == entity) {
        bool alone = queue->count == 0;
        entity->lag = alone ? 0 : fair_lag(queue, entity);
        queue->current = NULL;
        if (alone)
            queue->base = entity->vruntime; // whoever comes next begins there
        return;
    }
    bool alone = queue->count == 1 && queue->current == NULL;
    entity->lag = alone ? 0 : fair_lag(queue, entity);
    fair_take(queue, entity);
    if (alone)
        queue->base = entity->vruntime;
}

struct sched_entity *fair_pick(const struct fair_queue *queue)
{
    if (queue->count <= 1)
        return queue->count == 0 || queue->only != NULL
                   ? queue->only
                   : entity_of(rbtree_cached_first(&queue->tree));
    struct rbtree_node *node = rbtree_cached_first(&queue->tree);
    int64_t weighted, weight;
    fair_sums(queue, &weighted, &weight);
    if (fair_key_is_eligible(weighted, weight, fair_key(queue, entity_of(node))))
        return entity_of(node);
    struct sched_entity *first = entity_of(node);
    node = queue->tree.tree.root;
    while (node != NULL) {
        struct rbtree_node *left = node->left;
        if (left != NULL && fair_key_is_eligible(weighted, weight,
                                fair_difference(entity_of(left)->min_vruntime, queue->base))) {
            node = left; // somebody there is eligible and has an earlier deadline
            continue;
        }
        if (fair_key_is_eligible(weighted, weight, fair_key(queue, entity_of(node))))
            return entity_of(node);
        node = node->right;
    }
    return first; // only current is eligible
}

void fair_set_current(struct fair_queue *queue, struct sched_entity *entity)
{
    debug_assert(queue->current == NULL);
    fair_take(queue, entity);
    queue->current = entity;
}

void fair_put_current(struct fair_queue *queue)
{
    struct sched_entity *entity = queue->current;
    debug_assert(entity != NULL);
    queue->current = NULL;
    fair_insert(queue, entity);
}

bool fair_should_preempt(const struct fair_queue *queue, const struct sched_entity *woken)
{
    if (queue->current == NULL)
        return true;
    return fair_difference(woken->deadline, queue->current->deadline) < 0 &&
           fair_is_eligible(queue, woken);
}

void fair_set_nice(struct fair_queue *queue, struct sched_entity *entity, int nice)
{
    bool is_waiting = queue != NULL && queue->current != entity;
    if (is_waiting)
        fair_take(queue, entity);
    // What is left of the slice and of the lag is kept in run time, not in virtual time.
    int64_t old_weight = entity->weight;
    int64_t left = fair_difference(entity->deadline, entity->vruntime);
    entity->nice = (int8_t)nice;
    entity->weight = fair_weight(nice);
    entity->deadline = entity->vruntime + (uint64_t)(left * old_weight / entity->weight);
    entity->lag = entity->lag * old_weight / entity->weight;
    if (is_waiting)
        fair_insert(queue, entity);
}

struct sched_entity *fair_next_latest(const struct fair_queue *queue, struct sched_entity *previous)
{
    if (queue->only != NULL)
        return previous == NULL ? queue->only : NULL;
    struct rbtree_node *node =
        previous == NULL ? rbtree_last(&queue->tree.tree) : rbtree_prev(&previous->node);
    return node != NULL ? entity_of(node) : NULL;
}

bool fair_is_valid(const struct fair_queue *queue)
{
    uint64_t weight = 0;
    int64_t weighted = 0;
    uint32_t count = 0;
    if (queue->only != NULL) {
        return queue->count == 1 && rbtree_is_empty(&queue->tree.tree) &&
               queue->sum_weight == queue->only->weight &&
               queue->sum_weighted == (int64_t)queue->only->weight * fair_key(queue, queue->only);
    }
    if (!rbtree_is_valid(&queue->tree.tree, fair_less) ||
        queue->tree.first != rbtree_first(&queue->tree.tree))
        return false;
    for (struct rbtree_node *node = rbtree_first(&queue->tree.tree); node != NULL;
         node = rbtree_next(node)) {
        weight += entity_of(node)->weight;
        weighted += (int64_t)entity_of(node)->weight * fair_key(queue, entity_of(node));
        count++;
        if (fair_update_summary(node))
            return false;
    }
    return weight == queue->sum_weight && weighted == queue->sum_weighted && count == queue->count;
}
