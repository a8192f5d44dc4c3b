// SPDX-License-Identifier: MIT
//
// Interval tree (Cormen et al., 14.3): a red-black tree ordered by start, where max_last of a node
// is the greatest `last` in its subtree. Two facts cut a search short:
//   1. A subtree whose max_last lies before the question's start holds no answer.
//   2. Nothing to the right of a node that starts behind the question's end is an answer.
// So a search goes down one way, and from one answer to the next it takes O(log n) at most.
#include "kernel/base/interval_tree.h"

#include "kernel/base/assert.h"

static struct interval_node *interval_of(const struct rbtree_node *node)
{
    return container_of(node, struct interval_node, node);
}

static bool interval_less(const struct rbtree_node *a, const struct rbtree_node *b)
{
    return interval_of(a)->start < interval_of(b)->start;
}

// What max_last has to be, from the node itself and its children's values.
static uint64_t subtree_max(const struct interval_node *interval)
{
    uint64_t max = interval->last;
    if (interval->node.left != nullptr) {
        max = MAX(max, interval_of(interval->node.left)->max_last);
    }
    if (interval->node.right != nullptr) {
        max = MAX(max, interval_of(interval->node.right)->max_last);
    }
    return max;
}

// The callback of the augmented tree.
static bool interval_update(struct rbtree_node *node)
{
    struct interval_node *interval = interval_of(node);
    uint64_t max = subtree_max(interval);
    bool changed = max != interval->max_last;
    interval->max_last = max;
    return changed;
}

// A fresh node is its own subtree; the insertion carries the value up.
void interval_tree_insert(struct interval_tree *tree, struct interval_node *node)
{
    assert(node->start <= node->last);
    node->max_last = node->last;
    rbtree_cached_insert_augmented(&tree->tree, &node->node, interval_less, interval_update);
}

void interval_tree_remove(struct interval_tree *tree, struct interval_node *node)
{
    rbtree_cached_remove(&tree->tree, &node->node, interval_update);
}

// First answer inside the subtree, whose max_last is >= start.
static struct interval_node *first_in_subtree(
    struct interval_node *interval, uint64_t start, uint64_t last)
{
    for (;;) {
        struct rbtree_node *left = interval->node.left;
        if (left != nullptr && interval_of(left)->max_last >= start) {
            // Something on the left reaches `start`. If it starts too late, so does everything
            // right of it.
            interval = interval_of(left);
            continue;
        }
        if (interval->start > last) {
            return nullptr;
        }
        if (interval->last >= start) {
            return interval;
        }
        struct rbtree_node *right = interval->node.right;
        if (right == nullptr || interval_of(right)->max_last < start) {
            return nullptr;
        }
        interval = interval_of(right);
    }
}

// first_in_subtree relies on max_last >= start, which is checked here for the root and there
// before each step down.
struct interval_node *interval_tree_first(
    const struct interval_tree *tree, uint64_t start, uint64_t last)
{
    struct rbtree_node *root = tree->tree.tree.root;
    debug_assert(start <= last);
    if (root == nullptr || interval_of(root)->max_last < start) {
        return nullptr;
    }
    return first_in_subtree(interval_of(root), start, last);
}

// Everything left of `node` has been answered. First its right subtree, then up to the next
// ancestor that lies behind it, and so on. An ancestor's start grows on the way, so one that
// begins behind `last` ends the search.
struct interval_node *interval_tree_next(
    const struct interval_node *interval, uint64_t start, uint64_t last)
{
    const struct rbtree_node *node = &interval->node;
    debug_assert(rbtree_is_linked(node));
    for (;;) {
        if (node->right != nullptr && interval_of(node->right)->max_last >= start) {
            return first_in_subtree(interval_of(node->right), start, last);
        }
        // Up to the first ancestor that lies behind.
        struct rbtree_node *parent = rbtree_parent(node);
        while (parent != nullptr && node == parent->right) {
            node = parent;
            parent = rbtree_parent(node);
        }
        if (parent == nullptr || interval_of(parent)->start > last) {
            return nullptr;
        }
        if (interval_of(parent)->last >= start) {
            return interval_of(parent);
        }
        node = parent;
    }
}

bool interval_tree_is_valid(const struct interval_tree *tree)
{
    struct interval_node *interval;
    if (!rbtree_is_valid(&tree->tree.tree, interval_less) ||
        tree->tree.first != rbtree_first(&tree->tree.tree)) {
        return false;
    }
    rbtree_for_each_entry(interval, &tree->tree.tree, node)
    {
        if (interval->start > interval->last || interval->max_last != subtree_max(interval)) {
            return false;
        }
    }
    return true;
}
