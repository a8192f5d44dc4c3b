// SPDX-License-Identifier: MIT
//
// Set of closed intervals [start, last] of 64-bit numbers that may overlap and repeat; answers
// "which intervals touch [a, b]?" in O(log n + answers). An augmented red-black tree ordered by
// start. Nothing here locks or allocates.
#pragma once

#include "kernel/base/rbtree.h"

struct interval_node {
    struct rbtree_node node;
    uint64_t start;
    uint64_t last;     // >= start; both must not change while the node is linked
    uint64_t max_last; // greatest `last` of this subtree; belongs to the tree
};

struct interval_tree {
    struct rbtree_cached tree;
};

void interval_tree_insert(struct interval_tree *tree, struct interval_node *node);
void interval_tree_remove(struct interval_tree *tree, struct interval_node *node);

// The interval with the smallest start that touches [start, last], or NULL.
struct interval_node *interval_tree_first(
    const struct interval_tree *tree, uint64_t start, uint64_t last);

// The next one after `node` (linked) that touches [start, last], in order of start, or NULL.
struct interval_node *interval_tree_next(
    const struct interval_node *node, uint64_t start, uint64_t last);

// O(n): for assertions and tests.
bool interval_tree_is_valid(const struct interval_tree *tree);
