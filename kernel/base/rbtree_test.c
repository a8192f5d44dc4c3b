// SPDX-License-Identifier: MIT
//
// rbtree.h, timer_queue.h and interval_tree.h: random insertions and removals against sorted
// arrays; the tree is checked as a whole after every step.
#include "kernel/base/host/host_base.h"
#include "kernel/base/host/host_cmocka.h"
#include "kernel/base/interval_tree.h"
#include "kernel/base/rbtree.h"
#include "kernel/base/timer_queue.h"

#include <stdlib.h>
#include <string.h>

#define NODES 200

struct number {
    struct rbtree_node node;
    uint64_t key;
    uint64_t order; // of insertion, among equal keys
    uint64_t sum;   // of the keys of the subtree
};

static struct number *number_of(const struct rbtree_node *node)
{
    return container_of(node, struct number, node);
}

static bool number_less(const struct rbtree_node *a, const struct rbtree_node *b)
{
    return number_of(a)->key < number_of(b)->key;
}

static uint64_t sum_of(const struct rbtree_node *node)
{
    return node == nullptr ? 0 : number_of(node)->sum;
}

static bool update_sum(struct rbtree_node *node)
{
    struct number *number = number_of(node);
    uint64_t sum = number->key + sum_of(node->left) + sum_of(node->right);
    bool changed = sum != number->sum;
    number->sum = sum;
    return changed;
}

static int compare_numbers(const void *a, const void *b)
{
    const struct number *x = *(const struct number *const *)a;
    const struct number *y = *(const struct number *const *)b;
    if (x->key != y->key) {
        return x->key < y->key ? -1 : 1;
    }
    return x->order < y->order ? -1 : 1;
}

// The tree holds exactly the linked ones of `numbers`, in order, with right sums.
static void check_tree(const struct rbtree_cached *cached, struct number *numbers)
{
    const struct rbtree *tree = &cached->tree;
    struct number *sorted[NODES];
    struct number *number;
    size_t count = 0;
    size_t position = 0;

    assert_true(rbtree_is_valid(tree, number_less));
    for (size_t i = 0; i < NODES; i++) {
        if (rbtree_is_linked(&numbers[i].node)) {
            sorted[count++] = &numbers[i];
        }
    }
    qsort(sorted, count, sizeof(sorted[0]), compare_numbers);
    rbtree_for_each_entry(number, tree, node)
    {
        assert_true(position < count);
        assert_ptr_equal(number, sorted[position++]);
        assert_int_equal(
            number->sum, number->key + sum_of(number->node.left) + sum_of(number->node.right));
    }
    assert_int_equal(position, count);
    for (struct rbtree_node *node = rbtree_last(tree); node != nullptr; node = rbtree_prev(node)) {
        assert_ptr_equal(number_of(node), sorted[--position]);
    }
    assert_int_equal(position, 0);
    assert_ptr_equal(rbtree_cached_first(cached), rbtree_first(tree));
    assert_int_equal(rbtree_is_empty(tree), count == 0);
}

static void augmented_tree_matches_a_sorted_array(void **state)
{
    struct prng prng = host_seed(__func__);
    static struct number numbers[NODES + 1];
    struct rbtree_cached tree = {};
    uint64_t order = 0;

    memset(numbers, 0, sizeof(numbers));
    for (int step = 0; step < 20000; step++) {
        struct number *number = &numbers[prng_below(&prng, NODES)];
        if (!rbtree_is_linked(&number->node)) {
            number->key = prng_below(&prng, 100);
            number->order = order++;
            struct rbtree_node *first = rbtree_cached_first(&tree);
            bool is_first = first == nullptr || number->key < number_of(first)->key;
            assert_int_equal(
                rbtree_cached_insert_augmented(&tree, &number->node, number_less, update_sum),
                is_first);
        } else if (prng_below(&prng, 10) == 0 && tree.first != &number->node) {
            // Replace by another object with the same key, and back.
            struct number *spare = &numbers[NODES];
            *spare = (struct number){.key = number->key, .order = number->order};
            rbtree_replace(&tree.tree, &number->node, &spare->node, update_sum);
            assert_false(rbtree_is_linked(&number->node));
            assert_true(rbtree_is_valid(&tree.tree, number_less));
            rbtree_replace(&tree.tree, &spare->node, &number->node, update_sum);
        } else {
            rbtree_cached_remove(&tree, &number->node, update_sum);
            assert_false(rbtree_is_linked(&number->node));
        }
        if (step % 7 == 0) {
            check_tree(&tree, numbers);
        }
    }
    check_tree(&tree, numbers);
}

static void propagate_updates_ancestors(void **state)
{
    static struct number numbers[NODES];
    struct rbtree_cached tree = {};
    memset(numbers, 0, sizeof(numbers));
    for (uint64_t i = 0; i < NODES; i++) {
        numbers[i].key = i * 10;
        numbers[i].order = i;
        rbtree_cached_insert_augmented(&tree, &numbers[i].node, number_less, update_sum);
    }
    numbers[77].key += 5; // still between its neighbours
    rbtree_propagate(&numbers[77].node, update_sum);
    check_tree(&tree, numbers);
}

static void postorder_allows_freeing(void **state)
{
    struct rbtree tree = {};
    for (uint64_t i = 0; i < 1000; i++) {
        struct number *number = calloc(1, sizeof(*number));
        assert_non_null(number);
        number->key = i * 7919 % 1000;
        rbtree_insert(&tree, &number->node, number_less);
    }
    size_t count = 0;
    struct rbtree_node *node = rbtree_first_postorder(&tree);
    while (node != nullptr) {
        struct rbtree_node *next = rbtree_next_postorder(node);
        free(number_of(node)); // ASan: nothing of it is read any more
        node = next;
        count++;
    }
    assert_int_equal(count, 1000);
}

static void validation_sees_damage(void **state)
{
    static struct number numbers[NODES];
    struct rbtree tree = {};
    memset(numbers, 0, sizeof(numbers));
    for (uint64_t i = 0; i < NODES; i++) {
        numbers[i].key = i;
        rbtree_insert(&tree, &numbers[i].node, number_less);
    }
    assert_true(rbtree_is_valid(&tree, number_less));
    numbers[50].key = 1000;
    assert_false(rbtree_is_valid(&tree, number_less));
    assert_true(rbtree_is_valid(&tree, nullptr));
    numbers[40].node.parent_color += 16; // another parent, same colour
    assert_false(rbtree_is_valid(&tree, nullptr));
    numbers[40].node.parent_color -= 16;
    assert_true(rbtree_is_valid(&tree, nullptr));
    numbers[60].node.parent_color ^= 1;
    assert_false(rbtree_is_valid(&tree, nullptr));

    struct interval_tree intervals = {};
    struct interval_node nodes[3] = {};
    for (uint64_t i = 0; i < 3; i++) {
        nodes[i].start = i;
        nodes[i].last = i + 10;
        interval_tree_insert(&intervals, &nodes[i]);
    }
    assert_true(interval_tree_is_valid(&intervals));
    nodes[1].max_last++;
    assert_false(interval_tree_is_valid(&intervals));
    nodes[1].max_last--;
    intervals.tree.first = &nodes[2].node;
    assert_false(interval_tree_is_valid(&intervals));
}

static void timer_queue_is_ordered(void **state)
{
    struct prng prng = host_seed(__func__);
    static struct timer_queue_node timers[NODES];
    struct timer_queue queue = {};
    uint64_t now = 0;

    memset(timers, 0, sizeof(timers));
    for (int step = 0; step < 20000; step++) {
        struct timer_queue_node *timer = &timers[prng_below(&prng, NODES)];
        struct timer_queue_node *first = timer_queue_first(&queue);
        if (first != nullptr && prng_below(&prng, 3) == 0) {
            assert_true(first->deadline_ns >= now);
            now = first->deadline_ns;
            timer_queue_remove(&queue, first);
        } else if (timer_queue_is_queued(timer)) {
            timer_queue_remove(&queue, timer);
        } else {
            timer->deadline_ns = now + prng_below(&prng, 1000);
            bool is_first = first == nullptr || timer->deadline_ns < first->deadline_ns;
            assert_int_equal(timer_queue_insert(&queue, timer), is_first);
        }
        assert_true(rbtree_is_valid(&queue.tree.tree, timer_queue_less_));
    }
}

// All answers to one question, compared with a look at every interval.
static void check_question(
    const struct interval_tree *tree, struct interval_node *nodes, uint64_t start, uint64_t last)
{
    size_t expected = 0;
    for (size_t i = 0; i < NODES; i++) {
        expected +=
            rbtree_is_linked(&nodes[i].node) && nodes[i].start <= last && nodes[i].last >= start;
    }
    uint64_t previous = 0;
    struct interval_node *found = interval_tree_first(tree, start, last);
    for (; found != nullptr; found = interval_tree_next(found, start, last)) {
        assert_true(found->start <= last);
        assert_true(found->last >= start);
        assert_true(found->start >= previous);
        assert_true(expected > 0);
        previous = found->start;
        expected--;
    }
    assert_int_equal(expected, 0);
}

static void interval_tree_finds_all_that_touch(void **state)
{
    struct prng prng = host_seed(__func__);
    static struct interval_node nodes[NODES];
    struct interval_tree tree = {};

    memset(nodes, 0, sizeof(nodes));
    for (int step = 0; step < 20000; step++) {
        struct interval_node *node = &nodes[prng_below(&prng, NODES)];
        if (rbtree_is_linked(&node->node)) {
            interval_tree_remove(&tree, node);
        } else {
            node->start = prng_below(&prng, 1000);
            node->last = node->start + prng_below(&prng, prng_below(&prng, 300) + 1);
            if (prng_below(&prng, 100) == 0) {
                node->last = UINT64_MAX;
            }
            interval_tree_insert(&tree, node);
        }
        if (step % 16 == 0) {
            assert_true(interval_tree_is_valid(&tree));
        }
        uint64_t start = prng_below(&prng, 1100);
        check_question(&tree, nodes, start, start + prng_below(&prng, 50));
    }
    check_question(&tree, nodes, 0, UINT64_MAX);
    check_question(&tree, nodes, UINT64_MAX, UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(augmented_tree_matches_a_sorted_array),
        cmocka_unit_test(propagate_updates_ancestors),
        cmocka_unit_test(postorder_allows_freeing),
        cmocka_unit_test(validation_sees_damage),
        cmocka_unit_test(timer_queue_is_ordered),
        cmocka_unit_test(interval_tree_finds_all_that_touch),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
