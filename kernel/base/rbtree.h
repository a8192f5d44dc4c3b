// SPDX-License-Identifier: MIT
//
// Intrusive red-black tree, optionally augmented (every node carries a summary of its subtree) and
// optionally with the leftmost node cached. Insertion, removal and neighbours are O(log n), nothing
// allocates. Nothing here locks.
//
// The caller searches, because only it knows the order:
//
//     struct rbtree_node **link = &tree->root, *parent = nullptr;
//     while (*link != nullptr) {
//         parent = *link;
//         link = key < key_of(parent) ? &parent->left : &parent->right;
//     }
//     rbtree_insert_at(tree, node, parent, link, nullptr);
//
// or uses rbtree_insert() with a comparison. Equal keys are allowed: they keep the order of
// insertion if the search goes right on equality (rbtree_insert does).
//
// Zeroed memory is an empty tree and an unlinked node.
#pragma once

#include "kernel/base/types.h"

struct rbtree_node {
    uintptr_t parent_color; // parent | 1 if black; 0 for the root is impossible: the root is black
    struct rbtree_node *left;
    struct rbtree_node *right;
};

struct rbtree {
    struct rbtree_node *root;
};

// A tree that knows its first node: rbtree_cached_first is O(1).
struct rbtree_cached {
    struct rbtree tree;
    struct rbtree_node *first;
};

// Recomputes the summary of `node` from itself and its two children (either may be NULL); true if
// it changed. NULL in place of the function means that the tree is not augmented; a tree uses the
// same one always.
typedef bool rbtree_update_fn(struct rbtree_node *node);

// True if `a` comes strictly before `b`.
typedef bool rbtree_less_fn(const struct rbtree_node *a, const struct rbtree_node *b);

static inline bool rbtree_is_empty(const struct rbtree *tree)
{
    return tree->root == nullptr;
}

static inline bool rbtree_is_linked(const struct rbtree_node *node)
{
    return node->parent_color != 0;
}

static inline struct rbtree_node *rbtree_parent(const struct rbtree_node *node)
{
    return (struct rbtree_node *)(node->parent_color & ~(uintptr_t)1);
}

// Links an unlinked node where a search ended (*link == NULL, belongs to `parent` or is the root)
// and rebalances.
void rbtree_insert_at(struct rbtree *tree, struct rbtree_node *node, struct rbtree_node *parent,
    struct rbtree_node **link, rbtree_update_fn *update);

// Takes a linked node out; it is not linked afterwards.
void rbtree_remove(struct rbtree *tree, struct rbtree_node *node, rbtree_update_fn *update);

// Puts `replacement` (not linked, same key) into the place of `node`, which is not linked
// afterwards.
void rbtree_replace(struct rbtree *tree, struct rbtree_node *node, struct rbtree_node *replacement,
    rbtree_update_fn *update);

// After the caller changed what the summary of `node` is computed from: brings it and its ancestors
// up to date.
void rbtree_propagate(struct rbtree_node *node, rbtree_update_fn *update);

// In order; NULL for none.
struct rbtree_node *rbtree_first(const struct rbtree *tree);
struct rbtree_node *rbtree_last(const struct rbtree *tree);
struct rbtree_node *rbtree_next(const struct rbtree_node *node);
struct rbtree_node *rbtree_prev(const struct rbtree_node *node);

// Children before parents, so that a body may free the node it is given: first node and the one
// after.
struct rbtree_node *rbtree_first_postorder(const struct rbtree *tree);
struct rbtree_node *rbtree_next_postorder(const struct rbtree_node *node);

// Colours, black heights, parent links; with `less`, the order as well. O(n): for assertions and
// tests.
bool rbtree_is_valid(const struct rbtree *tree, rbtree_less_fn *less);

// Inserts by comparison, behind equal nodes. True if the node became the first one.
static __always_inline bool rbtree_insert_augmented(
    struct rbtree *tree, struct rbtree_node *node, rbtree_less_fn *less, rbtree_update_fn *update)
{
    struct rbtree_node **link = &tree->root;
    struct rbtree_node *parent = nullptr;
    bool leftmost = true;
    while (*link != nullptr) {
        parent = *link;
        if (less(node, parent)) {
            link = &parent->left;
        } else {
            link = &parent->right;
            leftmost = false;
        }
    }
    rbtree_insert_at(tree, node, parent, link, update);
    return leftmost;
}

static __always_inline bool rbtree_insert(
    struct rbtree *tree, struct rbtree_node *node, rbtree_less_fn *less)
{
    return rbtree_insert_augmented(tree, node, less, nullptr);
}

static inline struct rbtree_node *rbtree_cached_first(const struct rbtree_cached *cached)
{
    return cached->first;
}

// True if the node became the first one.
static __always_inline bool rbtree_cached_insert_augmented(struct rbtree_cached *cached,
    struct rbtree_node *node, rbtree_less_fn *less, rbtree_update_fn *update)
{
    bool leftmost = rbtree_insert_augmented(&cached->tree, node, less, update);
    if (leftmost) {
        cached->first = node;
    }
    return leftmost;
}

static __always_inline bool rbtree_cached_insert(
    struct rbtree_cached *cached, struct rbtree_node *node, rbtree_less_fn *less)
{
    return rbtree_cached_insert_augmented(cached, node, less, nullptr);
}

static inline void rbtree_cached_remove(
    struct rbtree_cached *cached, struct rbtree_node *node, rbtree_update_fn *update)
{
    if (cached->first == node) {
        cached->first = rbtree_next(node);
    }
    rbtree_remove(&cached->tree, node, update);
}

#define rbtree_entry(node, type, member) container_of(node, type, member)

#define rbtree_entry_or_null(node, type, member)                                                   \
    ({                                                                                             \
        struct rbtree_node *rbnode_ = (node);                                                      \
        rbnode_ != nullptr ? rbtree_entry(rbnode_, type, member) : (type *)nullptr;                \
    })

// In order; the body must not remove the current element.
#define rbtree_for_each_entry(entry, tree, member)                                                 \
    for (entry = rbtree_entry_or_null(rbtree_first(tree), typeof(*entry), member);                 \
        entry != nullptr;                                                                          \
        entry = rbtree_entry_or_null(rbtree_next(&entry->member), typeof(*entry), member))
