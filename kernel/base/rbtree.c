// SPDX-License-Identifier: MIT
//
// Red-black tree. Invariants:
//   1. The root is black.
//   2. A red node has no red child.
//   3. Every way from a node down to a missing child passes the same number of black nodes.
// So no way is more than twice as long as another. Insertion puts a red node at the bottom, which
// may break 2 (or 1), and moves the violation up; removal of a black node breaks 3 and moves the
// lack of one black node up. Each step either recolours and goes up, or ends with at most two
// rotations. The steps are those of Cormen et al., chapter 13, without a sentinel: a missing child
// is NULL and black.
//
// Augmentation: a rotation changes the subtrees of exactly two nodes, so these are updated lower
// one first; the new top of the rotated subtree covers the same nodes as the old one, hence
// everything above is still right. After linking or unlinking, the path up from the change is
// updated until a summary stays the same.
#include "kernel/base/rbtree.h"

#include "kernel/base/assert.h"

#define RBTREE_BLACK ((uintptr_t)1)

// A missing child counts as black.
static bool is_red(const struct rbtree_node *node)
{
    return node != nullptr && (node->parent_color & RBTREE_BLACK) == 0;
}

static void set_black(struct rbtree_node *node)
{
    node->parent_color |= RBTREE_BLACK;
}

static void set_red(struct rbtree_node *node)
{
    node->parent_color &= ~RBTREE_BLACK;
}

// Colour stays.
static void set_parent(struct rbtree_node *node, struct rbtree_node *parent)
{
    node->parent_color = (uintptr_t)parent | (node->parent_color & RBTREE_BLACK);
}

// Puts `new_child` where `old_child` hangs: under `parent` or at the root. Leaves the children's
// own links alone.
static void replace_child(struct rbtree *tree, struct rbtree_node *parent,
    struct rbtree_node *old_child, struct rbtree_node *new_child)
{
    if (parent == nullptr) {
        tree->root = new_child;
    } else if (parent->left == old_child) {
        parent->left = new_child;
    } else {
        debug_assert(parent->right == old_child);
        parent->right = new_child;
    }
}

// Rotates `top` down; its child on the other side comes up. Colours stay with the nodes.
static void rotate(
    struct rbtree *tree, struct rbtree_node *top, bool to_left, rbtree_update_fn *update)
{
    struct rbtree_node *parent = rbtree_parent(top);
    struct rbtree_node *rising = to_left ? top->right : top->left;
    struct rbtree_node *middle = to_left ? rising->left : rising->right;

    if (to_left) {
        top->right = middle;
        rising->left = top;
    } else {
        top->left = middle;
        rising->right = top;
    }
    if (middle != nullptr) {
        set_parent(middle, top);
    }
    set_parent(rising, parent);
    set_parent(top, rising);
    replace_child(tree, parent, top, rising);
    if (update != nullptr) {
        update(top);
        update(rising);
    }
}

// Invariant 2 may be broken between `node` and its parent only.
static void fix_insertion(struct rbtree *tree, struct rbtree_node *node, rbtree_update_fn *update)
{
    while (is_red(rbtree_parent(node))) {
        struct rbtree_node *parent = rbtree_parent(node);
        struct rbtree_node *grandparent = rbtree_parent(parent); // exists: the root is black
        bool is_left = parent == grandparent->left;
        struct rbtree_node *uncle = is_left ? grandparent->right : grandparent->left;

        if (is_red(uncle)) {
            set_black(parent);
            set_black(uncle);
            set_red(grandparent);
            node = grandparent;
            continue;
        }
        if (node == (is_left ? parent->right : parent->left)) {
            rotate(tree, parent, is_left, update);
            parent = node;
        }
        set_black(parent);
        set_red(grandparent);
        rotate(tree, grandparent, !is_left, update);
        break;
    }
    set_black(tree->root);
}

// If a summary did not change, nothing above can.
void rbtree_propagate(struct rbtree_node *node, rbtree_update_fn *update)
{
    while (node != nullptr && update(node)) {
        node = rbtree_parent(node);
    }
}

// The new node is red, so that invariant 3 holds; only invariant 2 can be broken, just above it.
// Summaries are brought up to date before the rotations, which rely on them.
void rbtree_insert_at(struct rbtree *tree, struct rbtree_node *node, struct rbtree_node *parent,
    struct rbtree_node **link, rbtree_update_fn *update)
{
    debug_assert(!rbtree_is_linked(node));
    debug_assert(*link == nullptr);
    debug_assert(parent != nullptr || link == &tree->root);
    debug_assert(parent == nullptr || link == &parent->left || link == &parent->right);

    node->parent_color = (uintptr_t)parent; // red
    node->left = nullptr;
    node->right = nullptr;
    *link = node;
    if (update != nullptr) {
        update(node);
        rbtree_propagate(parent, update);
    }
    fix_insertion(tree, node, update);
}

// Ways through `node` (may be NULL, then only `parent` says where it hangs) lack one black node.
static void fix_removal(struct rbtree *tree, struct rbtree_node *node, struct rbtree_node *parent,
    rbtree_update_fn *update)
{
    while (parent != nullptr && !is_red(node)) {
        bool is_left = node == parent->left;
        // The sibling exists: its side has at least one black node more.
        struct rbtree_node *sibling = is_left ? parent->right : parent->left;
        if (is_red(sibling)) {
            set_black(sibling);
            set_red(parent);
            rotate(tree, parent, is_left, update);
            sibling = is_left ? parent->right : parent->left;
        }
        struct rbtree_node *near = is_left ? sibling->left : sibling->right;
        struct rbtree_node *far = is_left ? sibling->right : sibling->left;
        if (!is_red(near) && !is_red(far)) {
            set_red(sibling);
            node = parent;
            parent = rbtree_parent(node);
            continue;
        }
        if (!is_red(far)) {
            set_black(near);
            set_red(sibling);
            rotate(tree, sibling, !is_left, update);
            far = sibling;
            sibling = near;
        }
        // The sibling takes the parent's colour and place.
        sibling->parent_color =
            (sibling->parent_color & ~RBTREE_BLACK) | (parent->parent_color & RBTREE_BLACK);
        set_black(parent);
        set_black(far);
        rotate(tree, parent, is_left, update);
        return;
    }
    if (node != nullptr) {
        set_black(node);
    }
}

// A node with two children changes places with its successor, which has at most one; what really
// leaves the tree is then a place with at most one child. Nodes are moved, not their contents:
// others point to them.
void rbtree_remove(struct rbtree *tree, struct rbtree_node *node, rbtree_update_fn *update)
{
    struct rbtree_node *child;  // moves up into the place that becomes free
    struct rbtree_node *parent; // of that place
    bool removed_red;

    debug_assert(rbtree_is_linked(node));
    debug_assert(tree->root != nullptr);

    if (node->left == nullptr || node->right == nullptr) {
        child = node->left != nullptr ? node->left : node->right;
        parent = rbtree_parent(node);
        removed_red = is_red(node);
        replace_child(tree, parent, node, child);
        if (child != nullptr) {
            set_parent(child, parent);
        }
    } else {
        // The successor has no left child; it leaves its place and takes over the node's place and
        // colour.
        struct rbtree_node *successor = node->right;
        while (successor->left != nullptr) {
            successor = successor->left;
        }
        child = successor->right;
        parent = rbtree_parent(successor);
        removed_red = is_red(successor);
        if (parent == node) {
            parent = successor;
        } else {
            parent->left = child;
            if (child != nullptr) {
                set_parent(child, parent);
            }
            successor->right = node->right;
            set_parent(successor->right, successor);
        }
        successor->left = node->left;
        set_parent(successor->left, successor);
        successor->parent_color = node->parent_color;
        replace_child(tree, rbtree_parent(node), node, successor);
        if (update != nullptr) {
            // The way up from `parent` may end early; the successor is new in its place in any
            // case.
            for (struct rbtree_node *up = parent; up != successor; up = rbtree_parent(up)) {
                update(up);
            }
            update(successor);
            rbtree_propagate(rbtree_parent(successor), update);
        }
    }
    if (update != nullptr) {
        rbtree_propagate(parent, update);
    }
    if (!removed_red) {
        fix_removal(tree, child, parent, update);
    }
    *node = (struct rbtree_node){};
}

// Position and colour are taken over, so nothing needs rebalancing.
void rbtree_replace(struct rbtree *tree, struct rbtree_node *node, struct rbtree_node *replacement,
    rbtree_update_fn *update)
{
    debug_assert(rbtree_is_linked(node));
    debug_assert(!rbtree_is_linked(replacement));

    *replacement = *node;
    replace_child(tree, rbtree_parent(node), node, replacement);
    if (replacement->left != nullptr) {
        set_parent(replacement->left, replacement);
    }
    if (replacement->right != nullptr) {
        set_parent(replacement->right, replacement);
    }
    *node = (struct rbtree_node){};
    if (update != nullptr) {
        update(replacement);
        rbtree_propagate(rbtree_parent(replacement), update);
    }
}

// First node of a subtree in order.
static struct rbtree_node *leftmost(struct rbtree_node *node)
{
    while (node->left != nullptr) {
        node = node->left;
    }
    return node;
}

// Last node of a subtree in order.
static struct rbtree_node *rightmost(struct rbtree_node *node)
{
    while (node->right != nullptr) {
        node = node->right;
    }
    return node;
}

struct rbtree_node *rbtree_first(const struct rbtree *tree)
{
    return tree->root == nullptr ? nullptr : leftmost(tree->root);
}

struct rbtree_node *rbtree_last(const struct rbtree *tree)
{
    return tree->root == nullptr ? nullptr : rightmost(tree->root);
}

// The first node of the right subtree, or else the first ancestor that has this node in its left
// subtree.
struct rbtree_node *rbtree_next(const struct rbtree_node *node)
{
    debug_assert(rbtree_is_linked(node));
    if (node->right != nullptr) {
        return leftmost(node->right);
    }
    struct rbtree_node *parent = rbtree_parent(node);
    while (parent != nullptr && node == parent->right) {
        node = parent;
        parent = rbtree_parent(node);
    }
    return parent;
}

// The mirror image of rbtree_next.
struct rbtree_node *rbtree_prev(const struct rbtree_node *node)
{
    debug_assert(rbtree_is_linked(node));
    if (node->left != nullptr) {
        return rightmost(node->left);
    }
    struct rbtree_node *parent = rbtree_parent(node);
    while (parent != nullptr && node == parent->left) {
        node = parent;
        parent = rbtree_parent(node);
    }
    return parent;
}

// First node in postorder of a subtree: a leaf, found by going left where possible.
static struct rbtree_node *deepest_left(struct rbtree_node *node)
{
    for (;;) {
        if (node->left != nullptr) {
            node = node->left;
        } else if (node->right != nullptr) {
            node = node->right;
        } else {
            return node;
        }
    }
}

struct rbtree_node *rbtree_first_postorder(const struct rbtree *tree)
{
    return tree->root == nullptr ? nullptr : deepest_left(tree->root);
}

// Left subtree, right subtree, node: behind a left child comes its sibling's subtree, behind a
// right child the parent. Reads nothing of `node` after returning: it may be freed.
struct rbtree_node *rbtree_next_postorder(const struct rbtree_node *node)
{
    struct rbtree_node *parent = rbtree_parent(node);
    if (parent != nullptr && node == parent->left && parent->right != nullptr) {
        return deepest_left(parent->right);
    }
    return parent;
}

// Black nodes on every way down from `node`, or -1 if invariant 2 or 3 or a parent link is broken.
// Recursion: at most twice the logarithm of the number of nodes.
static int black_height(const struct rbtree_node *node, const struct rbtree_node *parent)
{
    if (node == nullptr) {
        return 0;
    }
    if (rbtree_parent(node) != parent || (is_red(node) && is_red(parent))) {
        return -1;
    }
    int left = black_height(node->left, node);
    int right = black_height(node->right, node);
    if (left < 0 || left != right) {
        return -1;
    }
    return left + (is_red(node) ? 0 : 1);
}

// Structure first: without right links the walk in order could run anywhere.
bool rbtree_is_valid(const struct rbtree *tree, rbtree_less_fn *less)
{
    if (is_red(tree->root) || black_height(tree->root, nullptr) < 0) {
        return false;
    }
    if (less == nullptr || tree->root == nullptr) {
        return true;
    }
    const struct rbtree_node *node = rbtree_first(tree);
    for (const struct rbtree_node *next; (next = rbtree_next(node)) != nullptr; node = next) {
        if (less(next, node)) {
            return false;
        }
    }
    return true;
}
