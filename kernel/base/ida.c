// SPDX-License-Identifier: MIT
//
// A tree of nodes with 64 words each. In a leaf a word is a bitmap of 64 ids, so a leaf holds 4096;
// above, a word is a pointer to a child or 0. Every node knows which of its words are full (`full`)
// and which are in use at all (`used`).
//
// Invariants:
//   1. used has bit w exactly if word[w] is not 0.
//   2. full has bit w exactly if no id under word[w] is free.
//   3. No node except during an operation has used == 0: empty nodes are freed, the root too.
//   4. The tree is never lower than its greatest id needs; it does not get lower before it is
//      empty.
//
// The lowest free id >= min is found by going down along min, looking in each node for the first
// word at or after min's that is not full. A word that does not exist has only free ids.
#include "kernel/base/ida.h"

#include "kernel/base/alloc.h"
#include "kernel/base/assert.h"
#include "kernel/base/bitmap.h"

#include <linux/errno.h>

#define IDA_WORD_BITS 6 // log2 of ids in a bitmap word, and of words in a node
#define IDA_LEVELS    5 // IDA_MAX has 31 bits: a leaf covers 12 of them, each level above 6

struct ida_node {
    uint64_t full;
    uint64_t used;
    uint64_t word[64];
};

// log2 of the ids under one word of a node at this height (0: leaf).
static unsigned int word_shift(unsigned int height)
{
    return IDA_WORD_BITS * (height + 1);
}

// First id that a tree of this height does not cover.
static uint64_t covered(unsigned int height)
{
    return 1ul << (word_shift(height) + IDA_WORD_BITS);
}

// The word as what it is above the leaves.
static struct ida_node *child_of(const struct ida_node *node, unsigned int slot)
{
    return (struct ida_node *)node->word[slot];
}

// Has this subtree no free id?
static bool is_full(const struct ida_node *node)
{
    return node->full == ~0ul;
}

// The word that is responsible for the id in a node at this height.
static unsigned int slot_of(uint64_t id, unsigned int height)
{
    return (unsigned int)(id >> word_shift(height)) % 64;
}

// Lowest free id >= min under `node`, whose first id is `base`; min is inside it. UINT64_MAX if
// there is none. Recursion: one call a level.
static uint64_t find_free(
    const struct ida_node *node, unsigned int height, uint64_t base, uint64_t min)
{
    unsigned int slot = slot_of(min, height);
    for (;;) {
        uint64_t open = ~node->full & (~0ul << slot);
        if (open == 0) {
            return UINT64_MAX;
        }
        slot = bit_lowest(open);
        uint64_t slot_base = base + ((uint64_t)slot << word_shift(height));
        uint64_t from = MAX(min, slot_base);
        uint64_t found = UINT64_MAX;
        if (node->word[slot] == 0) {
            found = from;
        } else if (height == 0) {
            size_t bit = bitmap_find_next_zero(&node->word[slot], 64, from - slot_base);
            found = bit < 64 ? slot_base + bit : UINT64_MAX;
        } else {
            found = find_free(child_of(node, slot), height - 1, slot_base, from);
        }
        // Nothing: only possible in min's own slot, where free ids may lie before min.
        if (found != UINT64_MAX || slot == 63) {
            return found;
        }
        slot++;
    }
}

// Makes the tree cover id. What exists becomes the first word of new roots. After a failure the
// tree may be higher than before, which does no harm, but has no empty node.
static int grow(struct ida *ida, uint64_t id)
{
    if (ida->root == nullptr) {
        ida->root = base_alloc(sizeof(struct ida_node));
        if (ida->root == nullptr) {
            return -ENOMEM;
        }
        ida->height = 0;
    }
    while (id >= covered(ida->height)) {
        struct ida_node *root;
        if (ida->root->used == 0) {
            ida->height++; // an empty node fits at any height
            continue;
        }
        root = base_alloc(sizeof(struct ida_node));
        if (root == nullptr) {
            return -ENOMEM;
        }
        root->word[0] = (uintptr_t)ida->root;
        root->used = 1;
        root->full = is_full(ida->root) ? 1 : 0;
        ida->root = root;
        ida->height++;
    }
    debug_assert(ida->height < IDA_LEVELS);
    return 0;
}

// Frees nodes without used words on the way down to id, from the bottom up.
static void prune(struct ida *ida, uint64_t id, struct ida_node *path[], unsigned int lowest)
{
    for (unsigned int height = lowest; height <= ida->height; height++) {
        if (path[height]->used != 0) {
            return;
        }
        base_free(path[height]);
        if (height == ida->height) {
            ida->root = nullptr;
            ida->height = 0;
            return;
        }
        unsigned int slot = slot_of(id, height + 1);
        path[height + 1]->word[slot] = 0;
        path[height + 1]->used &= ~BIT(slot);
    }
}

// Marks a free id as allocated, building what is missing of the way to it.
static int take(struct ida *ida, uint64_t id)
{
    struct ida_node *path[IDA_LEVELS];
    int error = grow(ida, id);

    if (error != 0) {
        return error;
    }
    path[ida->height] = ida->root;
    for (unsigned int height = ida->height; height > 0; height--) {
        unsigned int slot = slot_of(id, height);
        if (path[height]->word[slot] == 0) {
            struct ida_node *child = base_alloc(sizeof(struct ida_node));
            if (child == nullptr) {
                prune(ida, id, path, height);
                return -ENOMEM;
            }
            path[height]->word[slot] = (uintptr_t)child;
            path[height]->used |= BIT(slot);
        }
        path[height - 1] = child_of(path[height], slot);
    }

    unsigned int slot = slot_of(id, 0);
    assert((path[0]->word[slot] & BIT(id % 64)) == 0);
    path[0]->word[slot] |= BIT(id % 64);
    path[0]->used |= BIT(slot);
    bool filled = path[0]->word[slot] == ~0ul;
    for (unsigned int height = 0; filled; height++) {
        path[height]->full |= BIT(slot_of(id, height));
        filled = is_full(path[height]) && height < ida->height;
    }
    ida->count++;
    return 0;
}

// Finding first, taking second: the search changes nothing, and taking either succeeds or leaves
// the ids as they were. Ids behind what the tree covers are free; taking one makes it higher.
int ida_alloc(struct ida *ida, uint32_t min, uint32_t max, uint32_t *id)
{
    uint64_t found = min;

    assert(min <= max);
    assert(max <= IDA_MAX);
    if (ida->root != nullptr && min < covered(ida->height)) {
        found = find_free(ida->root, ida->height, 0, min);
        if (found == UINT64_MAX) {
            found = covered(ida->height);
        }
    }
    if (found > max) {
        return -ENOSPC;
    }
    int error = take(ida, found);
    if (error != 0) {
        return error;
    }
    *id = (uint32_t)found;
    return 0;
}

// The part from `next` on, then the part before it. -ENOMEM of the first part is returned at
// once: the second would need memory as well.
int ida_alloc_cyclic(struct ida *ida, uint32_t min, uint32_t max, uint32_t next, uint32_t *id)
{
    assert(next >= min);
    assert(next <= max);
    int error = ida_alloc(ida, next, max, id);
    if (error == -ENOSPC && next > min) {
        error = ida_alloc(ida, min, next - 1, id);
    }
    return error;
}

// Nobody else changes the allocator between question and answer: all calls are serialised.
int ida_reserve(struct ida *ida, uint32_t id)
{
    assert(id <= IDA_MAX);
    if (ida_is_allocated(ida, id)) {
        return -EBUSY;
    }
    return take(ida, id);
}

// Walks down; a missing child means that all ids below are free.
bool ida_is_allocated(const struct ida *ida, uint32_t id)
{
    const struct ida_node *node = ida->root;
    if (node == nullptr || id >= covered(ida->height)) {
        return false;
    }
    for (unsigned int height = ida->height; height > 0; height--) {
        node = child_of(node, slot_of(id, height));
        if (node == nullptr) {
            return false;
        }
    }
    return (node->word[slot_of(id, 0)] & BIT(id % 64)) != 0;
}

// On the way up every node has a free id now. Nodes without ids go at once, so that an allocator
// whose ids are all given back holds no memory.
void ida_free(struct ida *ida, uint32_t id)
{
    struct ida_node *path[IDA_LEVELS];

    assert(ida_is_allocated(ida, id));
    path[ida->height] = ida->root;
    for (unsigned int height = ida->height; height > 0; height--) {
        path[height - 1] = child_of(path[height], slot_of(id, height));
    }
    for (unsigned int height = 0; height <= ida->height; height++) {
        path[height]->full &= ~BIT(slot_of(id, height));
    }
    unsigned int slot = slot_of(id, 0);
    path[0]->word[slot] &= ~BIT(id % 64);
    if (path[0]->word[slot] == 0) {
        path[0]->used &= ~BIT(slot);
    }
    prune(ida, id, path, 0);
    ida->count--;
}

// Recursion: one call a level.
static void destroy_node(struct ida_node *node, unsigned int height)
{
    size_t slot;
    if (height > 0) {
        bitmap_for_each_set (slot, &node->used, 64) {
            destroy_node(child_of(node, (unsigned int)slot), height - 1);
        }
    }
    base_free(node);
}

void ida_destroy(struct ida *ida)
{
    if (ida->root != nullptr) {
        destroy_node(ida->root, ida->height);
    }
    *ida = (struct ida){};
}

// Checks invariants 1 to 3 below `node` and counts its ids.
static bool node_is_valid(const struct ida_node *node, unsigned int height, uint64_t *count)
{
    if (node->used == 0) {
        return false;
    }
    for (unsigned int slot = 0; slot < 64; slot++) {
        bool used = (node->used & BIT(slot)) != 0;
        bool full = (node->full & BIT(slot)) != 0;
        bool really_full = false;
        if (used != (node->word[slot] != 0)) {
            return false;
        }
        if (used && height == 0) {
            really_full = node->word[slot] == ~0ul;
            *count += bit_count(node->word[slot]);
        } else if (used) {
            really_full = is_full(child_of(node, slot));
            if (!node_is_valid(child_of(node, slot), height - 1, count)) {
                return false;
            }
        }
        if (full != really_full) {
            return false;
        }
    }
    return true;
}

bool ida_is_valid(const struct ida *ida)
{
    uint64_t count = 0;
    if (ida->root == nullptr) {
        return ida->count == 0;
    }
    return ida->height < IDA_LEVELS && node_is_valid(ida->root, ida->height, &count) &&
           count == ida->count;
}
